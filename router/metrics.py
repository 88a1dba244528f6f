"""What the router counts, and how it is shown to Prometheus.

Counting is plain arithmetic on the request's path; the metric families are only built when somebody asks for them.
Labels are cells, classes of status and fixed words, never wallets or vendors.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.line_writer import LineWriter
from router.live_map import LiveMap
from router.routing.breaker import State
from router.routing.health import FleetHealth

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

OWN = "router"
"""Label of answers that no cell was asked for."""

_STATE_NUMBER = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Latency:
    """One histogram."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        self.counts[bisect_left(LATENCY_BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s

    def cumulative(self) -> list[tuple[str, float]]:
        total = 0
        buckets = []
        for bound, count in zip((*map(str, LATENCY_BOUNDS_S), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class RouterMetrics(Collector):
    def __init__(
        self, *, live_map: LiveMap, health: FleetHealth, writer: LineWriter, wall_clock: Callable[[], float]
    ) -> None:
        self._live_map = live_map
        self._health = health
        self._writer = writer
        self._wall_clock = wall_clock
        self._answers: Counter[tuple[str, int]] = Counter()
        self._latencies: dict[str, Latency] = {}
        self._sent_again: Counter[str] = Counter()
        self._refused_raw = 0
        self._declined: Counter[str] = Counter()
        self.confirmed_at: float | None = None
        """Unix time at which the control plane last said that the map is the newest, or at which it was issued."""
        self.haproxy_is_in_step: bool | None = None
        """Whether the HAProxy in front works by the live map; None = there is none."""
        self.haproxy_reloads = 0

    def answered(self, cell_id: str | None, status: int, duration_s: float) -> None:
        label = cell_id or OWN
        self._answers[label, status // 100] += 1
        latency = self._latencies.get(label)
        if latency is None:
            latency = self._latencies[label] = Latency()
        latency.observe(duration_s)

    def sent_again(self, why: str) -> None:
        self._sent_again[why] += 1

    def refused_raw(self, _status: int) -> None:
        """A request that was no request: refused before it had a route."""
        self._refused_raw += 1

    def declined(self, why: str) -> None:
        """A directory document that was not taken over."""
        self._declined[why] += 1

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_requests()
        yield from self._collect_health()
        yield from self._collect_directory()
        yield from self._collect_haproxy()

    def _collect_requests(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "router_requests", "Answers to vendors, by cell and class of status.", labels=["cell", "status"]
        )
        for (cell, status_class), count in self._answers.items():
            answers.add_metric([cell, f"{status_class}xx"], count)
        yield answers
        latencies = HistogramMetricFamily("router_request_seconds", "From head to answer.", labels=["cell"])
        for cell, latency in self._latencies.items():
            latencies.add_metric([cell], buckets=latency.cumulative(), sum_value=latency.sum_s)
        yield latencies
        again = CounterMetricFamily("router_sent_again", "Repeated sendings to cells, by cause.", labels=["cause"])
        for cause, count in self._sent_again.items():
            again.add_metric([cause], count)
        yield again
        yield CounterMetricFamily("router_malformed_requests", "Refused as no HTTP.", value=self._refused_raw)
        dropped = self._writer.lines_dropped
        yield CounterMetricFamily("router_log_lines_dropped", "Not written: the reader is too slow.", value=dropped)

    def _collect_health(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily("router_in_flight", "Requests under way or waiting, by cell.", labels=["cell"])
        breakers = GaugeMetricFamily(
            "router_breaker_state",
            "0 closed, 1 half-open, 2 open; instance empty = the cell.",
            labels=["cell", "instance"],
        )
        for cell_id, health in self._health.cells.items():
            in_flight.add_metric([cell_id], health.in_flight)
            breakers.add_metric([cell_id, ""], _STATE_NUMBER[health.breaker.state])
            for url, breaker in health.instances.items():
                breakers.add_metric([cell_id, url], _STATE_NUMBER[breaker.state])
        yield in_flight
        yield breakers

    def _collect_directory(self) -> Iterator[Metric]:
        directory = self._live_map.current
        yield GaugeMetricFamily(
            "router_directory_version", "0 = none.", value=directory.version if directory is not None else 0
        )
        yield GaugeMetricFamily(
            "router_learned_units", "Known beyond the document.", value=len(directory.learned_units) if directory else 0
        )
        yield CounterMetricFamily(
            "router_learned", "Owners learned from 421 answers.", value=self._live_map.learned_count
        )
        declined = CounterMetricFamily("router_directory_declined", "Documents not taken over.", labels=["reason"])
        for reason, count in self._declined.items():
            declined.add_metric([reason], count)
        yield declined
        if self.confirmed_at is not None:
            yield GaugeMetricFamily(
                "router_directory_age_seconds",
                "Since the control plane last confirmed the map.",
                value=max(0.0, self._wall_clock() - self.confirmed_at),
            )

    def _collect_haproxy(self) -> Iterator[Metric]:
        if self.haproxy_is_in_step is None:
            return
        in_step = "1 = HAProxy works by the map that this router knows."
        yield GaugeMetricFamily("router_haproxy_in_step", in_step, value=int(self.haproxy_is_in_step))
        yield CounterMetricFamily("router_haproxy_reloads", "Asked of HAProxy.", value=self.haproxy_reloads)
