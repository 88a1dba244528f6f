"""The form of build/bench.json: figures, targets, and what a failed check does to them."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest

from loadtests.bench import exit_code
from loadtests.checks import check_answers
from loadtests.figures import (
    Check,
    Figure,
    Loop,
    Round,
    document_of_figures,
    figures_of_document,
    latency_ms_of,
    noise_of,
    typical,
)
from loadtests.histogram import Histogram
from loadtests.load import Tally, together
from loadtests.page import render
from loadtests.scale import FULL
from loadtests.stage import Measurement, Turns
from loadtests.targets import GOALS, judge, judged_again, ratios
from loadtests.turns import turns_of

PASSED = Check(name="conservation", has_passed=True)
FAILED = Check(name="conservation", has_passed=False, detail="EUR off by 1")


def figure(name: str, *values: float, check: Check = PASSED, p99: float = 40.0, loop: Loop = "closed") -> Figure:
    rounds = tuple(
        Round(
            value=one,
            checks=(check,),
            latency_ms={"p99": p99},
            others_cores=one,
            disk_stalled_share=one / 10,
            stolen_share=one / 100,
        )
        for one in values
    )
    return Figure(id=name, title=name, unit="commands/s", loop=loop, rounds=rounds)


def hot_figures(*, hot: float, uniform: float, ledger: float, check: Check = PASSED) -> dict[str, Figure]:
    figures = (
        figure("write.hot.peak", hot, check=check),
        figure("write.uniform.peak", uniform),
        figure("sql_ledger.hot.8", ledger),
        figure("sql_ledger.hot.32", ledger / 2),
    )
    return {one.id: one for one in figures}


def test_a_figure_is_the_median_of_its_rounds() -> None:
    told = document_of_figures([figure("x", 3.0, 1.0, 2.0)])["x"]
    assert (told["median"], told["latency_ms"], told["valid"]) == (2.0, {"p99": 40.0}, True)
    assert [one["value"] for one in told["rounds"]] == [3.0, 1.0, 2.0]
    assert told["rounds"][0]["checks"] == [{"name": "conservation", "passed": True, "detail": ""}]


def test_a_failed_check_in_any_round_makes_a_figure_invalid() -> None:
    broken = figure("x", 1.0, 2.0)
    broken = Figure(
        id="x", title="x", unit="", loop="open", rounds=(*broken.rounds, Round(value=3, checks=(PASSED, FAILED)))
    )
    assert not broken.is_valid
    assert not document_of_figures([broken])["x"]["valid"]


def test_targets_that_were_not_measured_are_absent() -> None:
    assert judge({"write.hot.peak": figure("write.hot.peak", 1.0)}, is_sound=True) == {}
    assert set(judge(hot_figures(hot=1, uniform=1, ledger=1), is_sound=True)) == {"P2"}


def test_a_target_is_reached_when_all_of_its_goals_are() -> None:
    reached = judge(hot_figures(hot=9_000, uniform=10_000, ledger=1_000), is_sound=True)["P2"]
    assert (reached["value"], reached["target"], reached["reached"], reached["then_reached"]) == (0.9, 0.9, True, False)
    assert [part["value"] for part in reached["parts"]] == [0.9, 9.0]
    slow = judge(hot_figures(hot=9_000, uniform=10_000, ledger=1_500), is_sound=True)["P2"]
    assert [part["reached"] for part in slow["parts"]] == [True, False]
    assert not slow["reached"]


def test_nothing_is_reached_by_figures_that_are_none() -> None:
    invalid = judge(hot_figures(hot=9_000, uniform=1, ledger=1, check=FAILED), is_sound=True)
    unsound = judge(hot_figures(hot=9_000, uniform=1, ledger=1), is_sound=False)
    assert not invalid["P2"]["reached"]
    assert not unsound["P2"]["reached"]


def test_the_sustained_rate_is_judged_by_rate_latency_and_ratio() -> None:
    figures = {name: figure(name, 4_000.0) for goal in GOALS["P1"] for name in goal.over} | {
        "write.uniform.sustained": figure("write.uniform.sustained", 12_000.0, p99=49.0, loop="open")
    }
    judged = judge(figures, is_sound=True)["P1"]
    assert [(part["value"], part["reached"]) for part in judged["parts"]] == [(12_000, True), (49, True), (3, True)]
    figures["write.uniform.sustained"] = figure("write.uniform.sustained", 12_000.0, p99=51.0, loop="open")
    assert not judge(figures, is_sound=True)["P1"]["reached"]


def test_a_ratio_compares_rounds_that_took_turns() -> None:
    """The machine was twice as fast in the second round, for both: their medians say less than their ratios."""
    ours, theirs = figure("a", 10.0, 80.0, 10.0), figure("b", 10.0, 20.0, 10.0)
    assert ours.over(theirs) == 1.5
    assert ours.over(figure("c", 10.0, 20.0)) == 10.0 / 15.0
    assert ours.over(figure("d", 0.0, 0.0, 0.0)) == ours.over(figure("e", 0.0)) == 0.0


def test_a_ratio_over_what_took_several_turns_a_round_is_over_their_median() -> None:
    ours, theirs = figure("a", 10.0, 40.0), figure("b", 5.0, 4.0, 50.0, 20.0, 1.0, 90.0)
    assert ours.over(theirs) == 2.0


def test_one_odd_pair_does_not_move_a_ratio() -> None:
    ours = figure("a", 9.0, 10.0, 11.0, 10.0, 500.0)
    assert ours.over(figure("b", 10.0, 10.0, 10.0, 10.0, 10.0)) == pytest.approx(1.05, abs=0.01)
    assert typical([1.0, 4.0]) == 2.0


def test_brief_measurements_take_turns_and_long_ones_wait() -> None:
    all_of_them = [
        measurement("a", turns="brief"),
        measurement("b", turns="brief"),
        measurement("c"),
        measurement("d", turns="brief"),
        measurement("e", turns="last"),
        measurement("f", turns="long"),
    ]
    scale = replace(FULL, rounds=2, laps=2, long_laps=3)
    assert [one.id for one in turns_of(1, all_of_them, scale)] == list("abbacddfff")
    assert [one.id for one in turns_of(2, all_of_them, scale)] == list("abbacddefff")


def test_what_needs_another_setting_takes_turns_by_itself() -> None:
    all_of_them = [measurement(name, turns="brief") for name in "ab"]
    all_of_them += [replace(measurement(name, turns="brief"), setting=nullcontext) for name in "cd"]
    assert [one.id for one in turns_of(1, all_of_them, replace(FULL, laps=3))] == list("abbaabcddccd")


def measurement(name: str, *, turns: Turns = "one") -> Measurement:
    made = Round(value=1.0, checks=())
    return Measurement(id=name, title=name, unit="", loop="closed", run=lambda: made, turns=turns)


def test_ratios_name_what_they_compare() -> None:
    assert ratios(hot_figures(hot=8, uniform=4, ledger=1)) == {
        "write.hot.peak / write.uniform.peak": 2.0,
        "write.hot.peak / sql_ledger.hot": 8.0,
    }


def test_a_document_is_judged_again_by_the_rules_of_today() -> None:
    figures = hot_figures(hot=9_000, uniform=10_000, ledger=1_000)
    written = {"figures": document_of_figures(figures.values()), "checks": [], "ratios": {"old": 7}, "targets": {}}
    assert figures_of_document(written["figures"]) == figures
    assert judged_again(written) == written | {"ratios": ratios(figures), "targets": judge(figures, is_sound=True)}
    unsound = judged_again(written | {"checks": [{"name": "audit", "passed": False, "detail": ""}]})
    assert not unsound["targets"]["P2"]["reached"]


def test_noise_is_what_others_did_meanwhile() -> None:
    noise = noise_of([figure("x", 0.1, 0.5, 0.3)])
    assert (noise["others_cores_median"], noise["others_cores_max"]) == (0.3, 0.5)
    assert (noise["disk_stalled_share_median"], noise["disk_stalled_share_max"]) == (0.03, 0.05)
    assert (noise["stolen_share_median"], noise["stolen_share_max"]) == (0.003, 0.005)
    assert noise_of([]) == {}


def test_a_run_with_a_failed_check_exits_with_1() -> None:
    assert exit_code({"passed": True}) == 0
    assert exit_code({"passed": False}) == 1


def tally(*latencies_us: int, **counts: int) -> Tally:
    latencies = Histogram()
    for one in latencies_us:
        latencies.record(one)
    fields = dict.fromkeys(
        ("accepted", "refused", "replayed", "replays_wrong", "delta", "late", "dropped", "unanswered", "unexpected"), 0
    )
    return Tally(
        latencies=latencies,
        statuses=Counter({201: len(latencies_us)}),
        lag_max_s=0.001,
        measured_s=2.0,
        elapsed_s=2.5,
        cpu_s=0.1,
        **{**fields, **counts},
    )


def test_tallies_of_senders_add_up() -> None:
    whole = together([tally(1_000, 2_000, accepted=2, late=1), tally(9_000, accepted=1, dropped=4)])
    assert (whole.measured, whole.accepted, whole.late, whole.dropped) == (3, 3, 1, 4)
    assert (whole.rate_per_s, whole.served_per_s, whole.cpu_s) == (1.5, 3 / 2.5, pytest.approx(0.2))
    assert latency_ms_of(whole.latencies)["max"] == 9.0


def test_unexpected_and_missing_answers_fail() -> None:
    assert check_answers(tally(1, accepted=1)).has_passed
    assert not check_answers(tally(1, accepted=1, unanswered=1)).has_passed
    assert not check_answers(tally(1, accepted=1, unexpected=1)).has_passed


def test_the_page_holds_every_figure_and_target() -> None:
    figures = hot_figures(hot=9_000, uniform=10_000, ledger=1_000)
    page = render(
        {
            "began_at": "2027-01-15T08:00:00+00:00",
            "duration_s": 60,
            "quick": False,
            "machine": {"cpu": "Example", "cores": 2, "memory_mb": 8_192, "kernel": "6.1"},
            "versions": {"python": "3.11", "python_build": "plain", "postgresql": "18.4", "packages": {"uvicorn": "1"}},
            "revision": {"revision": "abc", "has_local_changes": False},
            "settings": {
                "api_processes": 1,
                "lanes_per_process": 2,
                "wallets": 10,
                "rounds": 3,
                "peak_s": 1.0,
                "confirm_s": 1.0,
                "postgresql": {"fsync": "on"},
            },
            "noise": {"others_cores_median": 0.1, "others_cores_max": 0.2},
            "figures": document_of_figures(figures.values()),
            "targets": judge(figures, is_sound=True),
            "checks": [{"name": "full audit", "passed": True, "detail": "10 wallets"}],
        }
    )
    assert all(f"`{name}`" in page for name in figures)
    assert "| P2 | hot over uniform | 0.9 x | ≥ 0.9 | ≥ 1.2 | 1.00 | yes |" in page


def test_a_goal_whose_program_is_missing_is_not_judged_and_does_not_hide_the_others() -> None:
    names = {"router.direct.peak": 10_000.0, "router.embedded.peak": 6_000.0, "router.embedded.added": 0.5}
    figures = {name: figure(name, number) for name, number in names.items()}
    without = judge(figures, is_sound=True)["P4"]
    assert [part["name"] for part in without["parts"]] == [
        "embedded router over direct",
        "embedded router, added p50 at half load",
    ]
    assert without["reached"]
    slow = judge(figures | {"router.haproxy.peak": figure("router.haproxy.peak", 5_000.0)}, is_sound=True)["P4"]
    assert [part["reached"] for part in slow["parts"]] == [True, True, False]
    assert not slow["reached"]
