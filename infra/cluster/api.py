"""Access to a cluster: the kubeconfig that every tool takes, and plain requests with an administrator's certificate.

Requests are HTTP and JSON as the API server documents them; no object is interpreted here.
"""

import base64
import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from infra.cluster.authority import Credentials

TIMEOUT_S = 30.0
Document = dict[str, Any]


class ApiRefusedError(Exception):
    """The API server refused a request; `reason` is its word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


def write_kubeconfig(file: Path, *, url: str, authority: Path, credentials: Credentials) -> Path:
    """Complete in itself, so that it may be copied; JSON, which is YAML too."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": url, "certificate-authority-data": _encoded(authority)}}],
        "users": [
            {
                "name": "user",
                "user": {
                    "client-certificate-data": _encoded(credentials.certificate),
                    "client-key-data": _encoded(credentials.key),
                },
            }
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user"}}],
        "current-context": "local",
    }
    file.touch(mode=0o600)
    file.write_text(json.dumps(document, indent=2))
    return file


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def client_context(authority: Path, credentials: Credentials) -> ssl.SSLContext:
    """Trusts the cluster's own authority and no other."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context


class Api:
    """Paths are the server's: `/api/v1/nodes`, `/apis/apps/v1/namespaces/shop/deployments/front`."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, verify=context, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def read(self, path: str, **query: str) -> Document:
        return self._answer(self._client.get(path, params=query))

    def items(self, path: str, **query: str) -> list[Document]:
        found: list[Document] = self.read(path, **query)["items"]
        return found

    def create(self, path: str, document: Document) -> Document:
        return self._answer(self._client.post(path, json=document))

    def patch(self, path: str, document: Document) -> Document:
        """A merge patch: null removes."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._answer(self._client.patch(path, content=json.dumps(document), headers=headers))

    def apply(self, document: Document, *, owner: str, is_dry: bool = False) -> Document:
        """Server-side: each field has one owner, and a field that the server does not know is refused.

        Raises:
            ApiRefusedError: 409 if somebody else owns a field and wants it otherwise.

        """
        query = {"fieldManager": owner, "fieldValidation": "Strict"} | ({"dryRun": "All"} if is_dry else {})
        path = f"{self.path_of(document)}/{document['metadata']['name']}"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self._answer(self._client.patch(path, params=query, content=json.dumps(document), headers=headers))

    def path_of(self, document: Document) -> str:
        """Where the server keeps objects of this kind, in the namespace that the document names."""
        version, kind = document["apiVersion"], document["kind"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for resource in self.read(group)["resources"]:
            if resource["kind"] == kind and "/" not in resource["name"]:
                home = document["metadata"].get("namespace", "default")
                place = f"namespaces/{home}/" if resource["namespaced"] else ""
                return f"{group}/{place}{resource['name']}"
        raise ApiRefusedError(httpx.codes.NOT_FOUND, "NotFound", f"no resource of the kind {kind} in {version}")

    def delete(self, path: str) -> Document:
        return self._answer(self._client.delete(path))

    def is_well(self, url: str) -> bool:
        """Whether it answers 200; it may not listen yet."""
        try:
            return self._client.get(url).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _answer(self, response: httpx.Response) -> Document:
        document: Document = response.json()
        if response.is_error:
            raise ApiRefusedError(response.status_code, document.get("reason", ""), document.get("message", ""))
        return document
