"""The routes that change a wallet, as a table: what each needs, reads, asks of the ledger, and answers with.

cell/api/wallet_routes.py serves them, cell/api/openapi.py describes them.
"""

from collections.abc import Callable
from typing import Final, Literal

from cell.api.commands_of import (
    capture_of,
    change_of,
    credit_of,
    debit_of,
    extend_of,
    group_of,
    opening_of,
    place_of,
    release_of,
    reverse_of,
    transfer_of,
)
from cell.ledger.commands import Command
from contract.bodies import (
    Body,
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
from contract.scopes import Scope
from contract.values import value

PREFIX: Final = "/v1/wallets/"
COLLECTION: Final = "/v1/wallets"


@value
class WriteRoute:
    """A route that changes a wallet: what it needs, what it reads, what it asks of the ledger, how it answers."""

    method: str
    verb: str
    """What follows the wallet id in the path, `{hold_id}` standing for an id; empty = the wallet itself."""
    scope: Scope
    body: type[Body]
    command: Callable[..., Command]
    """Given the wallet id, the body, the caller, and the hold's id where the path names one."""
    answer: Literal["posting", "wallet", "group"]
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
    WriteRoute(
        method="POST",
        verb="groups",
        scope=Scope.MONEY_TRANSFER,
        body=GroupBody,
        command=group_of,
        answer="group",
        title="Move money between several wallets, all legs or none",
    ),
    WriteRoute(
        method="POST",
        verb="holds",
        scope=Scope.MONEY_HOLD,
        body=PlaceHoldBody,
        command=place_of,
        answer="posting",
        title="Set money aside",
    ),
    WriteRoute(
        method="POST",
        verb="holds/{hold_id}/capture",
        scope=Scope.MONEY_HOLD,
        body=CaptureBody,
        command=capture_of,
        answer="posting",
        title="Take what is held, whole or in part",
    ),
    WriteRoute(
        method="POST",
        verb="holds/{hold_id}/release",
        scope=Scope.MONEY_HOLD,
        body=TransactionBody,
        command=release_of,
        answer="posting",
        title="Give back what is held",
    ),
    WriteRoute(
        method="POST",
        verb="holds/{hold_id}/extend",
        scope=Scope.MONEY_HOLD,
        body=ExtendBody,
        command=extend_of,
        answer="posting",
        title="Let a hold expire later, or earlier",
    ),
)

HOLD_ID: Final = "{hold_id}"
ROUTES: Final = {(route.method, route.verb): route for route in WRITE_ROUTES if HOLD_ID not in route.verb}
ITEM_ROUTES: Final = {route.verb: route for route in WRITE_ROUTES if HOLD_ID in route.verb}
"""Routes about one hold of a wallet, all of them POST; looked up only where the path goes on behind the verb."""
OPENING: Final = ROUTES["PUT", ""]
ALLOWED: Final = {
    "": b"GET, PATCH, PUT",
    "balance": b"GET",
    **{route.verb: route.method.encode() for route in WRITE_ROUTES if route.verb},
    "holds": b"GET, POST",
}
"""Methods of the paths that this module answers for, the ordinary application's on them included."""


def item_route_of(verb: str) -> tuple[WriteRoute, str] | None:
    """The route of `holds/<hold_id>/<action>`, and the id in it, well formed or not."""
    resource, _, rest = verb.partition("/")
    item, _, action = rest.partition("/")
    route = ITEM_ROUTES.get(f"{resource}/{HOLD_ID}/{action}")
    return None if route is None else (route, item)
