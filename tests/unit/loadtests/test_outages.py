"""How long nothing was acknowledged, as those who sent saw it."""

from collections import Counter

import pytest

from loadtests.benchmarks.failovers import Played, rounds_of
from loadtests.figures import Check
from loadtests.histogram import Histogram
from loadtests.load import Seen, Tally
from loadtests.outages import Change, errors_around, silence_s

CHANGE = Change(began_at_s=10.0, protected_at_s=13.0, told_s=0.4)


def answered(*at_s: float, latency_ms: float = 0.0, is_error: bool = False) -> list[Seen]:
    return [Seen(one - latency_ms / 1_000, latency_ms, is_error) for one in at_s]


def every_tenth(first: float, last: float) -> list[float]:
    return [first + number / 10 for number in range(round((last - first) * 10) + 1)]


STEADY = answered(*every_tenth(9.0, 10.0), *every_tenth(11.5, 14.0))


def test_the_longest_time_without_an_acknowledgement_is_told() -> None:
    assert silence_s(CHANGE, STEADY) == pytest.approx(1.5)


def test_an_acknowledgement_counts_when_it_arrives() -> None:
    """Sent before the end of the primary, and answered by its successor."""
    late = answered(11.0, latency_ms=1_100)
    assert silence_s(CHANGE, [*STEADY, *late]) == pytest.approx(1.0)


def test_an_error_is_no_acknowledgement() -> None:
    errors = answered(*every_tenth(10.1, 11.4), is_error=True)
    assert silence_s(CHANGE, [*STEADY, *errors]) == pytest.approx(1.5)
    assert errors_around([CHANGE], [*STEADY, *errors]) == len(errors)
    assert errors_around([CHANGE], answered(5.0, 20.0, is_error=True)) == 0


def test_who_is_never_answered_again_has_waited_for_all_of_it() -> None:
    assert silence_s(CHANGE, []) == pytest.approx(4.0)
    assert silence_s(CHANGE, answered(*every_tenth(9.0, 10.0))) == pytest.approx(3.5)


def test_other_changes_are_left_out() -> None:
    assert silence_s(CHANGE, [*STEADY, *answered(30.0, 90.0)]) == pytest.approx(1.5)


def tally(trace: list[Seen]) -> Tally:
    return Tally(
        latencies=Histogram(),
        statuses=Counter(),
        accepted=len(trace),
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
        trace=tuple(trace),
    )


def test_a_figure_is_the_worst_of_its_changes_and_fails_with_its_checks() -> None:
    other = Change(began_at_s=30.0, protected_at_s=30.5)
    broken = Check(name="applied once", has_passed=False)
    played = Played(changes=(CHANGE, other), tally=tally([*STEADY, *answered(*every_tenth(29.0, 31.0))]), checks=())
    found = rounds_of({"killed": played}, (broken,))
    assert found["killed"].value == pytest.approx(1.5)
    assert found["killed"].latency_ms["max"] == pytest.approx(1_500)
    assert found["killed"].counts["changes"] == 2
    assert found["killed.protected"].value == pytest.approx(3.0)
    assert all(broken in one.checks for one in found.values())
    assert found["killed"].notes == ("by the platform's own account 0.40 s at most",)
