"""What Prometheus sees of the mover. Labels are bounded: states and outcomes, never ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PAUSE_BUCKETS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0)
"""From the order of the fence until the target served; what a unit may cost is 0.3 s."""


class MoverMetrics:
    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.running = Gauge("mover_moves_running", "Moves that this process acts on", registry=registry)
        self.open = Gauge("mover_moves_open", "Moves that have not ended", registry=registry)
        self.ended = Counter("mover_moves_ended", "Moves by how they ended", ["state"], registry=registry)
        self.units = Counter("mover_units_moved", "Units that have arrived", registry=registry)
        self.rows = Counter("mover_rows_copied", "Rows that were carried", registry=registry)
        self.bytes = Counter("mover_bytes_copied", "Bytes that were carried", registry=registry)
        self.setbacks = Counter("mover_setbacks", "Steps that a cell did not do", registry=registry)
        self.pause = Histogram(
            "mover_pause_seconds",
            "Between the order of a fence and the service of the target",
            buckets=PAUSE_BUCKETS_S,
            registry=registry,
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)
