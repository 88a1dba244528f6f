"""An installation is what the chart renders: every way in which it is not is refused with a word of its own."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contract.ids import CellId
from control_plane.installations.checking import installation_of
from control_plane.installations.model import (
    KINDS,
    Installation,
    InstallationRefusal,
    InstallationRefused,
)

GOLDEN = Path(__file__).parents[1] / "helm" / "golden"
CELL = CellId("cell-1")
Objects = list[dict[str, Any]]
Spoil = Callable[[Objects], None]


def rendered(name: str = "three-zones") -> Objects:
    return [one for one in yaml.safe_load_all((GOLDEN / f"cell-app-{name}.yaml").read_text()) if one]


def first(objects: Objects, kind: str) -> dict[str, Any]:
    return next(one for one in objects if one["kind"] == kind)


def pods(objects: Objects) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in objects if one["kind"] in {"Deployment", "Job"}]


@pytest.mark.parametrize(("name", "cell", "zones"), [("three-zones", "cell-1", 3), ("monitored", "blue", 3)])
def test_what_the_chart_renders_is_an_installation_in_the_order_of_applying(name: str, cell: str, zones: int) -> None:
    objects = rendered(name)
    cell = first(objects, "Deployment")["metadata"]["labels"]["cellwallet/cell"]
    found = installation_of(CellId(cell), objects[::-1])
    assert isinstance(found, Installation), found
    assert len(found.replicas) >= zones
    order = [list(KINDS).index(one["kind"]) for one in found.objects]
    assert order == sorted(order)
    assert len(found.objects) == len(objects)
    assert {container["image"] for pod in pods(objects) for container in pod["containers"]} == {found.image}


def set_images(image: Any) -> Spoil:
    def spoil(objects: Objects) -> None:
        for pod in pods(objects):
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                container["image"] = image

    return spoil


def set_replicas(*counts: Any) -> Spoil:
    def spoil(objects: Objects) -> None:
        for one, count in zip((one for one in objects if one["kind"] == "Deployment"), counts, strict=True):
            one["spec"]["replicas"] = count

    return spoil


def of_pod(**members: Any) -> Spoil:
    return lambda objects: pods(objects)[0].update(members)


def without(*kinds: str) -> Spoil:
    def spoil(objects: Objects) -> None:
        objects[:] = [one for one in objects if one["kind"] not in kinds]

    return spoil


def one_zone_only(objects: Objects) -> None:
    kept = first(objects, "Deployment")
    objects[:] = [one for one in objects if one["kind"] != "Deployment" or one is kept]


def stranger(objects: Objects) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cell-1-secret"}}
    objects.append(secret)


def elsewhere(objects: Objects) -> None:
    objects[0]["metadata"]["namespace"] = "kube-system"


def another_cell(objects: Objects) -> None:
    objects[-1]["metadata"]["labels"]["cellwallet/cell"] = "cell-2"


def twice(objects: Objects) -> None:
    objects.append(copy.deepcopy(objects[0]))


def renamed(objects: Objects) -> None:
    first(objects, "Deployment")["metadata"]["name"] = "cell-1-api-nowhere"


def second_container(objects: Objects) -> None:
    pod = pods(objects)[0]
    pod["containers"].append({"name": "shell", "image": pod["containers"][0]["image"]})


def one_other_image(objects: Objects) -> None:
    pods(objects)[0]["initContainers"][0]["image"] = "registry.example/cell@sha256:" + "9" * 64


CHART, OF_CELL = InstallationRefusal.OBJECTS_MUST_BE_OF_THE_CHART, InstallationRefusal.OBJECTS_MUST_BE_OF_THE_CELL
HEADROOM = InstallationRefusal.PROCESSES_MUST_LEAVE_HEADROOM
IMAGE = InstallationRefusal.IMAGE_MUST_NAME_ITS_CONTENT
REFUSED: tuple[tuple[Spoil, InstallationRefusal, str], ...] = (
    (stranger, CHART, "makes no 'Secret' of 'v1'"),
    (twice, CHART, "must stand there once"),
    (renamed, CHART, "must be named for its zone 'a'"),
    (second_container, CHART, "containers must be cell, not 'cell', 'shell'"),
    (of_pod(serviceAccountName="default"), CHART, "must run as the account cell"),
    (of_pod(automountServiceAccountToken=True), CHART, "without a token of the cluster"),
    (of_pod(hostNetwork=True), CHART, "must not share anything of their host"),
    (without("Job"), CHART, "there must be a Job"),
    (without("Deployment", "Job"), CHART, "there must be a Deployment"),
    (elsewhere, OF_CELL, "must leave its namespace"),
    (another_cell, OF_CELL, "must be of cell-1"),
    (one_zone_only, InstallationRefusal.ZONES_MUST_BE_THREE_OR_MORE, "of which one may be lost, not a"),
    (set_replicas(-1, -1, -1), HEADROOM, "not -1 in a"),
    (set_replicas(1, 1, 1), HEADROOM, "2 at the least"),
    (set_replicas(3, 3, 2), HEADROOM, "2 in c"),
    (set_replicas("3", "3", "3"), HEADROOM, "'3' in a"),
    (set_replicas([], {}, None), HEADROOM, "as headroom says"),
    (set_images("registry.example/cellwallet/cell:latest"), IMAGE, "not 'registry.example/cellwallet/cell:latest'"),
    (set_images({"name": "x"}), IMAGE, "by its @sha256: digest"),
    (one_other_image, IMAGE, "there must be one image"),
)


@pytest.mark.parametrize(("spoil", "reason", "words"), REFUSED)
def test_what_the_chart_would_not_render_is_refused(spoil: Spoil, reason: InstallationRefusal, words: str) -> None:
    objects = rendered()
    spoil(objects)
    found = installation_of(CELL, objects)
    assert isinstance(found, InstallationRefused), spoil
    assert (found.reason, words in found.detail) == (reason, True), found


def test_every_flaw_of_objects_has_a_case() -> None:
    after_a_look = {
        InstallationRefusal.INSTALLATION_MUST_BE_POSSIBLE_HERE,
        InstallationRefusal.ANOTHER_ROLLOUT_MUST_HAVE_ENDED,
        InstallationRefusal.IMAGE_MUST_BE_THE_ONE_THAT_RUNS,
        InstallationRefusal.FIELDS_MUST_HAVE_ONE_OWNER,
        InstallationRefusal.CLUSTER_MUST_ACCEPT,
        InstallationRefusal.CLUSTER_MUST_ANSWER,
    }
    assert {reason for _, reason, _ in REFUSED} == set(InstallationRefusal) - after_a_look


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@given(place=st.integers(0, 200), junk=JSON)
def test_whatever_stands_anywhere_is_judged_and_never_breaks(place: int, junk: Any) -> None:
    """One member of the objects, wherever it is, becomes anything that JSON can say."""
    objects = rendered()
    members = [(node, key) for node, key in walked(objects) if key != "value"]
    node, key = members[place % len(members)]
    node[key] = junk
    assert isinstance(installation_of(CELL, objects), Installation | InstallationRefused)


def walked(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, dict):
        return [pair for key, below in node.items() for pair in ((node, key), *walked(below))]
    if isinstance(node, list):
        return [pair for number, below in enumerate(node) for pair in (*walked(below), *_members(node, number))]
    return []


def _members(node: list[Any], number: int) -> list[tuple[Any, Any]]:
    """Whole objects are mappings: the API sees to that."""
    is_object = isinstance(node[number], dict) and "apiVersion" in node[number]
    return [] if is_object else [(node, number)]
