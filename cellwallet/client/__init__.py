"""The Python client of the vendor API.

    with Client(url, token) as client:
        match client.debit(wallet_id, amount=1250, currency="EUR"):
            case Posting() as posting: ...
            case Refused(reason="available_balance_must_cover_amount") as refused: ...

What may happen in business is returned (`Refused`); what failed is raised, classed by who must act (errors.py).
Calls are repeated where that is safe, always with the same transaction_id (exchange.py).

Everything of the vendor API is a method of both clients: wallets, debit, credit, reverse, transfer (calls.py), holds
(holds.py), groups (groups.py), webhooks (webhooks.py), statements and proofs (calls.py), and `bulk`, which sends many
of these calls at once. What came from the platform is checked without trusting it by `verify_webhook` and history.py.
"""

from cellwallet.client import calls, groups, holds
from cellwallet.client.bulk import BulkOutcome
from cellwallet.client.clients import AsyncClient, Client
from cellwallet.client.errors import (
    CallerMustActError,
    CallFailedError,
    ConflictError,
    OperatorMustActError,
    TryAgainLaterError,
)
from cellwallet.client.exchange import Retries
from cellwallet.client.groups import Group, Leg
from cellwallet.client.holds import Hold, HoldPage
from cellwallet.client.results import (
    Balance,
    Entry,
    EntryPage,
    OwnedWallets,
    Owner,
    Posting,
    Problem,
    Refused,
    RefusedError,
    RefusedLeg,
    Statement,
    Wallet,
    accepted,
)
from cellwallet.client.webhooks import (
    DeadLetter,
    DeadLetterPage,
    DeliveryMustBeGenuineError,
    Redelivery,
    Webhook,
    Webhooks,
    verify_webhook,
)
from contract.ids import wallet_id_of

__all__ = [
    "AsyncClient",
    "Balance",
    "BulkOutcome",
    "CallFailedError",
    "CallerMustActError",
    "Client",
    "ConflictError",
    "DeadLetter",
    "DeadLetterPage",
    "DeliveryMustBeGenuineError",
    "Entry",
    "EntryPage",
    "Group",
    "Hold",
    "HoldPage",
    "Leg",
    "OperatorMustActError",
    "OwnedWallets",
    "Owner",
    "Posting",
    "Problem",
    "Redelivery",
    "Refused",
    "RefusedError",
    "RefusedLeg",
    "Retries",
    "Statement",
    "TryAgainLaterError",
    "Wallet",
    "Webhook",
    "Webhooks",
    "accepted",
    "calls",
    "groups",
    "holds",
    "verify_webhook",
    "wallet_id_of",
]
