"""What a local cluster is started with: on this machine only, by its own certificates, with the same nodes per zone."""

import base64
import json
import ssl
import stat
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from infra.cluster.api import Api, ApiRefusedError, client_context, write_kubeconfig
from infra.cluster.authority import Authority, Credentials
from infra.cluster.nodes import ZONE, nodes
from infra.cluster.programs import CONTROL_PLANE, Files, Ports, commands, health_urls

PORTS = Ports(etcd=20_001, etcd_peers=20_002, api=20_003, controllers=20_004, scheduler=20_005, kwok=20_006)
KEYS = Credentials(certificate=Path("/keys/a.crt"), key=Path("/keys/a.key"))
FILES = Files(
    folder=Path("/cluster"),
    authority=Path("/keys/authority.crt"),
    server=KEYS,
    etcd_client=KEYS,
    token_key=Path("/keys/tokens.key"),
    token_public_key=Path("/keys/tokens.pub"),
    controllers=Path("/keys/controllers.kubeconfig"),
    scheduler=Path("/keys/scheduler.kubeconfig"),
    kwok=Path("/keys/kwok.kubeconfig"),
    stages=Path("/stages.yaml"),
)
WORDS = commands({name: Path("/tools") / name for name in CONTROL_PLANE}, FILES, PORTS)


@pytest.mark.parametrize("name", CONTROL_PLANE)
def test_every_program_is_told_to_listen_on_this_machine_only(name: str) -> None:
    said = " ".join(WORDS[name])
    assert WORDS[name][0] == f"/tools/{name}"
    assert "0.0.0.0" not in said
    told = [word for word in WORDS[name] if word.startswith(("--bind-address=", "--listen-", "--server-address="))]
    assert told
    for word in told:
        assert "127.0.0.1" in word


def test_each_port_is_listened_to_by_one_program_and_asked_how_it_is() -> None:
    numbers = [PORTS.etcd, PORTS.api, PORTS.controllers, PORTS.scheduler, PORTS.kwok]
    assert [int(url.split(":")[2].partition("/")[0]) for url in health_urls(PORTS).values()] == numbers
    assert list(health_urls(PORTS)) == list(CONTROL_PLANE)


def test_nothing_serves_or_stores_without_a_certificate() -> None:
    assert "--client-cert-auth" in WORDS["etcd"]
    assert "--peer-client-cert-auth" in WORDS["etcd"]
    assert "--client-ca-file=/keys/authority.crt" in WORDS["kube-apiserver"]
    assert "--authorization-mode=Node,RBAC" in WORDS["kube-apiserver"]
    assert not [word for words in WORDS.values() for word in words if "=http://" in word]


def test_each_zone_has_the_same_number_of_nodes_under_names_of_their_own() -> None:
    made = nodes(("north", "south"), per_zone=3)
    assert Counter(node["metadata"]["labels"][ZONE] for node in made) == {"north": 3, "south": 3}
    assert len({node["metadata"]["name"] for node in made}) == 6


def test_a_certificate_names_user_and_group_and_is_the_authority_s(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "keys")
    issued = authority.issue("admin", user="admin", group="system:masters")
    certificate = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))
    subject = {part.oid: part.value for part in certificate.subject}
    assert subject == {NameOID.COMMON_NAME: "admin", NameOID.ORGANIZATION_NAME: "system:masters"}
    private, public = authority.key_pair("tokens")
    assert "BEGIN PUBLIC KEY" in public.read_text()
    for key in (issued.key, private):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_kubeconfig_is_complete_in_itself(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "keys")
    issued = authority.issue("admin", user="admin")
    file = write_kubeconfig(
        tmp_path / "kubeconfig", url="https://127.0.0.1:1", authority=authority.certificate, credentials=issued
    )
    document = json.loads(file.read_text())
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-key-data"]) == issued.key.read_bytes()
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


class Refusing(BaseHTTPRequestHandler):
    """Answers as an API server does that refuses."""

    def do_GET(self) -> None:
        body = json.dumps({"kind": "Status", "reason": "Forbidden", "message": "no pods for you"}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Says nothing."""


def test_a_server_of_the_authority_is_trusted_and_its_refusal_is_told_and_another_s_is_not(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "keys"), Authority(tmp_path / "others")
    served = authority.issue("server", user="server")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.certificate, served.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        with Api(url, client_context(authority.certificate, authority.issue("admin", user="admin"))) as api:
            with pytest.raises(ApiRefusedError, match="403 Forbidden: no pods for you"):
                api.read("/api/v1/pods")
            assert not api.is_well(f"{url}/readyz")
        with (
            Api(url, client_context(stranger.certificate, stranger.issue("admin", user="admin"))) as api,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            api.read("/api/v1/pods")
    finally:
        server.shutdown()
        server.server_close()
