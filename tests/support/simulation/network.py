"""Processes that can die at any instant, and the ways between them, on which anything can get lost.

A process owns every task that was begun in its name; killing it ends all of them, and whatever it was about to send is
not sent. A request travels on its own: it arrives late, twice or not at all whatever becomes of its sender.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from contract.values import value
from router.cell_connections import CellAnswer
from router.routing.journey import Silence
from simulation.trace import Trace
from simulation.virtual_time import NumberedTask, VirtualLoop

RawHeaders = list[tuple[bytes, bytes]]
Application = Callable[[MutableMapping[str, Any], Any, Any], Coroutine[Any, Any, None]]

_running: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("running", default=None)


class UnsentError(Exception):
    """Nobody listens there: certainly not received."""


class BrokenError(Exception):
    """The connection ended: perhaps received."""


@value
class Weather:
    """How bad the ways are, as shares of the requests."""

    delay_mean_s: float = 0.002
    lost: float = 0.0
    answer_lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    late_max_s: float = 3.0


FAIR = Weather()
ADMIN = "admin."
"""Of hosts: where the steps of moves are asked for. They are few among the vendors' requests, and hit harder."""


class Process:
    """One life of a process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_up = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.on_death: list[Callable[[], None]] = []
        self.parts: Any = None
        """What this life of it was built of."""

    def spawn(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> "asyncio.Task[Any]":
        token = _running.set(self)
        try:
            return asyncio.get_running_loop().create_task(work, name=name)
        finally:
            _running.reset(token)

    def kill(self) -> None:
        """As kill -9: from here on nothing of it has an effect."""
        if not self.is_up:
            return
        self.is_up = False
        for task in [task for task in self.tasks if not task.done()]:
            task.cancel()
        for after in self.on_death:
            after()


def task_factory(loop: VirtualLoop, work: Any, **more: Any) -> "asyncio.Task[Any]":
    """Each task belongs to the process that began it."""
    task = NumberedTask(work, loop=loop, **more)
    process = _running.get()
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
        if not process.is_up:
            task.cancel()
    task.add_done_callback(_looked_at)
    return task


def _looked_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


class Own:
    """A part of the process that asks, by name: so that routes are built once and serve every life of every process."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        process = _running.get()
        assert process is not None
        return getattr(getattr(process.parts, self._part), name)


def speaker() -> str:
    process = _running.get()
    return "fleet" if process is None else process.name


@value
class Reply:
    status: int
    headers: RawHeaders
    body: bytes


class Network:
    def __init__(self, dice: random.Random, trace: Trace) -> None:
        self._dice = dice
        self._trace = trace
        self._hosts: dict[str, tuple[Process, Application]] = {}
        self._ways = Process("network")
        self.weather = FAIR
        self.admin_weather = FAIR
        self.late_grants = 0.0
        """Share of the orders to grant that come when their sender has given up: the most dangerous of all messages."""
        self.cut: set[frozenset[str]] = set()
        """Pairs of processes between which nothing passes."""

    def listen(self, host: str, process: Process, application: Application) -> None:
        self._hosts[host] = (process, application)

    def is_up(self, host: str) -> bool:
        found = self._hosts.get(host)
        return found is not None and found[0].is_up

    async def ask(self, host: str, method: str, target: str, headers: RawHeaders, body: bytes) -> Reply:
        """The answer, if there is one; else it waits for ever, or says what is known.

        Raises:
            UnsentError: nobody listens.
            BrokenError: the other side died.

        """
        asker, weather = _running.get(), self._weather_at(host)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        told = f"{method} {target.partition('?')[0]}"
        journeys = [self._dice.expovariate(1 / weather.delay_mean_s)]
        if self._chance(weather.late):
            journeys = [self._dice.uniform(0, weather.late_max_s)]
        if target.endswith("/grant") and self._chance(self.late_grants):
            journeys = [self._dice.uniform(0.2, 2.5)]
        if self._chance(weather.twice):
            journeys.append(self._dice.uniform(0, weather.late_max_s))
        if self._chance(weather.lost):
            self._trace.note(speaker(), f"~ {told} is lost on the way to {host}")
            journeys = []
        for delay_s in journeys:
            self._ways.spawn(self._carry(asker, host, told, (method, target, headers, body), delay_s, answer))
        return await answer

    async def _carry(
        self,
        asker: Process | None,
        host: str,
        told: str,
        request: tuple[str, str, RawHeaders, bytes],
        delay_s: float,
        answer: "asyncio.Future[Reply]",
    ) -> None:
        name = "fleet" if asker is None else asker.name
        await asyncio.sleep(delay_s)
        process, application = self._hosts.get(host, (None, None))
        if process is None or application is None or frozenset((name, process.name)) in self.cut:
            return  # into a wall: nobody says no
        if not process.is_up:
            self._fail(answer, UnsentError(host))
            return
        self._trace.note(name, f"> {told} at {host}")
        served = process.spawn(_serve(application, *request))
        await asyncio.wait({served})
        if not process.is_up or served.cancelled():
            self._fail(answer, BrokenError(host))
            return
        reply = served.result()
        self._trace.note(process.name, f"< {reply.status} {told}")
        if self._chance(self._weather_at(host).answer_lost) or frozenset((name, process.name)) in self.cut:
            self._trace.note(process.name, f"~ the answer to {told} is lost")
            return
        await asyncio.sleep(self._dice.expovariate(1 / self.weather.delay_mean_s))
        if not answer.done():
            answer.set_result(reply)

    def _fail(self, answer: "asyncio.Future[Reply]", error: Exception) -> None:
        if not answer.done():
            answer.set_exception(error)

    def _weather_at(self, host: str) -> Weather:
        return self.admin_weather if host.startswith(ADMIN) else self.weather

    def _chance(self, share: float) -> bool:
        return share > 0 and self._dice.random() < share


async def _serve(application: Application, method: str, target: str, headers: RawHeaders, body: bytes) -> Reply:
    """One request through an ASGI application, without a socket."""
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower(), text) for name, text in headers],
        "client": ("10.0.0.1", 1),
        "server": ("cell", 80),
        "state": {},
    }
    parts: list[bytes] = []
    start: dict[str, Any] = {}
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await application(scope, receive, send)
    return Reply(status=start["status"], headers=list(start["headers"]), body=b"".join(parts))


class Wire(httpx.AsyncBaseTransport):
    """The network as httpx knows one."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout_s = request.extensions.get("timeout", {}).get("read")
        body = await request.aread()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._network.ask(
                    request.url.host,
                    request.method,
                    request.url.raw_path.decode(),
                    list(request.headers.raw),
                    body,
                )
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except UnsentError as error:
            raise httpx.ConnectError("nobody listens", request=request) from error
        except BrokenError as error:
            raise httpx.ReadError("the connection ended", request=request) from error
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body, request=request)


class WireConnections:
    """The network as the router's delivery knows one (router/cell_connections.py)."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def pool(self, url: str) -> "WirePool":
        return WirePool(self._network, urlsplit(url).hostname or "")


class WirePool:
    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host
        self.authority = host.encode()

    def take(self) -> None:
        return None

    async def connect(self, timeout_s: float) -> "WirePool | None":
        del timeout_s
        return self if self._network.is_up(self._host) else None

    async def exchange(self, wire: bytes, timeout_s: float) -> CellAnswer | Silence:
        head, _, body = wire.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.decode().split(" ")
        headers = [(name, text) for name, _, text in (line.partition(b": ") for line in lines)]
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._network.ask(self._host, method, target, headers, body)
        except TimeoutError:
            return Silence.TIMED_OUT
        except UnsentError:
            return Silence.UNSENT
        except BrokenError:
            return Silence.BROKEN
        return CellAnswer(status=reply.status, headers=reply.headers, body=reply.body, rest=None)
