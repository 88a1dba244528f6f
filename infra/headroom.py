"""How many of everything a stack needs in each zone, from a certificate and a demand: pure.

The formulas are those of `cellwallet.headroom`, so that what is planned and what is built are the same numbers; here is
only what a stack adds: the pods of a roll-out, and which pods share nodes.
"""

from cellwallet.headroom.cells import CellMargins, Outlook
from cellwallet.headroom.nodes import Node, Pods, nodes_per_zone
from cellwallet.headroom.sound import HeadroomMustBeSoundError
from cellwallet.headroom.tier import Tier
from contract.certificate import CapacityCertificate
from contract.values import value
from infra.settings import Capacity, CellSettings, Eks, FleetSettings, NodePool, Substrate
from infra.sizes import (
    API_POD,
    CONNECTIONS_PER_PROCESS,
    CONNECTIONS_RESERVED,
    CONTROL_PLANE_DATABASE,
    CONTROL_PLANE_POD,
    DATABASES,
    INSTANCES_PER_ZONE,
    MIGRATION_POD,
    ROUTER_POD,
    SURGE,
    Size,
)


@value
class NodesNeeded:
    """Of each zone; only where the stack makes its own."""

    app: int
    database: int


@value
class CellNeeds:
    api: Tier
    nodes: NodesNeeded | None

    @property
    def api_per_zone(self) -> int:
        return self.api.processes_per_zone


@value
class FleetNeeds:
    routers: Tier
    nodes: NodesNeeded | None

    @property
    def routers_per_zone(self) -> int:
        return self.routers.processes_per_zone


def cell_needs(settings: CellSettings, certificate: CapacityCertificate) -> CellNeeds:
    """Of one cell, sized for the most that it can be asked for, whatever it is asked for today.

    Raises:
        HeadroomMustBeSoundError: nobody may rely on the certificate, or what is needed does not fit.

    """
    margins = margins_of(certificate)
    api = _tier(settings.capacity, len(settings.zones), margins.worst_per_s, api_process_per_s(certificate))
    _connections_must_suffice(settings, api)
    pods = [
        API_POD.pods(api.processes_per_zone + SURGE),
        MIGRATION_POD.pods(1),
    ]
    return CellNeeds(api=api, nodes=_nodes(settings.substrate, pods, DATABASES[settings.database.size]))


def fleet_needs(settings: FleetSettings, certificate: CapacityCertificate) -> FleetNeeds:
    """Of routers and control plane, for today's demand and what becomes of it until somebody can act.

    Raises:
        HeadroomMustBeSoundError: nobody may rely on the certificate, or it does not tell what a router carries.

    """
    capacity = settings.capacity
    outlook = Outlook(spread=capacity.spread, growth_per_day=capacity.growth_per_day, lead_days=capacity.lead_days)
    routers = _tier(
        capacity,
        len(settings.zones),
        capacity.demand_per_s * outlook.factor,
        router_process_per_s(capacity.router_process_per_s, certificate),
    )
    pods = [
        ROUTER_POD.pods(routers.processes_per_zone + SURGE),
        CONTROL_PLANE_POD.pods(settings.control_plane.replicas_per_zone + SURGE),
        CONTROL_PLANE_POD.pods(1 + SURGE),  # the mover
        MIGRATION_POD.pods(1),
    ]
    return FleetNeeds(routers=routers, nodes=_nodes(settings.substrate, pods, CONTROL_PLANE_DATABASE))


def margins_of(certificate: CapacityCertificate) -> CellMargins:
    """What was measured; what was not is assumed as `cellwallet headroom` assumes it."""
    if certificate.subject.kind != "cell":
        raise HeadroomMustBeSoundError(f"the certificate must be a cell's, not a {certificate.subject.kind}'s")
    if certificate.is_quick:
        raise HeadroomMustBeSoundError("the certificate must not be a quick one: that is made to see that it works")
    names = ("degraded_loss", "moves_loss", "failover_s")
    measured = {name: getattr(certificate, name) for name in names if getattr(certificate, name) is not None}
    return CellMargins(limit_per_s=certificate.limit_per_s, **measured)


def api_process_per_s(certificate: CapacityCertificate) -> float:
    return certificate.limit_per_s / certificate.topology.api_processes


def router_process_per_s(given: float | None, certificate: CapacityCertificate) -> float:
    measured = certificate.router_limit_per_s()
    if given is None and measured is None:
        raise HeadroomMustBeSoundError(
            "the certificate must tell what a router carries, or capacity.router_process_per_s must be given"
        )
    return given if given is not None else measured or 0.0


def _tier(capacity: Capacity, zones: int, demand_per_s: float, process_per_s: float) -> Tier:
    return Tier(
        demand_per_s=demand_per_s,
        process_per_s=process_per_s,
        zones=zones,
        utilisation=capacity.utilisation,
        missing=capacity.missing,
        shares=capacity.zone_shares,
    )


def _connections_must_suffice(settings: CellSettings, api: Tier) -> None:
    """In the middle of a roll-out too, and with every zone there: the loss of one never needs more."""
    needed = api.zones * (api.processes_per_zone + SURGE) * CONNECTIONS_PER_PROCESS + CONNECTIONS_RESERVED
    there = DATABASES[settings.database.size].connections
    if needed > there:
        enough = [name for name, size in DATABASES.items() if size.connections >= needed]
        instead = f"database.size must be {enough[0]}" if enough else "the certificate's processes must do more each"
        raise HeadroomMustBeSoundError(
            f"{instead}: {api.processes_per_zone} processes in each of {api.zones} zones, and one more in a roll-out, "
            f"may take {needed} connections, and {settings.database.size} has {there}"
        )


def _nodes(substrate: Substrate, app: list[Pods], database: Size) -> NodesNeeded | None:
    if not isinstance(substrate, Eks):
        return None
    return NodesNeeded(
        app=_of_pool("app_nodes", substrate.app_nodes, app),
        database=_of_pool("database_nodes", substrate.database_nodes, [database.pods(INSTANCES_PER_ZONE)]),
    )


def _of_pool(name: str, pool: NodePool, pods: list[Pods]) -> int:
    node = Node(cores=pool.cores, memory_gib=pool.memory_gib)
    try:
        return nodes_per_zone(pods, node=node, missing=pool.spare)
    except HeadroomMustBeSoundError as error:
        raise HeadroomMustBeSoundError(f"substrate.{name}: {error}") from error
