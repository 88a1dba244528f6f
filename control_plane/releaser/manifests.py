"""Objects of Kubernetes as JSON: what a cell's say of its rollout, and the patches and Jobs that bring it further.

Knows the chart cell-app: labels `cellwallet/cell` and `cellwallet/zone`, containers `cell` and `schema` of API
processes, `migrate` of the migration. Asks nobody.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from contract.ids import CellId
from contract.values import value
from control_plane.rollouts.model import CellSeen, Preparation, ProcessSeen, ZoneSeen

FENCE: Final = "cellwallet/fence"
SWITCH_OVER: Final = "cellwallet/switch-over"
"""The last promotion that was ordered for the cell's database."""
CORDONED: Final = "cellwallet/cordoned"
CORDONED_BY_US: Final = "evacuation"
ZONE: Final = "cellwallet/zone"
API, SCHEMA, MIGRATION = "cell", "schema", "migrate"
_MADE_BY_THE_SERVER: Final = frozenset(
    {"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}
)

Document = dict[str, Any]


@value
class ZoneDeployment:
    zone: str
    document: Document


@value
class CellObjects:
    """Everything of one cell that a rollout looks at."""

    deployments: Sequence[Document]
    pods: Sequence[Document]
    jobs: Sequence[Document]

    @property
    def deployments_of_cells(self) -> list[ZoneDeployment]:
        return [
            ZoneDeployment(zone=one["metadata"]["labels"][ZONE], document=one)
            for one in self.deployments
            if ZONE in one["metadata"].get("labels", {}) and _container(one, API) is not None
        ]


def selector_of_processes(cell: CellId) -> str:
    """What its chart labels: its API processes and Jobs, and not its database."""
    return f"app.kubernetes.io/part-of=cellwallet,cellwallet/cell={cell}"


def cell_seen(found: CellObjects, image: str) -> CellSeen:
    zones = found.deployments_of_cells
    return CellSeen(
        zones=tuple(_zone(one, found.pods) for one in zones),
        preparation=_preparation(found.jobs, image),
        is_surging=bool(zones) and all(_takes_nothing_away(one.document) for one in zones),
    )


def image_of(deployment: Document) -> str:
    container = _container(deployment, API)
    return "" if container is None else str(container["image"])


def fence_of(deployment: Mapping[str, Any]) -> int:
    text = (deployment["metadata"].get("annotations") or {}).get(FENCE, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def image_patch(deployment: Document, *, image: str, fence: int) -> list[Document]:
    """Applies only to the very object that was looked at."""
    metadata, pod = deployment["metadata"], deployment["spec"]["template"]["spec"]
    patch: list[Document] = [{"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}]
    for place, name in (("containers", API), ("initContainers", SCHEMA)):
        for number, container in enumerate(pod.get(place) or []):
            if container["name"] == name:
                path = f"/spec/template/spec/{place}/{number}/image"
                patch += [
                    {"op": "test", "path": path, "value": container["image"]},
                    {"op": "replace", "path": path, "value": image},
                ]
    return [*patch, *_annotated(metadata, {FENCE: str(fence)})]


def switch_over_of(deployment: Mapping[str, Any]) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(SWITCH_OVER, ""))


def switch_over_patch(deployment: Mapping[str, Any], *, switch_over: str, fence: int) -> list[Document]:
    """Applies only to the very object that was looked at. Of its pods it says nothing: none of them starts again."""
    metadata = deployment["metadata"]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        *_annotated(metadata, {FENCE: str(fence), SWITCH_OVER: switch_over}),
    ]


def failed_migrations(jobs: Sequence[Document], image: str) -> int:
    """How often it was tried in vain: a Job that has failed is over, and the next attempt needs another one."""
    return sum(_state(job) == "failed" for job in jobs if _migrates_to(job, image))


def migration_job(jobs: Sequence[Document], *, name: str, image: str) -> Document | None:
    """The chart's migration for another image, to be applied; None where the chart's own is gone."""
    known = [job for job in jobs if _migrating(job) is not None]
    if not known:
        return None
    newest = max(known, key=lambda job: str(job["metadata"].get("creationTimestamp", "")))
    template = copy.deepcopy(newest["spec"]["template"])
    labels = template.get("metadata", {}).get("labels") or {}
    template["metadata"] = {"labels": {key: text for key, text in labels.items() if key not in _MADE_BY_THE_SERVER}}
    for container in template["spec"]["containers"]:
        if container["name"] == MIGRATION:
            container["image"] = image
    limits = {key: newest["spec"][key] for key in ("backoffLimit", "activeDeadlineSeconds") if key in newest["spec"]}
    known_labels = newest["metadata"].get("labels") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(known_labels)},
        "spec": {**limits, "template": template},
    }


def _annotated(metadata: Mapping[str, Any], annotations: dict[str, str]) -> list[Document]:
    path = "/metadata/annotations"
    return [
        *([] if metadata.get("annotations") else [{"op": "add", "path": path, "value": {}}]),
        *(
            {"op": "add", "path": f"{path}/{key.replace('/', '~1')}", "value": text}
            for key, text in annotations.items()
        ),
    ]


def _zone(found: ZoneDeployment, pods: Sequence[Document]) -> ZoneSeen:
    document, status = found.document, found.document.get("status") or {}
    return ZoneSeen(
        zone=found.zone,
        image=image_of(document),
        fence=fence_of(document),
        generation=document["metadata"].get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        wanted=document["spec"].get("replicas", 1),
        updated=status.get("updatedReplicas", 0),
        total=status.get("replicas", 0),
        available=status.get("availableReplicas", 0),
        processes=tuple(_process(pod) for pod in pods if _is_of(pod, found.zone)),
        has_given_up=any(
            one["type"] == "Progressing"
            and one["status"] == "False"
            and one.get("reason") == "ProgressDeadlineExceeded"
            for one in status.get("conditions") or []
        ),
    )


def _is_of(pod: Document, zone: str) -> bool:
    """Of those that are about to go nobody expects anything."""
    is_there = "deletionTimestamp" not in pod["metadata"] and (pod.get("status") or {}).get("phase") not in {
        "Succeeded",
        "Failed",
    }
    labels = pod["metadata"].get("labels") or {}
    return is_there and labels.get(ZONE) == zone and _of_pod(pod["spec"], API) is not None


def _process(pod: Document) -> ProcessSeen:
    container = _of_pod(pod["spec"], API)
    conditions = (pod.get("status") or {}).get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ProcessSeen(image="" if container is None else container["image"], is_ready=is_ready)


def _takes_nothing_away(deployment: Document) -> bool:
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxUnavailable") in {0, "0", "0%"}


def _preparation(jobs: Sequence[Document], image: str) -> Preparation:
    states = [_state(job) for job in jobs if _migrates_to(job, image)]
    for state in ("done", "running", "failed"):
        if state in states:
            return "done" if state == "done" else "running" if state == "running" else "failed"
    return "absent"


def _state(job: Document) -> str:
    status = job.get("status") or {}
    if status.get("succeeded"):
        return "done"
    conditions = status.get("conditions") or []
    has_failed = any(one["type"] == "Failed" and one["status"] == "True" for one in conditions)
    return "failed" if has_failed else "running"


def _migrates_to(job: Document, image: str) -> bool:
    container = _migrating(job)
    return container is not None and container["image"] == image


def _migrating(job: Document) -> Document | None:
    return _of_pod(job["spec"]["template"]["spec"], MIGRATION)


def _container(deployment: Document, name: str) -> Document | None:
    return _of_pod(deployment["spec"]["template"]["spec"], name)


def _of_pod(pod: Document, name: str) -> Document | None:
    return next((one for one in pod.get("containers") or [] if one["name"] == name), None)
