"""From bodies to commands: what a vendor sent and who sent it, in the words of the ledger.

Pure: salts, limits and ids come in with the caller. What an outcome is on the wire stands in cell/api/translate.py.
"""

from collections.abc import Callable
from typing import Any

import orjson

from cell.ledger.commands import (
    CaptureHold,
    ChangeWallet,
    Command,
    Credit,
    Debit,
    ExtendHold,
    LegAsked,
    OpenWallet,
    PlaceHold,
    ReleaseHold,
    Reverse,
    SendTransfer,
    StartGroup,
)
from cell.ledger.derived_ids import group_id_of, transfer_id_of
from cell.ledger.limits import Caps
from cell.policy import LimitPolicy
from contract.bodies import (
    CaptureBody,
    ChangeWalletBody,
    ExtendBody,
    GroupBody,
    OpenWalletBody,
    PlaceHoldBody,
    PostingBody,
    ReverseBody,
    TransactionBody,
    TransferBody,
)
from contract.ids import TransactionId, VendorId, WalletId
from contract.signing import canonical_json
from contract.values import value

_CONTEXT_TEXT_MAX = 200
GROUP_DECIDED_WITHIN_S = 10
"""A group whose legs have not all answered by then is cancelled."""


@value
class Caller:
    """Who asked, and what of the request enters the ledger."""

    vendor_id: VendorId
    owner_types: frozenset[str] | None
    context: str
    salt: Callable[[], bytes]
    """A fresh one for each command."""
    limits: LimitPolicy
    may_leave: bool
    """Whether money may go to wallets of other cells."""


def context_text(*, client_ip: str, user_agent: str, request_id: str, trace_id: str | None) -> str:
    """The audit context of an entry as the text that is hashed and stored."""
    context = {
        "client_ip": client_ip[:_CONTEXT_TEXT_MAX],
        "request_id": request_id,
        "trace_id": trace_id,
        "user_agent": user_agent[:_CONTEXT_TEXT_MAX],
    }
    return orjson.dumps(context).decode()


def debit_of(wallet_id: WalletId, body: PostingBody, caller: Caller) -> Command:
    return _posting_of(Debit, wallet_id, body, caller, caps=caller.limits.caps_for(caller.vendor_id, wallet_id))


def credit_of(wallet_id: WalletId, body: PostingBody, caller: Caller) -> Command:
    return _posting_of(Credit, wallet_id, body, caller, caps=None)


def reverse_of(wallet_id: WalletId, body: ReverseBody, caller: Caller) -> Command:
    return Reverse(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details=_details(body.description, None, body.metadata),
        original_transaction_id=TransactionId(body.original_transaction_id),
        original_vendor_id=VendorId(body.original_vendor or caller.vendor_id),
        amount=body.amount,
        **_common(caller),
    )


def transfer_of(wallet_id: WalletId, body: TransferBody, caller: Caller) -> Command:
    transaction_id = TransactionId(body.transaction_id)
    return SendTransfer(
        wallet_id=wallet_id,
        transaction_id=transaction_id,
        details=_details(body.description, None, body.metadata),
        to_wallet_id=WalletId(body.to_wallet_id),
        transfer_id=transfer_id_of(wallet_id, caller.vendor_id, transaction_id),
        amount=body.amount,
        currency=body.currency,
        may_leave=caller.may_leave,
        caps=caller.limits.caps_for(caller.vendor_id, wallet_id),
        **_common(caller),
    )


def group_of(wallet_id: WalletId, body: GroupBody, caller: Caller) -> Command:
    transaction_id = TransactionId(body.transaction_id)
    legs = tuple(
        LegAsked(
            wallet_id=WalletId(leg.wallet_id),
            amount=leg.amount,
            caps=caller.limits.caps_for(caller.vendor_id, leg.wallet_id) if leg.amount < 0 else None,
        )
        for leg in body.legs
    )
    return StartGroup(
        wallet_id=wallet_id,
        transaction_id=transaction_id,
        details=_details(body.description, None, body.metadata),
        group_id=group_id_of(wallet_id, caller.vendor_id, transaction_id),
        currency=body.currency,
        legs=legs,
        decide_within_us=GROUP_DECIDED_WITHIN_S * 1_000_000,
        may_leave=caller.may_leave,
        **_common(caller),
    )


def place_of(wallet_id: WalletId, body: PlaceHoldBody, caller: Caller) -> Command:
    return PlaceHold(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details=_details(body.description, None, body.metadata),
        amount=body.amount,
        currency=body.currency,
        expires_in_s=body.expires_in_s,
        caps=caller.limits.caps_for(caller.vendor_id, wallet_id),
        **_common(caller),
    )


def capture_of(wallet_id: WalletId, body: CaptureBody, caller: Caller, hold_id: TransactionId) -> Command:
    return CaptureHold(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details="{}",
        hold_id=hold_id,
        amount=body.amount,
        is_final=body.final,
        **_common(caller),
    )


def release_of(wallet_id: WalletId, body: TransactionBody, caller: Caller, hold_id: TransactionId) -> Command:
    return ReleaseHold(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details="{}",
        hold_id=hold_id,
        **_common(caller),
    )


def extend_of(wallet_id: WalletId, body: ExtendBody, caller: Caller, hold_id: TransactionId) -> Command:
    return ExtendHold(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details="{}",
        hold_id=hold_id,
        expires_in_s=body.expires_in_s,
        **_common(caller),
    )


def change_of(wallet_id: WalletId, body: ChangeWalletBody, caller: Caller) -> Command:
    asked = body.model_dump(exclude={"transaction_id"}, exclude_none=True)
    return ChangeWallet(
        wallet_id=wallet_id,
        transaction_id=TransactionId(body.transaction_id),
        details=canonical_json({"change": asked}),
        status=body.status,
        overdraft_limit=body.overdraft_limit,
        metadata=None if body.metadata is None else canonical_json(body.metadata),
        **_common(caller),
    )


def opening_of(wallet_id: WalletId, body: OpenWalletBody, caller: Caller) -> Command:
    return OpenWallet(
        wallet_id=wallet_id,
        transaction_id=TransactionId(wallet_id),
        details=_details(None, None, body.metadata or None),
        owner_type=body.owner.type,
        owner_ref=body.owner.ref,
        kind=body.kind,
        currency=body.currency,
        overdraft_limit=body.overdraft_limit,
        metadata=canonical_json(body.metadata),
        **_common(caller),
    )


def _posting_of(
    kind: type[Debit] | type[Credit], wallet_id: WalletId, body: PostingBody, caller: Caller, *, caps: Caps | None
) -> Debit | Credit:
    """Written out, field by field: it is the most frequent command of all."""
    return kind(
        wallet_id=wallet_id,
        vendor_id=caller.vendor_id,
        transaction_id=TransactionId(body.transaction_id),
        details=_details(body.description, body.reference, body.metadata),
        context=caller.context,
        salt=caller.salt(),
        owner_types=caller.owner_types,
        caps=caps,
        amount=body.amount,
        currency=body.currency,
    )


def _common(caller: Caller) -> dict[str, Any]:
    return {
        "vendor_id": caller.vendor_id,
        "owner_types": caller.owner_types,
        "context": caller.context,
        "salt": caller.salt(),
    }


def _details(description: str | None, reference: str | None, metadata: dict[str, Any] | None) -> str:
    if description is None and reference is None and metadata is None:
        return "{}"
    details = {"description": description, "reference": reference, "metadata": metadata}
    told = {name: member for name, member in details.items() if member is not None}
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()
