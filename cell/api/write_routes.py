"""The routes that change a wallet, as a table: what each needs, reads, asks of the ledger, and answers with.

cell/api/wallet_routes.py serves them, cell/api/openapi.py describes them.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from cell.api.translate import Caller, change_of, credit_of, debit_of, opening_of, reverse_of, transfer_of
from cell.ledger.commands import Command
from contract.bodies import Body, ChangeWalletBody, OpenWalletBody, PostingBody, ReverseBody, TransferBody
from contract.ids import WalletId
from contract.scopes import Scope
from contract.values import value

PREFIX: Final = "/v1/wallets/"
COLLECTION: Final = "/v1/wallets"


@value
class WriteRoute:
    """A route that changes a wallet: what it needs, what it reads, what it asks of the ledger, how it answers."""

    method: str
    verb: str
    """What follows the wallet id in the path; empty = the wallet itself."""
    scope: Scope
    body: type[Body]
    command: Callable[[WalletId, Any, Caller], Command]
    answer: Literal["posting", "wallet"]
    title: str


WRITE_ROUTES: Final = (
    WriteRoute(
        method="PUT",
        verb="",
        scope=Scope.WALLET_OPEN,
        body=OpenWalletBody,
        command=opening_of,
        answer="wallet",
        title="Open a wallet under its computed id",
    ),
    WriteRoute(
        method="PATCH",
        verb="",
        scope=Scope.WALLET_MANAGE,
        body=ChangeWalletBody,
        command=change_of,
        answer="wallet",
        title="Change status, overdraft limit or metadata of a wallet",
    ),
    WriteRoute(
        method="POST",
        verb="debit",
        scope=Scope.MONEY_DEBIT,
        body=PostingBody,
        command=debit_of,
        answer="posting",
        title="Take money from a wallet",
    ),
    WriteRoute(
        method="POST",
        verb="credit",
        scope=Scope.MONEY_CREDIT,
        body=PostingBody,
        command=credit_of,
        answer="posting",
        title="Give money to a wallet",
    ),
    WriteRoute(
        method="POST",
        verb="reverse",
        scope=Scope.MONEY_REVERSE,
        body=ReverseBody,
        command=reverse_of,
        answer="posting",
        title="Undo a debit, credit or capture, whole or in part",
    ),
    WriteRoute(
        method="POST",
        verb="transfers",
        scope=Scope.MONEY_TRANSFER,
        body=TransferBody,
        command=transfer_of,
        answer="posting",
        title="Send money to another wallet",
    ),
)

ROUTES: Final = {(route.method, route.verb): route for route in WRITE_ROUTES}
OPENING: Final = ROUTES["PUT", ""]
ALLOWED: Final = {
    "": b"GET, PATCH, PUT",
    "balance": b"GET",
    **{route.verb: route.method.encode() for route in WRITE_ROUTES if route.verb},
}
"""Methods of the paths that this module answers for, the ordinary application's on them included."""
