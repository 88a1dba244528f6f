"""From the ledger to the wire: recorded outcomes and stored rows to answers.

A fresh answer and its replay are built from the same recorded outcome, so they cannot differ. Pure. The way in stands
in cell/api/commands_of.py.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

import orjson

from cell.ledger.model import Recorded
from cell.ledger.posting import NO_CURRENCY
from cell.queries import BalanceAt
from cell.store.reads import StoredEntry
from cell.store.wallet_reader import StoredWallet
from contract.problems import Problem
from contract.reasons import Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ABOUT_HOLDS = frozenset({"hold", "capture", "release", "extend", "expire"})


def posting_of(recorded: Recorded) -> dict[str, Any]:
    """The `posting` of an accepted money command."""
    posting = {
        "transaction_id": recorded.key.transaction_id,
        "wallet_id": recorded.key.wallet_id,
        "kind": recorded.kind,
        "amount": recorded.amount,
        "currency": recorded.currency,
        "delta": recorded.delta,
        "held_delta": recorded.held_delta,
        "balance": recorded.balance_after,
        "held": recorded.held_after,
        "available": recorded.available_after,
        "seq": recorded.seq,
        "posted_at": instant_text(recorded.posted_at_us),
        "entry_hash": recorded.hash.hex(),
    }
    more = _SUBJECTS.get(recorded.kind)
    if more is not None:
        posting |= more(recorded, orjson.loads(recorded.terms or "{}"))
    return posting


def refusal_of(recorded: Recorded) -> Problem:
    """The problem of a recorded refusal: the same for ever."""
    reason = Reason(cast("str", recorded.reason))
    facts: dict[str, Any] = {
        "wallet_id": recorded.key.wallet_id,
        "transaction_id": recorded.key.transaction_id,
        "seq": recorded.seq,
        "posted_at": instant_text(recorded.posted_at_us),
        "entry_hash": recorded.hash.hex(),
    }
    if reason is Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT:
        facts["available"] = recorded.available_after
    return Problem(reason=reason, detail=_REFUSAL_DETAILS[reason], facts=facts)


def wallet_answer_of(wallet: StoredWallet) -> dict[str, Any]:
    return {
        "wallet_id": wallet.wallet_id,
        "owner": {"type": wallet.owner_type, "ref": wallet.owner_ref},
        "kind": wallet.kind,
        "currency": wallet.currency,
        "status": wallet.status,
        "balance": wallet.balance,
        "held": wallet.held,
        "available": wallet.balance - wallet.held + wallet.overdraft_limit,
        "overdraft_limit": wallet.overdraft_limit,
        "seq": wallet.seq,
        "opened_at": instant_text(wallet.opened_at_us),
        "updated_at": instant_text(wallet.posted_at_us),
        "metadata": orjson.loads(wallet.metadata),
    }


def balance_of(wallet: StoredWallet) -> dict[str, Any]:
    """The balance of now is that of the last entry, from its instant on: an answer that never changes later."""
    return {
        "wallet_id": wallet.wallet_id,
        "currency": wallet.currency,
        "balance": wallet.balance,
        "held": wallet.held,
        "available": wallet.balance - wallet.held + wallet.overdraft_limit,
        "seq": wallet.seq,
        "as_of": instant_text(wallet.posted_at_us),
    }


def balance_at_of(past: BalanceAt) -> dict[str, Any]:
    entry = past.entry
    return {
        "wallet_id": entry.wallet_id,
        "currency": entry.currency,
        "balance": entry.balance_after,
        "held": entry.held_after,
        "available": entry.balance_after - entry.held_after + entry.overdraft_limit_after,
        "seq": entry.seq,
        "as_of": instant_text(instant_us_of(past.as_of)),
    }


def entry_answer_of(entry: StoredEntry, *, shows_details: bool) -> dict[str, Any]:
    """An entry on the wire; details and context of other vendors only where `shows_details` says so."""
    refused = entry.kind == "refused"
    answer = {
        "transaction_id": entry.transaction_id,
        "wallet_id": entry.wallet_id,
        "kind": entry.kind,
        "amount": (entry.requested_amount or 0) if refused else _amount_of(entry),
        "currency": NO_CURRENCY if entry.status_after == "unopened" else entry.currency,
        "delta": entry.amount,
        "held_delta": entry.held_delta,
        "balance_after": entry.balance_after,
        "held_after": entry.held_after,
        "available": entry.balance_after - entry.held_after + entry.overdraft_limit_after,
        "overdraft_limit_after": entry.overdraft_limit_after,
        "status_after": entry.status_after,
        "seq": entry.seq,
        "posted_at": instant_text(instant_us_of(entry.posted_at)),
        "vendor_id": entry.vendor_id,
        "counter_account": entry.counter_account,
        "entry_hash": entry.hash.hex(),
        "sealed": entry.sealed.hex(),
        "reason": entry.reason,
        "requested_kind": entry.requested_kind,
        "requested_amount": entry.requested_amount,
        "subject_id": entry.subject_id,
        "subject_vendor_id": entry.subject_vendor_id,
        "expires_at": None if entry.expires_at is None else instant_text(instant_us_of(entry.expires_at)),
    }
    answer |= _subject_of(entry)
    if shows_details:
        answer |= {"description": None, "reference": None, "metadata": None, **orjson.loads(entry.details or "{}")}
        answer["context"] = None if entry.context is None else orjson.loads(entry.context)
    return answer


def _amount_of(entry: StoredEntry) -> int:
    """Of what moves nothing (an extension, a pin) the amount that it is about."""
    moved: int = entry.amount or entry.held_delta or entry.requested_amount or 0
    return abs(moved)


def _subject_of(entry: StoredEntry) -> dict[str, Any]:
    """What the entry is about: the original of a reversal, a hold, the other wallet of a transfer."""
    if entry.kind == "reversal":
        return {"original_transaction_id": entry.subject_id}
    if entry.kind in _ABOUT_HOLDS:
        return {"hold_id": entry.subject_id}
    if entry.kind == "transfer_out":
        return {"to_wallet_id": entry.counter_account.partition(":")[2], "state": "settled"}
    return {}


@lru_cache(maxsize=1_024)
def instant_text(instant_us: int) -> str:
    """RFC 3339 in UTC with microseconds; cached, since the commands of a batch share their instant."""
    moment = _EPOCH + timedelta(microseconds=instant_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant_us_of(moment: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_SUBJECTS: dict[str, Callable[[Recorded, dict[str, Any]], dict[str, Any]]] = {
    "reversal": lambda _, terms: {"original_transaction_id": terms["original"]},
    "transfer_out": lambda _, terms: {"to_wallet_id": terms["target"], "state": "settled"},
    "hold": lambda recorded, _: {"hold_id": recorded.key.transaction_id},
    "capture": lambda _, terms: {"hold_id": terms["hold"]},
    "release": lambda _, terms: {"hold_id": terms["hold"]},
    "extend": lambda _, terms: {"hold_id": terms["hold"]},
}

_REFUSAL_DETAILS: dict[Reason, str] = {
    Reason.CURRENCY_MUST_MATCH_WALLET: "The wallet is in another currency.",
    Reason.WALLET_MUST_BE_ACTIVE: "The wallet is suspended or blocked.",
    Reason.WALLET_MUST_NOT_BE_CLOSED: "The wallet is closed, for good.",
    Reason.ORIGINAL_MUST_EXIST: "This wallet has no such transaction of that vendor.",
    Reason.ORIGINAL_MUST_BE_REVERSIBLE: "Only accepted debits, credits and captures can be reversed.",
    Reason.REVERSAL_MUST_NOT_EXCEED_ORIGINAL: "Less than that is left of the original to reverse.",
    Reason.HOLD_MUST_EXIST: "This wallet has no such hold of this vendor.",
    Reason.HOLD_MUST_BE_OPEN: "The hold is captured, released or expired.",
    Reason.CAPTURE_MUST_NOT_EXCEED_HOLD: "Less than that remains of the hold.",
    Reason.WALLETS_MUST_BE_DIFFERENT: "A wallet cannot send to itself.",
    Reason.TARGET_WALLET_MUST_ACCEPT: "The target wallet does not exist, is closed, full, or in another currency.",
    Reason.AMOUNT_MUST_NOT_EXCEED_LIMIT: "The amount is above a limit of the vendor or the wallet.",
    Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT: "The available balance is lower than the amount.",
    Reason.OVERDRAFT_LIMIT_MUST_COVER_BALANCE: "More than that of the overdraft is in use.",
    Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS: "The balance would leave the range of 2^53-1.",
    Reason.WALLET_MUST_BE_EMPTY_TO_CLOSE: "Balance and held sum must be zero to close a wallet.",
    Reason.WALLET_MUST_BE_IDLE_TO_CLOSE: "The wallet has transfers on their way.",
}
