"""Many calls in one request: `client.bulk([calls.debit(...), holds.capture(...)])`.

Each call is answered for itself, by the rules of exchange.py. What may be repeated is, with the same ids and only that;
what is decided meanwhile is kept, whatever becomes of the rest. Does not send or wait.
"""

import dataclasses
import json
from collections.abc import Callable, Generator, Sequence
from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter

from cellwallet.client.calls import Call, Reply
from cellwallet.client.errors import CallFailedError, OperatorMustActError
from cellwallet.client.exchange import Again, Pause, Retries, Step, Told, backoff_s, exchange, given_up, judge
from cellwallet.client.results import Posting, Refused, accepted
from contract.bulk import BULK_PATH, BulkAnswer, BulkResult
from contract.headers import IDEMPOTENT_REPLAYED

BulkOutcome = Posting | Refused | CallFailedError
"""A failure is told in its place, not raised: others of the same request may have been done."""

_OPS = {
    ("debit", ""): "debit",
    ("credit", ""): "credit",
    ("reverse", ""): "reverse",
    ("transfers", ""): "transfer",
    ("holds", ""): "hold",
    ("holds", "capture"): "capture",
    ("holds", "release"): "release",
}
"""What follows the wallet, and what follows the hold, in the path of the single call."""
_ANSWER = TypeAdapter(BulkAnswer)

BulkExchange = Generator[Step, Told, list[BulkOutcome]]


def operation_of(call: Call[Posting]) -> dict[str, Any]:
    """The call as an operation of a bulk request.

    Raises:
        ValueError: it is a call that cannot be one.

    """
    _, _, _, wallet_id, *steps = [unquote(step) for step in call.path.split("/")] + [""] * 4
    verb, hold_id, action = steps[:3]
    op = _OPS.get((verb, action))
    if op is None or call.method != "POST" or call.body is None:
        raise ValueError(f"{call.method} {call.path} cannot be part of a bulk request")
    about = {"op": op, "wallet_id": wallet_id} | ({"hold_id": hold_id} if hold_id else {})
    return about | dict(json.loads(call.body))


def bulk_exchange(
    calls: Sequence[Call[Posting]],
    *,
    token: Callable[[], str],
    retries: Retries,
    monotonic_s: Callable[[], float],
    jitter: Callable[[], float],
) -> BulkExchange:
    """The steps of one bulk request; returns the outcome of each call, in order.

    Raises:
        CallFailedError: nothing is known of any of them. The same calls are safe to send again.

    """
    operations = [operation_of(call) for call in calls]
    outcomes: dict[int, BulkOutcome] = {}
    ends_at_s = monotonic_s() + retries.deadline_s
    left, attempt = list(range(len(calls))), 1
    while True:
        whole = _whole([operations[place] for place in left])
        within = dataclasses.replace(retries, deadline_s=ends_at_s - monotonic_s())
        try:
            told = yield from exchange(whole, token=token, retries=within, monotonic_s=monotonic_s, jitter=jitter)
            results = _complete(accepted(told), len(left))
        except CallFailedError:
            if attempt == 1:
                raise
            return [outcomes[place] for place in range(len(calls))]
        again = [
            place
            for place, result in zip(left, results, strict=True)
            if _settle(outcomes, calls, place, result, attempt)
        ]
        wait_s = jitter() * backoff_s(retries, attempt)
        if not again or attempt >= retries.attempts_max or monotonic_s() + wait_s >= ends_at_s:
            return [outcomes[place] for place in range(len(calls))]
        yield Pause(seconds=wait_s)
        left, attempt = again, attempt + 1


def _whole(operations: Sequence[dict[str, Any]]) -> Call[list[BulkResult]]:
    body = json.dumps({"operations": operations}, separators=(",", ":"), ensure_ascii=False).encode()
    return Call(method="POST", path=BULK_PATH, body=body, read=lambda reply: _ANSWER.validate_json(reply.body).results)


def _complete(results: list[BulkResult], asked: int) -> list[BulkResult]:
    if len(results) != asked:
        raise OperatorMustActError(f"POST {BULK_PATH}: {len(results)} results for {asked} operations: not the contract")
    return results


def _settle(
    outcomes: dict[int, BulkOutcome], calls: Sequence[Call[Posting]], place: int, result: BulkResult, attempt: int
) -> bool:
    """Note what became of one call; whether it is to be sent again."""
    call = calls[place]
    try:
        judged = judge(call, _reply_of(result))
    except CallFailedError as error:
        outcomes[place] = error
        return False
    if isinstance(judged, Again):
        outcomes[place] = given_up(call, judged, attempt)
        return True
    outcomes[place] = judged
    return False


def _reply_of(result: BulkResult) -> Reply:
    """What the single call would have been answered."""
    headers = {IDEMPOTENT_REPLAYED.lower(): "true"} if result.replayed else {}
    return Reply(status=result.status, headers=headers, body=json.dumps(result.body).encode())
