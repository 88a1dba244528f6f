"""What a step shows, what rounds say together, which targets and shapes are taken."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.certificate import Objective, Round
from loadtests.certification.judgement import broken, limit_of, loss_of, printable, results_of, step_of
from loadtests.certification.site import SiteMustBeUsableError, local_target
from loadtests.certification.steady import ShapeMustBeWholeError, shape_of
from loadtests.figures import Check
from loadtests.histogram import Histogram
from loadtests.load import Tally

OBJECTIVE = Objective(p99_ms_max=50.0, error_share_max=0.001, late_share_max=0.05)


def tally(*, answered: int = 1_000, ms: int = 5, **changed: object) -> Tally:
    latencies = Histogram()
    for _ in range(answered):
        latencies.record(ms * 1_000)
    good = Tally(
        latencies=latencies,
        statuses=Counter({201: answered}),
        accepted=answered,
        refused=0,
        replayed=0,
        replays_wrong=0,
        delta=0,
        late=0,
        lag_max_s=0.0,
        dropped=0,
        unanswered=0,
        unexpected=0,
        measured_s=10.0,
        elapsed_s=10.0,
        cpu_s=1.0,
    )
    return dataclasses.replace(good, **changed)


def test_a_rate_that_is_answered_in_time_is_carried() -> None:
    assert broken(tally(), OBJECTIVE, rate_per_s=100, duration_s=10) == ()


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (tally(answered=980), "980 of 1000 were answered as expected"),
        (tally(ms=60), "p99 of 60"),
        (tally(unexpected=2), "2 errors"),
        (tally(unanswered=2), "2 errors"),
        (tally(late=51), "51 of 1000 were sent late"),
        (tally(dropped=1), "1 found no connection"),
        (tally(answered=0), "0 of 1000"),
    ],
)
def test_each_promise_breaks_a_step(seen: Tally, told: str) -> None:
    found = broken(seen, OBJECTIVE, rate_per_s=100, duration_s=10)
    assert len(found) == 1
    assert found[0].startswith(told)
    step = step_of(seen, OBJECTIVE, rate_per_s=100, duration_s=10, others_cores=0.12345)
    assert not step.held


def rounds(*limits: float) -> list[Round]:
    step = step_of(tally(), OBJECTIVE, rate_per_s=100, duration_s=10, others_cores=0)
    return [Round(topology="normal", limit_per_s=limit, steps=(step,)) for limit in limits]


@pytest.mark.parametrize(
    ("limits", "limit"), [((500, 480, 510), 500), ((0, 480, 510), 480), ((0, 0, 510), 0), ((500, 480), 480), ((), 0)]
)
def test_the_limit_is_the_median_and_a_rate_that_held(limits: tuple[float, ...], limit: float) -> None:
    assert limit_of(rounds(*limits), "normal") == limit
    assert limit_of(rounds(*limits), "degraded") == 0


@pytest.mark.parametrize(("degraded", "loss"), [(800, 0.2), (1_000, 0), (1_200, 0)])
def test_the_loss(degraded: float, loss: float) -> None:
    assert loss_of(1_000, degraded) == loss


def test_a_check_that_failed_once_has_failed() -> None:
    checks = [Check(name="a", has_passed=True), Check(name="a", has_passed=False, detail="ü\nx")]
    (result,) = results_of([*checks, Check(name="a", has_passed=True)])
    assert (result.passed, result.detail) == (False, "? x")


@given(st.text())
def test_details_fit_a_certificate(text: str) -> None:
    results_of([Check(name="any", has_passed=True, detail=printable(text))])


def test_only_this_machine_is_loaded() -> None:
    assert local_target("http://127.0.0.1:8081").port == 8081
    for url in (
        "http://10.0.0.1:80",
        "http://example.com:80",
        "https://127.0.0.1:80",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://127.0.0.1@10.0.0.1:80",
        "",
    ):
        with pytest.raises(SiteMustBeUsableError, match=r"nothing else is ever loaded"):
            local_target(url)


def test_a_shape_is_read() -> None:
    assert shape_of("200:5,600:0.5") == ((200, 5), (600, 0.5))


@pytest.mark.parametrize(
    "text",
    [
        *("", "200", "200:5,,100:5", "200:5,", ":5", "0:5", "-1:5", "5:0", "nan:5", "inf:5", "1e9:5", "1:1e9", "x:y"),
        *("1:1," * 200 + "1:1", "1:3000,1:3000"),
    ],
)
def test_a_shape_with_holes_is_refused(text: str) -> None:
    with pytest.raises(ShapeMustBeWholeError, match=r"stretch|shape"):
        shape_of(text)
