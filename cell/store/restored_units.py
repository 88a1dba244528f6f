"""The units of a restored cell, held against what others say, in one transaction: judged, written, recorded.

Works only in quarantine, and opens for itself alone the door that quarantine closes. The rules stand in
cell/ledger/adjudication.py.
"""

import uuid
from collections.abc import Mapping
from typing import Final

from cell.ledger.adjudication import (
    OWNING,
    Claim,
    Contradiction,
    Judgement,
    Missing,
    Superseded,
    isolated_since,
    judge,
    rejoined_since,
)
from cell.ledger.adjudication import Evidence as UnitEvidence
from cell.ledger.unit_life import UnitRow
from cell.store import arrays
from cell.store.moves.sessions import Connection, Sessions, rows
from cell.store.moves.source import POST_MIGRATED
from cell.store.moves.unit_rows import lock_units, save_units
from cell.store.restored import anybody
from contract.ids import WalletId
from contract.moves import Grant
from contract.quarantine import Adjudication, Evidence, JudgedUnit
from contract.slots import ISOLATED_UNIT_FIRST, Unit, slot_of

LOCK_CLASS: Final = 2
ADJUDICATION: Final = 7
"""One at a time; in the class of duties and of rare work."""

_NEWEST: Final = """
SELECT to_char(max(posted_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM wallets
"""
_ALL_UNITS: Final = "SELECT unit FROM unit_state"
_IS_CLOSED: Final = "SELECT id FROM quarantines WHERE opened_at IS NULL"
_STANDING: Final = "SELECT wallet_id, unit FROM wallets WHERE wallet_id = ANY(%s)"
_EXILED: Final = "SELECT wallet_id FROM isolated WHERE wallet_id = ANY(%s)"
_WALLETS_IN: Final = "SELECT wallet_id, unit FROM wallets WHERE unit = ANY(%s)"
_FREEZE: Final = "UPDATE wallets SET frozen_by = %s WHERE unit = ANY(%s)"
_FREEZE_BY_MOVE: Final = """
UPDATE wallets w SET frozen_by = u.move_id FROM unit_state u
WHERE u.unit = w.unit AND u.move_id IS NOT NULL AND w.unit = ANY(%s)
"""
_END_INTENTS: Final = "DELETE FROM cleanups WHERE unit = ANY(%s) AND cause = 'staging'"
_DRAW_EXILES: Final = """
UPDATE isolated i SET cell = u.peer_cell, epoch = u.epoch FROM unit_state u WHERE i.unit = u.unit AND u.unit = ANY(%s)
"""
_SET_UNIT: Final = "UPDATE wallets SET unit = %s WHERE wallet_id = %s"
_EXILE: Final = """
INSERT INTO isolated (wallet_id, slot, unit, cell, epoch) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


class CellMustBeQuarantinedError(Exception):
    """What is done to a restored cell is done to no other."""


class RestoredUnits:
    def __init__(self, database_url: str, *, cell_id: str) -> None:
        self._sessions = Sessions(database_url, admit=anybody)
        self._cell_id = cell_id

    async def close(self) -> None:
        await self._sessions.close()

    async def adjudicate(self, evidence: Evidence) -> Adjudication:
        """Every unit that anybody knows; the same evidence again changes nothing.

        Raises:
            CellMustBeQuarantinedError: the cell is open.
            StoreLostError: the database cannot be reached, or it is unknown whether the commit happened.

        """
        async with self._sessions.transaction() as connection:
            await rows(connection, "SELECT set_config('cell.adjudicating', 'on', true)")
            await rows(connection, "SELECT pg_advisory_xact_lock(%s, %s)", LOCK_CLASS, ADJUDICATION)
            if not await rows(connection, _IS_CLOSED):
                raise CellMustBeQuarantinedError
            adjudication = await self._adjudicate(connection, evidence)
            recording = "SELECT record_adjudication(%s::jsonb)"
            ((is_recorded,),) = await rows(connection, recording, adjudication.model_dump_json())
            if not is_recorded:  # somebody vouched for its timeline meanwhile: it is open, and nothing was judged
                raise CellMustBeQuarantinedError
        return adjudication

    async def _adjudicate(self, connection: Connection, evidence: Evidence) -> Adjudication:
        told = _by_unit(evidence)
        known = {row[0] for row in await rows(connection, _ALL_UNITS)}
        here: dict[int, UnitRow] = {one.unit: one for one in await lock_units(connection, known | told.keys())}
        judged = self._judged(here, told)
        isolated = await self._isolate(connection, evidence, here, judged)
        judged |= self._judged({one.unit: one for one in isolated}, told)
        judged |= await self._rejoined(connection, here, judged, told)
        present = here | {one.unit: one for one in isolated}
        after = present | {one.unit: one for one in await self._leave(connection, present, judged)}
        ((newest_at,),) = await rows(connection, _NEWEST)
        return Adjudication(
            cell=self._cell_id,
            newest_entry_at=newest_at,
            kept=sum(1 for one in after.values() if one.state in OWNING),
            units=(
                *(_told(unit, judgement) for unit, judgement in sorted(judged.items()) if _is_told(judgement)),
                *(_isolated(one, self._cell_id) for one in isolated),
            ),
        )

    def _judged(self, here: Mapping[int, UnitRow], told: Mapping[int, UnitEvidence]) -> dict[int, Judgement]:
        nothing = UnitEvidence()
        return {unit: judge(row, told.get(unit, nothing), this_cell=self._cell_id) for unit, row in here.items()}

    async def _leave(
        self, connection: Connection, here: Mapping[int, UnitRow], judged: Mapping[int, Judgement]
    ) -> list[UnitRow]:
        """What is not this cell's any more: out of its books, frozen for ever, and its exile rows show the way."""
        gone = [one.after for one in judged.values() if isinstance(one, Superseded | Missing) and one.after is not None]
        leaving = [one for one in gone if one != here[one.unit]]
        if not leaving:
            return []
        units = arrays.int4s([one.unit for one in leaving])
        owned = arrays.int4s([one.unit for one in leaving if here[one.unit].state in OWNING])
        await rows(connection, POST_MIGRATED, 1, "out:restored", owned)
        await save_units(connection, leaving)
        await rows(connection, _FREEZE, str(uuid.uuid4()), units)
        await rows(connection, _FREEZE_BY_MOVE, units)
        await rows(connection, _END_INTENTS, units)
        await rows(connection, _DRAW_EXILES, units)
        return leaving

    async def _isolate(
        self,
        connection: Connection,
        evidence: Evidence,
        here: Mapping[int, UnitRow],
        judged: Mapping[int, Judgement],
    ) -> list[UnitRow]:
        """Wallets that left their slot since, while the slot is here: without this they would be here once more."""
        owners = {unit: (run.cell, run.epoch) for run in evidence.directory for unit in range(run.first, run.last + 1)}
        wanted = {
            WalletId(wallet): Unit(unit)
            for wallet, unit in evidence.isolated
            if unit in owners and _is_kept(here, judged, slot_of(WalletId(wallet)))
        }
        wallets = arrays.uuids(list(wanted))
        stands_in = {row[0]: row[1] for row in await rows(connection, _STANDING, wallets)}
        exiled = {row[0] for row in await rows(connection, _EXILED, wallets)}
        written: list[UnitRow] = []
        for wallet, unit in sorted(wanted.items()):
            row = here.get(unit)
            if wallet in exiled or (row is not None and row.state is not None):
                continue
            new = isolated_since(unit, owner=owners[unit], this_cell=self._cell_id)
            if wallet not in stands_in and new.state == "active":
                continue  # opened since, and lost with the rest: the unit is missing
            await self._let_stand_apart(connection, wallet, new, is_here=wallet in stands_in)
            written.append(new)
        return written

    async def _let_stand_apart(self, connection: Connection, wallet: WalletId, new: UnitRow, *, is_here: bool) -> None:
        await save_units(connection, [new])
        cell = new.peer_cell or self._cell_id
        await rows(connection, _EXILE, wallet, slot_of(wallet), new.unit, cell, new.epoch)
        if not is_here:
            return
        await rows(connection, _SET_UNIT, new.unit, wallet)
        if new.state != "active":
            units = arrays.int4s([new.unit])
            await rows(connection, POST_MIGRATED, 1, "out:restored", units)
            await rows(connection, _FREEZE, str(uuid.uuid4()), units)

    async def _rejoined(
        self,
        connection: Connection,
        here: Mapping[int, UnitRow],
        judged: Mapping[int, Judgement],
        told: Mapping[int, UnitEvidence],
    ) -> dict[int, Judgement]:
        """Isolated units that nobody else knows, of wallets whose slot has left: they left with it."""
        nameless = [
            unit
            for unit, row in here.items()
            if unit >= ISOLATED_UNIT_FIRST and row.state in OWNING and not _is_listed(told.get(unit))
        ]
        found: dict[int, Judgement] = {}
        for wallet, unit in await rows(connection, _WALLETS_IN, arrays.int4s(nameless)):
            slot = judged.get(slot_of(WalletId(wallet)))
            if isinstance(slot, Superseded | Missing) and slot.after is not None:
                found[unit] = Superseded(after=rejoined_since(here[unit], slot.after))
        return found


def _by_unit(evidence: Evidence) -> dict[int, UnitEvidence]:
    claims: dict[int, list[Claim]] = {}
    for peer in evidence.peers:
        for run in peer.units:
            for unit in range(run.first, run.last + 1):
                claims.setdefault(unit, []).append(Claim(cell=peer.cell, state=run.state, epoch=run.epoch))
    directory = {unit: (run.cell, run.epoch) for run in evidence.directory for unit in range(run.first, run.last + 1)}
    grants: dict[int, Grant] = {}
    for grant in evidence.grants:
        known = grants.get(grant.unit)
        grants[grant.unit] = grant if known is None or known.epoch < grant.epoch else known
    return {
        unit: UnitEvidence(
            claims=tuple(claims.get(unit, ())),
            directory=directory.get(unit),
            grant=_row_of(grants[unit]) if unit in grants else None,
            granted_by=grants[unit].from_cell if unit in grants else "",
        )
        for unit in {*claims, *directory, *grants}
    }


def _row_of(grant: Grant) -> UnitRow:
    return UnitRow(
        unit=Unit(grant.unit),
        state="granted",
        epoch=grant.epoch,
        move_id=grant.move_id,
        fence_no=grant.fence_no,
        peer_cell=grant.to_cell,
        digest=grant.digest,
    )


def _is_kept(here: Mapping[int, UnitRow], judged: Mapping[int, Judgement], unit: int) -> bool:
    row = here.get(unit)
    is_changed = isinstance(judged.get(unit), Superseded | Missing | Contradiction)
    return row is not None and row.state in OWNING and not is_changed


def _is_listed(evidence: UnitEvidence | None) -> bool:
    return evidence is not None and evidence.directory is not None


def _is_told(judgement: Judgement) -> bool:
    return isinstance(judgement, Superseded | Missing | Contradiction)


def _told(unit: int, judgement: Judgement) -> JudgedUnit:
    match judgement:
        case Superseded(after=after):
            return JudgedUnit(unit=unit, verdict="superseded", cell=after.peer_cell, epoch=after.epoch)
        case Missing(epoch=epoch, from_cell=from_cell):
            return JudgedUnit(unit=unit, verdict="missing", cell=from_cell, epoch=epoch)
        case Contradiction() as contradiction:
            return JudgedUnit(unit=unit, verdict="contradicted", detail=contradiction.value)
        case kept:
            raise ValueError(f"there is nothing to tell of {kept}")


def _isolated(row: UnitRow, this_cell: str) -> JudgedUnit:
    return JudgedUnit(unit=row.unit, verdict="isolated", cell=row.peer_cell or this_cell, epoch=row.epoch)
