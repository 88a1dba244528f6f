"""Rows of `unit_state`, locked and written: the one row per unit that decides who writes."""

from collections.abc import Iterable, Sequence

from psycopg.rows import TupleRow

from cell.ledger.unit_life import UnitRow, Verdict
from cell.store import arrays
from cell.store.moves.sessions import Connection, MoveRefusedError, rows
from contract.moves import MoveReason, UnitNow, UnitsNow
from contract.slots import Unit

LOCK_UNITS = "SELECT pg_advisory_xact_lock(1, unit) FROM (SELECT unnest(%s) AS unit ORDER BY 1) AS wanted"
"""Exclusive: openings hold their unit's shared (cell/store/statements.py)."""

_SELECT = """
SELECT unit, state, epoch, move_id, fence_no, peer_cell, deadline, digest FROM unit_state WHERE unit = ANY(%s)
ORDER BY unit
"""

_SAVE = """
INSERT INTO unit_state (unit, state, epoch, move_id, fence_no, peer_cell, deadline, digest)
SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (unit) DO UPDATE
SET state = excluded.state, epoch = excluded.epoch, move_id = excluded.move_id, fence_no = excluded.fence_no,
    peer_cell = excluded.peer_cell, deadline = excluded.deadline, digest = excluded.digest
"""


async def lock_for_writers(connection: Connection, units: Iterable[int]) -> None:
    """Always first: whoever opens a wallet of these units has finished, or has not begun."""
    await rows(connection, LOCK_UNITS, arrays.int4s(sorted(set(units))))


async def read_units(connection: Connection, units: Iterable[int]) -> list[UnitRow]:
    return await _read(connection, units, _SELECT)


async def lock_units(connection: Connection, units: Iterable[int]) -> list[UnitRow]:
    """In order of unit; what is unknown here has no state. Whoever commits afterwards waits for its standby too."""
    return await _read(connection, units, f"{_SELECT} FOR UPDATE")


async def _read(connection: Connection, units: Iterable[int], statement: str) -> list[UnitRow]:
    wanted = sorted(set(units))
    known = {row[0]: _unit_of(row) for row in await rows(connection, statement, arrays.int4s(wanted))}
    return [known.get(unit) or UnitRow(unit=Unit(unit)) for unit in wanted]


async def save_units(connection: Connection, changed: Sequence[UnitRow]) -> None:
    if not changed:
        return
    columns = (
        arrays.int4s([one.unit for one in changed]),
        arrays.texts([one.state for one in changed]),
        arrays.int8s([one.epoch for one in changed]),
        arrays.uuids([one.move_id for one in changed]),
        arrays.int4s([one.fence_no for one in changed]),
        arrays.texts([one.peer_cell for one in changed]),
        arrays.instants([one.deadline_us for one in changed]),
        arrays.texts([one.digest for one in changed]),
    )
    await rows(connection, _SAVE, *columns)


def allowed(row: UnitRow, verdict: Verdict) -> UnitRow:
    """The row after the step.

    Raises:
        MoveRefusedError: the step is not allowed.

    """
    if isinstance(verdict, MoveReason):
        state = row.state or "unknown"
        raise MoveRefusedError(verdict, f"Unit {row.unit} is {state} here, epoch {row.epoch}, fence {row.fence_no}.")
    return verdict


def told(units: Iterable[UnitRow]) -> UnitsNow:
    return UnitsNow(
        units=tuple(
            UnitNow(
                unit=one.unit,
                state=one.state,
                epoch=one.epoch or None,
                move_id=one.move_id,
                fence_no=one.fence_no,
            )
            for one in units
        )
    )


def _unit_of(row: TupleRow) -> UnitRow:
    return UnitRow(
        unit=row[0],
        state=row[1],
        epoch=row[2],
        move_id=row[3],
        fence_no=row[4],
        peer_cell=row[5],
        deadline_us=row[6],
        digest=row[7],
    )
