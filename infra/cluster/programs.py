"""With which words each program of a local cluster is started: pure, from where its files and ports are.

Everything listens on 127.0.0.1 and asks for a certificate of the cluster's own authority, except KWOK, which only tells
whether it is well. What production would not do is said where it is done.
"""

from pathlib import Path

from contract.values import value
from infra.cluster.authority import Credentials

HOST = "127.0.0.1"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
"""In the order of starting."""
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"
MANAGED_BY = "kwok.x-k8s.io/node"
"""Nodes with this label are kept alive; one that loses it falls silent, as a machine that lost its power does.

A label, because the server tells whoever watches by labels that a node is theirs no more. KWOK filters annotations by
itself and does not notice that one has gone: it would renew the node's lease for ever.
"""

NODE_LEASE_S = 4
"""KWOK renews a lease four times in its life."""
NODE_SILENCE_S = 8
"""After so long a silence a node is not ready; 40 s in production, which no test should wait for."""
EVICTION_DELAY_S = 5
"""So long pods that say nothing else stay on a node that is not ready; 300 s in production."""


@value
class Ports:
    etcd: int
    etcd_peers: int
    api: int
    controllers: int
    scheduler: int
    kwok: int


@value
class Files:
    folder: Path
    authority: Path
    server: Credentials
    etcd_client: Credentials
    token_key: Path
    token_public_key: Path
    controllers: Path
    """A kubeconfig, as the next two are."""
    scheduler: Path
    kwok: Path
    stages: Path
    """What becomes of simulated nodes and pods."""


def commands(tools: dict[str, Path], files: Files, ports: Ports) -> dict[str, list[str]]:
    """Name of the program → its command, in the order of starting."""
    words = {
        "etcd": _etcd(files, ports),
        "kube-apiserver": _api_server(files, ports),
        "kube-controller-manager": _controllers(files, ports),
        "kube-scheduler": _scheduler(files, ports),
        "kwok": _kwok(files, ports),
    }
    return {name: [str(tools[name]), *words[name]] for name in CONTROL_PLANE}


def api_url(ports: Ports) -> str:
    return f"https://{HOST}:{ports.api}"


def health_urls(ports: Ports) -> dict[str, str]:
    return {
        "etcd": f"https://{HOST}:{ports.etcd}/health",
        "kube-apiserver": f"{api_url(ports)}/readyz",
        "kube-controller-manager": f"https://{HOST}:{ports.controllers}/healthz",
        "kube-scheduler": f"https://{HOST}:{ports.scheduler}/readyz",
        "kwok": f"http://{HOST}:{ports.kwok}/healthz",
    }


def _etcd(files: Files, ports: Ports) -> list[str]:
    clients, peers = f"https://{HOST}:{ports.etcd}", f"https://{HOST}:{ports.etcd_peers}"
    return [
        "--name=local",
        f"--data-dir={files.folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=local={peers}",
        *_etcd_tls("", files),
        *_etcd_tls("peer-", files),
        "--unsafe-no-fsync",  # the cluster ends with its test; a crash of the machine may take it along
        "--log-level=warn",
    ]


def _etcd_tls(kind: str, files: Files) -> list[str]:
    return [
        f"--{kind}cert-file={files.server.certificate}",
        f"--{kind}key-file={files.server.key}",
        f"--{kind}trusted-ca-file={files.authority}",
        f"--{kind}client-cert-auth",
    ]


def _api_server(files: Files, ports: Ports) -> list[str]:
    return [
        *_serving(files, ports.api),
        f"--advertise-address={HOST}",
        "--endpoint-reconciler-type=none",  # it would refuse to announce a server on 127.0.0.1
        f"--etcd-servers=https://{HOST}:{ports.etcd}",
        f"--etcd-cafile={files.authority}",
        f"--etcd-certfile={files.etcd_client.certificate}",
        f"--etcd-keyfile={files.etcd_client.key}",
        f"--client-ca-file={files.authority}",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-signing-key-file={files.token_key}",
        f"--service-account-key-file={files.token_public_key}",
        f"--default-not-ready-toleration-seconds={EVICTION_DELAY_S}",
        f"--default-unreachable-toleration-seconds={EVICTION_DELAY_S}",
    ]


def _controllers(files: Files, ports: Ports) -> list[str]:
    return [
        *_serving(files, ports.controllers),
        f"--kubeconfig={files.controllers}",
        f"--root-ca-file={files.authority}",
        f"--service-account-private-key-file={files.token_key}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--node-monitor-period=1s",
        f"--node-monitor-grace-period={NODE_SILENCE_S}s",
    ]


def _scheduler(files: Files, ports: Ports) -> list[str]:
    return [
        *_serving(files, ports.scheduler),
        f"--kubeconfig={files.scheduler}",
        "--leader-elect=false",
    ]


def _kwok(files: Files, ports: Ports) -> list[str]:
    return [
        f"--kubeconfig={files.kwok}",
        f"--config={files.stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-label-selector={MANAGED_BY}=fake",
        f"--node-lease-duration-seconds={NODE_LEASE_S}",
        f"--cidr={POD_RANGE}",
        f"--node-ip={HOST}",
        f"--server-address={HOST}:{ports.kwok}",  # unsaid, it would listen to the whole network
    ]


def _serving(files: Files, port: int) -> list[str]:
    return [
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        f"--tls-cert-file={files.server.certificate}",
        f"--tls-private-key-file={files.server.key}",
    ]
