"""`POST /v1/cells/{id}/revive`: units that a restored cell has lost go back to the cells that had given them to it.

Asks every cell, decides by control_plane/fleet/reviving.py, orders the givers, and publishes what they have confirmed.
Killed in between, the same order finishes: the givers answer it alike, and the directory follows.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.fleet import CellUnits
from contract.ids import CellId
from contract.moves import UNITS_MAX
from contract.quarantine import Revived, ReviveOrder
from contract.scopes import Scope
from control_plane.api.adjudicating import adjudicated
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import CellPath, ReviveAnswer
from control_plane.api.move_reasons import MoveProblem
from control_plane.api.parts import Parts, parts_of
from control_plane.api.problems import Refusal, cell_must_exist, problem
from control_plane.api.reasons import PlatformReason
from control_plane.cell_admin import RefusedByCell
from control_plane.fleet.model import Cell, Fleet, Unreachable
from control_plane.fleet.publish import Allowance, Publication, UnitChange, next_publication
from control_plane.fleet.reviving import Losses, LostUnit, losses_of
from control_plane.store.changes import record_change
from control_plane.store.documents import publish_directory
from control_plane.store.fleet import load
from control_plane.store.locks import lock_fleet
from control_plane.store.moves import open_moves
from control_plane.store.nudges import nudge
from control_plane.store.units import change_units

revival_routes = APIRouter(route_class=ScopedRoute, tags=["cells"])


@revival_routes.post(
    "/v1/cells/{cell_id}/revive", response_model=None, responses=described(ReviveAnswer, 400, 401, 403, 404, 409, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def revive_units(request: Request, cell_id: CellPath) -> ReviveAnswer | Response:
    """Units that came to a cell after the backup from which it was restored are served again by those who gave them.

    From the rows that the givers have retained: what these wallets did at the restored cell is lost.
    """
    parts = parts_of(request)
    found = await _losses(parts, CellId(cell_id))
    if isinstance(found, Refusal):
        return problem(request, found)
    fleet, losses = found
    for giver in sorted({one.giver for one in losses.lost}):
        given = [one for one in losses.lost if one.giver == giver]
        refusal = await _revive(request, parts, _cell_of(fleet, giver), given)
        if refusal is not None:
            return problem(request, refusal)
    return ReviveAnswer.model_validate(
        {
            "revived": [{"unit": one.unit, "cell": one.giver, "epoch": one.epoch + 1} for one in losses.lost],
            "left": [{"unit": one.unit, "epoch": one.epoch, "why": one.why} for one in losses.left],
        }
    )


async def _losses(parts: Parts, cell_id: CellId) -> tuple[Fleet, Losses] | Refusal:
    async with parts.database.snapshot() as connection:
        fleet = (await load(connection)).fleet
        moves = await open_moves(connection)
    known = {cell.id: cell for cell in fleet.cells if cell.state != "retired"}
    if cell_id not in known:
        return cell_must_exist(cell_id)
    closed = await parts.cells.quarantine(known[cell_id])
    if isinstance(closed, Unreachable):
        return _must_answer(cell_id, closed)
    if closed.is_quarantined:
        judged = await adjudicated(parts, cell_id)  # what it had once and gave away since it must not take for present
        if isinstance(judged, Refusal):
            return judged
    said = dict(zip(known, await asyncio.gather(*map(parts.cells.units, known.values())), strict=True))
    told: dict[CellId, CellUnits] = {}
    for cell, units in said.items():
        if isinstance(units, Unreachable):
            return _must_answer(cell, units)
        told[cell] = units
    moving = frozenset(unit.unit for move in moves for unit in move.units)
    return fleet, losses_of(cell_id, fleet, told, moving=moving)


async def _revive(request: Request, parts: Parts, giver: Cell, lost: list[LostUnit]) -> Refusal | None:
    """In portions: what a giver has confirmed is published before it is asked for more."""
    for first in range(0, len(lost), UNITS_MAX):
        portion = lost[first : first + UNITS_MAX]
        order = ReviveOrder(lost_by=_lost_by(request), units=tuple((one.unit, one.epoch) for one in portion))
        answer = await parts.cells.revive(giver, order)
        if not isinstance(answer, Revived):
            return _refused(giver, answer)
        if not await _publish(request, parts, portion):
            detail = f"units of {giver.id} went on meanwhile; look again"
            return Refusal(reason=PlatformReason.CELL_MUST_NOT_HAVE_CHANGED, detail=detail)
    return None


async def _publish(request: Request, parts: Parts, revived: Sequence[LostUnit]) -> bool:
    """However many: an operator has meant it. False when a unit is not as it was."""
    changes = [
        UnitChange(unit=one.unit, from_epoch=one.epoch, cell=one.giver, epoch=one.epoch + 1, is_moving=False)
        for one in revived
    ]
    after: dict[str, Any] = {"units": [one.unit for one in revived], "cell": revived[0].giver}
    async with parts.database.transaction() as connection:
        await lock_fleet(connection)
        if not await change_units(connection, changes):
            return False
        await record_change(
            connection,
            actor=caller_of(request).subject,
            subject=f"cell:{_lost_by(request)}",
            before=None,
            after={"revived": after},
            request_id=request.state.request_id,
        )
        loaded = await load(connection)
        publication = next_publication(loaded.fleet, loaded.now, allowance=Allowance(reassigned=True))
        if isinstance(publication, Publication):
            await publish_directory(connection, publication, parts.reconciler.signed(publication))
        await nudge(connection)
    return True


def _refused(giver: Cell, answer: RefusedByCell | Unreachable) -> Refusal:
    if isinstance(answer, Unreachable):
        return _must_answer(giver.id, answer)
    try:
        told = json.loads(answer.detail)
        detail = f"cell {giver.id}: {told['reason']}: {told['detail']}"
    except (ValueError, KeyError, TypeError):
        detail = f"cell {giver.id}: {answer.detail}"
    return Refusal(reason=MoveProblem.CELL_MUST_ACCEPT, detail=detail)


def _lost_by(request: Request) -> str:
    return str(request.path_params["cell_id"])


def _cell_of(fleet: Fleet, cell_id: CellId) -> Cell:
    return next(one for one in fleet.cells if one.id == cell_id)


def _must_answer(cell_id: CellId, silent: Unreachable) -> Refusal:
    detail = f"cell {cell_id} may have the units and does not answer: {silent.detail}"
    return Refusal(reason=PlatformReason.CELL_MUST_ANSWER, detail=detail)
