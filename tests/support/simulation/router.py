"""A router of the simulated fleet: the real proxy, delivery and map, and its polling of the control plane.

On its disk are the last directory it adopted and what it learned since; it may come back with older ones.
"""

import asyncio
import random
import sys

from contract.directory import DirectoryDocument
from router.access_log import AccessLog
from router.delivery import Delivery
from router.line_writer import LineWriter
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.proxy import Proxy
from router.routing.adoption import Adopted, adopt
from router.routing.directory import Directory, directory_of
from router.routing.health import FleetHealth
from router.routing.learning import Hint, hints_of, take_over
from simulation.control_plane import DIRECTORY_HOST
from simulation.network import BrokenError, Network, Process, UnsentError, WireConnections
from simulation.trace import Trace

POLL_S = 0.1
POLL_TIMEOUT_S = 1.0
ZONE = "zone-1"

Saved = tuple[DirectoryDocument, tuple[Hint, ...]]


class SimulatedRouter:
    def __init__(self, name: str, *, network: Network, dice: random.Random, trace: Trace) -> None:
        self.name = name
        self.process: Process | None = None
        self.live_map = LiveMap()
        self.saved: list[Saved] = []
        """Its disk, and what was on it before."""
        self._network = network
        self._dice = dice
        self._trace = trace

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.is_up

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def start(self, *, is_restored: bool = False) -> None:
        """`is_restored`: with a disk of before."""
        process = self.process = Process(self.name)
        self.live_map = LiveMap()
        if self.saved:
            if is_restored:
                self.saved = self.saved[: self._dice.randint(1, len(self.saved))]
            document, learned = self.saved[-1]
            self._serve_from(directory_of(document, own_zone=ZONE), learned)
        clock = asyncio.get_running_loop().time
        health, writer = FleetHealth(), LineWriter(sys.stderr.buffer)
        metrics = RouterMetrics(live_map=self.live_map, health=health, writer=writer, wall_clock=clock)
        delivery = Delivery(
            live_map=self.live_map,
            health=health,
            connections=WireConnections(self._network),  # type: ignore[arg-type]
            metrics=metrics,
            clock=clock,
        )
        delivery._jitter = self._dice.random
        proxy = Proxy(
            delivery=delivery,
            control_plane=None,  # type: ignore[arg-type]  # nobody asks for webhooks here
            live_map=self.live_map,
            health=health,
            metrics=metrics,
            access_log=AccessLog(writer, router_id=self.name, is_quiet=True),
            tracing=None,
            clock=clock,
        )
        self._network.listen(self.name, process, proxy)  # type: ignore[arg-type]
        process.spawn(self._follow())
        process.spawn(self._remember())

    def _serve_from(self, directory: Directory, learned: tuple[Hint, ...]) -> None:
        for hint in learned:
            directory = take_over(directory, hint) or directory
        self.live_map.replace(directory)

    async def _follow(self) -> None:
        while True:
            await self._fetch()
            await asyncio.sleep(POLL_S * self._dice.uniform(0.5, 1.5))

    async def _fetch(self) -> None:
        current = self.live_map.current
        target = f"/directory?router={self.name}&applied={0 if current is None else current.version}"
        try:
            async with asyncio.timeout(POLL_TIMEOUT_S):
                reply = await self._network.ask(DIRECTORY_HOST, "GET", target, [], b"")
        except (TimeoutError, UnsentError, BrokenError):
            return
        if reply.status == 200:
            await self._judge(DirectoryDocument.model_validate_json(reply.body))

    async def _judge(self, document: DirectoryDocument) -> None:
        """As router/directory_source.py does it: to the disk first, then to the requests."""
        current = self.live_map.current
        if current is not None and document.version == current.version:
            return
        verdict = adopt(current, document, own_zone=ZONE)
        if not isinstance(verdict, Adopted):
            self._trace.note(self.name, f"* declines directory {document.version}: {verdict.reason}")
            return
        await asyncio.sleep(self._dice.uniform(0, 0.01))
        adopted = verdict.directory
        now = self.live_map.current
        if now is not None and now is not current:
            for hint in hints_of(now):
                adopted = take_over(adopted, hint) or adopted
        self.saved.append((document, hints_of(adopted)))
        self.live_map.replace(adopted)
        self._trace.note(self.name, f"* adopts directory {document.version}")

    async def _remember(self) -> None:
        while True:
            await self.live_map.learned.wait()
            self.live_map.learned.clear()
            await asyncio.sleep(self._dice.uniform(0, 0.01))
            if self.live_map.current is not None and self.saved:
                self.saved[-1] = (self.saved[-1][0], hints_of(self.live_map.current))
