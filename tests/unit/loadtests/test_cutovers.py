"""What is made of the answers around moves: pauses, waits, silences, errors, and the figures and pictures of them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from contract.slots import slot_of
from loadtests.benchmarks.moves import Played, figures_told, rounds_of
from loadtests.cutover_pictures import draw_cutovers
from loadtests.cutovers import (
    Cutover,
    Undone,
    errors_of,
    longest_silence_ms,
    longest_wait_ms,
    p99_of,
    quantiles_of,
    series_around,
    still_and_moving,
    typical,
)
from loadtests.figures import Check, Figure, Round
from loadtests.gallery import CUTOVERS, gallery, share_of_goal
from loadtests.histogram import Histogram
from loadtests.load import Seen, Tally
from loadtests.owners import owners_beside, owners_in_slots
from loadtests.payloads import wallet_of
from loadtests.scale import MoveScale
from loadtests.targets import GOALS, judge

PASSED = Check(name="conservation", has_passed=True)
MOVE = Cutover(ordered_at_s=8.0, ended_at_s=11.0, fenced_at_s=10.0, pause_ms=100.0, rows=500, copy_ms=250.0)
TALLY = Tally(
    latencies=Histogram(),
    statuses=Counter(),
    accepted=0,
    refused=0,
    replayed=0,
    replays_wrong=0,
    delta=0,
    late=0,
    lag_max_s=0.0,
    dropped=0,
    unanswered=0,
    unexpected=0,
    measured_s=1.0,
    elapsed_s=1.0,
    cpu_s=0.0,
)


def seen(at_s: float, latency_ms: float, *, is_error: bool = False) -> Seen:
    return Seen(at_s, latency_ms, is_error)


PAUSED = (
    *(seen(9.9 + step / 100, 5.0) for step in range(10)),
    *(seen(10.0 + step / 100, 110.0 - 10 * step) for step in range(10)),
    *(seen(10.1 + step / 100, 5.0) for step in range(10)),
)
"""A request each 10 ms; those within the pause are all answered when it is over."""


def test_quantiles_are_among_the_pauses() -> None:
    assert quantiles_of(range(1, 101)) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert quantiles_of([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0, "max": 7.0}
    assert quantiles_of([3.0, 1.0]) == {"p50": 1.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert quantiles_of([]) == {}
    assert p99_of([]) == 0.0


def test_who_came_first_in_a_pause_waited_for_all_of_it() -> None:
    assert longest_wait_ms(MOVE, PAUSED) == 110.0
    assert longest_silence_ms(MOVE, PAUSED) == pytest.approx(110.0, abs=0.1), "from 9.995 to 10.105"


def test_what_was_slow_at_another_time_is_not_of_the_cutover() -> None:
    assert longest_wait_ms(MOVE, [*PAUSED, seen(9.7, 900.0), seen(10.9, 900.0)]) == 110.0
    assert longest_wait_ms(MOVE, [seen(5.0, 900.0)]) is None
    assert longest_silence_ms(MOVE, [seen(10.0, 1.0)]) == 0.0


def test_a_moment_is_one_of_moving_from_the_order_to_the_end() -> None:
    trace = [seen(at_s, at_s) for at_s in (7.9, 8.0, 11.0, 11.1)]
    assert still_and_moving([MOVE], trace) == ([7.9, 11.1], [8.0, 11.0])
    undone = Undone(ordered_at_s=7.0, ended_at_s=8.0, why="aborted")
    assert still_and_moving([MOVE, undone], trace) == ([11.1], [7.9, 8.0, 11.0]), "a move that fails is one too"
    assert still_and_moving([], trace) == ([7.9, 8.0, 11.0, 11.1], [])


def test_everything_but_success_and_replay_is_an_error() -> None:
    assert errors_of(replace(TALLY, accepted=5, replayed=3, late=2)) == {}
    wrong = replace(TALLY, refused=1, unexpected=2, unanswered=3, dropped=4, replays_wrong=5)
    assert errors_of(wrong) == {
        "refused": 1,
        "answered otherwise": 2,
        "unanswered": 3,
        "never sent": 4,
        "replayed wrongly": 5,
    }


def test_the_typical_move_has_the_median_pause() -> None:
    moves = [replace(MOVE, pause_ms=pause) for pause in (40.0, 10.0, 30.0, 20.0)]
    assert typical(moves) == replace(MOVE, pause_ms=20.0)
    assert typical([]) is None


def test_a_series_counts_from_the_fence_and_keeps_errors_apart() -> None:
    told = series_around(MOVE, [seen(10.05, 60.0), seen(9.95, 5.0), seen(10.2, 1.0, is_error=True), seen(2.0, 1.0)])
    assert told == {"pause_ms": 100.0, "at_ms": [-50.0, 50.0], "latency_ms": [5.0, 60.0], "errors_at_ms": [200.0]}


def test_a_move_tells_its_rate_and_its_time() -> None:
    assert (MOVE.rows_per_s, MOVE.duration_s, MOVE.activated_at_s) == (2_000.0, 3.0, 10.1)
    assert replace(MOVE, copy_ms=0.0).rows_per_s == 0.0


def played(*, moved: Tally = TALLY, undone: tuple[Undone, ...] = (), pause_ms: float = 100.0) -> Played:
    return Played(
        cutovers=(replace(MOVE, pause_ms=pause_ms),),
        undone=undone,
        moved=replace(moved, trace=PAUSED),
        beside=replace(TALLY, trace=(seen(7.0, 4.0), seen(9.0, 6.0), seen(1.0, 99.0))),
        began_s=5.0,
        checks=(PASSED,),
    )


def figures(*plays: Played) -> dict[str, Figure]:
    """One round for each play, of which all subjects had the same."""
    rounds = [rounds_of(dict.fromkeys(("slot", "hot", "long"), one), (PASSED,)) for one in plays]
    return {
        f"moves.{name}": Figure(
            id=f"moves.{name}", title=title, unit=unit, loop=loop, rounds=tuple(one[name] for one in rounds)
        )
        for name, title, unit, loop in figures_told(MoveScale())
    }


def test_a_round_has_all_figures_that_are_told_and_the_target_needs() -> None:
    found = figures(played())
    assert {name.removeprefix("moves.") for name in found} == set(
        rounds_of(dict.fromkeys(("slot", "hot", "long"), played()), ())
    )
    assert {need for goal in GOALS["P8"] for need in goal.needs} <= set(found)
    assert found["moves.slot.pause"].median == 100.0
    assert found["moves.hot.wait"].median == 110.0
    assert found["moves.copied"].median == 2_000.0
    assert found["moves.neighbours.still"].median == 4.0, "what was not warm yet does not count"
    assert found["moves.neighbours.moving"].median == 6.0
    assert found["moves.neighbours.ratio"].median == 1.5
    assert judge(found, is_sound=True)["P8"]["reached"]


def test_a_pause_that_is_too_long_is_seen() -> None:
    judged = judge(figures(played(pause_ms=301.0)), is_sound=True)["P8"]
    assert not judged["reached"]
    assert judged["value"] == 301.0


def test_one_error_in_one_round_of_three_is_one_too_many() -> None:
    wrong = played(moved=replace(TALLY, unexpected=1, samples=("HTTP/1.1 503",)))
    found = figures(played(), wrong, played())
    errors = found["moves.errors"]
    assert (errors.median, errors.highest) == (0, 3), "once for each subject"
    assert not errors.is_valid
    judged = judge(found, is_sound=True)["P8"]
    assert not judged["reached"]
    assert [part["value"] for part in judged["parts"] if part["name"] == "errors at the vendor"] == [3]


def test_a_move_that_was_not_done_spoils_the_figures_of_its_subject_alone() -> None:
    undone = Undone(ordered_at_s=7.0, ended_at_s=8.0, why="to cell-2: aborted, unit_must_converge")
    plays = {"slot": played(undone=(undone,)), "hot": played(), "long": played()}
    spoilt = {name for name, one in rounds_of(plays, (PASSED,)).items() if not all(c.has_passed for c in one.checks)}
    assert spoilt == {"slot.pause", "slot.wait", "slot.duration"}
    nothing = figures(replace(played(), cutovers=(), undone=(undone,)))
    assert nothing["moves.slot.pause"].median == 0.0
    assert not nothing["moves.copied"].is_valid
    assert not judge(nothing, is_sound=True)["P8"]["reached"]


def test_of_a_goal_of_zero_only_zero_is_reached() -> None:
    (goal,) = (goal for goal in GOALS["P8"] if goal.reach == 0)
    assert goal.is_reached(0, 0)
    assert not goal.is_reached(1, 0)
    part = {"sense": "at_most", "target": 0}
    assert [share_of_goal({**part, "value": errors}) for errors in (0, 1)] == [1.0, 0.0]
    pause = GOALS["P8"][0]
    assert not pause.is_reached(0.0, pause.reach), "a pause that was not measured"


def test_cutovers_have_a_picture_where_a_run_has_some(tmp_path: Path) -> None:
    document = {"figures": {}, "targets": {}}
    assert gallery(document) == gallery({**document, "cutovers": {}}) == {}
    told = {"title": "slot", **series_around(MOVE, [*PAUSED, seen(10.05, 1.0, is_error=True)])}
    assert gallery({**document, "cutovers": {"slot": told}}) == {CUTOVERS: ()}
    file = tmp_path / "cutovers.png"
    draw_cutovers({"slot": told, "hot": {**told, "errors_at_ms": []}}, file, is_quick=True, is_small=True)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_owners_are_found_for_the_slots_that_are_wanted() -> None:
    first = slot_of(wallet_of("moved 0"))
    second = slot_of(wallet_of("moved 7"))
    found = owners_in_slots({first: 1, second: 1})
    assert {slot: [slot_of(wallet_of(name)) for name in names] for slot, names in found.items()} == {
        first: [first],
        second: [second],
    }
    beside = owners_beside({slot_of(wallet_of("neighbour 1"))}, 3)
    assert beside[:2] == ["neighbour 0", "neighbour 2"]
    assert len(beside) == 3


def test_a_round_counts_what_was_measured() -> None:
    one: Round = rounds_of(dict.fromkeys(("slot", "hot", "long"), played()), ())["slot.wait"]
    assert (one.counts["moves"], one.counts["measured"]) == (1, len(PAUSED))
    assert one.latency_ms["max"] == 110.0
