"""The admin port: figures and signs of life, for the platform's own eyes."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from contract.problems import Problem
from contract.reasons import Reason
from router.answers import Answer, json_answer, problem_answer, send_answer
from router.asgi import Receive, Scope, Send
from router.metrics import RouterMetrics


class Admin:
    def __init__(self, metrics: RouterMetrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(metrics)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        await send_answer(self._answer(scope["method"], scope["path"]), send)

    def _answer(self, method: str, path: str) -> Answer:
        if path not in {"/metrics", "/healthz"}:
            return problem_answer(_NO_ROUTE, request_id="-")
        if method != "GET":
            return problem_answer(_NO_METHOD, request_id="-", allow="GET")
        if path == "/healthz":
            return json_answer({"status": "ok"})
        body = generate_latest(self._registry)
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode()), (b"content-length", b"%d" % len(body))]
        return Answer(status=200, headers=headers, body=body)


_NO_ROUTE = Problem(reason=Reason.ROUTE_MUST_EXIST, detail="There is no such route.")
_NO_METHOD = Problem(reason=Reason.METHOD_MUST_BE_ALLOWED, detail="This route allows GET.")
