"""Grants of other cells, read where they were made: the one question that a cell asks another about a move.

An answer is the grant, the state in which the source has the unit without having granted it, or nothing at all. Only
the source's own word counts: what is no answer of its code is no answer. Knows no SQL and decides nothing.
"""

import time
from collections.abc import Sequence
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from cell.cell_tokens import CellTokens
from contract.fleet import UnitStateName
from contract.moves import Grant, MoveReason
from contract.values import value

TIMEOUT_S: Final = 0.5
"""For one address: a source that is down must not hold up the others."""


class NotGranted(BaseModel):
    """The problem document of a unit without a grant."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    reason: MoveReason
    state: UnitStateName | None
    epoch: int | None
    fence_no: int

    def excludes(self, fence_no: int) -> bool:
        """Whether the seal of this fence will never be granted: the fence is over, and none is numbered so again."""
        return self.state != "fenced" or self.fence_no != fence_no


@value
class Silence:
    """Nobody knows: the source was not reached, or did not say."""


@value
class Quarantined:
    """The source was restored and does not know yet what it gave away: neither a yes nor a no, and no silence."""


class _Refused(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    reason: str


class PeerGrants:
    def __init__(self, tokens: CellTokens, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: another way to the cells than sockets."""
        self._tokens = tokens
        self._client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S, transport=transport)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, admin_urls: Sequence[str], unit: int) -> Grant | NotGranted | Quarantined | Silence:
        """The first address that answers; all of them are the same cell's."""
        headers = {"authorization": self._tokens.authorization(time.time())}
        for url in admin_urls:
            try:
                answer = await self._client.get(f"{url.rstrip('/')}/admin/grants/{unit}", headers=headers)
                told = _told(answer)
            except (httpx.HTTPError, httpx.InvalidURL, ValidationError):
                continue
            if told is not None:
                return told
        return Silence()


def _told(answer: httpx.Response) -> Grant | NotGranted | Quarantined | None:
    if answer.status_code == httpx.codes.OK:
        return Grant.model_validate_json(answer.content)
    if answer.status_code == httpx.codes.CONFLICT:
        is_closed = _Refused.model_validate_json(answer.content).reason == MoveReason.CELL_MUST_NOT_BE_QUARANTINED
        return Quarantined() if is_closed else None
    if answer.status_code != httpx.codes.NOT_FOUND:
        return None
    told = NotGranted.model_validate_json(answer.content)
    return told if told.reason == MoveReason.UNIT_MUST_BE_GRANTED else None
