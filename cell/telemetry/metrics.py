"""The figures of one API process, for Prometheus.

Counting is a method per thing that happens, and costs well under a microsecond: children of labels are resolved once,
and distributions are counted by a list of integers instead of a lock. Labels are closed sets (kinds, reasons, lanes),
never ids. It has a registry of its own; nothing is registered globally.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

EXPOSITION_TYPE: Final = CONTENT_TYPE_LATEST

DatabaseError = Literal["lost", "busy", "refused"]
FetchResult = Literal["applied", "unchanged", "refused", "not_given", "unreachable"]
RegistrationResult = Literal["registered", "refused", "unreachable"]

_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 30.0,
)  # fmt: skip
_COMMANDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0, 1_000.0, 10_000.0)

M = TypeVar("M", bound=MetricWrapperBase)


class Metrics:
    """Made once per process by the composition root and passed on."""

    def __init__(self, *, cell_id: str, zone: str, software_version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        info = Gauge("cell_info", "Who this process is", ["cell", "zone", "version"], registry=registry)
        info.labels(cell_id, zone, software_version).set(1)

        self._accepted = _counters(registry, "cell_accepted", "Commands done", "kind")
        self._replayed = _counters(registry, "cell_replayed", "Commands answered by their recorded outcome", "kind")
        self._refused = _counters(
            registry, "cell_refused", "Requests answered with a problem (429s by their reasons)", "reason"
        )
        self._reads = _counters(registry, "cell_reads", "Reads answered", "read")
        self._request_duration = Distribution(
            "cell_request_duration_seconds", "From the request's head to its answer", _SECONDS, registry=registry
        )

        self._batch_commands = Distribution("cell_batch_commands", "Commands per batch", _COMMANDS, registry=registry)
        self._batch_duration = Distribution(
            "cell_batch_duration_seconds", "From load to commit", _SECONDS, registry=registry
        )
        self._queue_wait = Distribution(
            "cell_queue_wait_seconds", "Wait of a batch's oldest command", _SECONDS, registry=registry
        )
        self._queue_depth = _Children(
            Gauge("cell_queue_depth", "Commands waiting in a lane", ["lane"], registry=registry)
        )
        self._ambiguous_commits = Counter(
            "cell_ambiguous_commits", "Batches whose commit was lost sight of, and run again", registry=registry
        )
        self._ambiguous_commands = Counter("cell_ambiguous_commands", "Commands in such batches", registry=registry)
        self._poisoned = Counter(
            "cell_poisoned_commands", "Commands that the database refused alone: a bug each", registry=registry
        )
        self._database_errors = _counters(registry, "cell_database_errors", "Failures of the database", "kind")
        self._watch_the_background(registry)

    def _watch_the_background(self, registry: CollectorRegistry) -> None:
        """The rest of the constructor: what happens without a request."""
        self._configuration_version = Gauge(
            "cell_configuration_version", "Version of the configuration in force; 0 = none", registry=registry
        )
        self._configured_at_s: float | None = None
        age = Gauge(
            "cell_configuration_age_seconds",
            "Since the configuration in force was issued; NaN = none",
            registry=registry,
        )
        age.set_function(self._configuration_age_s)
        self._fetches = _counters(registry, "cell_configuration_fetches", "Fetches of the configuration", "result")
        self._registrations = _counters(registry, "cell_registrations", "Signs of life to the control plane", "result")

        self._partitions_ahead = Gauge(
            "cell_partitions_ahead_months", "Months ahead that have a partition of entries", registry=registry
        )
        self._audited_wallets = Counter(
            "cell_audited_wallets", "Wallets that the background audit has checked", registry=registry
        )
        self._audited_entries = Counter(
            "cell_audited_entries", "Entries that the background audit has read", registry=registry
        )
        self._audit_is_behind = Gauge(
            "cell_audit_is_behind", "1 = more is new than the last round of the audit could read", registry=registry
        )
        self._audit_findings = Counter(
            "cell_audit_findings", "Findings of the background audit; any is an alarm", registry=registry
        )
        self._audit_turn_at_s = float("nan")
        turn_age = Gauge(
            "cell_audit_turn_age_seconds",
            "Since the background audit of this process last came to the end of all wallets; NaN = never",
            registry=registry,
        )
        turn_age.set_function(lambda: time.time() - self._audit_turn_at_s)
        self._duties_held = _Children(
            Gauge("cell_duty_is_held", "1 = this process does the duty", ["duty"], registry=registry)
        )
        self._duty_rounds = _counters(registry, "cell_duty_rounds", "Rounds of a duty that were done", "duty")
        self._duty_failures = _counters(
            registry, "cell_duty_failures", "Rounds of a duty that failed, or whose lock was lost", "duty"
        )
        self._sagas_open = _Children(
            Gauge(
                "cell_sagas_open", "Transfers and groups over cells that are not finished", ["kind"], registry=registry
            )
        )
        self._saga_age = Gauge("cell_saga_oldest_seconds", "Age of the oldest of them", registry=registry)
        self._holds_due = Gauge("cell_holds_due", "Holds past their time, as of the last sweep", registry=registry)
        self._holds_oldest_due = Gauge(
            "cell_holds_oldest_due_seconds", "By how much the oldest of them was overdue", registry=registry
        )
        self._holds_expired = Counter(
            "cell_holds_expired", "Holds ended because their time was over", registry=registry
        )
        self._lines_dropped = Counter(
            "cell_access_lines_dropped", "Lines of the access log that were lost", registry=registry
        )

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    # Requests
    def accepted(self, kind: str, *, times: int = 1) -> None:
        self._accepted[kind].inc(times)

    def replayed(self, kind: str, *, times: int = 1) -> None:
        self._replayed[kind].inc(times)

    def refused(self, reason: str, *, times: int = 1) -> None:
        self._refused[reason].inc(times)

    def read(self, read: str) -> None:
        self._reads[read].inc()

    def answered(self, duration_s: float) -> None:
        self._request_duration.observe(duration_s)

    # The write path
    def batch(self, lane: str, commands: int, duration_s: float) -> None:
        del lane  # lanes are alike: a label would cost memory and tell nothing
        self._batch_commands.observe(commands)
        self._batch_duration.observe(duration_s)

    def time_in_queue(self, wait_s: float) -> None:
        self._queue_wait.observe(wait_s)

    def queue_depth(self, lane: str, commands: int) -> None:
        self._queue_depth[lane].set(commands)

    def ambiguous(self, commands: int) -> None:
        self._ambiguous_commits.inc()
        self._ambiguous_commands.inc(commands)
        self.database_error("lost")

    def busy(self) -> None:
        self.database_error("busy")

    def poisoned(self) -> None:
        self._poisoned.inc()
        self.database_error("refused")

    def database_error(self, kind: DatabaseError) -> None:
        self._database_errors[kind].inc()

    # The background
    def configured(self, version: int, issued_at_s: float) -> None:
        self._configuration_version.set(version)
        self._configured_at_s = issued_at_s

    def fetched(self, result: FetchResult) -> None:
        self._fetches[result].inc()

    def registered(self, result: RegistrationResult) -> None:
        self._registrations[result].inc()

    def partitions_ahead(self, months: int) -> None:
        self._partitions_ahead.set(months)

    def audited(self, wallets: int, *, findings: int, entries: int, is_behind: bool) -> None:
        self._audited_wallets.inc(wallets)
        self._audited_entries.inc(entries)
        self._audit_findings.inc(findings)
        self._audit_is_behind.set(is_behind)

    def audit_turn_over(self) -> None:
        self._audit_turn_at_s = time.time()

    def duty_held(self, duty: str, *, is_held: bool) -> None:
        self._duties_held[duty].set(is_held)

    def duty_round(self, duty: str) -> None:
        self._duty_rounds[duty].inc()

    def duty_failed(self, duty: str) -> None:
        self._duty_failures[duty].inc()

    def sagas_open(self, transfers: int, groups: int, oldest_s: float) -> None:
        self._sagas_open["transfer"].set(transfers)
        self._sagas_open["group"].set(groups)
        self._saga_age.set(oldest_s)

    def holds_due(self, holds: int, *, oldest_s: float) -> None:
        self._holds_due.set(holds)
        self._holds_oldest_due.set(oldest_s)

    def holds_expired(self, holds: int) -> None:
        self._holds_expired.inc(holds)

    def lines_dropped(self, lines: int) -> None:
        self._lines_dropped.inc(lines)

    def _configuration_age_s(self) -> float:
        return float("nan") if self._configured_at_s is None else time.time() - self._configured_at_s


class Distribution(Collector):
    """A histogram for one thread: an addition instead of a lock per observation."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], *, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def collect(self) -> Iterator[HistogramMetricFamily]:
        seen, buckets = 0, []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            seen += count
            buckets.append((_bound_text(bound), float(seen)))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


def _bound_text(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


class _Children(dict[str, M]):
    """The children of a metric's one label, resolved at first use."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, label: str) -> M:
        child = self[label] = self._metric.labels(label)
        return child


def _counters(registry: CollectorRegistry, name: str, documentation: str, label: str) -> _Children[Counter]:
    return _Children(Counter(name, documentation, [label], registry=registry))
