"""The control plane of the simulated fleet: its database as values, its directory, and the mover that works on it.

The mover's code is real, from the choice of each step to the requests that it sends; the record of moves in the
database is a model, with the compare-and-sets of control_plane/store/moves.py.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import httpx

from contract.ids import CellId
from contract.moves import Survey
from control_plane.crash_points import CrashPoints
from control_plane.fleet.model import Cell, Fleet, Instance, OwnedRun
from control_plane.fleet.publish import Publication, next_publication
from control_plane.mover.acts import Acts
from control_plane.mover.asking import MoveCells
from control_plane.mover.copying import Copier, CopyPace
from control_plane.mover.log import Grounds, NotPublished
from control_plane.mover.metrics import MoverMetrics
from control_plane.mover.run import MoveRun
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.policy import MovePolicy
from control_plane.moves.publication import Shown, changed_runs, changes_of, publication_of
from control_plane.moves.states import ENDED, MoveEvent, state_after
from control_plane.store.database import DatabaseMustBeReadyError
from control_plane.store.moves import MoveStep, Recorded
from simulation.network import Network, Process, Wire
from simulation.trace import Trace
from simulation.virtual_time import START_S

DIRECTORY_HOST = "control-plane"
ROUTER_LEASE_S = 3.0
PERIOD_S = 0.1
"""Between looks of a mover for moves."""
PLACES = 2
"""Moves that touch one cell at a time."""
OPEN_RESULTS = {"waiting", "in_hand"}


class Records:
    """The control plane's database."""

    def __init__(self, cells: Sequence[str], runs: Sequence[OwnedRun], dice: random.Random) -> None:
        self.is_down = False
        self.moves: dict[str, MoveRecord] = {}
        self.applied: dict[str, tuple[float, int]] = {}
        """By router: when it last asked, and what it serves by."""
        self._dice = dice
        self.fleet = Fleet(
            cells=tuple(_cell(name, self.clock()) for name in cells),
            runs=tuple(runs),
            isolated={},
            vendors={},
            configurations={},
        )
        publication = next_publication(self.fleet, self.clock())
        assert isinstance(publication, Publication)
        self._publish(publication)

    def clock(self) -> datetime:
        try:
            now_s = asyncio.get_running_loop().time()
        except RuntimeError:
            now_s = 0.0
        return datetime.fromtimestamp(START_S, UTC) + timedelta(seconds=now_s)

    async def visit(self) -> None:
        """One transaction takes so long, if it is to be had."""
        await asyncio.sleep(self._dice.expovariate(1 / 0.001))
        if self.is_down:
            raise DatabaseMustBeReadyError("the database is down")

    def order(self, units: Sequence[int], to_cell: str) -> MoveRecord:
        owner = {unit: self.run_of(unit) for unit in units}
        move = MoveRecord(
            id=str(UUID(bytes=self._dice.randbytes(16), version=4)),
            from_cell=owner[units[0]].cell,
            to_cell=CellId(to_cell),
            state="planned",
            units=tuple(MovedUnit(unit=unit, from_epoch=owner[unit].epoch) for unit in sorted(units)),
            ordered_by="olga",
            ordered_at=self.clock(),
            changed_at=self.clock(),
        )
        self.moves[move.id] = move
        return move

    def run_of(self, unit: int) -> OwnedRun:
        return next(run for run in self.fleet.runs if run.first <= unit <= run.last)

    def open_moves(self) -> list[MoveRecord]:
        return [move for move in self.moves.values() if move.is_open]

    def cancel(self, move_id: str) -> None:
        move = self.moves[move_id]
        if move.is_open and move.stop is None:
            self.moves[move_id] = replace(move, stop="cancelled")

    def live_routers(self) -> dict[str, int]:
        now_s = asyncio.get_running_loop().time()
        return {name: applied for name, (at_s, applied) in self.applied.items() if now_s - at_s < ROUTER_LEASE_S}

    def _publish(self, publication: Publication) -> None:
        runs = changed_runs(self.fleet.runs, publication.changes)
        self.fleet = replace(self.fleet, runs=runs, directory=publication.document)

    def show(self, move: MoveRecord, shown: Shown) -> int | str:
        """The version that shows it, or why there is none."""
        following = publication_of(self.fleet, changes_of(move, shown, self.fleet), self.clock())
        assert self.fleet.directory is not None
        if isinstance(following, Publication):
            self._publish(following)
            return following.document.version
        return "; ".join(one.detail for one in following) if following else self.fleet.directory.version


class SimulatedMoves:
    """`MoveLog` over these records."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def read(self, move_id: str) -> MoveRecord | None:
        await self._records.visit()
        return self._records.moves.get(move_id)

    async def grounds(self, move: MoveRecord) -> Grounds:
        await self._records.visit()
        version = move.announced_version
        routers = self._records.live_routers()
        return Grounds(
            source_state="active",
            target_state="active",
            is_acknowledged=version is not None and all(applied >= version for applied in routers.values()),
        )

    async def exiled_slots(self) -> frozenset[int]:
        await self._records.visit()
        return frozenset()

    async def take_up(self, move: MoveRecord, chosen: Sequence[Survey]) -> MoveRecord | None:
        portion = move.portion + 1
        facts = {
            one.unit: {"result": "in_hand", "portion": portion, "wallets": one.wallets, "entries": one.entries}
            for one in chosen
        }
        more = {"portion": portion, "announced_version": None, "reason": None, "detail": None}
        return await self.note(move, Recorded(move=more, units=facts))

    async def advance(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None:
        await self._records.visit()
        return self._advanced(move, event, recorded)

    def _advanced(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None:
        following = state_after(move.state, event, stop=move.stop)
        assert following is not None, (move.state, event)
        stored = self._records.moves[move.id]
        if event is MoveEvent.DIGESTS_AGREED and stored.stop is not None:
            return None
        ended = {"ended_at": self._records.clock()} if following in ENDED else {}
        return self._written(
            move,
            Recorded(
                move={**(recorded.move or {}), "state": following, **ended},
                units=recorded.units,
                all_in_hand=recorded.all_in_hand,
            ),
        )

    async def note(self, move: MoveRecord, recorded: Recorded) -> MoveRecord | None:
        await self._records.visit()
        return self._written(move, recorded)

    async def stop(
        self, move: MoveRecord, kind: str, reason: str, detail: str, difference: Mapping[str, Any] | None
    ) -> MoveRecord | None:
        await self._records.visit()
        stored = self._records.moves[move.id]
        if (stored.state, stored.portion) != (move.state, move.portion):
            return None
        facts = {"stop": kind, "reason": reason, "detail": detail, "difference": difference}
        return self._advanced(stored, MoveEvent.STOP_ORDERED, Recorded(move=facts if stored.stop is None else {}))

    async def show(self, move: MoveRecord, shown: Shown) -> MoveRecord | NotPublished | None:
        await self._records.visit()
        version = self._records.show(move, shown)
        if isinstance(version, str):
            return NotPublished(detail=version)
        if shown == "moved":
            return self._advanced(move, MoveEvent.DIRECTORY_PUBLISHED, Recorded())
        return self._written(move, Recorded(move={"announced_version": version if shown == "moving" else None}))

    async def tell(self, move: MoveRecord, steps: Sequence[MoveStep]) -> None:
        del move, steps
        await self._records.visit()

    def _written(self, move: MoveRecord, recorded: Recorded) -> MoveRecord | None:
        stored = self._records.moves[move.id]
        if (move.state, move.portion) != (stored.state, stored.portion):
            return None
        facts = recorded.move or {}
        is_ended = "ended_at" in facts
        units = tuple(_unit_after(unit, recorded, is_ended=is_ended) for unit in stored.units)
        after = replace(stored, units=units, changed_at=self._records.clock(), **facts)
        self._records.moves[move.id] = after
        return after


def _unit_after(unit: MovedUnit, recorded: Recorded, *, is_ended: bool) -> MovedUnit:
    facts: dict[str, Any] = {}
    if unit.result == "in_hand":
        facts |= recorded.all_in_hand or {}
    facts |= (recorded.units or {}).get(unit.unit, {})
    if is_ended and facts.get("result", unit.result) in OPEN_RESULTS:
        facts["result"] = "left"
    return replace(unit, **facts) if facts else unit


class MoverPoints(CrashPoints):
    def __init__(self, process: Process, dice: random.Random, trace: Trace, share: Callable[[], float]) -> None:
        super().__init__(None)
        self._process = process
        self._dice = dice
        self._trace = trace
        self._share = share

    async def reach(self, point: str) -> None:
        if self._dice.random() < self._share():
            self._trace.note(self._process.name, f"! dies at {point}")
            self._process.kill()
            raise asyncio.CancelledError


class _Unsigned:
    """Who may order moves is not what is simulated."""

    def machine_token(self, now: datetime) -> str:
        del now
        return "mover"


class SimulatedMover:
    """The worker's loop (control_plane/mover/worker.py) over the records; each move is acted on by the real `MoveRun`.

    The lock that keeps two movers from one move is only a kindness: `is_alone` False is one that has lost it.
    """

    def __init__(
        self,
        name: str,
        *,
        records: Records,
        network: Network,
        dice: random.Random,
        trace: Trace,
        death_share: Callable[[], float],
        acting: dict[str, Process],
    ) -> None:
        self.name = name
        self.process: Process | None = None
        self.is_alone = True
        self._records = records
        self._network = network
        self._dice = dice
        self._trace = trace
        self._death_share = death_share
        self._acting = acting
        """Who holds the lock of each move."""

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.is_up

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def start(self) -> None:
        self.process = Process(self.name)
        self.process.spawn(self._run(self.process))

    async def _run(self, process: Process) -> None:
        cells = MoveCells(httpx.AsyncClient(transport=Wire(self._network)), _Unsigned())  # type: ignore[arg-type]
        cells.know(self._records.fleet.cells)
        tasks: dict[str, asyncio.Task[None]] = {}
        while True:
            tasks = {move_id: task for move_id, task in tasks.items() if not task.done()}
            for move in self._records.open_moves():
                if move.id not in tasks and self._may_act(move, process):
                    tasks[move.id] = asyncio.create_task(self._carry_out(move.id, cells, process))
            await asyncio.sleep(PERIOD_S * self._dice.uniform(0.5, 1.5))

    def _may_act(self, move: MoveRecord, process: Process) -> bool:
        holder = self._acting.get(move.id)
        if self.is_alone and holder is not None and holder.is_up and holder is not process:
            return False
        self._acting[move.id] = process
        return True

    async def _carry_out(self, move_id: str, cells: MoveCells, process: Process) -> None:
        policy = MovePolicy()
        run = MoveRun(
            acts=Acts(cells, Copier(cells, CopyPace(rows_max=7)), policy, self._records.clock),
            moves=SimulatedMoves(self._records),
            policy=policy,
            crash_points=MoverPoints(process, self._dice, self._trace, self._death_share),
            metrics=MoverMetrics(),
            clock=self._records.clock,
            sleep=asyncio.sleep,
        )
        try:
            await run.run(move_id)
        except DatabaseMustBeReadyError:
            self._trace.note(self.name, f"* loses sight of the database at {move_id}")
        except Exception as error:  # noqa: BLE001 - the boundary of one move, as in the worker
            self._trace.alarm(self.name, f"the mover broke: {error!r}")


def directory_application(records: Records) -> Any:
    """What routers ask for: the directory, in exchange for what they serve by."""

    async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        del receive
        asked = parse_qs(scope["query_string"].decode())
        applied = int(asked["applied"][0])
        records.applied[asked["router"][0]] = (asyncio.get_running_loop().time(), applied)
        await asyncio.sleep(0)
        directory = records.fleet.directory
        assert directory is not None
        is_news = directory.version != applied
        body = directory.model_dump_json().encode() if is_news else b""
        await send({"type": "http.response.start", "status": 200 if is_news else 304, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return application


def _cell(name: str, now: datetime) -> Cell:
    instance = Instance(
        url=f"http://{name}",
        zone="zone-1",
        admin_url=f"http://admin.{name}",
        schema_revision="1",
        software_version="1",
        first_seen_at=now,
        seen_at=now,
    )
    return Cell(id=CellId(name), state="active", home_zone="zone-1", instances=(instance,))
