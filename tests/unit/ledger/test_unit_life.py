"""At most one cell writes a unit (I1), whatever movers do: lost, repeated, late and invented steps at two cells."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cell.ledger import unit_life
from cell.ledger.model import Instant
from cell.ledger.unit_life import UNIT_TRANSITIONS, UnitEvent, UnitRow, Verdict
from contract.moves import MoveReason
from contract.slots import Unit

UNIT = Unit(7)
CELLS = ("cell-a", "cell-b")
MOVES = ("move-1", "move-2")
STANDS_US = 100


class TwoCells(RuleBasedStateMachine):
    """Each message that a step makes is kept, and may be used at any later time, at either cell, by any move.

    `log` stands for the money: only an active cell writes, and a seal takes what its source has at that moment.
    """

    grants_without_fence_no = False
    activates_without_grant = False
    watchdog_ignores_the_grant = False

    def __init__(self) -> None:
        super().__init__()
        self.rows = {"cell-a": UnitRow(unit=UNIT, state="active", epoch=1), "cell-b": UnitRow(unit=UNIT)}
        self.before: dict[str, UnitRow] = {}
        self.logs: dict[str, int] = {"cell-a": 0, "cell-b": 0}
        self.written = 0
        self.now_us = 0
        self.fences: list[tuple[str, UnitRow]] = []
        self.seals: list[tuple[str, UnitRow]] = []
        self.grants: list[tuple[str, UnitRow]] = []

    def _take(self, cell: str, verdict: Verdict) -> UnitRow | None:
        if isinstance(verdict, MoveReason):
            return None
        old, self.rows[cell] = self.rows[cell], verdict
        edges = {(state, then) for (state, _), then in UNIT_TRANSITIONS.items()}
        assert old.state == verdict.state or (old.state, verdict.state) in edges
        assert verdict.state is None or verdict.epoch >= old.epoch or (old.state in {"staging", "staged"})
        return verdict

    @property
    def source(self) -> str:
        """Where the unit is, or is leaving."""
        return next((cell for cell, row in self.rows.items() if row.state in {"active", "fenced", "granted"}), "cell-a")

    @rule()
    def write(self) -> None:
        for cell, row in self.rows.items():
            if row.state == "active":
                self.written += 1
                self.logs[cell] += 1

    @rule(us=st.sampled_from([1, STANDS_US]))
    def time_passes(self, us: int) -> None:
        self.now_us += us

    @rule(move=st.sampled_from(MOVES), steps=st.sampled_from([2, 3, 5, 6, 8]))
    def go_on(self, move: str, steps: int) -> None:
        """An honest mover takes so many steps from the beginning, and dies."""
        source = self.source
        target = other(source)
        honest: list[Callable[[], object]] = [
            lambda: self.stage(target, move),
            lambda: self.copy(target, move),
            lambda: self.fence(source, move),
            lambda: self.copy(target, move),
            lambda: self.seal(target, self.fences[-1]) if self.fences else None,
            lambda: self.grant(self.seals[-1]) if self.seals else None,
            lambda: self.activate(self.grants[-1], move) if self.grants else None,
            lambda: self._take(source, unit_life.tombstone(self.rows[source], move_id=move)),
        ]
        for step in honest[:steps]:
            step()

    @rule(move=st.sampled_from(MOVES))
    def fence_again(self, move: str) -> None:
        self.fence(self.source, move)

    @rule(move=st.sampled_from(MOVES))
    def unfence(self, move: str) -> None:
        self._take(self.source, unit_life.unfence(self.rows[self.source], move_id=move))

    @rule(move=st.sampled_from(MOVES))
    def fence_falls_money_moves_and_another_stands(self, move: str) -> None:
        self.time_passes(STANDS_US)
        self.watchdog()
        self.write()
        self.fence_again(move)

    @rule()
    def watchdog(self) -> None:
        for cell, row in self.rows.items():
            if self.watchdog_ignores_the_grant and row.state == "granted":
                self.rows[cell] = changed(row, state="active")
            else:
                self._take(cell, unit_life.lapse(row, now_us=Instant(self.now_us)))

    @rule(age=st.integers(0, 3))
    def seal_late(self, age: int) -> None:
        if age < len(self.fences):
            source, fence = self.fences[-1 - age]
            self.seal(other(source), (source, fence))

    @rule(age=st.integers(0, 2))
    def a_sleeping_mover_grants_and_brings_the_grant(self, age: int) -> None:
        if age < len(self.seals):
            self.grant(self.seals[-1 - age])
        if self.grants:
            self.activate(self.grants[-1], str(self.grants[-1][1].move_id))

    @rule(age=st.integers(0, 3), move=st.sampled_from(MOVES))
    def activate_late(self, age: int, move: str) -> None:
        """By a grant that was made; what is invented the source denies (cell/moves.py), but for the mutant."""
        if self.activates_without_grant:
            if age < len(self.seals):
                target, sealed = self.seals[-1 - age]
                self.activate((other(target), sealed), move)
        elif age < len(self.grants):
            self.activate(self.grants[-1 - age], move)

    @rule(move=st.sampled_from(MOVES))
    def discard(self, move: str) -> None:
        """The caller has asked the source: granted or fenced by this fence, and it is not done."""
        for cell, row in self.rows.items():
            source = self.rows[other(cell)]
            is_sealed = any(sealed.move_id == row.move_id for at, sealed in self.seals if at == cell)
            if is_sealed and source.state in {"fenced", "granted", "moved"} and source.move_id == row.move_id:
                continue
            before = self.before.get(cell, UnitRow(unit=UNIT))
            self._take(cell, unit_life.discard(row, move_id=move, before=before))

    # The steps.

    def stage(self, cell: str, move: str) -> None:
        old = self.rows[cell]
        epoch = self.rows[other(cell)].epoch + 1
        taken = self._take(cell, unit_life.stage(old, move_id=move, from_cell=other(cell), epoch=epoch))
        if taken is not None and taken != old:
            self.before[cell] = old

    def copy(self, cell: str, move: str) -> None:
        """What the other cell has, whether it stands still or not."""
        if self._take(cell, unit_life.take_rows(self.rows[cell], move_id=move)) is not None:
            self.logs[cell] = max(self.logs[cell], self.logs[other(cell)])

    def fence(self, cell: str, move: str) -> None:
        row = self.rows[cell]
        verdict = unit_life.fence(
            row, move_id=move, to_cell=other(cell), now_us=Instant(self.now_us), stands_us=STANDS_US
        )
        if isinstance(verdict, UnitRow) and verdict != row:
            verdict = changed(verdict, digest=f"{self.logs[cell]}")
        taken = self._take(cell, verdict)
        if taken is not None:
            self.fences.append((cell, taken))

    def seal(self, cell: str, told: tuple[str, UnitRow]) -> None:
        source, fence = told
        verdict = unit_life.seal(
            self.rows[cell],
            move_id=str(fence.move_id),
            from_cell=source,
            epoch=fence.epoch,
            fence_no=fence.fence_no,
            digest=str(fence.digest),
            digest_here=f"{self.logs[cell]}",
        )
        taken = self._take(cell, verdict)
        if taken is not None:
            self.seals.append((cell, taken))

    def grant(self, told: tuple[str, UnitRow]) -> None:
        target, sealed = told
        row = self.rows[other(target)]
        fence_no, digest = sealed.fence_no, str(sealed.digest)
        if self.grants_without_fence_no:
            fence_no, digest = row.fence_no, str(row.digest)
        verdict = unit_life.grant(
            row,
            move_id=str(sealed.move_id),
            to_cell=target,
            epoch=sealed.epoch,
            fence_no=fence_no,
            digest=digest,
            now_us=Instant(self.now_us),
        )
        taken = self._take(other(target), verdict)
        if taken is not None:
            self.grants.append((other(target), changed(taken, fence_no=sealed.fence_no, digest=sealed.digest)))

    def activate(self, told: tuple[str, UnitRow], move: str) -> None:
        source, granted = told
        target = other(source)
        verdict = unit_life.activate(
            self.rows[target],
            move_id=move,
            this_cell=target,
            from_cell=source,
            to_cell=target,
            epoch=granted.epoch,
            fence_no=granted.fence_no,
            digest=str(granted.digest),
        )
        self._take(target, verdict)

    @invariant()
    def at_most_one_cell_writes(self) -> None:
        assert [row.state for row in self.rows.values()].count("active") <= 1

    @invariant()
    def the_writer_has_every_write(self) -> None:
        for cell, row in self.rows.items():
            if row.state == "active":
                assert self.logs[cell] == self.written, (cell, self.logs, self.written)


def other(cell: str) -> str:
    return CELLS[1 - CELLS.index(cell)]


def changed(row: UnitRow, **fields: Any) -> UnitRow:
    values = {name: getattr(row, name) for name in UnitRow.__slots__}
    return UnitRow(**{**values, **fields})


TestTwoCells = TwoCells.TestCase
TestTwoCells.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

MUTANTS = ("grants_without_fence_no", "activates_without_grant", "watchdog_ignores_the_grant")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_protection_is_needed(mutant: str) -> None:
    machine = type(mutant, (TwoCells,), {mutant: True})
    many = settings(
        max_examples=2_000,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=many)


def test_a_path_leads_from_each_state_to_an_owner_or_an_end() -> None:
    """No state is a trap: somebody can always go on."""
    edges = [(state, then) for (state, _), then in UNIT_TRANSITIONS.items()]
    for start in {state for state, _ in edges}:
        reached = {start}
        for _ in range(len(edges)):
            reached |= {then for state, then in edges if state in reached}
        assert "active" in reached


def test_no_edge_leads_back_from_the_grant() -> None:
    assert [then for (state, _), then in UNIT_TRANSITIONS.items() if state == "granted"] == ["moved"]
    assert {event for (state, event) in UNIT_TRANSITIONS if state == "moved"} == {UnitEvent.STAGE, UnitEvent.REVIVE}


MOVED = UnitRow(unit=UNIT, state="moved", epoch=4, move_id="move-1", fence_no=3, peer_cell="cell-b", digest="d")


def revived(row: UnitRow, *, lost_by: str = "cell-b", epoch: int = 4, digest_here: str = "d") -> Verdict:
    return unit_life.revive(row, lost_by=lost_by, epoch=epoch, digest_here=digest_here)


def test_what_is_revived_is_above_its_grant_and_counts_its_fences_on() -> None:
    after = revived(MOVED)
    assert after == UnitRow(unit=UNIT, state="active", epoch=5, fence_no=3)
    assert revived(after) == after


@pytest.mark.parametrize(
    ("row", "asked", "reason"),
    [
        (UnitRow(unit=UNIT), {}, MoveReason.UNIT_MUST_BE_MOVED),
        (replace(MOVED, state="granted"), {}, MoveReason.UNIT_MUST_BE_MOVED),
        (replace(MOVED, state="staging"), {}, MoveReason.UNIT_MUST_BE_MOVED),
        (UnitRow(unit=UNIT, state="active", epoch=4), {}, MoveReason.UNIT_MUST_BE_MOVED),
        (MOVED, {"lost_by": "cell-c", "epoch": 9}, MoveReason.UNIT_MUST_HAVE_GONE_THERE),
        (MOVED, {"epoch": 3, "digest_here": "e"}, MoveReason.EPOCH_MUST_FOLLOW),
        (MOVED, {"epoch": 5}, MoveReason.EPOCH_MUST_FOLLOW),
        (MOVED, {"digest_here": "e"}, MoveReason.ROWS_MUST_BE_RETAINED),
        (replace(MOVED, digest=None), {}, MoveReason.ROWS_MUST_BE_RETAINED),
    ],
)
def test_nothing_else_is_revived(row: UnitRow, asked: dict[str, Any], reason: MoveReason) -> None:
    assert revived(row, **asked) == reason


def fenced(**fields: Any) -> UnitRow:
    row = UnitRow(
        unit=UNIT,
        state="fenced",
        epoch=1,
        move_id="move-1",
        fence_no=3,
        peer_cell="cell-b",
        deadline_us=Instant(100),
        digest="d",
    )
    return changed(row, **fields)


GRANT = {"move_id": "move-1", "to_cell": "cell-b", "epoch": 2, "fence_no": 3, "digest": "d", "now_us": 99}


@pytest.mark.parametrize(
    ("row", "wrong", "reason"),
    [
        (fenced(state="active"), {}, MoveReason.UNIT_MUST_BE_FENCED),
        (fenced(), {"move_id": "move-2", "to_cell": "c", "fence_no": 2}, MoveReason.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE),
        (fenced(), {"to_cell": "cell-c", "fence_no": 2}, MoveReason.GRANT_MUST_NAME_THIS_CELL),
        (fenced(), {"fence_no": 2, "epoch": 9}, MoveReason.FENCE_MUST_STAND),
        (fenced(), {"now_us": 100, "epoch": 9}, MoveReason.FENCE_MUST_STAND),
        (fenced(), {"epoch": 3, "digest": "e"}, MoveReason.EPOCH_MUST_FOLLOW),
        (fenced(), {"digest": "e"}, MoveReason.DIGESTS_MUST_MATCH),
    ],
)
def test_the_ladder_of_the_grant(row: UnitRow, wrong: dict[str, Any], reason: MoveReason) -> None:
    assert unit_life.grant(row, **{**GRANT, **wrong}) == reason
    granted = unit_life.grant(fenced(), **GRANT)  # type: ignore[arg-type]
    assert isinstance(granted, UnitRow)
    assert (granted.state, granted.epoch, granted.deadline_us) == ("granted", 2, None)
    assert unit_life.grant(granted, **{**GRANT, "now_us": 10**9}) == granted  # type: ignore[arg-type]
