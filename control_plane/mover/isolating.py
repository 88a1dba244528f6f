"""Carries an ordered isolation or rejoining through: ask the owner, then record. Any process may, and again."""

import structlog

from contract.moves import UnitsNow
from control_plane.fleet.model import Unreachable
from control_plane.mover import calls
from control_plane.mover.asking import Cells, StepRefused
from control_plane.moves.isolating import Isolation, IsolationReason, IsolationRefused
from control_plane.store.database import Database
from control_plane.store.isolations import (
    drop_isolation,
    drop_rejoin,
    finish_isolation,
    finish_rejoin,
    unfinished_isolations,
)

log = structlog.get_logger()

WALLET_MUST_EXIST = "wallet_must_exist"


async def settle_isolations(database: Database, cells: Cells) -> None:
    async with database.transaction() as connection:
        unfinished = await unfinished_isolations(connection)
    for isolation in unfinished:
        outcome = await carry_through(database, cells, isolation)
        log.info("isolation_carried_through", wallet=isolation.wallet_id, unit=isolation.unit, outcome=str(outcome))


async def carry_through(
    database: Database, cells: Cells, isolation: Isolation
) -> Isolation | IsolationRefused | Unreachable:
    """What has been ordered and is not done yet; a cell that does not answer leaves it ordered."""
    if isolation.state == "isolating":
        return await _isolate(database, cells, isolation)
    if isolation.state == "rejoining":
        return await _rejoin(database, cells, isolation)
    return isolation


async def _isolate(
    database: Database, cells: Cells, isolation: Isolation
) -> Isolation | IsolationRefused | Unreachable:
    answer = await cells.ask(isolation.cell, calls.isolate(isolation.wallet_id, isolation.unit))
    if isinstance(answer, StepRefused):
        async with database.transaction() as connection:
            await drop_isolation(connection, isolation)
        return _refused(answer)
    if not isinstance(answer, UnitsNow):
        return answer
    async with database.transaction() as connection:
        await finish_isolation(connection, isolation, answer.units[0])
    return Isolation(
        wallet_id=isolation.wallet_id,
        unit=isolation.unit,
        cell=isolation.cell,
        epoch=answer.units[0].epoch or 1,
        state="isolated",
    )


async def _rejoin(database: Database, cells: Cells, isolation: Isolation) -> Isolation | IsolationRefused | Unreachable:
    answer = await cells.ask(isolation.cell, calls.rejoin(isolation.wallet_id, isolation.unit))
    if isinstance(answer, StepRefused):
        async with database.transaction() as connection:
            await drop_rejoin(connection, isolation)
        return _refused(answer)
    if not isinstance(answer, UnitsNow):
        return answer
    async with database.transaction() as connection:
        await finish_rejoin(connection, isolation)
    return Isolation(
        wallet_id=isolation.wallet_id,
        unit=answer.units[0].unit,
        cell=isolation.cell,
        epoch=answer.units[0].epoch or 1,
        state="rejoined",
    )


def _refused(answer: StepRefused) -> IsolationRefused:
    is_unknown = answer.reason == WALLET_MUST_EXIST
    reason = IsolationReason.WALLET_MUST_EXIST if is_unknown else IsolationReason.CELL_MUST_ACCEPT
    return IsolationRefused(reason=reason, detail=answer.detail if is_unknown else f"{answer.reason}: {answer.detail}")
