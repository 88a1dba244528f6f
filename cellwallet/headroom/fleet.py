"""The whole fleet for a demand: cells, processes, nodes, and what the loss of each part does. Pure."""

import math
from dataclasses import asdict
from typing import Any

from cellwallet.headroom.cells import CellMargins, Outlook, cells_for, placed_per_s
from cellwallet.headroom.sound import exactly, must_be_at_least, must_be_positive
from cellwallet.headroom.tier import Tier, utilisation_ceiling
from contract.values import value

REPLICAS_MAX = 3
"""PostgreSQL instances of a cell: a primary and a standby in each of two other zones, where there are so many."""


@value
class Sizes:
    """What parts take of a node. A standby has its primary's CPU: promoted, it must not be throttled."""

    process_cores: float = 1.0
    database_cores: float = 2.0
    node_cores: float = 8.0
    """That pods may have: without what the system keeps for itself."""
    missing_nodes: int = 1
    """Of a zone, at any time."""

    def __post_init__(self) -> None:
        for name in ("process_cores", "database_cores", "node_cores"):
            must_be_positive(name, getattr(self, name))
        must_be_at_least("missing_nodes", self.missing_nodes, 0)


@value
class Wanted:
    demand_per_s: float
    margins: CellMargins
    outlook: Outlook
    api_process_per_s: float
    router_process_per_s: float
    zones: int = 3
    shares: tuple[float, ...] = ()
    utilisation: float = 0.8
    missing: int = 1
    spare_cells: int = 1
    sizes: Sizes = Sizes()

    def tier(self, demand_per_s: float, process_per_s: float) -> Tier:
        return Tier(
            demand_per_s=demand_per_s,
            process_per_s=process_per_s,
            zones=self.zones,
            utilisation=self.utilisation,
            missing=self.missing,
            shares=self.shares,
        )


@value
class Loss:
    """A part that goes, and what is left."""

    what: str
    effect: str


@value
class FleetPlan:
    wanted: Wanted
    placed_per_s: float
    cells: int
    api: Tier
    """Of one cell, at the most that the cell can be asked for."""
    routers: Tier
    databases_per_zone: int
    nodes_per_zone: int
    losses: tuple[Loss, ...]

    @property
    def cells_in_use(self) -> int:
        return self.cells - self.wanted.spare_cells

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "demand_per_s": self.wanted.demand_per_s,
            "zones": self.wanted.zones,
            "limit_per_s": self.wanted.margins.limit_per_s,
            "carried_per_s": self.wanted.margins.carried_per_s,
            "placed_per_s": self.placed_per_s,
            "cells": self.cells,
            "spare_cells": self.wanted.spare_cells,
            "pods_per_zone": {
                "api_of_each_cell": self.api.processes_per_zone,
                "router": self.routers.processes_per_zone,
            },
            "pods": {"api": self.cells * self.api.processes, "router": self.routers.processes},
            "databases_per_zone": self.databases_per_zone,
            "nodes_per_zone": self.nodes_per_zone,
            "nodes": self.nodes_per_zone * self.wanted.zones,
            "utilisation_ceiling": utilisation_ceiling(self.wanted.zones),
            "everyday_utilisation": {"api": self.api.everyday_share, "router": self.routers.everyday_share},
            "losses": [asdict(loss) for loss in self.losses],
            "margins": asdict(self.wanted.margins),
            "outlook": asdict(self.wanted.outlook),
        }


def plan_fleet(wanted: Wanted) -> FleetPlan:
    rate_per_s = placed_per_s(wanted.margins, wanted.outlook)
    cells = cells_for(wanted.demand_per_s, placed_per_s=rate_per_s, spare_cells=wanted.spare_cells)
    api = wanted.tier(wanted.margins.worst_per_s, wanted.api_process_per_s)
    routers = wanted.tier(wanted.demand_per_s * wanted.outlook.factor, wanted.router_process_per_s)
    databases = math.ceil(cells * min(wanted.zones, REPLICAS_MAX) / wanted.zones)
    sizes = wanted.sizes
    cores = exactly(sizes.process_cores) * (cells * api.processes_per_zone + routers.processes_per_zone)
    cores += exactly(sizes.database_cores) * databases
    return FleetPlan(
        wanted=wanted,
        placed_per_s=rate_per_s,
        cells=cells,
        api=api,
        routers=routers,
        databases_per_zone=databases,
        nodes_per_zone=math.ceil(cores / exactly(sizes.node_cores)) + sizes.missing_nodes,
        losses=_losses(wanted, cells, api, routers),
    )


def _losses(wanted: Wanted, cells: int, api: Tier, routers: Tier) -> tuple[Loss, ...]:
    margins, in_use = wanted.margins, cells - wanted.spare_cells
    api_share, router_share = (tier.busiest_share(missing=wanted.missing) for tier in (api, routers))
    missing = f"with {wanted.missing} more of each zone's processes missing"
    return (
        Loss(
            what="any one zone",
            effect=f"nothing is refused; {missing}, API processes are at {api_share:.0%} and routers at "
            f"{router_share:.0%} of their safe rate",
        ),
        Loss(
            what="a cell's primary database",
            effect=f"its wallets wait {margins.failover_s:g} s for a standby; what comes again is worked off within "
            f"{margins.drain_s:g} s",
        ),
        Loss(
            what="a whole cell",
            effect=f"1 of {in_use} cells with wallets ({1 / in_use:.1%}) is away until it is restored; no other cell "
            f"gets its load; {wanted.spare_cells} empty cell(s) stand ready",
        ),
        Loss(
            what="any one node of each zone" if wanted.sizes.missing_nodes == 1 else "nodes",
            effect=f"{wanted.sizes.missing_nodes} per zone may be missing: everything still finds a place",
        ),
    )
