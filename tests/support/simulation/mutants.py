"""The protocol with one protection taken away: what the simulation must find, and with how many seeds.

Each is a function that breaks a fleet for as long as its context lasts. Where two protections overlap, both are taken
away, or a second flaw is put in that the first protection exists for; the docstring says so.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from cell.elsewhere import Answer, Elsewhere, RefusedThere, Unknown
from cell.ledger import unit_life
from cell.ledger.footprint import Footprint
from cell.ledger.model import Transfer
from cell.ledger.unit_life import UnitRow
from cell.ledger.view import Loaded
from cell.moves import Moves
from cell.peer_grants import NotGranted
from cell.store import memory_moves, memory_rows
from cell.store.memory import MemoryLedger, MemorySession
from cell.store.memory_moves import MemorySource
from cell.store.moves.departures import Parcel
from contract.moves import Grant, Grants, SagaName
from simulation.cell import Disk, FragileSession
from simulation.fleet import SimulatedFleet
from simulation.run import run

Mutant = Callable[[SimulatedFleet], Iterator[None]]


def fence_seen_before_the_lock(_: SimulatedFleet) -> Iterator[None]:
    """A writer looks whether its wallets are frozen, and then waits for their locks."""
    honest = MemorySession.load

    async def load(session: MemorySession, footprint: Footprint) -> Loaded:
        seen = {one: wallet for one in footprint.wallet_ids if (wallet := session._store.wallets.get(one)) is not None}
        loaded = await honest(session, footprint)
        for one, wallet in loaded.wallets.items():
            if one in seen and seen[one].frozen_by is None:
                loaded.wallets[one] = replace(wallet, frozen_by=None)
        return loaded

    with patch.object(MemorySession, "load", load):
        yield


def grant_without_its_fence(_: SimulatedFleet) -> Iterator[None]:
    """The source believes what it is told was sealed: it compares neither the number of the fence nor the digest."""
    honest = unit_life.grant

    def grant(row: UnitRow, **said: Any) -> unit_life.Verdict:
        if row.state == "fenced":
            row = replace(row, fence_no=said["fence_no"], digest=said["digest"])
        return honest(row, **said)

    with patch.object(unit_life, "grant", grant):
        yield


def seal_without_the_digest(_: SimulatedFleet) -> Iterator[None]:
    """The target signs for whatever it has; and of what is on its way some is told as over."""
    honest_seal = unit_life.seal

    def seal(row: UnitRow, **said: Any) -> unit_life.Verdict:
        return honest_seal(row, **{**said, "digest_here": said["digest"]})

    with patch.object(unit_life, "seal", seal), _forgetful():
        yield


def rows_forgotten_on_the_way(_: SimulatedFleet) -> Iterator[None]:
    """Only the second flaw of the mutant above: the digest must keep every move with a lost row from its grant."""
    with _forgetful():
        yield


@contextmanager
def _forgetful() -> Iterator[None]:
    """Transfers that are on their way come with their entries as settled, and are not told of as open."""
    honest_state, honest_entries = memory_rows.MemoryDepartures.state, memory_rows.MemoryDepartures.entries

    async def state(departures: Any, unit: int, open_sagas: Sequence[SagaName] = ()) -> Parcel:
        parcel = await honest_state(departures, unit, open_sagas)
        told = json.loads(parcel.content)
        told["transfers"] = [one for one in told["transfers"] if one["state"] != "in_transit"]
        return Parcel(content=json.dumps(told).encode(), rows=parcel.rows)

    async def entries(departures: Any, unit: int, positions: Any, *, rows_max: int) -> Parcel:
        parcel = await honest_entries(departures, unit, positions, rows_max=rows_max)
        told = json.loads(parcel.content)
        for entry in told["entries"]:
            if entry["saga"] is not None and entry["saga"]["state"] == "in_transit":
                entry["saga"] |= {"state": "settled", "details": None}
        return Parcel(content=json.dumps(told).encode(), rows=parcel.rows)

    with (
        patch.object(memory_rows.MemoryDepartures, "state", state),
        patch.object(memory_rows.MemoryDepartures, "entries", entries),
    ):
        yield


def activation_without_a_grant(_: SimulatedFleet) -> Iterator[None]:
    """The target asks for the grant, and takes "not yet" for a yes."""

    async def pull(moves: Moves, *, older_s: float) -> None:
        for intent in await moves.deletion.waiting(older_s=older_s):
            told = await moves._peers.ask(intent.source_admin_urls, intent.unit)
            if isinstance(told, NotGranted):
                row = memory_rows.row_of(moves.source._store, intent.unit)  # type: ignore[attr-defined]
                told = Grant(
                    move_id=intent.move_id,
                    unit=intent.unit,
                    from_cell=intent.from_cell,
                    to_cell=moves.source._cell_id,  # type: ignore[attr-defined]
                    epoch=row.epoch,
                    fence_no=row.fence_no,
                    digest=str(row.digest),
                )
            if isinstance(told, Grant):
                await moves._activate_pulled(told)

    with patch.object(Moves, "pull", pull):
        yield


def watchdog_takes_a_grant_down(_: SimulatedFleet) -> Iterator[None]:
    """It looks at the age of a fence and not at what has become of it."""
    honest_lapse, honest_standing = unit_life.lapse, MemorySource.standing

    def lapse(row: UnitRow, *, now_us: Any) -> UnitRow:
        if row.state != "granted":
            return honest_lapse(row, now_us=now_us)
        return replace(row, state="active", epoch=row.epoch - 1, move_id=None, peer_cell=None, digest=None)

    async def standing(source: MemorySource) -> list[tuple[int, int]]:
        granted = [(row.unit, 0) for row in source._store.units.values() if row.state == "granted"]
        return [*granted, *await honest_standing(source)]

    with patch.object(unit_life, "lapse", lapse), patch.object(MemorySource, "standing", standing):
        yield


def tombstone_forgotten(_: SimulatedFleet) -> Iterator[None]:
    """The source's wallets are thawed with its grant: whoever comes by an old map is served."""
    honest = MemorySource.grant

    async def grant(source: MemorySource, order: Any, *, move_id: str) -> Grants:
        granted = await honest(source, order, move_id=move_id)
        store = source._store
        memory_moves._mark(store, memory_moves.wallets_of(store, [one.unit for one in order.staged]), None)
        return granted

    with patch.object(MemorySource, "grant", grant):
        yield


def outcomes_stay_behind(_: SimulatedFleet) -> Iterator[None]:
    """Entries move, what was recorded under the ids of vendors does not."""
    with _without_outcomes(lambda vendor_id: not vendor_id.startswith("@")):
        yield


def receipts_stay_behind(_: SimulatedFleet) -> Iterator[None]:
    """What was recorded under the ids of incoming transfers does not move."""
    with _without_outcomes(lambda vendor_id: vendor_id == "@transfer"):
        yield


@contextmanager
def _without_outcomes(are_lost: Callable[[str], bool]) -> Iterator[None]:
    honest = memory_rows._Arriving.write

    def write(arriving: Any) -> None:
        honest(arriving)
        for recorded in arriving._recorded:
            if are_lost(recorded.key.vendor_id):
                arriving._store.recorded.pop(recorded.key, None)

    with patch.object(memory_rows._Arriving, "write", write):
        yield


def figures_are_copied(_: SimulatedFleet) -> Iterator[None]:
    """Pins travel as a figure of the wallet's row, from whenever it was read, and are not counted at the target."""
    with (
        patch.object(memory_rows, "_pins_of", lambda *_: 0),
        patch.object(memory_rows, "digest_of", _digest_without_pins),
        patch.object(memory_moves, "digest_of", _digest_without_pins),
    ):
        yield


_digest_of = memory_rows.digest_of


def _digest_without_pins(store: MemoryLedger, unit: Any) -> str:
    before = store.wallets
    store.wallets = {one: replace(wallet, pinned=0) for one, wallet in before.items()}
    try:
        return _digest_of(store, unit)
    finally:
        store.wallets = before


def refund_without_a_recorded_no(_: SimulatedFleet) -> Iterator[None]:
    """A cell that hears nothing, or "later", takes it for a no and gives the money back."""
    honest = Elsewhere.receive

    async def receive(elsewhere: Elsewhere, transfer: Transfer, *, timeout_s: float) -> Answer:
        answer = await honest(elsewhere, transfer, timeout_s=timeout_s)
        return RefusedThere(reason="later") if isinstance(answer, Unknown) else answer

    with patch.object(Elsewhere, "receive", receive):
        yield


def commit_told_before_it_is_one(fleet: SimulatedFleet) -> Iterator[None]:
    """The write path answers when the batch is written and does not wait for its commit."""
    honest = FragileSession.save

    async def save(session: FragileSession, changes: Sequence[Any]) -> None:
        disk: Disk = session._disk
        if disk.doubt and fleet._dice["faults"].random() < disk.doubt:
            session._release()
            return
        await honest(session, changes)

    with patch.object(FragileSession, "save", save):
        yield


MUTANTS: dict[str, tuple[Mutant, int]] = {
    "fence_seen_before_the_lock": (fence_seen_before_the_lock, 10),
    "grant_without_its_fence": (grant_without_its_fence, 40),
    "seal_without_the_digest": (seal_without_the_digest, 10),
    "activation_without_a_grant": (activation_without_a_grant, 15),
    "watchdog_takes_a_grant_down": (watchdog_takes_a_grant_down, 5),
    "tombstone_forgotten": (tombstone_forgotten, 5),
    "outcomes_stay_behind": (outcomes_stay_behind, 5),
    "receipts_stay_behind": (receipts_stay_behind, 5),
    "figures_are_copied": (figures_are_copied, 5),
    "refund_without_a_recorded_no": (refund_without_a_recorded_no, 10),
    "commit_told_before_it_is_one": (commit_told_before_it_is_one, 10),
}
"""By name: what it does, and within how many seeds it must be found."""


@contextmanager
def mutated(mutant: Mutant, fleet: SimulatedFleet) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(contextmanager(mutant)(fleet))
        yield


def found_by(name: str) -> tuple[int | None, str]:
    """The first seed that finds this mutant, and what it finds."""
    mutant, seeds_max = MUTANTS[name]
    for seed in range(1, seeds_max + 1):
        result = run(seed, lambda fleet: mutated(mutant, fleet))
        if result.findings:
            return seed, result.findings[0]
    return None, "nothing"
