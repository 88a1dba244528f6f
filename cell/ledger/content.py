"""The content of a command: all that must be equal for a second request to be the same request.

Content is the kind and every field but description, reference, metadata (of postings) and context. The fields that
have no column of their own are kept as `terms`, canonical JSON.
"""

import json
from typing import Any

from cell.ledger.commands import (
    CancelLeg,
    CaptureHold,
    ChangeWallet,
    Command,
    ConfirmLeg,
    Credit,
    Debit,
    ExpireHold,
    ExtendHold,
    OpenWallet,
    PlaceHold,
    PrepareLeg,
    ReceiveTransfer,
    RefundTransfer,
    ReleaseHold,
    Reverse,
    SendTransfer,
    StartGroup,
)
from cell.ledger.model import Recorded
from contract.signing import canonical_json


def terms_of(command: Command) -> str | None:
    terms = _terms_of(command)
    return None if terms is None else canonical_json(terms)


def _terms_of(command: Command) -> dict[str, Any] | None:
    match command:
        case Debit() | Credit():
            return None
        case Reverse():
            return {"original": command.original_transaction_id, "original_vendor": command.original_vendor_id}
        case SendTransfer():
            return {"target": command.to_wallet_id}
        case ReceiveTransfer():
            return {"source": command.from_wallet_id}
        case PlaceHold():
            return {"expires_in_s": command.expires_in_s}
        case CaptureHold():
            return {"hold": command.hold_id, "final": command.is_final}
        case ReleaseHold():
            return {"hold": command.hold_id}
        case ExtendHold():
            return {"hold": command.hold_id, "expires_in_s": command.expires_in_s}
        case ChangeWallet():
            return {
                "status": command.status,
                "overdraft_limit": command.overdraft_limit,
                "metadata": command.metadata,
            }
        case OpenWallet():
            return {"overdraft_limit": command.overdraft_limit}
        case StartGroup():
            return {"legs": [[leg.wallet_id, leg.amount] for leg in command.legs]}
        case PrepareLeg():
            return {"coordinator": command.coordinator, "leg": command.amount}
        case _:
            return None


def requested_amount_of(command: Command) -> int | None:
    """Positive; None where the command names no amount."""
    amount: int | None = getattr(command, "amount", None)
    return None if amount is None else abs(amount)


def requested_currency_of(command: Command) -> str | None:
    """None where the command takes the wallet's currency as it is."""
    currency: str | None = getattr(command, "currency", None)
    return currency


def differing_field(recorded: Recorded, command: Command) -> str | None:
    """The first field in which the command differs from what is recorded under its id; none = the same request.

    What finishes something has no content but its id, which is computed from what it finishes: the end of a leg may
    stand there as the capture of a debit or as the receipt of a credit.
    """
    if isinstance(command, ExpireHold | RefundTransfer | ConfirmLeg | CancelLeg):
        return None
    if recorded.kind != command.KIND:
        return "kind"
    if recorded.requested_amount != requested_amount_of(command):
        return "amount"
    currency = requested_currency_of(command)
    if currency is not None and recorded.currency != currency:
        return "currency"
    terms = terms_of(command)
    if recorded.terms == terms:
        return None
    before: dict[str, Any] = json.loads(recorded.terms or "{}")
    now: dict[str, Any] = json.loads(terms or "{}")
    return next((name for name in now if before.get(name) != now[name]), "terms")
