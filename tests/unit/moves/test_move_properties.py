"""Whatever happens on the way: at most one owner, nothing acknowledged is lost, and the move ends.

Each example is a script of faults and of what happens meanwhile; the checks run after every step of the mover. The
mutants at the end show that these checks can fail.
"""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from moving.model_cells import ModelCell
from moving.move_world import MoveWorld

from contract.moves import GrantOrder, Grants
from control_plane.mover.run import MoveRun
from control_plane.moves.model import MoveRecord
from control_plane.moves.policy import MovePolicy
from control_plane.moves.states import MoveEvent
from control_plane.store.moves import Recorded

FAULTS = ("none", "lost", "answer_lost", "twice", "killed_before", "killed_after")
EVENTS = ("none", "none", "write", "write", "open", "watchdog", "lapse", "target_asks", "cancel", "locks")
WALLETS = [f"00000000-0000-0000-0000-{number:012d}" for number in range(4)]

scripts = st.lists(st.tuples(st.sampled_from(FAULTS), st.sampled_from(EVENTS)), max_size=80)
fleets = st.lists(st.integers(min_value=0, max_value=2), min_size=1, max_size=4)


def played(world: MoveWorld, script: list[tuple[str, str]]) -> None:
    """Fault after fault while there are any; then the world is kind, and the move must end."""
    left = list(script)
    happenings: list[str] = []

    def fault(_: str) -> str:
        if not left:
            return "none"
        what, happening = left.pop(0)
        happenings.append(happening)
        return what

    def beside(_: str) -> None:
        if happenings:
            happen(world, happenings.pop())

    world.cells.fault, world.cells.beside = fault, beside
    try:
        for _ in range(len(script) + 2):
            world.work()
            world.check()
        assert not world.moves.move.is_open, world.moves.move
        world.check_ended()
    finally:
        world.close()


def happen(world: MoveWorld, what: str) -> None:
    unit = len(world.cells.calls) % len(world.source.units)
    if what == "write":
        world.write(unit, next(iter(world.written[unit]), WALLETS[0]), len(world.cells.calls))
    elif what == "open":
        world.write(unit, WALLETS[len(world.cells.calls) % len(WALLETS)], 1)
    elif what == "watchdog":
        world.source.watchdog()
    elif what == "lapse":
        world.source.watchdog()
        world.write(unit, next(iter(world.written[unit]), WALLETS[0]), 1)
    elif what == "target_asks":
        world.target.ask_for_grant(unit, world.source)
    elif what == "locks":
        world.source.busy_locks = 2
    elif what == "cancel" and world.moves.move.is_open and world.moves.move.stop is None:
        world.moves.move = replace(world.moves.move, stop="cancelled")


@settings(max_examples=300)
@given(fleets, scripts)
@example([1], [("none", "none")] * 9 + [("killed_after", "watchdog"), ("none", "write")])
def test_a_move_survives_any_script(wallets: list[int], script: list[tuple[str, str]]) -> None:
    played(MoveWorld(wallets, policy=MovePolicy(portion_max=3)), script)


class PublishesBeforeItActivates(MoveRun):
    async def _activate(self, move: MoveRecord) -> MoveRecord | None:
        return await self._advanced(move, MoveEvent.TARGET_ACTIVATED, Recorded())


class FencesNothing(MoveRun):
    """Sends the delta and seals with a fence that it imagines to stand."""

    async def _fence(self, move: MoveRecord) -> MoveRecord | None:
        followed = await super()._fence(move)
        await self._acts.unfence(move)
        return followed


def careless_grant(cell: ModelCell) -> Callable[[str, GrantOrder], Grants]:
    """A source that grants without a fence."""
    honest = cell.grant

    def grant(move_id: str, body: GrantOrder) -> Grants:
        for one in body.staged:
            unit = cell.units[one.unit]
            if unit.state == "active":
                unit.state, unit.move_id, unit.fence_no, unit.digest = "fenced", move_id, one.fence_no, one.digest
        return honest(move_id, body)

    return grant


def broken(run: type[MoveRun] = MoveRun, source: Callable[[ModelCell], object] | None = None) -> MoveWorld:
    world = MoveWorld([1], run=run)
    if source is not None:
        world.source.grant = source(world.source)  # type: ignore[assignment,method-assign]
    return world


LAPSES = [[("none", "none")] * calls + [("none", "lapse")] for calls in range(40)]
"""After one call each: the watchdog takes the fence down, and a vendor writes at once."""


def test_a_fence_that_lapses_after_any_call_loses_nothing() -> None:
    assert failures(LAPSES) == []


def test_mutant_a_source_that_grants_without_its_fence_loses_a_write() -> None:
    assert failures(LAPSES, source=careless_grant)


def test_mutant_publishing_without_activating_leaves_a_unit_without_an_owner() -> None:
    assert "no owner" in failures([[]], run=PublishesBeforeItActivates)[0]


def test_mutant_a_mover_that_lets_its_fence_go_never_gets_a_grant() -> None:
    """The protection is the source's: it refuses, and the move is given up where it began."""
    world = broken(FencesNothing)
    world.work()
    world.check_ended()
    assert world.moves.move.state == "aborted"
    world.close()


def failures(scripts: list[list[tuple[str, str]]], **named: object) -> list[str]:
    found = []
    for script in scripts:
        try:
            played(broken(**named), script)  # type: ignore[arg-type]
        except AssertionError as error:
            found.append(str(error))
    return found
