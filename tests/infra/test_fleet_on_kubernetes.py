"""Every command of docs/running/fleet_on_kubernetes.md, as it stands there: from an empty cluster to a zone left.

Blocks that need something to answer in a pod are marked in the page and not run.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes_site import teach_databases
from page_commands import Block, Ran, Shell, blocks_of, shell_in
from placed_pods import eventually, placed, ready_per_zone

from contract.values import value
from infra.cluster.local import ZONES, LocalCluster, local_cluster

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "running" / "fleet_on_kubernetes.md"
NODES_PER_ZONE = 5
PAGE_TIMEOUT_S = 1800
"""Its roll-outs wait 15 s for each process, as in production."""
CELLS = {"cell-1": "2", "cell-2": "4", "cell-3": "2"}
"""The digit of the digest that each runs at the end: what was taken back is what ran before."""

pytestmark = [
    pytest.mark.timeout(PAGE_TIMEOUT_S),
    pytest.mark.only_a_cloud("that containers start from their images, and what their probes answer"),
    pytest.mark.only_a_cloud("that CloudNativePG makes databases of the Clusters, and fails them over"),
    pytest.mark.only_a_cloud("that NetworkPolicies are enforced as the graph of the tests says"),
    pytest.mark.only_a_cloud("that the control plane in a pod brings waves and evacuates: its blocks of the page"),
]
Find = Callable[[list[str]], dict[str, Path]]


@value
class Told:
    """What happened, and the cluster after it."""

    ran: list[Ran]
    cluster: LocalCluster
    shell: Shell


@pytest.fixture(scope="module")
def told(
    control_plane_tools: dict[str, Path], tools_or_skip: Find, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    tools = tools_or_skip(["helm", "kubectl", "kubectl-cnpg"])
    folder = tmp_path_factory.mktemp("page")
    with local_cluster(folder / "local", tools=control_plane_tools, nodes_per_zone=NODES_PER_ZONE) as cluster:
        teach_databases(cluster, tools["kubectl-cnpg"])
        shell = shell_in(
            folder / "desk",
            tools=tools,
            here=ROOT,
            kubeconfig=cluster.kubeconfig,
            bin_folder=Path(sys.executable).parent,
        )
        yield Told(ran=list(until_something_is_wrong(shell)), cluster=cluster, shell=shell)


def until_something_is_wrong(shell: Shell) -> Iterator[Ran]:
    for block in blocks_of(PAGE.read_text()):
        if block.meaning == "needs running pods":
            continue
        ran = shell.run(block)
        yield ran
        if not ran.is_as_meant:
            return


def test_every_command_does_what_the_page_says(told: Told) -> None:
    for ran in told.ran:
        assert ran.is_as_meant, f"{PAGE.name}, line {ran.block.line}: exit code {ran.code}\n{ran.output}"
    unmarked = [one for one in blocks_of(PAGE.read_text()) if one.meaning != "needs running pods"]
    assert [ran.block for ran in told.ran] == unmarked


def test_at_its_end_three_cells_routers_and_a_control_plane_are_ready_in_each_zone(told: Told) -> None:
    numbers = (told.cluster.folder.parent / "desk" / "work" / "cell-1.yaml").read_text()
    per_zone = next(int(line.split()[1]) for line in numbers.splitlines() if line.startswith("replicasPerZone"))
    assert per_zone > 1
    expected = {**dict.fromkeys(CELLS, per_zone), "control-plane": 2}
    for home, count in expected.items():

        def is_ready(home: str = home, count: int = count) -> bool:
            return ready(told, home) == dict.fromkeys(ZONES, count)

        eventually(is_ready, f"{home}: {ready(told, home)}")
    assert min(ready(told, "router")[zone] for zone in ZONES) > 1


def ready(told: Told, home: str) -> Counter[str]:
    """Without what is no Deployment's."""
    return ready_per_zone(placed(told.cluster.api, home, "cellwallet/zone"))


@pytest.mark.parametrize("cell", CELLS)
def test_each_cell_runs_the_release_that_it_was_left_with(told: Told, cell: str) -> None:
    found = {pod.image for pod in placed(told.cluster.api, cell, "cellwallet/zone") if pod.is_ready}
    assert {image.partition("@sha256:")[2] for image in found} == {CELLS[cell] * 64}


def test_no_machine_was_left_closed(told: Told) -> None:
    assert not [node for node in told.cluster.api.items("/api/v1/nodes") if node["spec"].get("unschedulable")]


def test_a_command_that_is_misspelt_is_found_out(told: Told) -> None:
    """The mutant: were every exit code as meant, the page could say anything."""
    for script in ("helm upgrade cell-1-app helm/cell-ap --namespace cell-1", "kubectl get deployment --selecter a=b"):
        assert not told.shell.run(Block(line=1, script=script, meaning="runs")).is_as_meant
