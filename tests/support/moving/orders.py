"""Moves of a whole platform: ordered as an operator, waited for until they have ended."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from faults.whole_platform import WholePlatform

ENDED_DEADLINE_S = 90.0
"""Far above what a move of a few wallets takes; a bound for a busy machine."""
POLL_S = 0.05


class Operator:
    def __init__(self, platform: WholePlatform) -> None:
        self._platform = platform

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Again while the control plane is away."""
        stack = self._platform.stack
        headers = {"Authorization": f"Bearer {stack.tokens.operator}"}
        ends_at = time.monotonic() + ENDED_DEADLINE_S
        while True:
            try:
                async with httpx.AsyncClient(base_url=stack.control_plane_url, headers=headers, timeout=10) as client:
                    answer = await client.request(method, path, json=body)
                    if answer.status_code != 503:
                        return answer.status_code, answer.json()
            except httpx.TransportError:
                pass
            assert time.monotonic() < ends_at, f"{method} {path} is not answered"
            await asyncio.sleep(POLL_S)

    async def locate(self, wallet_id: str) -> dict[str, Any]:
        return (await self.ask("GET", f"/v1/locate/{wallet_id}"))[1]

    async def start(self, **order: Any) -> str:
        status, move = await self.ask("POST", "/v1/moves", order)
        assert status == 202, move
        move_id: str = move["move_id"]
        return move_id

    async def ended(self, move_id: str) -> dict[str, Any]:
        ends_at = time.monotonic() + ENDED_DEADLINE_S
        while True:
            _, move = await self.ask("GET", f"/v1/moves/{move_id}")
            if move["ended_at"] is not None:
                return move
            assert time.monotonic() < ends_at, (
                f"the move does not end: {move['state']} {move['reason']} {move['detail']}"
            )
            await asyncio.sleep(POLL_S)

    async def units_of(self, wallet_ids: Sequence[str]) -> list[int]:
        return sorted({(await self.locate(wallet_id))["unit"] for wallet_id in wallet_ids})


def arm(crash_file: Path, point: str) -> None:
    """The next one of the mover's processes to get there dies."""
    draft = crash_file.with_suffix(".new")
    draft.write_text(point)
    draft.rename(crash_file)
