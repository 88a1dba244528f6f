"""Objects of Kubernetes as a rollout reads and changes them, on what the chart really renders."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.releaser.manifests import (
    CellObjects,
    cell_seen,
    fence_of,
    image_of,
    image_patch,
    migration_job,
)
from control_plane.rollouts.settling import has_failed, why_not_settled

GOLDEN = Path(__file__).parents[1] / "helm" / "golden" / "cell-app-three-zones.yaml"
NEW = "registry.example/cellwallet/cell@sha256:" + "e" * 64


def rendered(kind: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all(GOLDEN.read_text())
    found = [one for one in documents if one and one["kind"] == kind]
    for number, one in enumerate(found):
        one["metadata"] |= {"resourceVersion": str(100 + number), "generation": 3}
    return found


def pod_of(deployment: dict[str, Any], *, is_ready: bool = True, **metadata: Any) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    return {
        "metadata": {"labels": template["metadata"]["labels"], **metadata},
        "spec": copy.deepcopy(template["spec"]),
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        },
    }


def settled() -> CellObjects:
    deployments = rendered("Deployment")
    for one in deployments:
        count = one["spec"]["replicas"]
        one["status"] = {
            "observedGeneration": 3,
            "replicas": count,
            "updatedReplicas": count,
            "availableReplicas": count,
        }
    pods = [pod_of(one) for one in deployments for _ in range(one["spec"]["replicas"])]
    return CellObjects(deployments=deployments, pods=pods, jobs=rendered("Job"))


def applied(document: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """RFC 6902, as far as these patches go; a test that fails raises."""
    document = copy.deepcopy(document)
    for step in patch:
        *path, last = [part.replace("~1", "/") for part in step["path"][1:].split("/")]
        place: Any = document
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if step["op"] == "test":
            assert place[last] == step["value"], step
        else:
            place[last] = step["value"]
    return document


def test_a_cell_as_the_chart_installs_it_is_seen_zone_by_zone() -> None:
    objects = settled()
    image = image_of(objects.deployments[0])
    seen = cell_seen(objects, image)
    assert len(seen.zones) == 3
    assert seen.is_surging
    assert {why_not_settled(zone, image) for zone in seen.zones} == {None}
    assert re.fullmatch(r".+@sha256:[0-9a-f]{64}", image)


def test_the_migration_of_the_chart_says_whether_a_cell_is_prepared() -> None:
    objects = settled()
    image = image_of(objects.deployments[0])
    assert cell_seen(objects, image).preparation == "running"
    objects.jobs[0]["status"] = {"succeeded": 1}
    assert cell_seen(objects, image).preparation == "done"
    assert cell_seen(objects, NEW).preparation == "absent"
    objects.jobs[0]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    assert cell_seen(objects, image).preparation == "failed"


def test_a_patch_changes_both_images_and_the_fence_and_nothing_else() -> None:
    deployment = rendered("Deployment")[0]
    before = copy.deepcopy(deployment)
    after = applied(deployment, image_patch(deployment, image=NEW, fence=7))
    pod = after["spec"]["template"]["spec"]
    assert {one["image"] for one in (*pod["containers"], *pod["initContainers"])} == {NEW}
    assert fence_of(after) == 7
    for place in ("containers", "initContainers"):
        for one, old in zip(pod[place], before["spec"]["template"]["spec"][place], strict=True):
            one["image"] = old["image"]
    after["metadata"].pop("annotations", None)
    before["metadata"].pop("annotations", None)
    assert after == before


@pytest.mark.parametrize("change", ["version", "image"])
def test_a_patch_does_not_apply_to_what_somebody_has_changed(change: str) -> None:
    deployment = rendered("Deployment")[0]
    patch = image_patch(deployment, image=NEW, fence=7)
    if change == "version":
        deployment["metadata"]["resourceVersion"] = "999"
    else:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody's"
    with pytest.raises(AssertionError):
        applied(deployment, patch)


def test_the_migration_of_another_image_is_the_chart_s_with_that_image() -> None:
    jobs = rendered("Job")
    jobs[0]["spec"]["template"]["metadata"]["labels"]["job-name"] = "made-by-the-server"
    job = migration_job(jobs, name="cell-1-migrate-x", image=NEW)
    assert job is not None
    assert job["metadata"]["name"] == "cell-1-migrate-x"
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == NEW
    assert "job-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert job["spec"]["backoffLimit"] == jobs[0]["spec"]["backoffLimit"]
    assert "selector" not in job["spec"]
    assert migration_job([], name="x", image=NEW) is None


def test_pods_that_are_about_to_go_are_not_counted() -> None:
    objects = settled()
    leaving = pod_of(objects.deployments[0], is_ready=False, deletionTimestamp="2026-01-01T00:00:00Z")
    seen = cell_seen(CellObjects(deployments=objects.deployments, pods=[*objects.pods, leaving], jobs=()), NEW)
    assert why_not_settled(seen.zones[0], image_of(objects.deployments[0])) is None


def test_a_condition_of_before_is_not_believed() -> None:
    """After a roll-back to a known image the old ReplicaSet's "complete" may still stand there."""
    objects = settled()
    deployment = objects.deployments[0]
    deployment["metadata"]["generation"] = 4
    deployment["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    ]
    image = image_of(deployment)
    zone = cell_seen(objects, image).zones[0]
    assert why_not_settled(zone, image) is not None
    assert not has_failed(zone, image)
    deployment["status"]["observedGeneration"] = 4
    assert has_failed(cell_seen(objects, image).zones[0], image)


def test_a_deployment_that_may_take_processes_away_is_replaced_zone_by_zone() -> None:
    objects = settled()
    objects.deployments[1]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 1
    assert not cell_seen(objects, NEW).is_surging
