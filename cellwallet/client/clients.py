"""`Client` and `AsyncClient`: two thin shells that do what an exchange says, over httpx.

What a call is stands in calls.py, when it is repeated in exchange.py; here is only sending, waiting and one line per
call. Each client holds one small pool and serves one worker well: httpx's pool becomes the bottleneck at many
connections (about 400 requests/s at 32), so a program that wants volume gives each of its workers a client of its own.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from datetime import datetime
from functools import update_wrapper
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, overload

import httpx

from cellwallet.client import calls, groups, holds
from cellwallet.client import webhooks as hooks
from cellwallet.client.bulk import BulkExchange, BulkOutcome, bulk_exchange
from cellwallet.client.calls import Call, Reply
from cellwallet.client.exchange import Exchange, NoReply, Pause, Retries, Send, Step, Told, exchange
from cellwallet.client.results import Entry, Posting, Refused, accepted

P = ParamSpec("P")
T = TypeVar("T")

PAGE_ENTRIES = 500
"""The largest page: whoever iterates wants all of them."""
POOL = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=30.0)
REPEATABLE = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
"""Faults of the connection. httpx's other exceptions are faults of the request or of its configuration."""


class _Method(Generic[P, T]):
    """A function of calls.py as a method of both clients: `client.debit(...)` sends `calls.debit(...)`."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T | Refused]: ...

    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Awaitable[T | Refused]]: ...

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    def __get__(self, client: "Client | AsyncClient | None", owner: type) -> Any:
        if client is None:
            return self

        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._build(*args, **kwargs))

        return update_wrapper(send, self._build)


class _VendorCalls:
    """The calls of the vendor API that both clients have."""

    open_wallet = _Method(calls.open_wallet)
    wallet = _Method(calls.wallet)
    wallets_of = _Method(calls.wallets_of)
    change = _Method(calls.change)
    debit = _Method(calls.debit)
    credit = _Method(calls.credit)
    reverse = _Method(calls.reverse)
    transfer = _Method(calls.transfer)
    transfer_status = _Method(calls.transfer_status)
    group = _Method(groups.group)
    group_status = _Method(groups.group_status)
    place_hold = _Method(holds.place_hold)
    capture = _Method(holds.capture)
    release = _Method(holds.release)
    extend = _Method(holds.extend)
    hold = _Method(holds.hold)
    holds_page = _Method(holds.holds_page)
    balance = _Method(calls.balance)
    entries_page = _Method(calls.entries_page)
    statement = _Method(calls.statement)
    statement_csv = _Method(calls.statement_csv)
    transaction = _Method(calls.transaction)
    proof = _Method(calls.proof)
    checkpoints_page = _Method(calls.checkpoints_page)
    keys = _Method(calls.keys)
    webhooks = _Method(hooks.webhooks)
    create_webhook = _Method(hooks.create_webhook)
    delete_webhook = _Method(hooks.delete_webhook)
    rotate_webhook = _Method(hooks.rotate_webhook)
    dead_letters = _Method(hooks.dead_letters)
    redeliver = _Method(hooks.redeliver)


class Client(_VendorCalls):
    """The vendor API for blocking code.

    `token` is a bearer token or a function that gives the present one; it is asked before every attempt.
    `http` replaces the default pool (proxies, a private certificate authority, more connections) and is closed with
    this client; its `base_url` must be the router's.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http or httpx.Client(base_url=url, limits=POOL, trust_env=not _is_loopback(url))
        self._token = _source(token)
        self._retries = retries or Retries()
        self._sleep = sleep
        self._monotonic_s = monotonic_s

    def send(self, call: Call[T]) -> T | Refused:
        """The result of one call, refusals included.

        Raises:
            CallFailedError: see errors.py.

        """
        steps = _start(call, self._token, self._retries, self._monotonic_s)
        return self._walk(steps)

    def bulk(self, asked: Sequence[Call[Posting]]) -> list[BulkOutcome]:
        """The outcome of each call, in order; a failure of one stands in its place.

        Raises:
            CallFailedError: nothing is known of any of them.
            ValueError: one cannot be part of a bulk request.

        """
        return self._walk(_start_bulk(asked, self._token, self._retries, self._monotonic_s))

    def _walk(self, steps: Generator[Step, Told, T]) -> T:
        told: Told = None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as end:
                outcome: T = end.value
                return outcome
            match step:
                case Send():
                    told = self._attempt(step)
                case Pause(seconds=seconds):
                    self._sleep(seconds)
                    told = None

    def entries(
        self,
        wallet_id: str,
        *,
        order: Literal["asc", "desc"] = "desc",
        kind: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        page_entries: int = PAGE_ENTRIES,
    ) -> Iterator[Entry]:
        """All entries, page after page as they are consumed.

        Raises:
            RefusedError: the wallet does not exist.

        """
        cursor: str | None = None
        while True:
            page = accepted(
                self.entries_page(
                    wallet_id, order=order, limit=page_entries, cursor=cursor, kind=kind, from_=from_, to=to
                )
            )
            yield from page.entries
            cursor = page.next_cursor
            if cursor is None:
                return

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempt(self, step: Send) -> Reply | NoReply:
        try:
            response = self._http.request(step.method, step.path, **_arguments(step))
        except REPEATABLE as error:
            return _no_reply(error)
        return _reply(response)


class AsyncClient(_VendorCalls):
    """The vendor API for asyncio; the same calls, each to be awaited. Arguments as for `Client`."""

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http or httpx.AsyncClient(base_url=url, limits=POOL, trust_env=not _is_loopback(url))
        self._token = _source(token)
        self._retries = retries or Retries()
        self._sleep = sleep
        self._monotonic_s = monotonic_s

    async def send(self, call: Call[T]) -> T | Refused:
        """The result of one call, refusals included.

        Raises:
            CallFailedError: see errors.py.

        """
        steps = _start(call, self._token, self._retries, self._monotonic_s)
        return await self._walk(steps)

    async def bulk(self, asked: Sequence[Call[Posting]]) -> list[BulkOutcome]:
        """As `Client.bulk`."""
        return await self._walk(_start_bulk(asked, self._token, self._retries, self._monotonic_s))

    async def _walk(self, steps: Generator[Step, Told, T]) -> T:
        told: Told = None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as end:
                outcome: T = end.value
                return outcome
            match step:
                case Send():
                    told = await self._attempt(step)
                case Pause(seconds=seconds):
                    await self._sleep(seconds)
                    told = None

    async def entries(
        self,
        wallet_id: str,
        *,
        order: Literal["asc", "desc"] = "desc",
        kind: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        page_entries: int = PAGE_ENTRIES,
    ) -> AsyncIterator[Entry]:
        """All entries, page after page as they are consumed.

        Raises:
            RefusedError: the wallet does not exist.

        """
        cursor: str | None = None
        while True:
            page = accepted(
                await self.entries_page(
                    wallet_id, order=order, limit=page_entries, cursor=cursor, kind=kind, from_=from_, to=to
                )
            )
            for entry in page.entries:
                yield entry
            cursor = page.next_cursor
            if cursor is None:
                return

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _attempt(self, step: Send) -> Reply | NoReply:
        try:
            response = await self._http.request(step.method, step.path, **_arguments(step))
        except REPEATABLE as error:
            return _no_reply(error)
        return _reply(response)


def _start(call: Call[T], token: Callable[[], str], retries: Retries, monotonic_s: Callable[[], float]) -> Exchange[T]:
    return exchange(call, token=token, retries=retries, monotonic_s=monotonic_s, jitter=random.random)


def _start_bulk(
    asked: Sequence[Call[Posting]], token: Callable[[], str], retries: Retries, monotonic_s: Callable[[], float]
) -> BulkExchange:
    return bulk_exchange(asked, token=token, retries=retries, monotonic_s=monotonic_s, jitter=random.random)


def _source(token: str | Callable[[], str]) -> Callable[[], str]:
    return token if callable(token) else lambda: token


def _is_loopback(url: str) -> bool:
    """A proxy of the environment has no way to this machine's own loopback addresses."""
    return httpx.URL(url).host in {"127.0.0.1", "::1", "localhost"}


def _arguments(step: Send) -> dict[str, Any]:
    return {
        "params": list(step.query) or None,
        "headers": step.headers,
        "content": step.body,
        "timeout": step.timeout_s,
    }


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): text for name, text in response.headers.items()}
    return Reply(status=response.status_code, headers=headers, body=response.content)


def _no_reply(error: httpx.TransportError) -> NoReply:
    return NoReply(detail=f"{type(error).__name__}: {error}")
