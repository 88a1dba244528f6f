"""The steps of moves over a memory store: the same promises as PostgreSQL's (one conformance suite), for simulations.

Every step decides by the ladders of cell/ledger/unit_life.py and then writes, alone in the store: what takes
PostgreSQL an order of locks is one lock here. Rows are the affair of cell/store/memory_rows.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cell.crash_points import CrashPoints
from cell.ledger import unit_life
from cell.ledger.model import Instant, Wallet
from cell.ledger.unit_life import UnitRow, Verdict
from cell.store.memory import Begun, MemoryLedger
from cell.store.memory_deletion import MemoryDeletion
from cell.store.memory_isolation import MemoryIsolation
from cell.store.memory_rows import (
    MemoryArrivals,
    MemoryDepartures,
    digest_of,
    row_of,
    save_rows,
    wallets_of,
)
from cell.store.moves.sessions import MoveRefusedError
from cell.store.moves.target import Intent
from cell.store.moves.unit_rows import allowed, told
from cell.store.moves.verdicts import activated, granted, sealed
from contract.ids import CellId
from contract.moves import (
    Fence,
    FenceOrder,
    Fences,
    Grant,
    GrantOrder,
    Grants,
    MoveReason,
    StagedUnit,
    StagedUnits,
    StageOrder,
    UnitsNow,
)
from contract.quarantine import ReviveOrder
from contract.slots import Unit

MIGRATED: Final = "migrated"


class MemoryMoves:
    """`MoveStore` over one memory store."""

    def __init__(self, store: MemoryLedger, *, cell_id: str, crash_points: CrashPoints) -> None:
        self.departures = MemoryDepartures(store)
        self.arrivals = MemoryArrivals(store)
        self.source = MemorySource(store, cell_id=cell_id, crash_points=crash_points)
        self.target = MemoryTarget(store, cell_id=cell_id, crash_points=crash_points)
        self.deletion = MemoryDeletion(store)
        self.isolation = MemoryIsolation(store, cell_id=cell_id)
        self.revival = MemoryRevival(store, cell_id=cell_id)

    async def close(self) -> None:
        """Nothing is kept open."""


class MemorySource:
    def __init__(self, store: MemoryLedger, *, cell_id: str, crash_points: CrashPoints) -> None:
        self._store = store
        self._cell_id = cell_id
        self._crash_points = crash_points

    async def fence(self, order: FenceOrder, *, move_id: str) -> Fences:
        units = sorted(set(order.units))
        try:
            async with self._store.transaction(wait_s=order.lock_wait_ms / 1_000):
                fenced = self._fenced(order, units, move_id)
        except TimeoutError as error:
            detail = f"A wallet was held by a writer for {order.lock_wait_ms} ms."
            raise MoveRefusedError(MoveReason.LOCKS_MUST_BE_FREE, detail) from error
        await self._crash_points.reach("move.fenced")
        return Fences(from_cell=self._cell_id, fences=tuple(map(_fence_of, fenced)))

    def _fenced(self, order: FenceOrder, units: Sequence[int], move_id: str) -> list[UnitRow]:
        store = self._store
        before = [row_of(store, unit) for unit in units]
        terms = {"now_us": Instant(store.clock()), "stands_us": order.stands_ms * 1_000}
        after = [
            allowed(one, unit_life.fence(one, move_id=move_id, to_cell=order.to_cell, **terms))  # type: ignore[arg-type]
            for one in before
        ]
        new = [row for old, row in zip(before, after, strict=True) if row != old]
        if new and len(new) < len(after):
            raise MoveRefusedError(MoveReason.UNIT_MUST_BE_ACTIVE, "Some of the units are fenced already.")
        if not new:
            return after
        _mark(store, wallets_of(store, units), move_id)
        fenced = [replace(row, digest=digest_of(store, row.unit)) for row in new]
        save_rows(store, fenced)
        return fenced

    async def unfence(self, units: Sequence[int], *, move_id: str) -> UnitsNow:
        return told(await self._release(units, lambda one, _: unit_life.unfence(one, move_id=move_id)))

    async def lapse(self, units: Sequence[int]) -> None:
        await self._release(units, lambda one, now_us: unit_life.lapse(one, now_us=now_us))

    async def standing(self) -> list[tuple[int, int]]:
        async with self._store.transaction():
            now_us = self._store.clock()
            rows = (row for row in self._store.units.values() if row.state == "fenced")
            return sorted(((row.unit, (row.deadline_us or 0) - now_us) for row in rows), key=lambda one: one[1])

    async def _release(self, units: Sequence[int], verdict: Callable[[UnitRow, Instant], UnitRow]) -> list[UnitRow]:
        store = self._store
        async with store.transaction():
            before = [row_of(store, unit) for unit in sorted(set(units))]
            now_us = Instant(store.clock())
            after = [verdict(one, now_us) for one in before]
            for old, new in zip(before, after, strict=True):
                if new != old:
                    _mark(store, _frozen_by(store, new.unit, old.move_id), None)
                    save_rows(store, [new])
        return after

    async def grant(self, order: GrantOrder, *, move_id: str) -> Grants:
        store = self._store
        staged = {one.unit: one for one in order.staged}
        await self._crash_points.reach("move.granting")
        async with store.transaction():
            before = [row_of(store, unit) for unit in sorted(staged)]
            now_us = Instant(store.clock())
            after = [
                granted(one, staged[one.unit], move_id=move_id, to_cell=order.to_cell, now_us=now_us) for one in before
            ]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            save_rows(store, new)
            _post_migrated(store, new, sign=1)
            for row in new:
                _draw_exiles(store, row.unit, cell=str(row.peer_cell), epoch=row.epoch)
        await self._crash_points.reach("move.granted")
        return Grants(grants=tuple(self._grant_of(row) for row in after))

    async def tombstone(self, units: Sequence[int], *, move_id: str) -> UnitsNow:
        async with self._store.transaction():
            before = [row_of(self._store, unit) for unit in sorted(set(units))]
            after = [allowed(one, unit_life.tombstone(one, move_id=move_id)) for one in before]
            save_rows(self._store, after)
        await self._crash_points.reach("move.tombstoned")
        return told(after)

    async def grant_of(self, unit: int) -> tuple[Grant | None, UnitRow]:
        async with self._store.transaction():
            row = row_of(self._store, unit)
        is_granted = row.state in {"granted", "moved"} and row.move_id is not None and row.digest is not None
        return (self._grant_of(row) if is_granted else None), row

    async def units_now(self, units: Sequence[int]) -> UnitsNow:
        async with self._store.transaction():
            return told(row_of(self._store, unit) for unit in sorted(set(units)))

    def _grant_of(self, row: UnitRow) -> Grant:
        return Grant(
            move_id=str(row.move_id),
            unit=row.unit,
            from_cell=self._cell_id,
            to_cell=str(row.peer_cell),
            epoch=row.epoch,
            fence_no=row.fence_no,
            digest=str(row.digest),
        )


class MemoryTarget:
    def __init__(self, store: MemoryLedger, *, cell_id: str, crash_points: CrashPoints) -> None:
        self._store = store
        self._cell_id = CellId(cell_id)
        self._crash_points = crash_points

    async def stage(self, order: StageOrder, *, move_id: str) -> UnitsNow:
        store = self._store
        epochs = dict(order.units)
        async with store.transaction():
            before = [row_of(store, unit) for unit in sorted(epochs)]
            after = []
            for one in before:
                begun = store.intents.get(one.unit)
                if begun is not None and begun.intent.cause != "staging":
                    detail = f"Rows of unit {one.unit} are being deleted here."
                    raise MoveRefusedError(MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE, detail)
                verdict = unit_life.stage(one, move_id=move_id, from_cell=order.from_cell, epoch=epochs[one.unit])
                after.append(allowed(one, verdict))
            for old, new in zip(before, after, strict=True):
                if new != old:
                    intent = _staging(old, order, move_id)
                    store.intents[old.unit] = Begun(intent=intent, touched_at_us=store.clock())
                    _mark(store, wallets_of(store, [old.unit]), move_id)
                    save_rows(store, [new])
        await self._crash_points.reach("move.staging")
        return told(after)

    async def seal(self, fences: Fences, *, move_id: str) -> StagedUnits:
        store = self._store
        fence_of = {one.unit: one for one in fences.fences}
        async with store.transaction():
            after = [
                sealed(
                    row_of(store, unit),
                    fence,
                    move_id=move_id,
                    from_cell=fences.from_cell,
                    digest_here=digest_of(store, Unit(unit)),
                )
                for unit, fence in sorted(fence_of.items())
            ]
            save_rows(store, after)
            now_us = store.clock()
            for row in after:
                begun = store.intents[row.unit]
                intent = replace(begun.intent, was_sealed=True)
                store.intents[row.unit] = Begun(intent=intent, touched_at_us=now_us, sealed_at_us=now_us)
        await self._crash_points.reach("move.staged")
        staged = (StagedUnit(unit=r.unit, epoch=r.epoch, fence_no=r.fence_no, digest=str(r.digest)) for r in after)
        return StagedUnits(staged=tuple(staged))

    async def activate(self, grants: Sequence[Grant], *, move_id: str) -> UnitsNow:
        store = self._store
        grant_of = {one.unit: one for one in grants}
        async with store.transaction():
            before = [row_of(store, unit) for unit in sorted(grant_of)]
            after = [activated(one, grant_of[one.unit], move_id=move_id, this_cell=self._cell_id) for one in before]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            _post_migrated(store, new, sign=-1)
            save_rows(store, new)
            for row in new:
                _mark(store, _frozen_by(store, row.unit, move_id), None)
                _draw_exiles(store, row.unit, cell=self._cell_id, epoch=row.epoch)
                store.intents.pop(row.unit, None)
        await self._crash_points.reach("move.activated")
        return told(after)

    async def discard(self, units: Sequence[int], *, move_id: str, never_granted: Mapping[int, int]) -> UnitsNow:
        store = self._store
        async with store.transaction():
            before = [row_of(store, unit) for unit in sorted(set(units))]
            after = [self._discarded(one, move_id, never_granted) for one in before]
            for old, new in zip(before, after, strict=True):
                if new.state != old.state and not _is_given_up(store.intents.get(old.unit)):
                    self._give_up(old, new)
        return told(after)

    def _discarded(self, one: UnitRow, move_id: str, never_granted: Mapping[int, int]) -> UnitRow:
        begun = self._store.intents.get(one.unit)
        if _is_given_up(begun) and begun is not None and begun.intent.move_id == move_id:
            return UnitRow(unit=one.unit)
        before = UnitRow(unit=one.unit) if begun is None else begun.intent.before
        after = allowed(one, unit_life.discard(one, move_id=move_id, before=before))
        if begun is not None and begun.intent.was_sealed and never_granted.get(one.unit) != one.fence_no:
            detail = f"Unit {one.unit} was sealed here, and its source has not said that it did not grant it."
            raise MoveRefusedError(MoveReason.UNIT_MUST_BE_STAGING, detail)
        return after

    def _give_up(self, old: UnitRow, new: UnitRow) -> None:
        """A unit that goes back to its tombstone keeps its rows; any other is nobody's staging until they are gone."""
        store = self._store
        if new.state is not None:
            save_rows(store, [new])
            del store.intents[new.unit]
            return
        save_rows(store, [replace(old, state="staging", move_id=None, digest=None)])
        begun = store.intents[old.unit]
        store.intents[old.unit] = replace(begun, intent=replace(begun.intent, cause="discarded"))

    async def intents(self, units: Sequence[int]) -> dict[int, Intent]:
        async with self._store.transaction():
            found = self._store.intents
            return {unit: found[Unit(unit)].intent for unit in sorted(set(units)) if unit in found}


class MemoryRevival:
    def __init__(self, store: MemoryLedger, *, cell_id: str) -> None:
        self._store = store
        self._cell_id = cell_id

    async def revive(self, order: ReviveOrder) -> UnitsNow:
        store = self._store
        epochs = dict(order.units)
        async with store.transaction():
            begun = sorted(unit for unit in epochs if Unit(unit) in store.intents)
            if begun:
                detail = f"Rows of unit {begun[0]} are being deleted here, or staged once more."
                raise MoveRefusedError(MoveReason.ROWS_MUST_BE_RETAINED, detail)
            before = [row_of(store, unit) for unit in sorted(epochs)]
            after = [allowed(one, self._revived(one, order.lost_by, epochs[one.unit])) for one in before]
            new = [row for old, row in zip(before, after, strict=True) if row != old]
            _post_migrated(store, new, sign=-1)
            _mark(store, wallets_of(store, [row.unit for row in new]), None)
            save_rows(store, new)
            for row in new:
                _draw_exiles(store, row.unit, cell=self._cell_id, epoch=row.epoch)
        return told(after)

    def _revived(self, row: UnitRow, lost_by: str, epoch: int) -> Verdict:
        return unit_life.revive(row, lost_by=lost_by, epoch=epoch, digest_here=digest_of(self._store, row.unit))


def _fence_of(row: UnitRow) -> Fence:
    return Fence(unit=row.unit, epoch=row.epoch, fence_no=row.fence_no, digest=str(row.digest))


def _mark(store: MemoryLedger, wallets: Iterable[Wallet], move_id: str | None) -> None:
    store.wallets |= {wallet.wallet_id: replace(wallet, frozen_by=move_id) for wallet in wallets}


def _frozen_by(store: MemoryLedger, unit: Unit, move_id: str | None) -> list[Wallet]:
    return [wallet for wallet in wallets_of(store, [unit]) if wallet.frozen_by == move_id]


def _post_migrated(store: MemoryLedger, rows: Iterable[UnitRow], *, sign: int) -> None:
    for wallet in wallets_of(store, [row.unit for row in rows]):
        store.account_totals[MIGRATED, wallet.currency] += sign * wallet.balance


def _draw_exiles(store: MemoryLedger, unit: Unit, *, cell: str, epoch: int) -> None:
    drawn = (exile for exile in store.exiles.values() if exile.unit == unit)
    store.exiles |= {exile.wallet_id: replace(exile, cell=cell, epoch=epoch) for exile in drawn}


def _staging(before: UnitRow, order: StageOrder, move_id: str) -> Intent:
    return Intent(
        unit=before.unit,
        cause="staging",
        move_id=move_id,
        from_cell=order.from_cell,
        source_admin_urls=order.source_admin_urls,
        was_sealed=False,
        before=replace(before, deadline_us=None),
    )


def _is_given_up(begun: Begun | None) -> bool:
    return begun is not None and begun.intent.cause == "discarded"
