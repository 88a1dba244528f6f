"""The control plane's way to the admin API of a cell: any of its processes will do.

Never raises for a cell that is gone, slow, or talks nonsense: that is an observation. Knows nothing of why.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from contract.fleet import AuditVerdict, CellUnits, FirstUnits
from contract.ids import CellId
from contract.load import CellLoad, IsolatedWallets, Remains
from contract.quarantine import (
    Adjudication,
    Evidence,
    Opened,
    OpenOrder,
    PromotionRecorded,
    QuarantineNow,
    Revived,
    ReviveOrder,
)
from contract.resending import ResendOrder, Resent
from contract.values import value
from control_plane.fleet.model import Cell, Instance, Unreachable
from control_plane.tokens import Tokens, utc_now

TIMEOUT_S = 1.0
"""One call to one process; a healthy one answers in milliseconds."""
CELL_TIMEOUT_S = 2.5
"""All processes of one cell, asked in turn, the one seen last first: a round waits no longer for a dead cell."""
ANSWER_MAX_BYTES = 4_194_304
"""All 16,384 units as runs of one each stay below."""

_NO_ANSWER = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    OSError,
    ValueError,
    ArithmeticError,
    ExceptionGroup,
)
"""What the client raises when it gets none; the latter ones for URLs that are well formed and still no addresses."""


ADJUDICATION_TIMEOUT_S = 30.0
"""Every unit of a cell is judged in one transaction."""
RESENDING_TIMEOUT_S = 180.0
"""A page of transfers, each of which may wait for a cell that does not answer."""
VOUCHING_TIMEOUT_S = 8.0
"""The first process waits a few seconds for the objections of the others."""
VOUCHING_CELL_TIMEOUT_S = 20.0
OPENING_TIMEOUT_S = 1_800.0
"""A cell audits itself in full before it opens: some hundred thousand entries a second."""

AUDIT_TIMEOUT_S = 300.0
"""Ends and sums of all wallets are compared."""

Told = TypeVar(
    "Told",
    CellUnits,
    CellLoad,
    IsolatedWallets,
    Remains,
    QuarantineNow,
    Adjudication,
    Opened,
    PromotionRecorded,
    Revived,
    Resent,
    AuditVerdict,
)
"""What a cell tells of itself; each names the cell."""


@value
class RefusedByCell:
    """The cell answered, and it was a "no"."""

    status: int
    detail: str


class CellAdmin:
    def __init__(self, client: httpx.AsyncClient, tokens: Tokens) -> None:
        self._client = client
        self._tokens = tokens

    async def units(self, cell: Cell) -> CellUnits | Unreachable:
        return _answered(await self._ask(cell, "GET", "/admin/units", CellUnits))

    async def load(self, cell: Cell) -> CellLoad | Unreachable:
        return _answered(await self._ask(cell, "GET", "/admin/units/load", CellLoad))

    async def isolated(self, cell: Cell) -> IsolatedWallets | Unreachable:
        return _answered(await self._ask(cell, "GET", "/admin/units/isolated", IsolatedWallets))

    async def remains(self, cell: Cell) -> Remains | Unreachable:
        return _answered(await self._ask(cell, "GET", "/admin/remains", Remains))

    async def put_first_units(
        self, cell: Cell, runs: Sequence[tuple[int, int]]
    ) -> CellUnits | RefusedByCell | Unreachable:
        """The same again changes nothing; anything else after the first is refused by the cell."""
        body = FirstUnits(runs=tuple(runs)).model_dump(mode="json")
        return await self._ask(cell, "PUT", "/admin/units/first", CellUnits, body=body)

    async def quarantine(self, cell: Cell) -> QuarantineNow | Unreachable:
        return _answered(await self._ask(cell, "GET", "/admin/quarantine", QuarantineNow))

    async def revive(self, cell: Cell, order: ReviveOrder) -> Revived | RefusedByCell | Unreachable:
        """The same again changes nothing."""
        body = order.model_dump(mode="json")
        return await self._ask(cell, "POST", "/admin/revive", Revived, body=body, patience_s=ADJUDICATION_TIMEOUT_S)

    async def resend(self, cell: Cell, order: ResendOrder) -> Resent | RefusedByCell | Unreachable:
        """One page; the same again does no harm."""
        body = order.model_dump(mode="json")
        path = "/admin/transfers/resend"
        return await self._ask(cell, "POST", path, Resent, body=body, patience_s=RESENDING_TIMEOUT_S)

    async def adjudicate(self, cell: Cell, evidence: Evidence) -> Adjudication | RefusedByCell | Unreachable:
        """The same again changes nothing."""
        body = evidence.model_dump(mode="json")
        path = "/admin/quarantine/adjudicate"
        return await self._ask(cell, "POST", path, Adjudication, body=body, patience_s=ADJUDICATION_TIMEOUT_S)

    async def open_again(self, cell: Cell, order: OpenOrder) -> Opened | RefusedByCell | Unreachable:
        body = order.model_dump(mode="json")
        path = "/admin/quarantine/open"
        return await self._ask(cell, "POST", path, Opened, body=body, patience_s=OPENING_TIMEOUT_S)

    async def record_promotion(self, cell: Cell) -> PromotionRecorded | RefusedByCell | Unreachable:
        """Each process has its own memory: one after the other until one can vouch. The same again changes nothing.

        It is refused when each of them was asked and said no: whoever has not answered may be the one who remembers.
        """
        path = "/admin/quarantine/promotion"
        answers: list[RefusedByCell | Unreachable] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(VOUCHING_CELL_TIMEOUT_S):
                for one in _last_seen_first(cell):
                    answer = await self._ask_one(
                        one, cell.id, "POST", path, PromotionRecorded, None, VOUCHING_TIMEOUT_S
                    )
                    if isinstance(answer, PromotionRecorded):
                        return answer
                    answers.append(answer)
        return _nobody_vouched(answers, asked=len(cell.instances))

    async def audit(self, cell: Cell) -> AuditVerdict | RefusedByCell | Unreachable:
        """Sums and ends of all logs, and the trial balance; not every entry again."""
        body = {"full": False}
        return await self._ask(cell, "POST", "/admin/audit", AuditVerdict, body=body, patience_s=AUDIT_TIMEOUT_S)

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(
        self,
        cell: Cell,
        method: str,
        path: str,
        told: type[Told],
        *,
        body: dict[str, Any] | None = None,
        patience_s: float | None = None,
    ) -> Told | RefusedByCell | Unreachable:
        """`patience_s`: for what takes long; without it a cell answers at once or is taken for gone."""
        answer: Told | RefusedByCell | Unreachable = Unreachable(detail="it has no known instance")
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s or CELL_TIMEOUT_S):
                for instance in _last_seen_first(cell):
                    answer = await self._ask_one(instance, cell.id, method, path, told, body, patience_s)
                    if not isinstance(answer, Unreachable):
                        break
        return answer

    async def _ask_one(
        self,
        instance: Instance,
        cell: CellId,
        method: str,
        path: str,
        told: type[Told],
        body: dict[str, Any] | None,
        patience_s: float | None,
    ) -> Told | RefusedByCell | Unreachable:
        url = instance.admin_url.rstrip("/") + path
        headers = {"Authorization": f"Bearer {self._tokens.machine_token(utc_now())}"}
        timeout = httpx.Timeout(TIMEOUT_S, read=patience_s or TIMEOUT_S)
        try:
            async with self._client.stream(method, url, json=body, headers=headers, timeout=timeout) as response:
                content = await _bounded(response)
        except _NO_ANSWER as error:
            return Unreachable(detail=f"{instance.admin_url}: {type(error).__name__}")
        if response.status_code >= 500 or content is None:
            return Unreachable(detail=f"{instance.admin_url}: status {response.status_code}, or too much of it")
        if response.status_code != 200:
            return RefusedByCell(status=response.status_code, detail=content[:500].decode(errors="replace"))
        return _read(content, told, cell, instance)


def admin_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)


def _last_seen_first(cell: Cell) -> list[Instance]:
    return sorted(cell.instances, key=lambda instance: instance.seen_at, reverse=True)


def _nobody_vouched(answers: Sequence[RefusedByCell | Unreachable], *, asked: int) -> RefusedByCell | Unreachable:
    refusals = [answer for answer in answers if isinstance(answer, RefusedByCell)]
    if refusals and len(refusals) == asked:
        return refusals[-1]
    if not refusals:
        return answers[-1] if answers else Unreachable(detail="it has no known instance, or none that answers in time")
    silent = asked - len(refusals)
    return Unreachable(detail=f"{silent} of {asked} processes did not answer, and one said: {refusals[-1].detail}")


async def _bounded(response: httpx.Response) -> bytes | None:
    """The body, or None when there is too much of it."""
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            return None
    return content


def _read(content: bytes, told: type[Told], cell: CellId, instance: Instance) -> Told | Unreachable:
    try:
        answer = told.model_validate_json(content)
    except ValidationError as error:
        return Unreachable(detail=f"{instance.admin_url}: {error.error_count()} errors in its answer")
    if answer.cell != cell:
        return Unreachable(detail=f"{instance.admin_url} belongs to {answer.cell}")
    return answer


def _answered(answer: Told | RefusedByCell | Unreachable) -> Told | Unreachable:
    """A cell that refuses to tell has not told."""
    return Unreachable(detail=answer.detail) if isinstance(answer, RefusedByCell) else answer
