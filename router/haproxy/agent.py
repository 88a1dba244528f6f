"""Keeps a HAProxy in step with the live map: files first, then the running process, by commands or by a reload.

Looks at what runs, plans (`routing/haproxy_maps.py`) and acts; doing it again changes nothing. A HAProxy that was
started by somebody else, or restarted, is found out by the pid of its worker. Without this process HAProxy serves on.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from contract.values import value
from router.haproxy.files import CONFIGURATION, write_changed
from router.haproxy.master import HaproxyMustAnswerError, HaproxyMustRunError, Master, Worker
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.routing.directory import Directory
from router.routing.haproxy_configuration import DataPlane, configuration_of
from router.routing.haproxy_maps import (
    DOUBTED_MAP,
    FACTS_MAP,
    SLOTS_MAP,
    WALLETS_MAP,
    InPlace,
    Reload,
    entries_shown,
    maps_of,
    plan,
    text_of,
)

LOOK_PERIOD_S = 1.0
"""Between looks at HAProxy without news: by then a restarted one is compared with the map."""

RELOAD_PATIENCE_S = 5.0
RELOAD_POLL_S = 0.02

RELOAD_PAUSE_S = 30.0
"""Before a configuration that a reload did not bring is tried again: each try costs HAProxy a start."""

DOUBT_S = 5.0
"""How long a wallet goes by the agent after a cell has disowned it: its next request teaches the map."""

_log = structlog.get_logger("router")


@value
class Known:
    """What a worker was last seen or made to work by."""

    pid: int
    in_place: InPlace


@value
class Drawn:
    """A map in HAProxy's words."""

    directory: Directory | None
    wanted: InPlace
    texts: Mapping[str, str]


class HaproxyAgent:
    def __init__(self, *, live_map: LiveMap, folder: Path, data_plane: DataPlane, metrics: RouterMetrics) -> None:
        self._live_map = live_map
        self._folder = folder
        self._data_plane = data_plane
        self._master = Master(folder)
        self._turn = asyncio.Lock()
        self._known: Known | None = None
        self._drawn: Drawn | None = None
        self._version_in_service: int | None = None
        self._metrics = metrics
        metrics.haproxy_is_in_step = True
        self._doubts_cleared_at = 0.0
        self._reload_failed: tuple[str, float] = ("", 0.0)

    async def version_in_service(self) -> int | None:
        """The version that vendors are served by from now on; what is not, must not be acknowledged."""
        await self.follow()
        return self._version_in_service

    async def prepare(self) -> None:
        """Files that a HAProxy can start from; without a map those of an earlier life stay."""
        if self._live_map.current is not None or not (self._folder / CONFIGURATION).exists():
            await self._drawn_for(self._live_map.current)

    async def run(self) -> None:
        """Follow every change of the map, for ever."""
        while True:
            try:
                async with asyncio.timeout(LOOK_PERIOD_S):
                    await self._live_map.changed.wait()
            except TimeoutError:
                pass  # nothing new: HAProxy itself may be
            self._live_map.changed.clear()
            await self.follow()

    async def follow(self) -> None:
        """Bring HAProxy to the present map, as far as it can be reached."""
        async with self._turn:
            directory = self._live_map.current
            if directory is None:
                return
            try:
                await self._bring_to(await self._drawn_for(directory))
            except HaproxyMustRunError:
                self._known = None  # it will read the files
            except (HaproxyMustAnswerError, OSError) as error:
                self._note(is_in_step=False, why=str(error))
                return
            self._version_in_service = directory.version
            self._note(is_in_step=True, why="")

    async def _drawn_for(self, directory: Directory | None) -> Drawn:
        """What HAProxy is to work by, once it lies on disk."""
        if self._drawn is not None and self._drawn.directory is directory:
            return self._drawn
        text, digest = configuration_of(directory, self._data_plane)
        wanted = InPlace(digest=digest, maps=maps_of(directory))
        maps = {name: text_of(entries) for name, entries in wanted.maps.items()}
        drawn = Drawn(directory=directory, wanted=wanted, texts={**maps, DOUBTED_MAP: "", CONFIGURATION: text})
        await asyncio.to_thread(write_changed, self._folder, drawn.texts)
        self._drawn = drawn
        return drawn

    async def _bring_to(self, drawn: Drawn) -> None:
        """Only the present worker: in one that is leaving no backend counts as there, and all it gets goes to us."""
        worker, wanted = await self._master.worker(), drawn.wanted
        step = plan(await self._in_place(worker), wanted)
        if isinstance(step, Reload):
            worker = await self._reload(worker, step, drawn)
            step = plan(await self._in_place(worker), wanted)
            if isinstance(step, Reload):
                self._reload_failed = wanted.digest, _now_s()
                raise HaproxyMustAnswerError(f"after a reload {step.why}")
        await self._obeyed(worker, *step.commands, *self._clearing())
        self._known = Known(pid=worker.pid, in_place=wanted)

    async def _in_place(self, worker: Worker) -> InPlace:
        """What is known of the worker, or else what it says."""
        if self._known is not None and self._known.pid == worker.pid:
            return self._known.in_place
        told = await self._master.tell(worker, "show env CONFIGURATION_DIGEST")
        maps = {}
        for name in (SLOTS_MAP, WALLETS_MAP, FACTS_MAP):
            maps[name] = entries_shown(await self._master.tell(worker, f"show map {name}"))
        return InPlace(digest=told.partition("=")[2], maps=maps)

    async def _obeyed(self, worker: Worker, *commands: str) -> None:
        complaint = await self._master.tell(worker, *commands)
        if complaint:
            self._known = None  # whatever it has, it is not what we think
            raise HaproxyMustAnswerError(complaint[:200])

    def _clearing(self) -> tuple[str, ...]:
        if _now_s() - self._doubts_cleared_at < DOUBT_S:
            return ()
        self._doubts_cleared_at = _now_s()
        return (f"clear map {DOUBTED_MAP}",)

    async def _reload(self, old: Worker, step: Reload, drawn: Drawn) -> Worker:
        """The worker that has taken over; the old one ends its connections by itself."""
        digest, failed_at = self._reload_failed
        if digest == drawn.wanted.digest and _now_s() - failed_at < RELOAD_PAUSE_S:
            raise HaproxyMustAnswerError(f"it did not take the configuration {digest}")
        self._reload_failed = drawn.wanted.digest, _now_s()
        await asyncio.to_thread(write_changed, self._folder, drawn.texts)  # somebody may have put others there
        _log.info("haproxy_reloads", why=step.why)
        self._metrics.haproxy_reloads += 1
        await self._master.reload()
        async with asyncio.timeout(RELOAD_PATIENCE_S):
            while True:
                try:
                    present = await self._master.worker()
                except (HaproxyMustRunError, HaproxyMustAnswerError):
                    present = old  # the master is changing its own program
                if present.pid != old.pid:
                    self._reload_failed = "", 0.0
                    return present
                await asyncio.sleep(RELOAD_POLL_S)

    def _note(self, *, is_in_step: bool, why: str) -> None:
        if is_in_step != self._metrics.haproxy_is_in_step:
            self._metrics.haproxy_is_in_step = is_in_step
            log = _log.info if is_in_step else _log.error
            log("haproxy_in_step" if is_in_step else "haproxy_out_of_step", detail=why)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
