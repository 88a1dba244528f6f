"""What the router knows of the health of cells and their API processes, from the outcomes of its own requests.

A cell is a failure domain of its own here too: its breaker, its share of requests under way (bulkhead), its
instances. Nothing of one cell enters the judgement of another.
"""

from router.routing.breaker import Breaker, BreakerLimits, State
from router.routing.directory import Instance

IN_FLIGHT_MAX = 1_024
"""Requests of one cell under way or waiting: above what a healthy cell queues, and 64 MiB of bodies at most."""

CELL_LIMITS = BreakerLimits(failures_max=5, cool_down_first_s=0.1, cool_down_max_s=1.0, probe_patience_s=1.0)
INSTANCE_LIMITS = BreakerLimits(failures_max=3, cool_down_first_s=0.25, cool_down_max_s=5.0, probe_patience_s=2.5)


class CellHealth:
    __slots__ = ("breaker", "in_flight", "in_flight_max", "instances")

    def __init__(self, *, in_flight_max: int) -> None:
        self.breaker = Breaker(CELL_LIMITS)
        self.instances: dict[str, Breaker] = {}
        self.in_flight = 0
        self.in_flight_max = in_flight_max

    @property
    def is_full(self) -> bool:
        return self.in_flight >= self.in_flight_max

    @property
    def is_half_full(self) -> bool:
        return self.in_flight * 2 >= self.in_flight_max

    def instance(self, url: str) -> Breaker:
        breaker = self.instances.get(url)
        if breaker is None:
            breaker = self.instances[url] = Breaker(INSTANCE_LIMITS)
        return breaker

    def in_order(self, instances: tuple[Instance, ...], now: float) -> tuple[tuple[Instance, ...], int]:
        """The same instances, those behind an open breaker last, and how many are not.

        Each of them is correct to ask, some are only unlikely to answer.
        """
        if self._are_all_closed(instances):
            return instances, len(instances)
        promising = [instance for instance in instances if self.instance(instance.url).lets_through(now)]
        others = [instance for instance in instances if instance not in promising]
        return (*promising, *others), len(promising)

    def _are_all_closed(self, instances: tuple[Instance, ...]) -> bool:
        known = self.instances
        for instance in instances:
            breaker = known.get(instance.url)
            if breaker is not None and breaker.state is not State.CLOSED:
                return False
        return True

    def sent(self, url: str, now: float) -> None:
        self.breaker.sent(now)
        self.instance(url).sent(now)

    def answered(self, url: str) -> None:
        self.breaker.answered()
        self.instance(url).answered()


class FleetHealth:
    __slots__ = ("_in_flight_max", "cells")

    def __init__(self, *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._in_flight_max = in_flight_max
        self.cells: dict[str, CellHealth] = {}

    def cell(self, cell_id: str) -> CellHealth:
        health = self.cells.get(cell_id)
        if health is None:
            health = self.cells[cell_id] = CellHealth(in_flight_max=self._in_flight_max)
        return health

    def forget_all_but(self, instances: dict[str, frozenset[str]]) -> None:
        """Keep only the cells and the instances (by URL) that the map still names."""
        for cell_id in self.cells.keys() - instances.keys():
            if self.cells[cell_id].in_flight == 0:
                del self.cells[cell_id]
        for cell_id, urls in instances.items():
            known = self.cell(cell_id).instances
            for url in known.keys() - urls:
                del known[url]
