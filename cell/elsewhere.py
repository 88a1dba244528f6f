"""Wallets of other cells, asked through the router with this cell's own token.

An answer is one of three: done, refused for the record, or unknown. Only a recorded refusal is a no: a 404, a 421 or a
5xx may be followed by a delayed duplicate that succeeds. Knows no SQL and decides nothing.
"""

import time
from typing import Any, Final

import httpx
import orjson

from cell.cell_tokens import CellTokens
from cell.ledger.derived_ids import cancel_id_of, confirm_id_of
from cell.ledger.grouping import coordinator_text
from cell.ledger.model import Group, Leg, Transfer
from contract.headers import DEADLINE_MS, PROBLEM_TYPE
from contract.ids import TransactionId, WalletId
from contract.values import value

CONNECTIONS_MAX: Final = 32
TIMEOUT_MIN_S: Final = 0.05


@value
class Done:
    """It happened there, now or before. `answer` is the body."""

    answer: dict[str, Any]


@value
class RefusedThere:
    """A recorded no: it will never happen."""

    reason: str


@value
class Unknown:
    """It may have happened, or may still happen. Ask again."""

    detail: str


Answer = Done | RefusedThere | Unknown


class Elsewhere:
    def __init__(
        self, *, router_url: str, tokens: CellTokens, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport`: another way to the router than sockets."""
        self._tokens = tokens
        self._client = httpx.AsyncClient(
            base_url=router_url,
            trust_env=False,
            transport=transport,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
        )
        self.is_reachable = bool(router_url)

    async def close(self) -> None:
        await self._client.aclose()

    async def receive(self, transfer: Transfer, *, timeout_s: float) -> Answer:
        body = {
            "transfer_id": transfer.transfer_id,
            "from_wallet_id": transfer.key.wallet_id,
            "vendor_id": transfer.key.vendor_id,
            "amount": transfer.amount,
            "currency": transfer.currency,
            "details": transfer.details or "{}",
        }
        return await self._ask("POST", f"/v1/wallets/{transfer.to_wallet_id}/incoming_transfers", body, timeout_s)

    async def prepare(self, group: Group, leg: Leg, *, timeout_s: float) -> Answer:
        body = {
            "group_id": group.group_id,
            "vendor_id": group.key.vendor_id,
            "amount": leg.amount,
            "currency": group.currency,
            "details": group.details or "{}",
            "coordinator": coordinator_text(group.key),
        }
        return await self._ask("POST", f"/v1/wallets/{leg.wallet_id}/group_legs", body, timeout_s)

    async def end_leg(self, group: Group, leg: Leg, *, timeout_s: float) -> Answer:
        """Confirm or cancel it, as the group was decided."""
        is_confirmed = group.state == "confirmed"
        verb, ending = ("confirm", confirm_id_of) if is_confirmed else ("cancel", cancel_id_of)
        path = f"/v1/wallets/{leg.wallet_id}/group_legs/{group.group_id}/{verb}"
        return await self._ask("POST", path, {"transaction_id": ending(group.group_id)}, timeout_s)

    async def decision(self, anchor: WalletId, group_id: TransactionId, *, timeout_s: float) -> Answer:
        """What the coordinator of a leg here has decided: `{state}`."""
        return await self._ask("GET", f"/v1/wallets/{anchor}/group_decisions/{group_id}", None, timeout_s)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Answer:
        timeout_s = max(timeout_s, TIMEOUT_MIN_S)
        headers = {
            "authorization": self._tokens.authorization(time.time()),
            DEADLINE_MS: str(min(30_000, max(1, int(timeout_s * 1_000)))),
            "content-type": "application/json",
        }
        content = None if body is None else orjson.dumps(body)
        try:
            answer = await self._client.request(method, path, content=content, headers=headers, timeout=timeout_s)
            told = orjson.loads(answer.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            return Unknown(detail=repr(error))
        if answer.is_success:
            return Done(answer=told)
        if _is_recorded(answer, told):
            return RefusedThere(reason=str(told["reason"]))
        return Unknown(detail=f"{answer.status_code} {told.get('reason') if isinstance(told, dict) else ''}")


def _is_recorded(answer: httpx.Response, told: Any) -> bool:
    """A refusal that stands in the wallet's log names its entry."""
    is_problem = answer.headers.get("content-type") == PROBLEM_TYPE
    return is_problem and answer.status_code == 422 and isinstance(told, dict) and "entry_hash" in told
