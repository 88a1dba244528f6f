"""What the processes of cells would tell of themselves, where their pods are only simulated: one HTTP server for all.

It reads from the cluster which pods are ready and which image each runs, and tells metrics that follow from that: every
process counts requests from the moment on at which its pod began, and errs as its image does. Its admin API goes as far
as rollouts need it. So what is really decided on is what the cluster really runs.
"""

import http.server
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import time
from typing import Any

from served_in_a_thread import served

from contract.values import value
from infra.cluster.api import Api

RATE_PER_S = 50.0
"""Requests of each process."""
BOUNDS = (0.01, 0.1, 1.0)


@value
class Behaviour:
    """Of an image."""

    errors: float = 0.0
    """Share of requests."""
    slowest_s: float = 0.009
    is_clean: bool = True
    """Whether an audit finds nothing."""


@value
class Process:
    cell: str
    pod: str
    zone: str
    image: str
    began_s: float


class StandInCells:
    def __init__(self, api: Api) -> None:
        self._api = api
        self.cells: list[str] = []
        self.behaviours: dict[str, Behaviour] = {}
        """By image; of one that is not named nothing bad is known."""
        self.vouched: list[str] = []
        """Who was asked to vouch for a promotion, and did."""
        self.url = ""
        self._runs: dict[str, list[tuple[int, int]]] = {}

    def admin_url(self, cell: str) -> str:
        return f"{self.url}/{cell}"

    def processes(self, cell: str) -> list[Process]:
        """That are ready, as the cluster has them now."""
        pods = self._api.items(f"/api/v1/namespaces/{cell}/pods", labelSelector="app.kubernetes.io/name=cell")
        return [_process(cell, pod) for pod in pods if _is_ready(pod)]

    def metrics(self) -> str:
        return (
            "\n".join(line for cell in self.cells for one in self.processes(cell) for line in self._lines(one)) + "\n"
        )

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Of the admin API; None where there is no such path."""
        _, cell, *rest = path.split("/")
        if rest == ["admin", "units", "first"] and method == "PUT":
            self._runs[cell] = json.loads(body)["runs"]
        if rest in (["admin", "units"], ["admin", "units", "first"]):
            runs = self._runs.get(cell, [])
            units = [{"first": first, "last": last, "state": "active", "epoch": 1} for first, last in runs]
            return {"cell": cell, "units": units}
        if rest == ["admin", "audit"]:
            is_clean = all(self._behaviour(one).is_clean for one in self.processes(cell))
            findings = [] if is_clean else [{"invariant": "L5"}]
            return {"cell": cell, "clean": is_clean, "checked": {}, "findings": findings, "duration_s": 0.0}
        if rest == ["admin", "quarantine"]:
            return {"cell": cell, "is_quarantined": False}
        if rest == ["admin", "quarantine", "promotion"] and method == "POST":
            self.vouched.append(cell)
            return {"cell": cell, "timeline": 2, "is_new": True}
        return None

    def _behaviour(self, process: Process) -> Behaviour:
        return self.behaviours.get(process.image, Behaviour())

    def _lines(self, process: Process) -> Iterator[str]:
        behaviour, count = self._behaviour(process), (time() - process.began_s) * RATE_PER_S
        own = {"cell": process.cell, "pod": process.pod, "zone": process.zone}
        yield _sample("process_start_time_seconds", own, process.began_s)
        yield _sample("cell_refused_total", own | {"reason": "cell_must_be_reachable"}, count * behaviour.errors)
        yield _sample("cell_audit_findings_total", own, 0)
        yield _sample("cell_saga_oldest_seconds", own, 0)
        for name in ("cell_request_duration_seconds", "cell_batch_duration_seconds"):
            for bound in BOUNDS:
                yield _sample(f"{name}_bucket", own | {"le": str(bound)}, count * (bound >= behaviour.slowest_s))
            yield _sample(f"{name}_bucket", own | {"le": "+Inf"}, count)
            yield _sample(f"{name}_count", own, count)
            yield _sample(f"{name}_sum", own, count * behaviour.slowest_s)


@contextmanager
def stand_in_cells(api: Api) -> Iterator[StandInCells]:
    cells = StandInCells(api)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/metrics":
                self._send(200, cells.metrics().encode(), "text/plain; version=0.0.4")
                return
            answer = cells.answer(self.command, self.path, body)
            self._send(200 if answer is not None else 404, json.dumps(answer or {}).encode(), "application/json")

        do_GET = do_PUT = do_POST = _serve  # noqa: N815 - the names are the library's

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            del arguments

    with served(Handler) as cells.url:
        yield cells


def _sample(name: str, labels: Mapping[str, str], number: float) -> str:
    told = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{told}}} {number}"


def _is_ready(pod: dict[str, Any]) -> bool:
    is_going = "deletionTimestamp" in pod["metadata"]
    conditions = pod["status"].get("conditions", [])
    return not is_going and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _process(cell: str, pod: dict[str, Any]) -> Process:
    (container,) = pod["spec"]["containers"]
    return Process(
        cell=cell,
        pod=pod["metadata"]["name"],
        zone=pod["metadata"]["labels"]["cellwallet/zone"],
        image=container["image"],
        began_s=datetime.fromisoformat(pod["status"]["startTime"]).timestamp(),
    )
