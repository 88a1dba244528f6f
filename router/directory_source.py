"""Keeps the live map current: from the file at once, then from the control plane, for ever.

File -> serve -> fetch. The map never expires and never goes backwards; without the control plane it only ages, which
is a figure and no failure. A document is written to disk first, then taken over, then acknowledged (with the next
poll).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import httpx
import structlog

from contract.directory import DirectoryDocument
from contract.signing import PublicKeys
from router.directory_files import DirectoryFiles, DocumentMustBeGoodError, read_document
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.routing.adoption import Declined, DeclineReason, adopt
from router.routing.directory import Directory, directory_of
from router.routing.learning import hints_of, take_over

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
"""Between fetches that failed, doubling, each with a random half taken off: routers must not ask in step."""

TIMEOUT_S = 3.0
"""For one fetch, on top of the time that a long poll may hang."""

PATH = "/v1/directory"

_log = structlog.get_logger("router")


class DirectorySource:
    """`client` is None where there is no control plane."""

    def __init__(
        self,
        *,
        live_map: LiveMap,
        files: DirectoryFiles,
        keys: PublicKeys,
        client: httpx.AsyncClient | None,
        metrics: RouterMetrics,
        router_id: str,
        own_zone: str,
        wait_s: int,
        wall_clock: Callable[[], float],
        version_in_service: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self._live_map = live_map
        self._files = files
        self._keys = keys
        self._client = client
        self._metrics = metrics
        self._router_id = router_id
        self._own_zone = own_zone
        self._wait_s = wait_s
        self._wall_clock = wall_clock
        self._version_in_service = version_in_service or self._version_of_live_map
        """Where another process serves by the map: the version that it has taken over by now."""
        self._jitter = random.Random().random  # noqa: S311 - spreads retries, guards nothing
        self._seen_version: int | None = None
        """The newest version that was judged; a declined one is not asked for again."""
        self._is_after_decline = False

    async def load(self) -> None:
        """Serve from the file, if there is a good one."""
        document = await asyncio.to_thread(self._files.load)
        if document is None:
            return
        directory = directory_of(document, own_zone=self._own_zone)
        for hint in await asyncio.to_thread(self._files.load_learned):
            directory = take_over(directory, hint) or directory
        self._live_map.replace(directory)
        self._seen_version = directory.version
        self._metrics.confirmed_at = _unix_time_s(document.issued_at)
        _log.info("directory_loaded", version=directory.version)

    async def run(self) -> None:
        """Fetch and remember until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._remember_what_is_learned())
            if self._client is not None:
                tasks.create_task(self._follow(self._client))

    async def _follow(self, client: httpx.AsyncClient) -> None:
        failures = 0
        while True:
            if await self._fetched(client, is_news=failures == 0):
                failures = 0
                continue
            failures += 1
            backoff_s = min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10), BACKOFF_MAX_S)
            await asyncio.sleep(backoff_s * (0.5 + self._jitter() / 2))

    async def _fetched(self, client: httpx.AsyncClient, *, is_news: bool) -> bool:
        """Whether the next poll may follow at once."""
        try:
            return await self._fetch(client)
        except (httpx.HTTPError, OSError) as error:
            log = _log.warning if is_news else _log.debug
            log("directory_not_fetched", error=type(error).__name__, detail=str(error))
        except DocumentMustBeGoodError as error:
            self._metrics.declined(error.cause)
            _log.error("directory_refused", cause=error.cause, detail=str(error))
        return False

    async def _fetch(self, client: httpx.AsyncClient) -> bool:
        """One poll; it also acknowledges the version that is in use."""
        question: dict[str, str | int] = {"router": self._router_id, "wait": self._wait_s}
        applied = await self._version_in_service()
        if applied is not None:
            question["applied"] = applied
        headers = {} if self._seen_version is None else {"If-None-Match": f'"{self._seen_version}"'}
        answer = await client.get(PATH, params=question, headers=headers, timeout=self._wait_s + TIMEOUT_S)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            self._confirmed()
            return True
        answer.raise_for_status()
        document = await asyncio.to_thread(read_document, answer.content, self._keys)
        return await self._judge(document, answer.content)

    async def _version_of_live_map(self) -> int | None:
        directory = self._live_map.current
        return None if directory is None else directory.version

    async def _judge(self, document: DirectoryDocument, raw: bytes) -> bool:
        """Take the document over, unless it must not be."""
        current = self._live_map.current
        if current is not None and document.version == current.version:
            self._seen_version = document.version
            self._confirmed()
            return True
        verdict = adopt(current, document, own_zone=self._own_zone, is_after_decline=self._is_after_decline)
        if isinstance(verdict, Declined):
            return self._decline(document, verdict)
        await asyncio.to_thread(self._files.save, raw)
        self._live_map.replace(self._with_what_was_learned_since(verdict.directory, current))
        self._live_map.learned.set()  # the file of learned units may hold some that the document knows by now
        self._seen_version = document.version
        self._is_after_decline = False
        self._confirmed()
        _log.info("directory_adopted", version=document.version)
        return True

    def _with_what_was_learned_since(self, adopted: Directory, judged: Directory | None) -> Directory:
        """While the file was written, 421s may have taught the map something that `judged` did not know."""
        now = self._live_map.current
        if now is None or now is judged:
            return adopted
        for hint in hints_of(now):
            adopted = take_over(adopted, hint) or adopted
        return adopted

    def _decline(self, document: DirectoryDocument, verdict: Declined) -> bool:
        """An older document would come back at once if asked for again; a larger one is waited past."""
        self._metrics.declined(verdict.reason.value)
        _log.error("directory_declined", version=document.version, reason=verdict.reason.value, detail=verdict.detail)
        if verdict.reason is DeclineReason.VERSION_MUST_NOT_GO_BACKWARDS:
            return False
        self._seen_version = document.version
        self._is_after_decline = True
        return True

    def _confirmed(self) -> None:
        if not self._is_after_decline:
            self._metrics.confirmed_at = self._wall_clock()

    async def _remember_what_is_learned(self) -> None:
        """Write learned units down, those of one burst together."""
        while True:
            await self._live_map.learned.wait()
            self._live_map.learned.clear()
            directory = self._live_map.current
            if directory is not None:
                try:
                    await asyncio.to_thread(self._files.save_learned, hints_of(directory))
                except OSError as error:
                    _log.warning("learned_units_not_saved", detail=str(error))


def _unix_time_s(instant: str) -> float | None:
    """Only for a figure: a form that cannot be read must not keep the router from its map."""
    try:
        return datetime.fromisoformat(instant).timestamp()
    except ValueError:
        return None
