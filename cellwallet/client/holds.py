"""Holds: money set aside, captured in parts, released or left to expire. Values, and one function per call."""

from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from cellwallet.client.calls import Call, Metadata, Reply, command_call, query_of, read_posting, wallet_path
from cellwallet.client.results import Posting
from contract.values import value

HoldState = Literal["open", "captured", "released", "expired"]


@value
class Hold:
    """`remaining` is still set aside. One past its time is `expired`, whether or not its money is back already."""

    hold_id: str
    wallet_id: str
    vendor_id: str
    amount: int
    captured: int
    remaining: int
    state: HoldState
    placed_at: datetime
    expires_at: datetime | None


@value
class HoldPage:
    holds: tuple[Hold, ...]
    next_cursor: str | None
    """None at the end."""


def place_hold(
    wallet_id: str,
    *,
    amount: int,
    currency: str,
    expires_in_s: int | None = None,
    description: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
) -> Call[Posting]:
    """Set money aside; the posting's `hold_id` is the transaction's id. It expires in a week unless told otherwise."""
    fields = {
        "amount": amount,
        "currency": currency,
        "expires_in_s": expires_in_s,
        "description": description,
        "metadata": metadata,
    }
    return command_call("POST", wallet_path(wallet_id, "holds"), fields, transaction_id, read_posting)


def capture(
    wallet_id: str,
    hold_id: str,
    *,
    amount: int | None = None,
    final: bool | None = None,
    transaction_id: str | None = None,
) -> Call[Posting]:
    """Take what is held, or `amount` of it; what remains is released unless `final` is False."""
    fields = {"amount": amount, "final": final}
    path = wallet_path(wallet_id, "holds", hold_id, "capture")
    return command_call("POST", path, fields, transaction_id, read_posting)


def release(wallet_id: str, hold_id: str, *, transaction_id: str | None = None) -> Call[Posting]:
    """Give back what is held."""
    return command_call("POST", wallet_path(wallet_id, "holds", hold_id, "release"), {}, transaction_id, read_posting)


def extend(wallet_id: str, hold_id: str, *, expires_in_s: int, transaction_id: str | None = None) -> Call[Posting]:
    """Let a hold expire so long from now."""
    fields = {"expires_in_s": expires_in_s}
    path = wallet_path(wallet_id, "holds", hold_id, "extend")
    return command_call("POST", path, fields, transaction_id, read_posting)


def hold(wallet_id: str, hold_id: str) -> Call[Hold]:
    """One hold as it is now."""
    return Call(method="GET", path=wallet_path(wallet_id, "holds", hold_id), read=_read_hold)


def holds_page(
    wallet_id: str, *, state: HoldState | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[HoldPage]:
    """One page of this vendor's holds on a wallet, at most 500; with `wallet:manage` every vendor's."""
    query = query_of({"state": state, "limit": None if limit is None else str(limit), "cursor": cursor})
    return Call(method="GET", path=wallet_path(wallet_id, "holds"), query=query, read=_read_hold_page)


_HOLD = TypeAdapter(Hold)
_HOLD_PAGE = TypeAdapter(HoldPage)


def _read_hold(reply: Reply) -> Hold:
    return _HOLD.validate_json(reply.body)


def _read_hold_page(reply: Reply) -> HoldPage:
    return _HOLD_PAGE.validate_json(reply.body)
