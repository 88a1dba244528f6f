"""A cell installed by the real Kubernetes client on a small API server: what is sent, other owners, and faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")

import yaml
from releasing.small_api_server import SmallApiServer, kubeconfig_of, small_api_server

from contract.ids import CellId
from control_plane.fleet.model import Unreachable
from control_plane.installations.checking import installation_of
from control_plane.installations.model import Contested, Installation, Installed, RunsAnother
from control_plane.releaser.kubernetes_substrate import KubernetesSubstrate, open_kubernetes
from control_plane.releaser.substrate import CALL_TIMEOUT_S, NotTaken

CELL = CellId("cell-1")
GOLDEN = Path(__file__).parents[2] / "unit" / "helm" / "golden" / "cell-app-three-zones.yaml"


@pytest.fixture
def server() -> Iterator[SmallApiServer]:
    with small_api_server() as served:
        yield served


@pytest.fixture
async def substrate(server: SmallApiServer, tmp_path: Path) -> AsyncIterator[KubernetesSubstrate]:
    opened = open_kubernetes(kubeconfig_of(server.url, tmp_path), namespace="{cell}")
    yield opened
    await opened.close()


@pytest.fixture
def installation() -> Installation:
    found = installation_of(CELL, [one for one in yaml.safe_load_all(GOLDEN.read_text()) if one])
    assert isinstance(found, Installation)
    return found


def names(server: SmallApiServer) -> set[str]:
    return {one["metadata"]["name"] for kind in server.objects.values() for one in kind}


def changes(outcome: object) -> set[str]:
    assert isinstance(outcome, Installed), outcome
    return {one.change for one in outcome.objects}


async def test_every_object_is_tried_before_the_first_is_applied_and_the_same_again_changes_nothing(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation
) -> None:
    assert changes(await substrate.install(installation, is_dry_run=False)) == {"created"}
    assert names(server) == {one["metadata"]["name"] for one in installation.objects}
    assert {one["metadata"]["namespace"] for kind in server.objects.values() for one in kind} == {"cell-1"}
    patched = [path.rpartition("/")[2] for method, path, _ in server.requests if method == "PATCH"]
    wanted = [one["metadata"]["name"] for one in installation.objects]
    assert patched == wanted * 2, "all once for a trial, then all"
    assert {kind for method, _, kind in server.requests if method == "PATCH"} == {"application/apply-patch+yaml"}
    assert changes(await substrate.install(installation, is_dry_run=False)) == {"unchanged"}


async def test_a_dry_run_tells_what_would_become_of_each_object_and_changes_nothing(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation
) -> None:
    assert changes(await substrate.install(installation, is_dry_run=True)) == {"created"}
    assert names(server) == set()


async def test_two_owners_of_one_field_are_named_and_nothing_is_changed(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation
) -> None:
    server.owners = {"cell-1-api-c": [(".spec.replicas", "helm"), (".spec.minReadySeconds", "kubectl-edit")]}
    outcome = await substrate.install(installation, is_dry_run=False)
    assert isinstance(outcome, Contested)
    assert outcome.detail.startswith("two owners of one field: ")
    assert ".spec.replicas of Deployment cell-1-api-c is helm's" in outcome.detail
    assert ".spec.minReadySeconds of Deployment cell-1-api-c is kubectl-edit's" in outcome.detail
    assert names(server) == set()


async def test_a_cell_that_is_there_keeps_its_version(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation
) -> None:
    await substrate.install(installation, is_dry_run=False)
    other = installation.image[:-64] + "9" * 64
    for one in server.objects["deployments"]:
        one["spec"]["template"]["spec"]["containers"][0]["image"] = other
    outcome = await substrate.install(installation, is_dry_run=False)
    assert isinstance(outcome, RunsAnother)
    assert outcome.images == (other,)


async def test_a_rollout_that_begins_meanwhile_is_not_taken_back(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation
) -> None:
    await substrate.install(installation, is_dry_run=False)
    (one, *_) = server.objects["deployments"]
    other = installation.image[:-64] + "9" * 64

    def roll_out() -> None:
        one["spec"]["template"]["spec"]["containers"][0]["image"] = other
        one["metadata"]["resourceVersion"] += "1"

    for tried in range(2 * len(installation.objects)):
        server.before_patch = [*(lambda: None for _ in range(tried)), roll_out]
        outcome = await substrate.install(installation, is_dry_run=False)
        assert isinstance(outcome, NotTaken | Installed), outcome
        assert one["spec"]["template"]["spec"]["containers"][0]["image"] == other
        one["spec"]["template"]["spec"]["containers"][0]["image"] = installation.image


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_faults_are_tried_again(
    server: SmallApiServer, substrate: KubernetesSubstrate, installation: Installation, status: int
) -> None:
    server.faults = [(status, {"Retry-After": "0"} if status == 429 else {})] * 2
    assert changes(await substrate.install(installation, is_dry_run=False)) == {"created"}


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (401, NotTaken, "the cluster does not let us (401"),
        (403, NotTaken, "the cluster does not let us (403"),
        (410, Unreachable, "the cluster answers 410"),
        (500, Unreachable, "the cluster answers 500"),
        (429, Unreachable, "the cluster answers 429"),
    ],
)
async def test_lasting_faults_are_told_in_words_and_the_same_order_goes_on_from_there(
    server: SmallApiServer,
    substrate: KubernetesSubstrate,
    installation: Installation,
    status: int,
    outcome: type,
    words: str,
) -> None:
    """They begin when some of the objects are there."""
    reads, trials = len(installation.objects), len(installation.objects)
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == trials + 4:
            server.faults = [(status, {})] * 3

    server.before_patch = [count] * (trials * 2)
    found = await substrate.install(installation, is_dry_run=False)
    assert isinstance(found, outcome), found
    assert words in found.detail
    assert 0 < len(names(server)) < reads
    server.faults, server.before_patch = [], []
    assert changes(await substrate.install(installation, is_dry_run=False)) == {"created", "unchanged"}
    assert names(server) == {one["metadata"]["name"] for one in installation.objects}


async def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, installation: Installation) -> None:
    with small_api_server() as gone:
        kubeconfig = kubeconfig_of(gone.url, tmp_path)
    opened = open_kubernetes(kubeconfig, namespace="{cell}")
    outcome = await opened.install(installation, is_dry_run=False)
    await opened.close()
    assert isinstance(outcome, Unreachable)
    assert "does not answer" in outcome.detail


async def test_a_cluster_that_never_answers_holds_up_nobody_else(
    server: SmallApiServer, substrate: KubernetesSubstrate
) -> None:
    """Names are looked up by the loop's own threads: cells and databases must be reached meanwhile."""
    server.is_silent = True
    looks = [asyncio.create_task(substrate.look(CELL, "image")) for _ in range(40)]
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    assert time.monotonic() - began < CALL_TIMEOUT_S / 4
    found = await asyncio.gather(*looks)
    assert all(isinstance(one, Unreachable) for one in found)
