"""Orders the next moves: sees what each unit weighs, plans, and orders as much of the plan as cells bear at once.

Called by the reconciler in each of its rounds, so one process orders at a time. Everything it needs to go on after a
restart is recorded: what operators ordered, which moves are open, which have failed. Rules live in control_plane/fleet.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from contract.ids import CellId, WalletId
from contract.load import CellLoad
from contract.values import value
from control_plane.cell_admin import CellAdmin
from control_plane.fleet.board import Cause, PlannedMove
from control_plane.fleet.intents import Intents, busy_cells, load_per_s, picture_of
from control_plane.fleet.model import Fleet
from control_plane.fleet.ordering import ordered_now
from control_plane.fleet.placing import Picture
from control_plane.fleet.reasons import Waiting, WaitReason
from control_plane.fleet.rebalancing import Rebalancing, Relief, automatic, is_burdened, rebalancing
from control_plane.fleet.resettling import is_filled
from control_plane.moves.isolating import Isolation, IsolationRefused
from control_plane.moves.model import MovePurpose, MoveRecord
from control_plane.moves.ordering import MoveOrder, MoveRefused
from control_plane.store.database import Database
from control_plane.store.fleet import Loaded, load
from control_plane.store.intents import end_filling, end_rebalance, intents_of, standing
from control_plane.store.isolations import order_isolation
from control_plane.store.moves import order_move

log = structlog.get_logger()

LOADS_PERIOD = timedelta(seconds=30)
"""Between two looks at the weight of all units; half of the window that they are counted over."""
ACTOR = "control-plane"
PURPOSES: Mapping[Cause, MovePurpose] = {Cause.DRAIN: "draining"}


@value
class Seen:
    """Everything that a plan follows from, at one moment."""

    fleet: Fleet
    intents: Intents
    picture: Picture
    now: datetime


class Rebalancer:
    def __init__(self, *, database: Database, cells: CellAdmin) -> None:
        self._database = database
        self._cells = cells
        self._loads: dict[CellId, CellLoad] = {}
        self._looked_at: datetime | None = None
        self._burdened_since: datetime | None = None
        self.waiting: tuple[Waiting, ...] = ()
        """Why not more is moving, as of the last step."""

    async def planned(self, *, relief: Relief) -> Rebalancing:
        """What would be done now; nothing is ordered.

        Raises:
            DatabaseMustBeReadyError: the database is gone.

        """
        return rebalancing((await self._seen(looks=True)).picture, relief=relief)

    async def step(self) -> int:
        """Order what may be ordered now, and end what is done; how many moves were ordered.

        Raises:
            DatabaseMustBeReadyError: the database is gone; what was ordered so far stands.

        """
        if not await self._is_due():
            return 0
        seen = await self._seen(looks=False)
        if seen.fleet.directory is None:
            return 0
        self._burdened_since = (self._burdened_since or seen.now) if is_burdened(seen.picture) else None
        relief, waiting = self._relief(seen)
        plan = rebalancing(seen.picture, relief=relief)
        ordering = ordered_now(plan.moves, seen.picture, Counter(busy_cells(seen.intents)))
        refused = [await self._order(move, seen.picture) for move in ordering.orders]
        self.waiting = (
            *waiting,
            *(one for one in plan.waiting if one.reason is not WaitReason.IMBALANCE_MUST_EXCEED_TOLERANCE),
            *ordering.waiting,
            *(one for one in refused if one is not None),
        )
        await self._end(seen, plan, relief)
        return sum(1 for one in refused if one is None)

    async def _is_due(self) -> bool:
        """Whether something is ordered or under way; the weight of units is looked at now and then without that."""
        async with self._database.snapshot() as connection:
            look = await standing(connection)
        return look.is_anything_ordered or self._looked_at is None or look.now - self._looked_at >= LOADS_PERIOD

    def _relief(self, seen: Seen) -> tuple[Relief, tuple[Waiting, ...]]:
        if seen.intents.relief_ordered_at is not None:
            return "ordered", ()
        is_due, waiting = automatic(seen.picture, burdened_since=self._burdened_since, now=seen.now)
        return ("automatic" if is_due else "none"), waiting

    async def _seen(self, *, looks: bool) -> Seen:
        async with self._database.snapshot() as connection:
            loaded, intents = await load(connection), await intents_of(connection)
        serving = {cell.id for cell in loaded.fleet.cells if cell.state in {"active", "draining"}}
        is_due = self._looked_at is None or loaded.now - self._looked_at >= LOADS_PERIOD
        if looks or is_due or serving - self._loads.keys():
            await self._look(loaded, serving)
        known = {cell: told for cell, told in self._loads.items() if cell in serving}
        picture = picture_of(loaded.fleet, intents, known, loaded.now)
        return Seen(fleet=loaded.fleet, intents=intents, picture=picture, now=loaded.now)

    async def _look(self, loaded: Loaded, serving: set[CellId]) -> None:
        """A cell that does not answer keeps what it told before: its units weigh what they weighed."""
        cells = [cell for cell in loaded.fleet.cells if cell.id in serving]
        answers = await asyncio.gather(*(self._cells.load(cell) for cell in cells))
        self._loads |= {cell.id: told for cell, told in zip(cells, answers, strict=True) if isinstance(told, CellLoad)}
        self._looked_at = loaded.now

    async def _order(self, move: PlannedMove, picture: Picture) -> Waiting | None:
        """None when it was ordered; what is refused is planned anew in the next round."""
        request_id = f"rebalancer-{uuid.uuid4()}"
        answer: MoveRecord | MoveRefused | Isolation | IsolationRefused
        async with self._database.transaction() as connection:
            if move.wallet_id is not None:
                answer = await order_isolation(connection, WalletId(move.wallet_id), actor=ACTOR, request_id=request_id)
            else:
                order = MoveOrder(
                    move_id=str(uuid.uuid4()),
                    units=move.units,
                    to_cell=move.to_cell,
                    purpose=PURPOSES.get(move.cause, "rebalancing"),
                    target_load_per_s=load_per_s(picture, move.to_cell),
                    actor=ACTOR,
                    request_id=request_id,
                )
                answer = await order_move(connection, order)
        facts = {"from_cell": move.from_cell, "to_cell": move.to_cell, "units": len(move.units), "cause": move.cause}
        if isinstance(answer, MoveRefused | IsolationRefused):
            log.warning("move_must_be_orderable", reason=answer.reason, detail=answer.detail, **facts)
            detail = f"{answer.reason}: {answer.detail}"
            return Waiting(reason=WaitReason.MOVE_MUST_BE_ORDERABLE, subject=move.to_cell, detail=detail)
        log.info("move_ordered", wallet_id=move.wallet_id, **facts)
        return None

    async def _end(self, seen: Seen, plan: Rebalancing, relief: Relief) -> None:
        """Intents that have come to their end: nothing is open and nothing is planned for them."""
        receiving = {move.to_cell for move in seen.intents.open_moves} | {move.to_cell for move in plan.moves}
        for holder in seen.picture.holders:
            if holder.is_filling and holder.cell not in receiving and is_filled(seen.picture, holder):
                async with self._database.transaction() as connection:
                    await end_filling(connection, holder.cell)
                log.info("cell_filled", cell=holder.cell, units=len(holder.units))
        is_resettling = any(one.is_filling or (one.role == "gives" and one.units) for one in seen.picture.holders)
        if relief == "ordered" and not plan.moves and not seen.intents.open_moves and not is_resettling:
            async with self._database.transaction() as connection:
                await end_rebalance(connection)
            log.info("rebalance_ended")
