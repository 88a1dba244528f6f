"""Figures: what happens is counted where Prometheus finds it."""

import io
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cell.telemetry import AccessLine, AccessLog, Metrics, Telemetry
from cell.telemetry.metrics import Distribution


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(cell_id="cell-a", zone="zone-1", software_version="1.2.3")


def _figure(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_who_this_is(metrics: Metrics) -> None:
    assert _figure(metrics, "cell_info", cell="cell-a", zone="zone-1", version="1.2.3") == 1


def test_everything_that_happens_is_counted(metrics: Metrics) -> None:
    metrics.accepted("debit")
    metrics.replayed("debit")
    metrics.refused("cell_must_have_capacity")
    metrics.read("balance")
    metrics.batch("0", 300, 0.012)
    metrics.time_in_queue(0.003)
    metrics.queue_depth("0", 17)
    metrics.ambiguous(40)
    metrics.busy()
    metrics.poisoned()
    metrics.configured(5, time.time() - 60)
    metrics.fetched("applied")
    metrics.registered("registered")
    metrics.partitions_ahead(3)
    metrics.duty_held("relay", is_held=True)
    metrics.duty_held("audit", is_held=False)
    metrics.duty_round("relay")
    metrics.duty_failed("audit")
    metrics.lines_dropped(9)
    expected: list[tuple[str, dict[str, str], float]] = [
        ("cell_duty_is_held", {"duty": "relay"}, 1),
        ("cell_duty_is_held", {"duty": "audit"}, 0),
        ("cell_duty_rounds_total", {"duty": "relay"}, 1),
        ("cell_duty_failures_total", {"duty": "audit"}, 1),
        ("cell_accepted_total", {"kind": "debit"}, 1),
        ("cell_replayed_total", {"kind": "debit"}, 1),
        ("cell_refused_total", {"reason": "cell_must_have_capacity"}, 1),
        ("cell_reads_total", {"read": "balance"}, 1),
        ("cell_batch_commands_sum", {}, 300),
        ("cell_batch_commands_bucket", {"le": "200.0"}, 0),
        ("cell_batch_commands_bucket", {"le": "400.0"}, 1),
        ("cell_batch_duration_seconds_count", {}, 1),
        ("cell_queue_wait_seconds_sum", {}, 0.003),
        ("cell_queue_depth", {"lane": "0"}, 17),
        ("cell_ambiguous_commits_total", {}, 1),
        ("cell_ambiguous_commands_total", {}, 40),
        ("cell_database_errors_total", {"kind": "lost"}, 1),
        ("cell_database_errors_total", {"kind": "busy"}, 1),
        ("cell_database_errors_total", {"kind": "refused"}, 1),
        ("cell_poisoned_commands_total", {}, 1),
        ("cell_configuration_version", {}, 5),
        ("cell_configuration_fetches_total", {"result": "applied"}, 1),
        ("cell_registrations_total", {"result": "registered"}, 1),
        ("cell_partitions_ahead_months", {}, 3),
        ("cell_access_lines_dropped_total", {}, 9),
    ]
    assert [(name, labels, _figure(metrics, name, **labels)) for name, labels, _ in expected] == expected
    age_s = _figure(metrics, "cell_configuration_age_seconds")
    assert age_s == pytest.approx(60, abs=30)


def test_no_configuration_has_no_age(metrics: Metrics) -> None:
    age_s = _figure(metrics, "cell_configuration_age_seconds")
    assert age_s is not None
    assert math.isnan(age_s)
    assert _figure(metrics, "cell_configuration_version") == 0


def test_two_of_them_share_nothing(metrics: Metrics) -> None:
    other = Metrics(cell_id="cell-b", zone="zone-1", software_version="1")
    other.poisoned()
    assert _figure(metrics, "cell_poisoned_commands_total") == 0


def test_the_exposition_is_what_prometheus_reads(metrics: Metrics) -> None:
    metrics.batch("0", 3, 0.01)
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert families["cell_batch_commands"].type == "histogram"
    assert "process_resident_memory_bytes" in families
    assert len(families) > 20


@given(amounts=st.lists(st.floats(min_value=0, max_value=10), max_size=50))
def test_a_distribution_counts_every_amount_once(amounts: list[float]) -> None:
    registry = CollectorRegistry()
    distribution = Distribution("d", "A test", (1.0, 5.0), registry=registry)
    for amount in amounts:
        distribution.observe(amount)
    for bound in (1.0, 5.0):
        at_most = registry.get_sample_value("d_bucket", {"le": str(bound)})
        assert at_most == sum(amount <= bound for amount in amounts)
    assert registry.get_sample_value("d_bucket", {"le": "+Inf"}) == len(amounts)
    assert registry.get_sample_value("d_count") == len(amounts)
    assert registry.get_sample_value("d_sum") == pytest.approx(sum(amounts))


async def test_an_answer_is_counted_and_logged_at_once(metrics: Metrics) -> None:
    stream = io.BytesIO()
    log = AccessLog(cell_id="cell-a", lines_max=10, period_ms=10, on_drop=metrics.lines_dropped, stream=stream)
    telemetry = Telemetry(metrics=metrics, access_log=log, tracing=None)
    log.start()
    telemetry.accepted("debit", is_replay=False)
    telemetry.answered(AccessLine("r-1", "POST", "/", time.perf_counter()), 201, None)
    telemetry.accepted("debit", is_replay=True)
    telemetry.answered(AccessLine("r-2", "POST", "/", time.perf_counter()), 429, "cell_must_have_capacity")
    telemetry.read("balance")
    await log.stop()
    assert stream.getvalue().count(b"\n") == 2
    assert _figure(metrics, "cell_accepted_total", kind="debit") == 1
    assert _figure(metrics, "cell_replayed_total", kind="debit") == 1
    assert _figure(metrics, "cell_refused_total", reason="cell_must_have_capacity") == 1
    assert _figure(metrics, "cell_reads_total", read="balance") == 1
    assert _figure(metrics, "cell_request_duration_seconds_count") == 2
