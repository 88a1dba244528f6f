"""What Prometheus sees of this process. One registry per process, made by the composition root.

Labels are bounded: reasons, states, actions, routes, cells, routers; never ids of vendors, wallets or requests.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from control_plane.fleet.reasons import Waiting, WaitReason
from control_plane.moves.states import MOVE_STATES
from control_plane.rollouts.states import ROLLOUT_STATES
from control_plane.store.fleet import Figures
from control_plane.store.tables import CELL_STATES

ROUND_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
"""Up to a minute: long polls hang for nearly as long."""


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.database_up = Gauge("control_plane_database_up", "1 while the database answers", registry=registry)
        self.directory_version = Gauge(
            "control_plane_directory_version", "Version of the published directory", registry=registry
        )
        self.directory_age = Gauge(
            "control_plane_directory_age_seconds", "Since the directory was published", registry=registry
        )
        self.routers = Gauge("control_plane_routers_live", "Routers within their lease", registry=registry)
        self.router_lag = Gauge(
            "control_plane_router_lag_publications_max",
            "Publications that the slowest live router has not applied",
            registry=registry,
        )
        self.router_lags = Gauge(
            "control_plane_router_lag_publications",
            "Publications that a live router has not applied",
            ["router"],
            registry=registry,
        )
        self.router_ages = Gauge(
            "control_plane_router_directory_age_seconds",
            "Since the directory that a live router works with was followed by a newer one; 0 = it has the newest",
            ["router"],
            registry=registry,
        )
        self.units = Gauge("control_plane_units", "Units of each cell", ["cell"], registry=registry)
        self.moves = Gauge(
            "control_plane_moves",
            "Open moves, and those that ended within a day, by state",
            ["state"],
            registry=registry,
        )
        self.rollouts = Gauge(
            "control_plane_rollouts",
            "The open rollout, and those that ended within a day, by state",
            ["state"],
            registry=registry,
        )
        self.cells = Gauge("control_plane_cells", "Cells by state", ["state"], registry=registry)
        self.waiting = Gauge(
            "control_plane_waiting", "Inactions of the last plan by reason", ["reason"], registry=registry
        )
        self.actions = Counter("control_plane_actions", "Actions of plans", ["action", "outcome"], registry=registry)
        self.rounds = Counter("control_plane_rounds", "Rounds of the loop", ["outcome"], registry=registry)
        self.round_seconds = Histogram(
            "control_plane_round_seconds",
            "Duration of a round: observe, plan, act",
            registry=registry,
            buckets=ROUND_BUCKETS_S,
        )
        self.requests = Histogram(
            "control_plane_request_seconds",
            "Requests by route and status",
            ["method", "route", "status"],
            registry=registry,
            buckets=REQUEST_BUCKETS_S,
        )

    def tell_waiting(self, waiting: Sequence[Waiting]) -> None:
        tally = Tally(one.reason for one in waiting)
        for reason in WaitReason:
            self.waiting.labels(reason=reason.value).set(tally[reason])

    def tell_figures(self, figures: Figures) -> None:
        self.database_up.set(1)
        self.directory_version.set(figures.directory_version or 0)
        self.directory_age.set(_age_s(figures.directory_issued_at, figures.now))
        self.routers.set(figures.routers)
        self.router_lag.set(figures.router_lag_max)
        for gauge, told in (
            (self.router_lags, figures.router_lags),
            (self.router_ages, figures.router_ages_s),
            (self.units, figures.units_by_cell),
        ):
            gauge.clear()
            for name, number in told.items():
                gauge.labels(name).set(number)
        for move_state in MOVE_STATES:
            self.moves.labels(state=move_state).set(figures.moves_by_state.get(move_state, 0))
        for rollout_state in ROLLOUT_STATES:
            self.rollouts.labels(state=rollout_state).set(figures.rollouts_by_state.get(rollout_state, 0))
        for state in CELL_STATES:
            self.cells.labels(state=state).set(figures.cells_by_state.get(state, 0))

    def tell_database_gone(self) -> None:
        """The other figures keep their last value: a gap in a graph would look like an empty fleet."""
        self.database_up.set(0)

    def text(self) -> bytes:
        return generate_latest(self._registry)


def _age_s(issued_at: datetime | None, now: datetime) -> float:
    return (now - issued_at).total_seconds() if issued_at else 0.0
