"""As much of a Kubernetes API server as the substrate of rollouts speaks to: lists by label, guarded JSON patches, of a
status too, applied objects; and the faults of a real one. Where the real one of infra/cluster is at hand, tests/infra
asks that.
"""

import copy
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from served_in_a_thread import served

Document = dict[str, Any]
KINDS = {
    "clusters": "Cluster",
    "deployments": "Deployment",
    "jobs": "Job",
    "nodes": "Node",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "pods": "Pod",
    "services": "Service",
}
_PATH = re.compile(
    r"/(?:api|apis/[a-z.]+)/v1(?:/namespaces/(?P<space>[^/]+))?/(?P<kind>[a-z]+)(?:/(?P<name>[^/?]+)(?:/status)?)?"
)


class SmallApiServer:
    def __init__(self) -> None:
        self.objects: dict[str, list[Document]] = {kind: [] for kind in KINDS}
        self.faults: list[tuple[int, dict[str, str]]] = []
        """Answers, status and headers, that the next requests get instead."""
        self.before_patch: list[Any] = []
        """Called once each, right before a patch is looked at: somebody else was quicker. May give the status of a
        refusal."""
        self.may_answer = threading.Event()
        """While it is not set, every request waits."""
        self.may_answer.set()
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and content type."""
        self.owners: dict[str, list[tuple[str, str]]] = {}
        """Of objects by name: fields that somebody else has, and who."""
        self.is_silent = False
        """It takes requests, and never answers."""
        self.url = ""

    def answer(self, method: str, target: str, kind_of_body: str, body: bytes) -> tuple[int, Document, dict[str, str]]:
        parts = urlsplit(target)
        self.requests.append((method, parts.path, kind_of_body))
        self.may_answer.wait()
        if self.faults:
            status, headers = self.faults.pop(0)
            return status, _status(status, "a fault"), headers
        found = _PATH.fullmatch(parts.path)
        assert found is not None, target
        if method == "GET" and found["name"]:
            known = self._known(found["kind"], found["name"])
            return (404, _status(404, "not found"), {}) if known is None else (200, copy.deepcopy(known), {})
        if method == "GET":
            selector = parse_qs(parts.query).get("labelSelector", [""])[0]
            items = [one for one in self.objects[found["kind"]] if _matches(one, selector)]
            return 200, {"kind": f"{KINDS[found['kind']]}List", "metadata": {}, "items": copy.deepcopy(items)}, {}
        is_dry_run = "dryRun" in parse_qs(parts.query)
        return (*self._patch(found["kind"], found["name"], kind_of_body, json.loads(body), is_dry_run=is_dry_run), {})

    def _known(self, kind: str, name: str) -> Document | None:
        return next((one for one in self.objects[kind] if one["metadata"]["name"] == name), None)

    def _patch(self, kind: str, name: str, kind_of_body: str, patch: Any, *, is_dry_run: bool) -> tuple[int, Document]:
        refusal = self.before_patch.pop(0)() if self.before_patch else None
        if refusal is not None:
            return refusal, _status(refusal, "somebody else was quicker")
        known = self._known(kind, name)
        if kind_of_body == "application/apply-patch+yaml":
            if name in self.owners:
                return 409, _conflict(self.owners[name])
            expected = patch["metadata"].get("resourceVersion")
            if known is not None and expected not in (None, known["metadata"]["resourceVersion"]):
                return 409, _status(409, "the object has been modified")
            if not is_dry_run and known is None:
                metadata = {**patch["metadata"], "resourceVersion": "1"}
                self.objects[kind].append({**patch, "metadata": metadata, "status": {}})
            elif not is_dry_run and known is not None:
                _merge(known, patch)
            return 200, patch
        assert known is not None, name
        if kind_of_body == "application/json-patch+json":
            following = copy.deepcopy(known)
            for step in patch:
                *path, last = [part.replace("~1", "/") for part in step["path"][1:].split("/")]
                place: Any = following
                for part in path:
                    place = place[int(part)] if isinstance(place, list) else place[part]
                if step["op"] == "test" and place.get(last) != step["value"]:
                    return 422, _status(422, "the test of a patch failed")
                if step["op"] != "test":
                    place[last] = step["value"]
            known.clear()
            known.update(following)
        else:
            _merge(known, patch)
        known["metadata"]["resourceVersion"] = str(int(known["metadata"].get("resourceVersion", "1")) + 1)
        return 200, copy.deepcopy(known)


def _merge(known: Document, patch: Document) -> None:
    for name, member in patch.items():
        if member is None:
            known.pop(name, None)
        elif isinstance(member, dict):
            _merge(known.setdefault(name, {}), member)
        else:
            known[name] = member


def _matches(document: Document, selector: str) -> bool:
    labels = document["metadata"].get("labels") or {}
    pairs = [one.partition("=") for one in selector.split(",") if one]
    return all(labels.get(name) == text for name, _, text in pairs)


def _conflict(owners: list[tuple[str, str]]) -> Document:
    causes = [
        {"reason": "FieldManagerConflict", "field": field, "message": f'conflict with "{owner}" using apps/v1'}
        for field, owner in owners
    ]
    return {**_status(409, "Apply failed"), "reason": "Conflict", "details": {"causes": causes}}


def _status(code: int, message: str) -> Document:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "Fault"}


def kubeconfig_of(url: str, folder: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": {"server": url}}],
        "users": [{"name": "one", "user": {}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(document))
    return file


@contextmanager
def small_api_server() -> Iterator[SmallApiServer]:
    api, silence = SmallApiServer(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            if api.is_silent:
                silence.wait()
                return
            status, document, headers = api.answer(self.command, self.path, kind, body)
            text = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PATCH = _serve  # noqa: N815 - the names are the library's

        def log_message(self, *arguments: object) -> None:
            del arguments

    def let_go() -> None:
        api.may_answer.set()
        silence.set()

    with served(Handler, before_the_end=let_go) as api.url:
        yield api
