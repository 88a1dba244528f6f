"""A real HTTP server that answers what a test tells it to: for what a healthy platform does not do on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contract.problems import Problem, problem_document
from contract.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    document: Any
    headers: dict[str, str] = field(default_factory=dict)


CUT = Answer(status=0, document=None)
"""The connection is closed without an answer, after the request was read."""


class ScriptedRouter:
    """Answers each request with what `script` makes of it; remembers all requests."""

    def __init__(self, script: Callable[[Seen], Answer]) -> None:
        self.seen: list[Seen] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, script))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def scripted_router(script: Callable[[Seen], Answer]) -> Iterator[ScriptedRouter]:
    router = ScriptedRouter(script)
    router.start()
    try:
        yield router
    finally:
        router.stop()


def in_turn(*answers: Answer) -> Callable[[Seen], Answer]:
    """The answers one after the other; the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def problem(reason: Reason, *, headers: dict[str, str] | None = None, **facts: Any) -> Answer:
    told = Problem(reason=reason, detail="For a test.", qualifier="amount", facts=facts)
    return Answer(status=told.status, document=problem_document(told, request_id="r-1"), headers=headers or {})


def posting(seen: Seen, *, replayed: bool = False) -> Answer:
    """What a cell answers to a debit or credit, more or less."""
    body = seen.body or {}
    kind = seen.path.rpartition("/")[2]
    document = {
        "transaction_id": body["transaction_id"],
        "wallet_id": seen.path.split("/")[3],
        "kind": kind,
        "amount": body["amount"],
        "currency": body["currency"],
        "delta": -body["amount"] if kind == "debit" else body["amount"],
        "held_delta": 0,
        "balance": 100,
        "held": 0,
        "available": 100,
        "seq": 2,
        "posted_at": "2027-01-15T08:00:00.123456Z",
        "entry_hash": "ab" * 32,
    }
    headers = {"X-Cell": "cell-1", **({"Idempotent-Replayed": "true"} if replayed else {})}
    return Answer(status=201, document=document, headers=headers)


def _handler(router: ScriptedRouter, script: Callable[[Seen], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen = Seen(
                method=self.command,
                path=self.path,
                headers={name.lower(): text for name, text in self.headers.items()},
                body=json.loads(body) if body else None,
            )
            router.seen.append(seen)
            answer = script(seen)
            if answer is CUT:
                self.close_connection = True
                return
            payload = json.dumps(answer.document).encode()
            self.send_response(answer.status)
            for name, text in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the names are the library's

        def log_message(self, *_: Any) -> None:
            """A test server says nothing on its own."""

    return Handler
