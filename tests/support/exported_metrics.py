"""The metrics that each service really exports, with their labels: asked of the real registries, after everything that
can be counted was counted once.
"""

import io

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import Counter, Gauge, Histogram, MetricWrapperBase
from prometheus_client.registry import Collector

from cell.telemetry.event_metrics import EventMetrics
from cell.telemetry.metrics import Metrics as CellMetrics
from control_plane.metrics import Metrics as ControlPlaneMetrics
from control_plane.mover.metrics import MoverMetrics
from router.admin import Admin
from router.line_writer import LineWriter
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.routing.health import FleetHealth

Labels = frozenset[str]
Exported = dict[str, Labels]
"""Name of a sample to the names of its labels."""

TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod", "container", "endpoint"})
"""What scraping adds to everything."""
OWN_TARGET_LABELS = {
    "cell": frozenset({"cell", "zone"}),
    "router": frozenset({"zone"}),
    "control-plane": frozenset({"zone"}),
    "mover": frozenset({"zone"}),
    "database": frozenset({"cell"}),
}
"""What the charts' monitors add besides, by job; `test_monitors_add_the_labels_that_rules_go_by` holds them to it."""

CLOUD_NATIVE_PG = {
    "cnpg_collector_up": frozenset({"cluster"}),
    "cnpg_collector_nodes_used": frozenset(),
    "cnpg_collector_fencing_on": frozenset(),
    "cnpg_collector_manual_switchover_required": frozenset(),
    "cnpg_pg_replication_lag": frozenset(),
    "cnpg_pg_replication_streaming_replicas": frozenset(),
}
"""Those of CloudNativePG 1.30 that are used here: its collector, and its default queries. Not ours to instantiate."""


def exported() -> dict[str, Exported]:
    """By job. Labels are as they come out of a scrape: one that the target has too is renamed."""
    out = {
        "cell": cell_metrics(),
        "router": router_metrics(),
        "control-plane": _of_registry(ControlPlaneMetrics()._registry),
        "mover": _of_registry(MoverMetrics()._registry),
        "database": dict(CLOUD_NATIVE_PG),
    }
    return {job: {name: scraped(job, labels) for name, labels in of_job.items()} for job, of_job in out.items()}


def scraped(job: str, labels: Labels) -> Labels:
    added = TARGET_LABELS | OWN_TARGET_LABELS[job]
    return frozenset(f"exported_{label}" if label in added else label for label in labels) | added


def cell_metrics() -> Exported:
    metrics = CellMetrics(cell_id="cell-1", zone="a", software_version="1")
    EventMetrics(metrics.registry)
    return _of_registry(metrics.registry)


def router_metrics() -> Exported:
    health = FleetHealth()
    health.cell("cell-1").instance("http://10.0.0.1:8080")
    metrics = RouterMetrics(
        live_map=LiveMap(), health=health, writer=LineWriter(io.BytesIO()), wall_clock=lambda: 1_000.0
    )
    metrics.answered("cell-1", 201, 0.01)
    metrics.sent_again("moving")
    metrics.declined("older")
    metrics.confirmed_at = 999.0
    metrics.haproxy_is_in_step = True
    return _of_registry(Admin(metrics)._registry)


def _of_registry(registry: CollectorRegistry) -> Exported:
    out: Exported = {}
    for collector in list(registry._collector_to_names):
        out |= _of_wrapper(collector) if isinstance(collector, MetricWrapperBase) else _of_collector(collector)
    return out


def _of_wrapper(metric: MetricWrapperBase) -> Exported:
    """A metric that nobody has counted yet has no samples, but its kind says how they will be named."""
    labels = frozenset(metric._labelnames)
    if isinstance(metric, Counter):
        return {f"{metric._name}_total": labels}
    if isinstance(metric, Histogram):
        tails = {"_bucket": labels | {"le"}, "_sum": labels, "_count": labels}
        return {f"{metric._name}{tail}": of_tail for tail, of_tail in tails.items()}
    assert isinstance(metric, Gauge), f"{metric} is of a kind that nobody here knows"
    return {metric._name: labels}


def _of_collector(collector: Collector) -> Exported:
    out: Exported = {}
    for family in collector.collect():
        for sample in family.samples:
            out[sample.name] = out.get(sample.name, frozenset()) | sample.labels.keys()
    return out
