"""Switch-overs of cells on Kubernetes: CloudNativePG is asked for another primary, and the cell to go on with it.

The promotion begins a timeline that nobody has recorded, so the cell closes itself until one of its processes vouches
for it by what it remembers. It is asked to where the promotion was ordered here, and nowhere else; a cell that stays
closed calls for a person. So the order is noted at the cell's Deployments before the operator is asked: whoever follows
knows it there, whatever became of the answer and of the worker.
Decisions and patches: cnpg.py; what a process may vouch for: the cell.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from contract.quarantine import PromotionRecorded
from contract.values import value
from control_plane.cell_admin import CellAdmin, RefusedByCell
from control_plane.fleet.model import Unreachable
from control_plane.releaser.cluster_calls import (
    LOST_RACE,
    MANAGER,
    REQUEST_TIMEOUT_S,
    ClusterCalls,
    cluster_client,
    must_be_waited_for,
)
from control_plane.releaser.cnpg import (
    CLUSTERS,
    GROUP,
    VERSION,
    CellDatabases,
    Instance,
    Promote,
    cluster_of,
    databases_seen,
    promotion_patch,
    selector_of,
    stamp_of,
    step_of,
    switch_over,
)
from control_plane.releaser.manifests import selector_of_processes, switch_over_patch
from control_plane.releaser.substrate import NotTaken
from control_plane.releaser.switch_overs import (
    MustWait,
    NotAvailable,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    SwitchOutcome,
    UnderWay,
)

REFUSAL_SHOWN_MAX = 300
JSON_PATCH = "application/json-patch+json"
"""Of objects that are not its own the client believes another kind."""


@value
class _Asked:
    outcome: SwitchOutcome
    is_ours: bool = False
    """The promotion that it is about was ordered here."""


class KubernetesSwitchOvers:
    def __init__(self, api: client.ApiClient, *, namespace: str, cells: CellAdmin) -> None:
        """`namespace` of a cell, with `{cell}` for its id."""
        self._calls = ClusterCalls(api)
        self._namespace = namespace
        self._cells = cells
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._apps = client.AppsV1Api(api)

    async def switch(self, order: SwitchOrder) -> SwitchOutcome:
        asked = await self._calls.call(lambda until_s: self._ask_for(order, until_s))
        if isinstance(asked, NotTaken):
            return NotAvailable(detail=asked.detail)
        if isinstance(asked, Unreachable):
            return asked
        outcome = asked.outcome
        if isinstance(outcome, SwitchedOver):
            return await (self._opened(order, outcome) if asked.is_ours else self._looked_at(order, outcome))
        if isinstance(outcome, MustWait) and order.is_begun and asked.is_ours:
            return UnderWay(detail=outcome.detail)
        return outcome

    async def close(self) -> None:
        await self._calls.close()

    async def _looked_at(self, order: SwitchOrder, there: SwitchedOver) -> SwitchOutcome:
        """Who brought it there is not known: whether the cell may go on with it is for people."""
        answer = await self._cells.quarantine(order.cell)
        if isinstance(answer, Unreachable) or not answer.is_quarantined:
            return there
        return SwitchFailed(detail=f"{there.detail}, and the cell is closed ({answer.cause}): a person must look")

    async def _opened(self, order: SwitchOrder, there: SwitchedOver) -> SwitchOutcome:
        """The primary is where it was wanted, and nobody may be served before its timeline is recorded."""
        answer = await self._cells.record_promotion(order.cell)
        match answer:
            case PromotionRecorded():
                return SwitchedOver(detail=f"{there.detail}, on timeline {answer.timeline}")
            case RefusedByCell():
                why = answer.detail[:REFUSAL_SHOWN_MAX]
                return SwitchFailed(detail=f"{there.detail}, and the cell is closed until a person opens it: {why}")
            case _:
                why = answer.detail[:REFUSAL_SHOWN_MAX]
                return UnderWay(detail=f"{there.detail}; the cell must record its timeline: {why}")

    # In a thread.

    def _ask_for(self, order: SwitchOrder, until_s: float) -> _Asked:
        databases = self._databases(order)
        if databases is None:
            detail = f"the cluster has no {cluster_of(order.cell.id)} of CloudNativePG"
            return _Asked(outcome=NotAvailable(detail=detail))
        step = step_of(order, databases)
        if not isinstance(step, Promote):
            return _Asked(outcome=step, is_ours=databases.is_ours)
        if not order.may_begin:
            return _Asked(outcome=MustWait(detail=f"its primary is {databases.primary}, and nobody makes it another"))
        try:
            return _Asked(outcome=self._promoted(order, databases, step.instance, until_s))
        except ApiException as error:
            if error.status in LOST_RACE:
                return _Asked(outcome=MustWait(detail=f"somebody else changed it meanwhile ({error.status})"))
            raise

    def _promoted(
        self, order: SwitchOrder, databases: CellDatabases, instance: Instance, until_s: float
    ) -> SwitchOutcome:
        if not databases.deployments:
            return NotAvailable(detail="the cell has no Deployment at which the order could be noted")
        if databases.newest_fence > order.fence:
            detail = f"fence {order.fence} is older than {databases.newest_fence}, which came after it"
            return NotAvailable(detail=detail)
        stamp = stamp_of(databases, instance, datetime.now(UTC))
        if isinstance(stamp, MustWait):
            return stamp
        self._note(order, databases.deployments[0], switch_over(instance.name, stamp), until_s)
        must_be_waited_for(until_s)
        self._custom.patch_namespaced_custom_object_status(
            **self._named(order),
            body=promotion_patch(databases, instance, stamp),
            field_manager=MANAGER,
            _content_type=JSON_PATCH,
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return UnderWay(detail=f"the operator makes {instance.name} the primary")

    def _databases(self, order: SwitchOrder) -> CellDatabases | None:
        try:
            cluster = self._custom.get_namespaced_custom_object(
                **self._named(order), _request_timeout=REQUEST_TIMEOUT_S
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        namespace, plain = self._namespace.format(cell=order.cell.id), self._calls.plain
        pods = self._core.list_namespaced_pod(
            namespace=namespace, label_selector=selector_of(order.cell.id), _request_timeout=REQUEST_TIMEOUT_S
        )
        selector = selector_of_processes(order.cell.id)
        deployments = self._apps.list_namespaced_deployment(
            namespace=namespace, label_selector=selector, _request_timeout=REQUEST_TIMEOUT_S
        )
        return databases_seen(cluster, plain(pods), self._nodes(), plain(deployments))

    def _nodes(self) -> list[dict[str, Any]]:
        """None, where we may not see them: then pods may tell their zone themselves."""
        try:
            return self._calls.plain(self._core.list_node(_request_timeout=REQUEST_TIMEOUT_S))
        except ApiException as error:
            if error.status == 403:
                return []
            raise

    def _note(self, order: SwitchOrder, deployment: Mapping[str, Any], text: str, until_s: float) -> None:
        """With the fence, which is kept where rollouts keep it, before the primary is touched.

        Whoever is slow has looked at the Cluster before: what was changed since refuses its patch.
        """
        must_be_waited_for(until_s)
        self._apps.patch_namespaced_deployment(
            name=deployment["metadata"]["name"],
            namespace=self._namespace.format(cell=order.cell.id),
            body=switch_over_patch(deployment, switch_over=text, fence=order.fence),
            field_manager=MANAGER,
            _request_timeout=REQUEST_TIMEOUT_S,
        )

    def _named(self, order: SwitchOrder) -> dict[str, str]:
        return {
            "group": GROUP,
            "version": VERSION,
            "namespace": self._namespace.format(cell=order.cell.id),
            "plural": CLUSTERS,
            "name": cluster_of(order.cell.id),
        }


def open_switch_overs(kubeconfig: Path | None, *, namespace: str, cells: CellAdmin) -> KubernetesSwitchOvers:
    """Raises kubernetes.config.ConfigException: see `cluster_client`."""
    return KubernetesSwitchOvers(cluster_client(kubeconfig), namespace=namespace, cells=cells)
