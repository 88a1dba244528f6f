"""`local_cluster`: a control plane with its simulated nodes, from an empty folder to ready, and down again.

The folder holds everything of it: keys, data, logs, kubeconfig. Only processes that were started here are ended here.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cellwallet.local.ports import Ports as PortFile
from contract.values import value
from infra.cluster.api import Api, ApiRefusedError, client_context, write_kubeconfig
from infra.cluster.authority import Authority, Credentials
from infra.cluster.nodes import nodes
from infra.cluster.processes import Program
from infra.cluster.programs import CONTROL_PLANE, Files, Ports, api_url, commands, health_urls

START_TIMEOUT_S = 120.0
"""Some seconds on an idle machine; a busy one may take its time."""
ZONES = ("zone-a", "zone-b", "zone-c")
STAGES = Path(__file__).with_name("stages.yaml")
ADMINISTRATORS = "system:masters"


@value
class LocalCluster:
    api: Api
    kubeconfig: Path
    """Of an administrator."""
    programs: dict[str, Program]
    folder: Path


@contextmanager
def local_cluster(
    folder: Path, *, tools: dict[str, Path], zones: Sequence[str] = ZONES, nodes_per_zone: int = 2
) -> Iterator[LocalCluster]:
    """Runs while the context lasts, in the thread that entered it; the folder must not exist, and stays.

    Raises:
        ProgramMustRunError: a program ended or did not become ready; what had been started is ended.

    """
    folder.mkdir(mode=0o700, parents=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    ports = _claim_ports(folder)
    authority = Authority(folder / "keys")
    admin = authority.issue("admin", user="admin", group=ADMINISTRATORS)
    files = _write_files(folder, authority, url=api_url(ports))
    words = commands(tools, files, ports)
    programs = {name: Program(name, words[name], log=folder / f"{name}.log") for name in CONTROL_PLANE}
    with ExitStack() as stack:
        api = stack.enter_context(Api(api_url(ports), client_context(authority.certificate, admin)))
        for name in CONTROL_PLANE:
            stack.callback(programs[name].stop)  # in the opposite order of starting
            programs[name].start(_environment(folder))
            _wait_until_well(programs[name], api, health_urls(ports)[name], deadline)
        _add_nodes(api, programs, zones, nodes_per_zone, deadline)
        kubeconfig = write_kubeconfig(
            folder / "kubeconfig", url=api.url, authority=authority.certificate, credentials=admin
        )
        yield LocalCluster(api=api, kubeconfig=kubeconfig, programs=programs, folder=folder)


def _claim_ports(folder: Path) -> Ports:
    file = PortFile(folder / "ports.json")
    return Ports(
        etcd=file.claim("etcd"),
        etcd_peers=file.claim("etcd-peers"),
        api=file.claim("kube-apiserver"),
        controllers=file.claim("kube-controller-manager"),
        scheduler=file.claim("kube-scheduler"),
        kwok=file.claim("kwok"),
    )


def _write_files(folder: Path, authority: Authority, *, url: str) -> Files:
    def kubeconfig(name: str, credentials: Credentials) -> Path:
        file = folder / "keys" / f"{name}.kubeconfig"
        return write_kubeconfig(file, url=url, authority=authority.certificate, credentials=credentials)

    token_key, token_public_key = authority.key_pair("tokens")
    users = ("kube-controller-manager", "kube-scheduler")
    controllers, scheduler = (kubeconfig(name, authority.issue(name, user=f"system:{name}")) for name in users)
    return Files(
        folder=folder,
        authority=authority.certificate,
        server=authority.issue("server", user="server"),
        etcd_client=authority.issue("etcd-client", user="kube-apiserver"),
        token_key=token_key,
        token_public_key=token_public_key,
        controllers=controllers,
        scheduler=scheduler,
        kwok=kubeconfig("kwok", authority.issue("kwok", user="kwok", group=ADMINISTRATORS)),
        stages=STAGES,
    )


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours: a KUBECONFIG or a proxy of the user must not lead a program elsewhere."""
    return {"PATH": os.defpath, "HOME": str(folder)}


def _wait_until_well(program: Program, api: Api, url: str, deadline: float) -> None:
    program.wait_until(lambda: api.is_well(url), deadline=deadline, what="ready")


def _add_nodes(api: Api, programs: dict[str, Program], zones: Sequence[str], per_zone: int, deadline: float) -> None:
    for node in nodes(zones, per_zone=per_zone):
        api.create("/api/v1/nodes", node)
    programs["kwok"].wait_until(lambda: _are_nodes_usable(api), deadline=deadline, what="keeping all nodes ready")
    programs["kube-controller-manager"].wait_until(
        lambda: _has_default_account(api), deadline=deadline, what="done with the default namespace"
    )


def _are_nodes_usable(api: Api) -> bool:
    """Ready, and without the taint that every node begins with."""
    return all(
        not node["spec"].get("taints")
        and any(it["type"] == "Ready" and it["status"] == "True" for it in node["status"].get("conditions", []))
        for node in api.items("/api/v1/nodes")
    )


def _has_default_account(api: Api) -> bool:
    """Pods are refused in a namespace that has none yet."""
    try:
        api.read("/api/v1/namespaces/default/serviceaccounts/default")
    except ApiRefusedError as error:
        if error.status != 404:
            raise
        return False
    return True
