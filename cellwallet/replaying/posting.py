"""Posting one account's movements through a client, and comparing every balance with the file's.

Ids are functions of the file's ids, so a second run is answered from what was recorded and changes nothing.
A refusal or another balance is a difference, and the account goes on; a failure of the platform is raised.
"""

import uuid

from cellwallet.client import Client, ConflictError, Posting, Refused, Wallet, accepted, wallet_id_of
from cellwallet.replaying.movements import CURRENCY, Account, Movement
from contract.values import value

OWNER_TYPE = "bank_account"
KIND = "main"


@value
class Difference:
    """Where wallet and file disagree; `movement_id` is None for the closing balance."""

    account: str
    line: int
    movement_id: str | None
    what: str
    expected: str
    found: str


@value
class AccountOutcome:
    account: str
    movements: int
    posted: int
    already_there: int
    differences: tuple[Difference, ...]


def post_account(client: Client, account: Account) -> AccountOutcome:
    """Open the account's wallet, post its movements one after the other, compare.

    Raises:
        CallFailedError: the platform did not decide; running again continues where this stopped.

    """
    wallet_id = _open(client, account)
    posted, already_there = 0, 0
    differences: list[Difference] = []
    for movement in account.movements:
        outcome = _post(client, wallet_id, movement)
        if outcome.replayed:
            already_there += 1
        elif isinstance(outcome, Posting):
            posted += 1
        differences += _compare(movement, outcome)
    differences += _compare_closing(client, wallet_id, account.movements[-1])
    return AccountOutcome(
        account=account.ref,
        movements=len(account.movements),
        posted=posted,
        already_there=already_there,
        differences=tuple(differences),
    )


def _open(client: Client, account: Account) -> str:
    """The account's wallet with enough overdraft; one from an earlier, shorter file may have too little."""
    wallet_id = wallet_id_of(owner_type=OWNER_TYPE, owner_ref=account.ref, kind=KIND, currency=CURRENCY)
    try:
        accepted(
            client.open_wallet(
                owner_type=OWNER_TYPE,
                owner_ref=account.ref,
                kind=KIND,
                currency=CURRENCY,
                overdraft_limit=account.overdraft_limit,
            )
        )
    except ConflictError as conflict:
        if conflict.problem is None or not conflict.problem.reason.endswith("different_overdraft_limit"):
            raise
        _raise_limit(client, accepted(client.wallet(wallet_id)), account)
    return wallet_id


def _raise_limit(client: Client, wallet: Wallet, account: Account) -> None:
    limit = account.overdraft_limit
    if wallet.overdraft_limit < limit:
        raising_id = _id(f"bank-limit:{account.ref}:{limit}")
        accepted(client.change(wallet.wallet_id, overdraft_limit=limit, transaction_id=raising_id))


def _post(client: Client, wallet_id: str, movement: Movement) -> Posting | Refused:
    post = client.credit if movement.kind == "credit" else client.debit
    return post(
        wallet_id,
        amount=movement.amount,
        currency=CURRENCY,
        description=" / ".join(filter(None, (movement.operation, movement.purpose))) or movement.kind,
        reference=movement.id,
        metadata=_metadata(movement),
        transaction_id=_id(f"bank:{movement.id}"),
    )


def _metadata(movement: Movement) -> dict[str, str]:
    fields = {
        "date": movement.date,
        "operation": movement.operation,
        "purpose": movement.purpose,
        "partner_bank": movement.partner_bank,
        "partner_account": movement.partner_account,
    }
    return {name: text for name, text in fields.items() if text}


def _compare(movement: Movement, outcome: Posting | Refused) -> list[Difference]:
    match outcome:
        case Posting(balance=movement.balance):
            return []
        case Posting(balance=balance):
            return [_difference(movement, "balance", expected=str(movement.balance), found=str(balance))]
        case Refused(reason=reason):
            return [_difference(movement, "posting", expected=movement.kind, found=f"refused: {reason}")]


def _compare_closing(client: Client, wallet_id: str, last: Movement) -> list[Difference]:
    balance = accepted(client.balance(wallet_id)).balance
    if balance == last.balance:
        return []
    return [
        Difference(
            account=last.account,
            line=last.line,
            movement_id=None,
            what="closing balance",
            expected=str(last.balance),
            found=str(balance),
        )
    ]


def _difference(movement: Movement, what: str, *, expected: str, found: str) -> Difference:
    return Difference(
        account=movement.account,
        line=movement.line,
        movement_id=movement.id,
        what=what,
        expected=expected,
        found=found,
    )


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))
