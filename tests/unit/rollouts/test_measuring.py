"""Figures from two looks at metrics: increases through restarts, quantiles, what cannot be compared."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from control_plane.rollouts.measuring import (
    ERROR_REASONS,
    CellLook,
    ProcessLook,
    Series,
    figures_between,
    quantile,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
REQUESTS = "cell_request_duration_seconds"


def process(*, requests: float, slow: float = 0.0, started_s: float = 0.0, **more: float) -> ProcessLook:
    series: dict[Series, float] = {
        ("process_start_time_seconds", ""): started_s,
        (f"{REQUESTS}_count", ""): requests,
        (f"{REQUESTS}_bucket", "0.01"): requests - slow,
        (f"{REQUESTS}_bucket", "0.1"): requests,
        (f"{REQUESTS}_bucket", "+Inf"): requests,
    }
    for name, number in more.items():
        series["cell_refused_total", name] = number
    return ProcessLook(series=series)


def look(seconds: float, **processes: ProcessLook) -> CellLook:
    return CellLook(at=BEGIN + timedelta(seconds=seconds), processes=processes)


def test_increases_are_summed_over_processes() -> None:
    before = look(0, one=process(requests=100), two=process(requests=10))
    after = look(60, one=process(requests=300), two=process(requests=20, cell_must_be_reachable=3, limit=9))
    figures = figures_between(before, after)
    assert figures is not None
    assert (figures.requests, figures.errors, figures.restarts) == (210, 3, 0)


def test_a_process_that_began_anew_counts_from_zero_and_as_a_restart() -> None:
    began_s = (BEGIN + timedelta(seconds=30)).timestamp()
    before = look(0, one=process(requests=1_000))
    after = look(60, one=process(requests=40, started_s=began_s))
    figures = figures_between(before, after)
    assert figures is not None
    assert (figures.requests, figures.restarts) == (40, 1)


def test_a_process_that_was_not_seen_before_says_nothing() -> None:
    assert figures_between(look(0), look(60, one=process(requests=1_000))) is None


def test_a_quantile_lies_inside_its_bucket() -> None:
    before = look(0, one=process(requests=0))
    figures = figures_between(before, look(60, one=process(requests=1_000, slow=50)))
    assert figures is not None
    assert figures.p99_ms is not None
    assert 10 < figures.p99_ms < 100
    assert figures.batch_p99_ms is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0.01, 1))
def test_a_quantile_never_leaves_the_bounds(counts: list[int], share: float) -> None:
    bounds = [float(number + 1) for number in range(len(counts))]
    cumulative, total = [], 0
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        cumulative.append((bound, float(total)))
    found = quantile(share, [*cumulative, (float("inf"), float(total))])
    assert (found is None) == (total == 0)
    if found is not None:
        assert 0 <= found <= bounds[-1]


def test_a_wallet_that_moves_is_no_error_of_a_release() -> None:
    assert "wallet_is_moving" not in ERROR_REASONS
    assert {"cell_must_be_reachable", "deadline_must_not_pass", "request_must_not_break_the_cell"} <= set(ERROR_REASONS)
