"""Which objects of Kubernetes a stack consists of, under which names and with what protection: pure.

The whole plan exists before anything is registered, so that a refusal touches nothing. The namespace comes first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from contract.values import value
from infra.headroom import CellNeeds, FleetNeeds
from infra.manifests import (
    Object,
    Render,
    cell_platform_values,
    control_plane_values,
    namespace,
    router_values,
    storage_class,
)
from infra.policies import WORKLOADS, Declared, Stack, is_data, must_hold, type_of
from infra.settings import CellSettings, FleetSettings, GroundSettings

UNAWAITED = {*WORKLOADS, "Service"}
SKIP_AWAIT = "pulumi.com/skipAwait"
"""Whether a process runs is not for an update of the infrastructure to wait for: it may need a Secret that is brought
later, and a load balancer that a simulated cluster never gives.
"""

Plan = tuple[Declared, ...]


@value
class FleetPlan:
    control_plane: Plan
    routers: Plan


def plan_cell(settings: CellSettings, needs: CellNeeds, render: Render) -> Plan:
    """Everything that a cell stands on, and nothing of its version.

    Raises:
        ChartMustRenderError: helm refuses the values.
        PolicyMustHoldError: an object may not be.

    """
    objects = _installed("cell-platform", cell_platform_values(settings, needs), settings.id, render, role="cell")
    plan = _planned(objects, is_retired=settings.is_retired)
    must_hold(stack_of(settings), plan)
    return plan


def plan_fleet(settings: FleetSettings, needs: FleetNeeds, render: Render) -> FleetPlan:
    """As `plan_cell`."""
    network = settings.network
    objects = {
        name: _installed(name, values, home, render)
        for name, values, home in (
            ("control-plane", control_plane_values(settings), network.control_plane_namespace),
            ("router", router_values(settings, needs), network.router_namespace),
        )
    }
    plans = {name: _planned(found, is_retired=settings.is_retired) for name, found in objects.items()}
    must_hold(stack_of(settings), [one for plan in plans.values() for one in plan])
    return FleetPlan(control_plane=plans["control-plane"], routers=plans["router"])


def plan_ground(settings: GroundSettings) -> Plan:
    return _planned([storage_class()], is_retired=settings.is_retired)


def stack_of(settings: GroundSettings | FleetSettings | CellSettings) -> Stack:
    return Stack(kind=settings.kind, zones=settings.zones, is_retired=settings.is_retired)


def _installed(
    chart: str, values: Mapping[str, Any], home: str, render: Render, *, role: str | None = None
) -> list[Object]:
    return [namespace(home, role=role), *render(chart, values, home)]


def _planned(objects: Sequence[Object], *, is_retired: bool) -> Plan:
    homes = {one["metadata"].get("namespace") for one in objects if is_data(one)}
    return tuple(
        Declared(
            type=type_of(one),
            name=_name(one),
            inputs=_unawaited(one),
            is_protected=not is_retired and (is_data(one) or _is_one_of(homes, one)),
        )
        for one in objects
    )


def _is_one_of(homes: set[str | None], one: Object) -> bool:
    return one["kind"] == "Namespace" and one["metadata"]["name"] in homes


def _name(one: Object) -> str:
    home = one["metadata"].get("namespace")
    return f"{home}/{one['metadata']['name']}" if home else str(one["metadata"]["name"])


def _unawaited(one: Object) -> Object:
    if one["kind"] not in UNAWAITED:
        return one
    annotations = {**one["metadata"].get("annotations", {}), SKIP_AWAIT: "true"}
    return {**one, "metadata": {**one["metadata"], "annotations": annotations}}
