"""A rollout in memory: the record as the store keeps it, cells as a substrate runs them, and a worker that may be
killed between any two of its acts. No clock but its own.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from contract.ids import CellId
from control_plane.fleet.model import Unreachable
from control_plane.rollouts import steps
from control_plane.rollouts.deciding import next_step
from control_plane.rollouts.gates import Grounds, obstacle_of, without_retired
from control_plane.rollouts.judging import Judgement, verdict_of
from control_plane.rollouts.model import (
    BakePolicy,
    CellSeen,
    Deployment,
    JudgedWindow,
    Preparation,
    ProcessSeen,
    Release,
    RolloutRecord,
    Verdict,
    ZoneSeen,
)
from control_plane.rollouts.planning import CellPlace, RolloutOrder, RolloutPlan, plan_of
from control_plane.rollouts.states import ROLLOUT_ENDED, RolloutEvent, rollout_state_after

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OLD = "registry.example/cell@sha256:" + "0" * 64
NEW = "registry.example/cell@sha256:" + "1" * 64
OTHER = "registry.example/cell@sha256:" + "2" * 64
TICK = timedelta(seconds=5)


def release(**changes: str | None) -> Release:
    return replace(Release(label="2.0", image=NEW), **changes)


def policy(**changes: float) -> BakePolicy:
    return replace(BakePolicy(window_s=10, windows_good=2, windows_bad_max=2, settle_max_s=120), **changes)


def place(number: int, zone: str, *, units: int = 100, state: str = "active", **changes: object) -> CellPlace:
    name = CellId(f"cell-{number}")
    return replace(CellPlace(id=name, state=state, home_zone=zone, units=units, schema_revision="0005"), **changes)


def order(**changes: object) -> RolloutOrder:
    usual = RolloutOrder(rollout_id="r-1", release=release(), policy=policy(), actor="olga", request_id="q-1")
    return replace(usual, **changes)


class RunningCell:
    """What a substrate has of one cell; a deployment takes a while to become what it was told to be."""

    def __init__(self, zones: tuple[str, ...], *, is_surging: bool = False, image: str = OLD) -> None:
        self.images = dict.fromkeys(zones, image)
        self.fences = dict.fromkeys(zones, 0)
        self.generations = dict.fromkeys(zones, 1)
        self.unsettled = dict.fromkeys(zones, 0)
        """Looks until it is settled."""
        self.is_surging = is_surging
        self.preparation: Preparation = "absent"
        self.broken_images: set[str] = set()
        """Those with which no process becomes ready."""
        self.migrations_that_fail = 0
        """Of the next ones."""
        self.given_up: set[str] = set()
        """Zones of which the substrate says that there is no progress any more."""
        self.is_reachable = True

    def seen(self) -> CellSeen:
        return CellSeen(
            zones=tuple(self._zone(zone) for zone in sorted(self.images)),
            preparation=self.preparation,
            is_surging=self.is_surging,
        )

    def _zone(self, zone: str) -> ZoneSeen:
        image, is_ready = self.images[zone], self.unsettled[zone] == 0
        is_ready = is_ready and image not in self.broken_images
        return ZoneSeen(
            zone=zone,
            image=image,
            fence=self.fences[zone],
            generation=self.generations[zone],
            observed_generation=self.generations[zone],
            wanted=1,
            updated=1,
            total=1,
            available=int(is_ready),
            processes=(ProcessSeen(image=image, is_ready=is_ready),),
            has_given_up=zone in self.given_up,
        )

    def put(self, zone: str, *, expected: str, image: str, fence: int, takes: int) -> bool:
        if fence < self.fences[zone] or self.images[zone] != expected:
            return False
        self.fences[zone] = fence
        if image != expected:
            self.images[zone] = image
            self.generations[zone] += 1
            self.unsettled[zone] = takes
        return True

    def tick(self) -> None:
        self.unsettled = {zone: max(0, left - 1) for zone, left in self.unsettled.items()}
        if self.preparation == "running":
            self.preparation = "failed" if self.migrations_that_fail else "done"
            self.migrations_that_fail = max(0, self.migrations_that_fail - 1)


class World:
    """Record, cells and time; `verdicts` are what windows will say, the last one for ever."""

    def __init__(
        self,
        places: tuple[CellPlace, ...],
        cells: dict[CellId, RunningCell],
        verdicts: list[Verdict],
        **changes: object,
    ) -> None:
        self.cells = cells
        self.verdicts = verdicts
        self.now = BEGIN
        self.grounds = Grounds(states={one.id: one.state for one in places})
        self.books_balance = True
        wanted = order(**changes)
        plan = plan_of(wanted, places, {name: cell.seen() for name, cell in cells.items()})
        assert isinstance(plan, RolloutPlan), plan
        self.record = RolloutRecord(
            id=wanted.rollout_id,
            release=wanted.release,
            policy=wanted.policy,
            waves=plan.waves,
            deployments=plan.deployments,
            idle_cells=plan.idle_cells,
            ordered_by="olga",
            ordered_at=BEGIN,
            changed_at=BEGIN,
        )
        self.before = {one.key: one.previous_image for one in plan.deployments}
        self.put: list[tuple[str, str, str, str]] = []
        """Cell, zone, home zone and image of every change that was done."""

    @property
    def is_over(self) -> bool:
        return self.record.state in ROLLOUT_ENDED

    def images(self) -> dict[tuple[str, str], str]:
        return {(name, zone): image for name, cell in self.cells.items() for zone, image in cell.images.items()}

    def unsettled(self) -> list[tuple[str, str]]:
        return [(name, zone) for name, cell in self.cells.items() for zone, left in cell.unsettled.items() if left]

    def wait(self) -> None:
        self.now += TICK
        for cell in self.cells.values():
            cell.tick()

    def stop(self, kind: str) -> None:
        if not self.is_over:
            self.record = replace(self.record, stop=kind, reason="ordered", is_paused=False)


class Killed(Exception):  # noqa: N818 - it is no error
    pass


class Worker:
    """Acts as control_plane/releaser/run.py does. After `dies_after` acts it is gone: changes, and records of them."""

    def __init__(self, world: World, *, fence: int, dies_after: int | None = None, takes: int = 2) -> None:
        self.world = world
        self.fence = fence
        self.began_at = world.now
        self._prepared: set[CellId] = set()
        self._acts_left = dies_after
        self._takes = takes

    def turn(self) -> steps.Step:
        world = self.world
        world.record = without_retired(world.record, world.grounds)
        seen = {
            name: cell.seen() if cell.is_reachable else Unreachable(detail="gone") for name, cell in world.cells.items()
        }
        around = steps.Surroundings(
            cells=seen,
            obstacle=obstacle_of(world.record, world.grounds),
            fence=self.fence,
            watched_since=self.began_at,
            prepared=frozenset(self._prepared),
            evacuated_zones=frozenset(world.grounds.evacuated_zones),
            zones_back_at=world.grounds.zones_back_at,
        )
        step = next_step(world.record, around, world.now)
        self._do(step)
        return step

    def _do(self, step: steps.Step) -> None:
        record, world = self.world.record, self.world
        match step:
            case steps.Wait():
                world.wait()
            case steps.Advance():
                self._record(replace(record, **self._advanced(step.event)))
            case steps.Prepare():
                self._act()
                world.cells[step.cell].preparation = "running"
                self._prepared.add(step.cell)
            case steps.PutImage():
                self._put(step)
            case steps.NotePatched() | steps.NoteSettled() | steps.NoteRestoring() | steps.NoteRestored():
                self._note(step)
            case steps.Judge():
                said = world.verdicts.pop(0) if len(world.verdicts) > 1 else world.verdicts[0]
                verdict, detail = verdict_of(Judgement(verdict=said, findings=()), step.doubt)
                window = JudgedWindow(
                    wave=record.wave,
                    began_at=step.began_at,
                    ended_at=step.ended_at,
                    verdict=verdict,
                    detail=detail,
                )
                self._record(replace(record, windows=(*record.windows, window)))
            case steps.AuditCells():
                if world.books_balance:
                    self._record(replace(record, **self._advanced(RolloutEvent.BOOKS_BALANCED)))
                else:
                    self._fail("failed", "ledger_must_be_whole")
            case steps.StopRollout():
                self._fail(step.kind, step.reason)

    def _put(self, step: steps.PutImage) -> None:
        world, one = self.world, step.deployment
        self._act()
        cell = world.cells[one.cell]
        is_done = cell.put(one.zone, expected=step.expected, image=step.image, fence=self.fence, takes=self._takes)
        if is_done and step.expected != step.image:
            home = world.record.waves[one.wave].home_zone
            world.put.append((one.cell, one.zone, home, step.image))
            is_back = world.record.state == "rolling_back"
            self._note(steps.NoteRestoring(deployment=one) if is_back else steps.NotePatched(deployment=one))

    def _note(self, step: steps.Step) -> None:
        match step:
            case steps.NotePatched():
                after = replace(step.deployment, state="patched", patched_at=self.world.now)
            case steps.NoteSettled():
                after = replace(step.deployment, state="settled", settled_at=self.world.now)
            case steps.NoteRestoring():
                at = step.deployment.turned_back_at or self.world.now
                after = replace(step.deployment, state="restoring", turned_back_at=at)
            case _:
                after = replace(step.deployment, state="restored")
        deployments: tuple[Deployment, ...] = tuple(
            after if one.key == after.key else one for one in self.world.record.deployments
        )
        self._record(replace(self.world.record, deployments=deployments), is_moved=False)

    def _advanced(self, event: RolloutEvent) -> dict[str, object]:
        record = self.world.record
        following = rollout_state_after(record.state, event, stop=record.stop)
        assert following is not None, (record.state, event)
        facts: dict[str, object] = {"state": following}
        if event is RolloutEvent.NEXT_WAVE:
            facts |= {"wave": record.wave + 1, "windows": ()}
        if event is RolloutEvent.BOOKS_BALANCED:
            facts["waves_passed"] = record.wave + 1
        return facts

    def _fail(self, kind: str, reason: str) -> None:
        record = self.world.record
        self._record(replace(record, state="rolling_back", stop=record.stop or kind, reason=record.reason or reason))

    def _record(self, following: RolloutRecord, *, is_moved: bool = True) -> None:
        self._act()
        self.world.record = replace(following, changed_at=self.world.now) if is_moved else following

    def _act(self) -> None:
        """Before each: whoever dies here has done everything before it and nothing of it."""
        if self._acts_left is not None:
            if self._acts_left == 0:
                raise Killed
            self._acts_left -= 1
