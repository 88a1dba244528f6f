"""S12: what a cell has given away long ago is deleted there, in small batches. Its tombstones stay for ever."""

from datetime import datetime
from typing import Final

import structlog

from contract.moves import UNITS_MAX, Cleaned, MoveReason
from control_plane.mover import calls
from control_plane.mover.asking import Cells, StepRefused
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.policy import MovePolicy
from control_plane.store.database import Database
from control_plane.store.moves import mark_cleaned, moves_to_clean
from control_plane.tokens import utc_now

log = structlog.get_logger()

BATCHES_MAX: Final = 200
"""Of one portion in one round; the rest follows in the next."""
_OF_ONE: Final = frozenset({MoveReason.UNIT_MUST_BE_MOVED, MoveReason.EVENTS_MUST_BE_PUBLISHED})
"""Refusals for the sake of one unit, that keep others from being cleaned with it: it has come back, and its rows are no
longer this move's to delete; or its last events are still to be told."""


async def clean_up(database: Database, cells: Cells, policy: MovePolicy) -> None:
    before = utc_now() - policy.retention
    async with database.transaction() as connection:
        due = await moves_to_clean(connection, before=before)
    for move in due:
        ripe = [unit.unit for unit in move.units if _is_ripe(unit, before)]
        for units in _portions(ripe):
            cleaned = await _clean(cells, move, units)
            if cleaned:
                async with database.transaction() as connection:
                    await mark_cleaned(connection, move.id, cleaned)


async def _clean(cells: Cells, move: MoveRecord, units: tuple[int, ...]) -> tuple[int, ...]:
    """Those of which nothing is left. The cell itself looks whose they are, and whether their events are told."""
    for _ in range(BATCHES_MAX):
        answer = await cells.ask(move.from_cell, calls.clean(move, units))
        if isinstance(answer, StepRefused) and answer.reason in _OF_ONE and len(units) > 1:
            return tuple([unit for one in units for unit in await _clean(cells, move, (one,))])
        if isinstance(answer, StepRefused) and answer.reason == MoveReason.UNIT_MUST_BE_MOVED:
            return units
        if not isinstance(answer, Cleaned):
            log.info("cell_must_clean", cell=move.from_cell, move=move.id, detail=answer.detail)
            return ()
        if not answer.left:
            return units
    return ()


def _is_ripe(unit: MovedUnit, before: datetime) -> bool:
    return unit.tombstoned_at is not None and unit.cleaned_at is None and unit.tombstoned_at < before


def _portions(units: list[int]) -> list[tuple[int, ...]]:
    return [tuple(units[first : first + UNITS_MAX]) for first in range(0, len(units), UNITS_MAX)]
