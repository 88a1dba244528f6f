"""The mover's way to the cells: any process of a cell will do. Never raises for a cell that is gone or says no."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.model import Cell, Instance, Unreachable
from control_plane.mover.calls import Call, Rows
from control_plane.tokens import Tokens, utc_now

CONNECT_S = 1.0
ANSWER_MAX_BYTES = 268_435_456
"""What a cell takes at once, at most: a page of rows is far below, the state of a large unit still fits."""
ROWS_HEADER = "X-Rows"
CONNECTIONS_MAX = 64

T = TypeVar("T")


@value
class StepRefused:
    """The cell understood, and said no."""

    status: int
    reason: str
    detail: str
    facts: Mapping[str, Any]


class Cells(Protocol):
    async def ask(self, cell: CellId, call: Call[T]) -> T | StepRefused | Unreachable: ...

    def admin_urls(self, cell: CellId) -> tuple[str, ...]: ...


class MoveCells:
    """Knows the processes of every cell from whoever tells it (`know`), last seen first."""

    def __init__(self, client: httpx.AsyncClient, tokens: Tokens) -> None:
        self._client = client
        self._tokens = tokens
        self._cells: Mapping[CellId, Cell] = {}

    def know(self, cells: tuple[Cell, ...]) -> None:
        self._cells = {cell.id: cell for cell in cells}

    def admin_urls(self, cell: CellId) -> tuple[str, ...]:
        return tuple(instance.admin_url for instance in self._instances(cell))

    async def ask(self, cell: CellId, call: Call[T]) -> T | StepRefused | Unreachable:
        """Every call may be repeated, so the next process is asked where one does not answer."""
        answer: T | StepRefused | Unreachable = Unreachable(detail=f"{cell} has no known instance")
        with suppress(TimeoutError):
            async with asyncio.timeout(call.timeout_s):
                for instance in self._instances(cell):
                    answer = await self._ask_one(instance, call)
                    if not isinstance(answer, Unreachable):
                        return answer
                return answer
        return Unreachable(detail=f"{cell} did not answer within {call.timeout_s:.1f} s")

    async def close(self) -> None:
        await self._client.aclose()

    def _instances(self, cell: CellId) -> list[Instance]:
        known = self._cells.get(cell)
        instances = known.instances if known else ()
        return sorted(instances, key=lambda instance: instance.seen_at, reverse=True)

    async def _ask_one(self, instance: Instance, call: Call[T]) -> T | StepRefused | Unreachable:
        url = instance.admin_url.rstrip("/") + call.path
        try:
            async with self._client.stream(
                call.method, url, content=_content(call.body), headers=self._headers(call), timeout=_timeout(call)
            ) as response:
                content = await _bounded(response)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            return Unreachable(detail=f"{instance.admin_url}: {type(error).__name__}")
        if content is None or response.status_code >= 500:
            return Unreachable(detail=f"{instance.admin_url}: status {response.status_code}, or too much of it")
        if response.status_code != 200:
            return _refused(response.status_code, content)
        return _answered(call, response, content)

    def _headers(self, call: Call[Any]) -> dict[str, str]:
        kind = "application/octet-stream" if isinstance(call.body, bytes) else "application/json"
        return {"Authorization": f"Bearer {self._tokens.machine_token(utc_now())}", "Content-Type": kind}


def mover_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    return httpx.AsyncClient(timeout=CONNECT_S, follow_redirects=False, trust_env=False, limits=limits)


def _timeout(call: Call[Any]) -> httpx.Timeout:
    return httpx.Timeout(call.timeout_s, connect=min(CONNECT_S, call.timeout_s))


def _content(body: BaseModel | bytes | None) -> bytes | None:
    return body.model_dump_json().encode() if isinstance(body, BaseModel) else body


async def _bounded(response: httpx.Response) -> bytes | None:
    """The body, or None when there is too much of it."""
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > ANSWER_MAX_BYTES:
            return None
    return b"".join(chunks)


def _refused(status: int, content: bytes) -> StepRefused:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("reason"), str):
        return StepRefused(status=status, reason=f"status_{status}", detail="the cell gave no reason", facts={})
    return StepRefused(
        status=status, reason=document["reason"], detail=str(document.get("detail", ""))[:500], facts=document
    )


def _answered(call: Call[T], response: httpx.Response, content: bytes) -> T | Unreachable:
    try:
        if call.answer is Rows:
            answer: Any = Rows(content=content, count=int(response.headers[ROWS_HEADER]))
        elif issubclass(call.answer, BaseModel):
            answer = call.answer.model_validate_json(content)
        else:
            raise TypeError(f"nobody reads answers of {call.answer.__name__}")
    except (ValidationError, KeyError, ValueError) as error:
        return Unreachable(detail=f"{response.url.path}: {type(error).__name__} in its answer")
    else:
        return answer  # type: ignore[no-any-return]
