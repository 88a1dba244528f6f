"""The content of a command: all that must be equal for a second request to be the same request.

Content is the kind and every field but description, reference, metadata (of postings) and context. The fields that
have no column of their own are kept as `terms`, canonical JSON.
"""

import json
from typing import Any

from cell.ledger.commands import ChangeWallet, Command, Credit, Debit, OpenWallet, Reverse, SendTransfer
from cell.ledger.model import Recorded
from contract.signing import canonical_json


def terms_of(command: Command) -> str | None:
    match command:
        case Debit() | Credit():
            return None
        case Reverse():
            return canonical_json(
                {"original": command.original_transaction_id, "original_vendor": command.original_vendor_id}
            )
        case SendTransfer():
            return canonical_json({"target": command.to_wallet_id})
        case ChangeWallet():
            return canonical_json(
                {
                    "status": command.status,
                    "overdraft_limit": command.overdraft_limit,
                    "metadata": command.metadata,
                }
            )
        case OpenWallet():
            return canonical_json({"overdraft_limit": command.overdraft_limit})


def requested_amount_of(command: Command) -> int | None:
    return None if isinstance(command, ChangeWallet | OpenWallet) else command.amount


def requested_currency_of(command: Command) -> str | None:
    """None where the command takes the wallet's currency as it is."""
    return None if isinstance(command, ChangeWallet | Reverse) else command.currency


def differing_field(recorded: Recorded, command: Command) -> str | None:
    """The first field in which the command differs from what is recorded under its id; none = the same request."""
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
