"""The sign of life of this process to the control plane.

Repeated every few seconds, with the join token; the control plane derives from it where the cell's processes are.
Serving never waits for it and never depends on it: a cell that cannot register serves on, and says so once.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import httpx
import structlog

from cell.telemetry.metrics import Metrics, RegistrationResult
from contract.fleet import Registration

JITTER: Final = 0.2
"""Share of the period by which signs of life vary, so that a fleet started at once does not knock at once."""

_log = structlog.get_logger(__name__)


class Registrar:
    """Registers what `describe` says now (a schema revision may change while a process runs)."""

    def __init__(
        self,
        *,
        control_plane: httpx.AsyncClient | None,
        describe: Callable[[], Registration],
        metrics: Metrics,
        period_s: float,
        timeout_s: float,
    ) -> None:
        """`control_plane` has the base URL and the join token; none = there is nobody to register with."""
        self._control_plane = control_plane
        self._describe = describe
        self._metrics = metrics
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._last_result: RegistrationResult | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while self._control_plane is not None:
            await self.register()
            await asyncio.sleep(self._period_s * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret

    async def register(self) -> RegistrationResult:
        result, detail = await self._register()
        self._metrics.registered(result)
        if result != self._last_result:
            log = _log.info if result == "registered" else _log.warning
            log("registration", result=result, detail=detail)
        self._last_result = result
        return result

    async def _register(self) -> tuple[RegistrationResult, str]:
        assert self._control_plane is not None  # noqa: S101 - `run` registers only where there is one
        try:
            answer = await self._control_plane.post(
                "/v1/cells", json=self._describe().model_dump(mode="json"), timeout=self._timeout_s
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return "unreachable", repr(error)
        if answer.is_success:
            return "registered", ""
        # 4xx: the control plane does not want us as we are (token, revision); a person must look.
        result: RegistrationResult = "refused" if answer.is_client_error else "unreachable"
        return result, f"status {answer.status_code}: {answer.text[:200]}"
