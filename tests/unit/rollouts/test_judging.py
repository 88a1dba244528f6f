"""A window's verdict, check by check: what is bad, what says nothing, and what is nobody's fault."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.ids import CellId
from control_plane.rollouts.judging import Judgement, has_passed, judge, verdict_of, why_failed
from control_plane.rollouts.model import BakePolicy, CellFigures, JudgedWindow, Verdict

POLICY = BakePolicy(requests_min=100, error_share_max=0.01, p99_ms_max=300, saga_oldest_s_max=60)
WELL = CellFigures(requests=1_000, errors=0, p99_ms=40, batch_p99_ms=20, restarts=0, findings=0, saga_oldest_s=1)
NEW, OLD = CellId("cell-1"), (CellId("cell-2"), CellId("cell-3"), CellId("cell-4"))


def judged(figures: CellFigures | None, *others: CellFigures | None, is_idle: bool = False) -> Judgement:
    siblings = dict(zip(OLD, others, strict=False))
    return judge({NEW: figures}, siblings, POLICY, idle=frozenset({NEW}) if is_idle else frozenset())


def test_a_cell_like_its_siblings_is_good() -> None:
    assert judged(WELL, WELL, WELL).verdict == "good"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"errors": 20}, "errors"),
        ({"p99_ms": 301}, "p99"),
        ({"p99_ms": 90}, "p99"),
        ({"errors": 4}, "errors"),
        ({"batch_p99_ms": 60}, "lock_waits"),
        ({"restarts": 1}, "restarts"),
        ({"findings": 1}, "ledger"),
        ({"saga_oldest_s": 61}, "transfers"),
        ({"saga_oldest_s": 33}, "transfers"),
    ],
    ids=str,
)
def test_what_is_worse_than_the_objective_or_than_the_others_is_bad(change: dict[str, float], check: str) -> None:
    judgement = judged(replace(WELL, **change), WELL, WELL)
    assert judgement.verdict == "bad"
    assert [one.check for one in judgement.findings] == [check]
    assert "cell-1" in judgement.detail


def test_money_that_does_not_add_up_is_grave_and_nothing_else_is() -> None:
    assert judged(replace(WELL, findings=1), WELL).is_grave
    assert not judged(replace(WELL, errors=500), WELL).is_grave


@pytest.mark.parametrize("change", [{"p99_ms": 59}, {"errors": 0.4}, {"batch_p99_ms": 49}], ids=str)
def test_differences_that_may_be_chance_are_good(change: dict[str, float]) -> None:
    assert judged(replace(WELL, **change), WELL, WELL).verdict == "good"


def test_what_burdens_everybody_alike_is_inconclusive() -> None:
    slow = replace(WELL, p99_ms=900)
    assert judged(slow, slow, slow).verdict == "inconclusive"
    assert judged(replace(WELL, p99_ms=1_500), slow, slow).verdict == "bad", "but this one is worse still"


def test_one_sick_sibling_excuses_nobody() -> None:
    slow = replace(WELL, p99_ms=900)
    assert judged(slow, slow, WELL, WELL).verdict == "bad"


def test_without_siblings_the_objective_alone_counts() -> None:
    assert judged(WELL).verdict == "good"
    assert judged(replace(WELL, p99_ms=299)).verdict == "good"
    assert judged(replace(WELL, p99_ms=301)).verdict == "bad"


def test_too_few_requests_say_nothing() -> None:
    assert judged(replace(WELL, requests=99), WELL).verdict == "inconclusive"
    assert judged(replace(WELL, requests=99, errors=99), WELL).verdict == "inconclusive"


def test_of_a_cell_without_units_no_requests_are_expected_but_its_books_count() -> None:
    idle = replace(WELL, requests=0, p99_ms=None, batch_p99_ms=None)
    assert judged(idle, WELL, is_idle=True).verdict == "good"
    assert judged(replace(idle, findings=1), WELL, is_idle=True).verdict == "bad"


def test_no_data_is_no_health_and_where_nobody_is_seen_the_eye_is_to_blame() -> None:
    assert judged(None, WELL).verdict == "bad"
    assert judged(None, None, None).verdict == "inconclusive"
    assert judged(None).verdict == "inconclusive"


def test_siblings_that_are_not_seen_are_no_measure() -> None:
    assert judged(WELL, None, None).verdict == "good"


figures = st.builds(
    CellFigures,
    requests=st.floats(0, 10_000),
    errors=st.floats(0, 100),
    p99_ms=st.none() | st.floats(0, 5_000),
    batch_p99_ms=st.none() | st.floats(0, 5_000),
    restarts=st.integers(0, 3).map(float),
    findings=st.integers(0, 1).map(float),
    saga_oldest_s=st.floats(0, 500),
)


@given(figures, st.lists(st.none() | figures, max_size=3))
def test_a_window_is_good_only_if_everything_was_seen_and_enough(
    seen: CellFigures, others: list[CellFigures | None]
) -> None:
    judgement = judged(seen, *others)
    if judgement.verdict == "good":
        assert seen.requests >= POLICY.requests_min
        assert seen.findings == 0
        assert seen.p99_ms is not None
        assert seen.p99_ms <= POLICY.p99_ms_max
        assert seen.errors / seen.requests <= POLICY.error_share_max
    assert (judgement.verdict == "good") == (judgement.findings == ())


@given(figures, st.lists(figures, min_size=1, max_size=3), st.floats(1, 100))
def test_more_errors_never_make_a_window_better(seen: CellFigures, others: list[CellFigures], more: float) -> None:
    rank = {"good": 0, "inconclusive": 1, "bad": 2}
    worse = replace(seen, errors=seen.errors + more)
    assert rank[judged(worse, *others).verdict] >= rank[judged(seen, *others).verdict]


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def windows(*verdicts: Verdict, is_grave: bool = False) -> list[JudgedWindow]:
    return [
        JudgedWindow(
            wave=0,
            began_at=BEGIN + timedelta(minutes=number),
            ended_at=BEGIN + timedelta(minutes=number + 1),
            verdict=verdict,
            is_grave=is_grave and verdict == "bad",
            detail=verdict,
        )
        for number, verdict in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "passes", "fails"),
    [
        ((), False, False),
        (("good",) * 4, False, False),
        (("good",) * 5, True, False),
        (("good", "inconclusive") * 5, True, False),
        (("inconclusive",) * 50, False, False),
        (("good",) * 4 + ("bad",) + ("good",) * 4, False, False),
        (("good",) * 4 + ("bad",) + ("good",) * 5, True, False),
        (("bad", "good") * 3, False, True),
        (("bad", "bad"), False, False),
        (("bad", "inconclusive", "bad", "bad"), False, True),
    ],
    ids=str,
)
def test_good_windows_pass_and_three_bad_ones_roll_back(
    verdicts: tuple[Verdict, ...], *, passes: bool, fails: bool
) -> None:
    assert has_passed(windows(*verdicts), BakePolicy()) == passes
    assert (why_failed(windows(*verdicts), BakePolicy()) is not None) == fails


def test_one_grave_window_is_enough() -> None:
    assert why_failed(windows("bad", is_grave=True), BakePolicy()) == "bad"


def test_doubt_whether_the_release_ran_excuses_nothing_and_lets_nothing_pass() -> None:
    good, bad = judged(WELL, WELL), judged(replace(WELL, findings=1), WELL)
    assert verdict_of(good, None) == ("good", "")
    assert verdict_of(good, "it ran another") == ("inconclusive", "it ran another")
    assert verdict_of(bad, "it ran another") == ("bad", bad.detail)
