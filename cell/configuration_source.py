"""Where a cell's configuration comes from: its own disk first, the control plane afterwards.

Serve from the file, then fetch. The last good document lies in the process's state directory and never expires; a
newer one is applied as soon as a long poll brings it. A document is trusted for its signature by the control plane's
key, must be this cell's, and never goes backwards. It decides nothing about tokens or limits: subscribers do.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from pydantic import ValidationError

from cell.telemetry.metrics import FetchResult, Metrics
from contract.configuration import CellConfiguration
from contract.signing import PublicKeys, SignatureMustBeValidError, public_keys_of, verify

FILE_NAME: Final = "configuration.json"
DOCUMENT_MAX_BYTES: Final = 16 * 1024 * 1024
"""A configuration of 50,000 vendors has about 5 MB; more is a mistake."""
RETRY_MAX_S: Final = 5.0
"""Longest pause after failures: a vendor blocked during an outage of the control plane is blocked soon after it."""
RETRY_UNREADY_MAX_S: Final = 1.0
"""The same while there is no configuration at all: nobody is served until there is one."""
RETRY_MIN_S: Final = 0.2
_GOOD: Final = ("applied", "unchanged")

Subscriber = Callable[[CellConfiguration], None]

_log = structlog.get_logger(__name__)


class ConfigurationRefusedError(Exception):
    """The document is not a configuration for this cell that a trusted key has signed, or it is older than ours."""


class ConfigurationSource:
    """The configuration in force in this process."""

    def __init__(
        self,
        *,
        cell_id: str,
        state_dir: Path,
        trusted_keys: PublicKeys,
        metrics: Metrics,
        control_plane: httpx.AsyncClient | None,
        wait_s: float,
        timeout_s: float,
    ) -> None:
        """`control_plane` has the base URL and the join token; none = serve from the file for ever."""
        self._cell_id = cell_id
        self._file = state_dir / FILE_NAME
        self._trusted_keys = trusted_keys
        self._metrics = metrics
        self._control_plane = control_plane
        self._wait_s = wait_s
        self._timeout_s = timeout_s
        self._subscribers: list[Subscriber] = []
        self._unsaved: bytes | None = None
        self._last_result: FetchResult | None = None
        self.current: CellConfiguration | None = None

    @property
    def is_ready(self) -> bool:
        """Without a configuration there are no keys to verify tokens with."""
        return self.current is not None

    def subscribe(self, subscriber: Subscriber) -> None:
        """Called now if there is a configuration, and at every change."""
        self._subscribers.append(subscriber)
        if self.current is not None:
            subscriber(self.current)

    def load(self) -> bool:
        """Serve from the file. False = there is none that can be trusted; a broken one is logged and left alone."""
        try:
            document = self._file.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.error("configuration_file_unreadable", file=str(self._file), error=str(error))
            return False
        try:
            self._apply(self._trusted(document))
        except ConfigurationRefusedError as error:
            _log.error("configuration_file_refused", file=str(self._file), error=str(error))
            return False
        return True

    async def run(self) -> None:
        """Follow the control plane until cancelled; without one there is nothing to follow."""
        failures = 0
        while self._control_plane is not None:
            started_s = asyncio.get_running_loop().time()
            result = await self.fetch()
            failures = 0 if result in _GOOD else failures + 1
            # A server that does not hold the poll back must not be asked in a tight loop.
            held_s = asyncio.get_running_loop().time() - started_s
            if failures or (result == "unchanged" and held_s < self._wait_s / 2):
                await asyncio.sleep(self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        longest_s = RETRY_MAX_S if self.is_ready else RETRY_UNREADY_MAX_S
        ceiling_s = min(longest_s, RETRY_MIN_S * (1 << min(failures, 10)))
        return ceiling_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    async def fetch(self) -> FetchResult:
        """Ask once, waiting for something newer than what we have."""
        result, detail = await self._fetch()
        self._metrics.fetched(result)
        is_good, was_good = result in _GOOD, self._last_result in (*_GOOD, None)
        if not is_good and result != self._last_result:
            _log.warning("configuration_not_fetched", result=result, detail=detail)
        elif is_good and not was_good:
            _log.info("configuration_fetched_again", result=result)
        self._last_result = result
        if self._unsaved is not None:
            await self._save(self._unsaved)
        return result

    async def _fetch(self) -> tuple[FetchResult, str]:
        assert self._control_plane is not None  # noqa: S101 - `run` asks only where there is one
        known = self.current.version if self.current is not None else None
        try:
            answer = await self._control_plane.get(
                f"/v1/cells/{self._cell_id}/configuration",
                params={"wait": f"{self._wait_s:g}"} if known is not None else {},
                headers={"If-None-Match": f'"{known}"'} if known is not None else {},
                timeout=httpx.Timeout(self._timeout_s, read=self._timeout_s + self._wait_s),
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return "unreachable", repr(error)
        if answer.status_code == 304:
            return "unchanged", ""
        if answer.status_code != 200:
            return "not_given", f"status {answer.status_code}: {answer.text[:200]}"
        return self._take(answer.content)

    def _take(self, document: bytes) -> tuple[FetchResult, str]:
        try:
            configuration = self._trusted(document)
            if self.current is not None and configuration == self.current:
                return "unchanged", ""
            self._apply(configuration)
        except ConfigurationRefusedError as error:
            return "refused", str(error)
        self._unsaved = document
        return "applied", ""

    def _trusted(self, document: bytes) -> CellConfiguration:
        if len(document) > DOCUMENT_MAX_BYTES:
            raise ConfigurationRefusedError(f"the document is larger than {DOCUMENT_MAX_BYTES} bytes")
        try:
            signed = json.loads(document)
            if not isinstance(signed, dict):
                raise ConfigurationRefusedError("the document is no JSON object")
            # A control plane that is newer than this cell may say more than this cell can know.
            configuration = CellConfiguration.model_validate(verify(signed, self._trusted_keys), extra="ignore")
        except (ValidationError, SignatureMustBeValidError, ValueError, RecursionError) as error:
            raise ConfigurationRefusedError(_summary(error)) from error
        if configuration.cell != self._cell_id:
            raise ConfigurationRefusedError(f"the document is for cell {configuration.cell}")
        return configuration

    def _apply(self, configuration: CellConfiguration) -> None:
        if self.current is not None and configuration.version <= self.current.version:
            raise ConfigurationRefusedError(
                f"version {configuration.version} does not follow version {self.current.version}"
            )
        self.current = configuration
        self._metrics.configured(configuration.version, _seconds(configuration.issued_at))
        for subscriber in self._subscribers:
            subscriber(configuration)
        _log.info("configuration_applied", version=configuration.version)

    async def _save(self, document: bytes) -> None:
        """In force it is already; a full disk only costs the next start its news, and is tried again."""
        try:
            await asyncio.to_thread(_write_whole, self._file, document)
        except OSError as error:
            _log.error("configuration_not_saved", file=str(self._file), error=str(error))
        else:
            self._unsaved = None


def read_jwks(file: Path) -> dict[str, Any]:
    """The public keys that this process trusts from its start; without one it must not start.

    Raises:
        ValueError: the file is no JWKS or holds no Ed25519 key. (A file that cannot be read is an `OSError`.)

    """
    jwks = json.loads(file.read_bytes())
    if not isinstance(jwks, dict) or not public_keys_of(jwks):
        raise ValueError(f"{file} holds no Ed25519 public key")
    return jwks


def control_plane_client(*, url: str, join_token: str) -> httpx.AsyncClient | None:
    """The one connection pool of this process to the control plane; None without a URL."""
    if not url:
        return None
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {join_token}"}, trust_env=False)


def _write_whole(file: Path, document: bytes) -> None:
    """By rename: a crash leaves the old file or the new one, and never a half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        stream.write(document)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _seconds(issued_at: str) -> float:
    """NaN for what is no date: the figure is then missing, and the configuration is still good."""
    try:
        return datetime.fromisoformat(issued_at).timestamp()
    except ValueError:
        return float("nan")


def _summary(error: Exception) -> str:
    if isinstance(error, ValidationError):
        told: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'/'.join(map(str, one['loc']))}: {one['msg']}" for one in told[:3])
    return str(error) or type(error).__name__
