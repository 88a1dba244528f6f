"""The control loop: observe, plan, act; again until nothing is left to do, then wait for a nudge or the timer.

Rules live in control_plane/fleet; here is only the acting, each act a compare-and-set or a repeatable call. One
process acts at a time, and one that only believes to be alone can do no harm. A nudge carries no data.
"""

import asyncio
from datetime import datetime
from time import perf_counter
from typing import assert_never

import structlog

from contract.fleet import CellUnits
from contract.ids import CellId
from contract.values import value
from control_plane.cell_admin import CellAdmin
from control_plane.fleet.configuration import ConfigurationPublication
from control_plane.fleet.model import Cell, Fleet, Observation, Policy, Unreachable
from control_plane.fleet.plan import (
    Action,
    AssignFirstUnits,
    ChangeState,
    ForgetInstance,
    Plan,
    PutFirstUnits,
    plan,
)
from control_plane.fleet.publish import Publication
from control_plane.keys import IssuerKeys, SigningKey
from control_plane.metrics import Metrics
from control_plane.rebalancer import Rebalancer
from control_plane.store.cells import change_state, forget_instance
from control_plane.store.database import Database, DatabaseMustBeReadyError
from control_plane.store.documents import publish_configuration, publish_directory
from control_plane.store.fleet import Loaded, load
from control_plane.store.units import assign_first_units
from control_plane.watch import Watch

log = structlog.get_logger()

PERIOD_S = 3.0
"""Without a nudge the loop looks so often: it finds silence, and cells that came back, which nobody announces."""
PASSES_MAX = 10
"""Birth of a fleet takes five passes; a plan that still has actions after ten waits for the next round."""


@value
class Planned:
    """The last plan of this process that was followed by none."""

    at: datetime
    plan: Plan


class Reconciler:
    def __init__(
        self,
        *,
        database: Database,
        watch: Watch,
        cells: CellAdmin,
        signing_key: SigningKey,
        issuer: IssuerKeys,
        policy: Policy,
        metrics: Metrics,
        rebalancer: Rebalancer,
    ) -> None:
        self._rebalancer = rebalancer
        self._database = database
        self._watch = watch
        self._cells = cells
        self._signing_key = signing_key
        self._issuer = issuer
        self._policy = policy
        self._metrics = metrics
        self.planned: Planned | None = None

    async def run(self) -> None:
        """For ever. This loop is the boundary of its process: whatever a round raises is told, and the next follows."""
        while True:
            started = perf_counter()
            outcome = await self._round()
            self._metrics.rounds.labels(outcome=outcome).inc()
            self._metrics.round_seconds.observe(perf_counter() - started)
            await self._watch.wait_until_nudged(PERIOD_S)

    async def settle(self) -> bool:
        """Passes until a plan has no actions left, or none of them could be done; False where another process acts.

        Raises:
            DatabaseMustBeReadyError: the database is gone; what was done so far stands.

        """
        self._issuer.refresh()
        async with self._database.acting_alone() as is_alone:
            passes = PASSES_MAX if is_alone else 0
            while passes and await self._pass():
                passes -= 1
            if is_alone:
                await self._rebalancer.step()
            if is_alone and not passes:
                log.warning("plan_must_settle", passes=PASSES_MAX)
            return is_alone

    async def _round(self) -> str:
        try:
            return "settled" if await self.settle() else "another_process_acts"
        except DatabaseMustBeReadyError as error:
            log.warning("round_must_reach_the_database", error=str(error))
            return "database_gone"
        except Exception:
            log.exception("round_must_not_fail")
            return "failed"

    async def _pass(self) -> bool:
        """Whether another pass may find more to do."""
        async with self._database.snapshot() as connection:
            loaded = await load(connection)
        following = plan(loaded.fleet, await self._observe(loaded), self._policy, loaded.now)
        self._remember(loaded.now, following)
        done = [await self._act(action, loaded.fleet) for action in following.actions]
        return any(done)

    async def _observe(self, loaded: Loaded) -> Observation:
        cells = [cell for cell in loaded.fleet.cells if cell.state != "retired"]
        seen: list[CellUnits | Unreachable] = await asyncio.gather(*(self._cells.units(cell) for cell in cells))
        return Observation(
            units={cell.id: units for cell, units in zip(cells, seen, strict=True)},
            listening_since=self._watch.listening_since or loaded.now,
            routers=loaded.routers,
            jwks=self._issuer.jwks,
        )

    async def _act(self, action: Action, fleet: Fleet) -> bool:
        """Whether it was done. An action that was outpaced or refused is not; the next plan starts from the facts."""
        match action:
            case ForgetInstance():
                is_done = await self._forget(action)
            case ChangeState():
                is_done = await self._change_state(action)
            case AssignFirstUnits():
                is_done = await self._assign(action)
            case PutFirstUnits():
                is_done = await self._put(action, _cell_of(fleet, action.cell))
            case Publication():
                is_done = await self._publish(action)
            case ConfigurationPublication():
                is_done = await self._publish_configuration(action)
            case _:
                assert_never(action)
        kind = type(action).__name__
        self._metrics.actions.labels(action=kind, outcome="done" if is_done else "not_done").inc()
        log.info("acted" if is_done else "not_acted", action=kind, **_facts(action))
        return is_done

    async def _forget(self, action: ForgetInstance) -> bool:
        async with self._database.transaction() as connection:
            return await forget_instance(connection, action.cell, action.instance)

    async def _change_state(self, action: ChangeState) -> bool:
        async with self._database.transaction() as connection:
            return await change_state(connection, action.cell, seen=action.seen, following=action.following)

    async def _assign(self, action: AssignFirstUnits) -> bool:
        async with self._database.transaction() as connection:
            return await assign_first_units(connection, action.shares)

    async def _put(self, action: PutFirstUnits, cell: Cell) -> bool:
        answer = await self._cells.put_first_units(cell, action.runs)
        if isinstance(answer, CellUnits):
            return True
        log.error("cell_must_accept_first_units", cell=cell.id, detail=answer.detail)
        return False

    async def _publish(self, action: Publication) -> bool:
        async with self._database.transaction() as connection:
            return await publish_directory(connection, action, self.signed(action))

    async def _publish_configuration(self, action: ConfigurationPublication) -> bool:
        async with self._database.transaction() as connection:
            return await publish_configuration(connection, action, self.signed(action))

    def signed(self, publication: Publication | ConfigurationPublication) -> str:
        """The document as it goes out."""
        return self._signing_key.signed_text(publication.document.model_dump(mode="json"))

    def _remember(self, now: datetime, following: Plan) -> None:
        before = self.planned.plan.waiting if self.planned else ()
        self._metrics.tell_waiting((*following.waiting, *self._rebalancer.waiting))
        for waiting in following.waiting:
            if (waiting.reason, waiting.subject) not in {(old.reason, old.subject) for old in before}:
                log.info("waiting", reason=waiting.reason, subject=waiting.subject, detail=waiting.detail)
        self.planned = Planned(at=now, plan=following)


def _cell_of(fleet: Fleet, cell: CellId) -> Cell:
    return next(member for member in fleet.cells if member.id == cell)


def _facts(action: Action) -> dict[str, object]:
    """What a log line needs to say of an action; documents are too long for it."""
    match action:
        case ForgetInstance():
            return {"cell": action.cell, "url": action.instance.url}
        case ChangeState():
            return {"cell": action.cell, "from_state": action.seen, "to_state": action.following}
        case AssignFirstUnits():
            return {"shares": [(share.cell, share.first, share.last) for share in action.shares]}
        case PutFirstUnits():
            return {"cell": action.cell, "runs": action.runs}
        case Publication():
            return {"version": action.document.version, "after": action.after}
        case ConfigurationPublication():
            return {"cell": action.document.cell, "version": action.document.version, "after": action.after}
        case _:
            assert_never(action)
