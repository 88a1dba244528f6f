"""The program: settings, then everything that is needed and planned, and only then the first resource.

Pulumi runs what registers resources to its end even if it fails half-way, so what can be refused is refused before.
"""

from collections.abc import Callable
from typing import Any, assert_never

import pulumi

from cellwallet.headroom.sound import HeadroomMustBeSoundError
from contract.certificate import CapacityCertificate, CertificateMustBeValidError
from infra.charts import ChartMustRenderError
from infra.components.installed_chart import CellPlatform, ControlPlane, Router
from infra.components.seal import seal
from infra.headroom import CellNeeds, FleetNeeds, NodesNeeded, cell_needs, fleet_needs
from infra.manifests import DATABASE_POOL, Render, cell_app_values
from infra.planning import FleetPlan, Plan, plan_cell, plan_fleet
from infra.policies import PolicyMustHoldError
from infra.settings import (
    CellSettings,
    Eks,
    FleetSettings,
    GroundSettings,
    Kubeconfig,
    SettingsMustBeSoundError,
    settings_of,
)
from infra.substrates import Substrate, kubeconfig

Read = Callable[[str], CapacityCertificate]
"""A certificate from a path that is written in the stack's file."""
Outputs = dict[str, Any]
REFUSALS = (
    SettingsMustBeSoundError,
    HeadroomMustBeSoundError,
    CertificateMustBeValidError,
    ChartMustRenderError,
    PolicyMustHoldError,
    OSError,
)


def run(document: Any, *, render: Render, read: Read) -> None:
    """The stack that the document asks for; what is refused is told in its own words, without a trace.

    Raises:
        pulumi.RunError: the stack must not be built like this; nothing was registered.

    """
    try:
        outputs = build(document, render=render, read=read)
    except REFUSALS as error:
        raise pulumi.RunError(str(error)) from error
    for name, told in outputs.items():
        pulumi.export(name, told)


def build(document: Any, *, render: Render, read: Read) -> Outputs:
    settings = settings_of(document)
    match settings:
        case GroundSettings():
            from infra.ground import build_ground  # noqa: PLC0415 - only this kind of stack needs the package of AWS

            return build_ground(settings)
        case FleetSettings():
            fleet = fleet_needs(settings, read(settings.capacity.certificate))
            return _build_fleet(settings, fleet, plan_fleet(settings, fleet, render))
        case CellSettings():
            cell = cell_needs(settings, read(settings.capacity.certificate))
            return _build_cell(settings, cell, plan_cell(settings, cell, render))
        case _:
            assert_never(settings)


def _build_cell(settings: CellSettings, needs: CellNeeds, plan: Plan) -> Outputs:
    substrate = _connect(settings)
    nodes = _nodes(settings.id, settings, needs.nodes, substrate)
    platform = CellPlatform(settings.id, plan, provider=substrate.kubernetes, after=nodes)
    seal([platform, *nodes], is_retired=settings.is_retired)
    return {
        "zones": list(settings.zones),
        "api_per_zone": needs.api_per_zone,
        "nodes_per_zone": _told(needs.nodes),
        "cell_app_values": cell_app_values(settings, needs),
    }


def _build_fleet(settings: FleetSettings, needs: FleetNeeds, plan: FleetPlan) -> Outputs:
    """Neither waits for the other: the control plane is on no request's path, and not on an update's of the routers."""
    substrate = _connect(settings)
    nodes = _nodes("fleet", settings, needs.nodes, substrate)
    control_plane = ControlPlane("control-plane", plan.control_plane, provider=substrate.kubernetes, after=nodes)
    routers = Router("router", plan.routers, provider=substrate.kubernetes, after=nodes)
    seal([control_plane, routers, *nodes], is_retired=settings.is_retired)
    return {
        "zones": list(settings.zones),
        "routers_per_zone": needs.routers_per_zone,
        "nodes_per_zone": _told(needs.nodes),
    }


def _connect(settings: FleetSettings | CellSettings) -> Substrate:
    match settings.substrate:
        case Kubeconfig() as one:
            return kubeconfig.connect(one)
        case Eks() as one:
            from infra.substrates import eks  # noqa: PLC0415 - only this substrate needs the package of AWS

            return eks.connect(one, settings.zones)
        case _:
            assert_never(settings.substrate)


def _nodes(
    name: str, settings: FleetSettings | CellSettings, needed: NodesNeeded | None, substrate: Substrate
) -> list[pulumi.Resource]:
    """Where the stack brings its own: what the pods of this stack take, so that capacity comes and goes with it."""
    if not isinstance(settings.substrate, Eks) or substrate.ground is None or needed is None:
        return []
    from infra.components.zone_node_groups import ZoneNodeGroups  # noqa: PLC0415 - as above

    chosen = settings.substrate
    pools = (
        ("app", chosen.app_nodes, needed.app, False),
        (DATABASE_POOL, chosen.database_nodes, needed.database, not settings.is_retired),
    )
    return [
        ZoneNodeGroups(
            f"{name}-{pool}",
            pool=pool,
            nodes=nodes,
            per_zone=per_zone,
            zones=settings.zones,
            ground=substrate.ground,
            is_protected=is_protected,
        )
        for pool, nodes, per_zone, is_protected in pools
    ]


def _told(needed: NodesNeeded | None) -> dict[str, int] | None:
    return None if needed is None else {"app": needed.app, DATABASE_POOL: needed.database}
