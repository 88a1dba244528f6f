"""The Python client of the vendor API.

    with Client(url, token) as client:
        match client.debit(wallet_id, amount=1250, currency="EUR"):
            case Posting() as posting: ...
            case Refused(reason="available_balance_must_cover_amount") as refused: ...

What may happen in business is returned (`Refused`); what failed is raised, classed by who must act (errors.py).
Calls are repeated where that is safe, always with the same transaction_id (exchange.py).
"""

from cellwallet.client import calls, holds
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
    "Hold",
    "HoldPage",
    "OperatorMustActError",
    "OwnedWallets",
    "Owner",
    "Posting",
    "Problem",
    "Redelivery",
    "Refused",
    "RefusedError",
    "Retries",
    "Statement",
    "TryAgainLaterError",
    "Wallet",
    "Webhook",
    "Webhooks",
    "accepted",
    "calls",
    "holds",
    "verify_webhook",
    "wallet_id_of",
]
