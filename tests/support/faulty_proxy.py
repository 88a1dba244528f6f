"""Between a client and a real API server: forwards what it is asked, or does what clusters do on a bad day."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import httpx
from releasing.small_api_server import kubeconfig_of
from served_in_a_thread import served

from contract.values import value
from infra.cluster.api import Api

KEPT_HEADERS = ("Content-Type", "Accept")


@value
class Fault:
    kind: Literal["answers", "cut", "lost", "silent"]
    """It answers by itself; the connection is cut; it is cut after the server did what was asked; nothing happens."""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()


def answers(status: int, **headers: str) -> Fault:
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return Fault(kind="answers", status=status, headers=named)


CUT, LOST, SILENT = Fault(kind="cut"), Fault(kind="lost"), Fault(kind="silent")


class FaultyProxy:
    def __init__(self, api: Api) -> None:
        self.url = ""
        self.met = 0
        """Requests that a fault met."""
        self._api = api
        self._faults: dict[str, list[Fault]] = {}
        self._over = threading.Event()

    def fail(self, method: str, *faults: Fault) -> None:
        """The next requests of that method, one fault each."""
        self._faults.setdefault(method, []).extend(faults)

    def forget(self) -> None:
        self._faults.clear()

    def end(self) -> None:
        """No more faults, and whoever is kept waiting is let go."""
        self.forget()
        self._over.set()

    def next_fault(self, method: str) -> Fault | None:
        waiting = self._faults.get(method, [])
        if not waiting:
            return None
        self.met += 1
        return waiting.pop(0)

    def wait_for_the_end(self) -> None:
        self._over.wait()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        return self._api._client.request(method, path, headers=headers, content=body)


@contextmanager
def faulty_proxy(api: Api, folder: Path) -> Iterator[tuple[FaultyProxy, Path]]:
    """The proxy, and a kubeconfig that leads through it."""
    proxy = FaultyProxy(api)
    with served(_handler(proxy), before_the_end=proxy.end) as proxy.url:
        yield proxy, kubeconfig_of(proxy.url, folder)


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            fault = proxy.next_fault(self.command)
            if fault is None:
                self._forward(body)
            elif fault.kind == "answers":
                self._answer(fault.status, b'{"kind": "Status", "message": "a fault"}', dict(fault.headers))
            else:
                if fault.kind == "lost":
                    self._asked(body)
                elif fault.kind == "silent":
                    proxy.wait_for_the_end()
                self.close_connection = True

        do_GET = do_PATCH = do_POST = do_DELETE = _handle  # noqa: N815 - the library's names

        def _asked(self, body: bytes) -> httpx.Response:
            headers = {name: self.headers[name] for name in KEPT_HEADERS if name in self.headers}
            return proxy.forward(self.command, self.path, headers, body)

        def _forward(self, body: bytes) -> None:
            told = self._asked(body)
            self._answer(told.status_code, told.content, {"Content-Type": told.headers["Content-Type"]})

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Says nothing."""

    return Handler
