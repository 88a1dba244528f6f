"""Scenes at the counter: wallets are opened, credited and debited; refusals, lost answers, conflicts and reversals."""

import itertools
from collections import Counter

from cellwallet.client import ConflictError, Posting, Refused, accepted
from cellwallet.demo.stage import CURRENCY, SALARY, DayMustGoAsToldError, Scene, Stage, expected, money, must

COFFEES = 60
COFFEE_PRICES = (290, 340, 420)


def opening(stage: Stage) -> Scene:
    stage.open_wallets()
    cells = Counter(wallet.cell for wallet in stage.wallets)
    spread = ", ".join(f"{count} in {cell}" for cell, count in sorted(cells.items(), key=str))
    return Scene(
        title="The doors open",
        lines=(
            f"{len(stage.customers)} customers and a coffee shop open wallets: {spread}.",
            "A wallet's id is computed from owner, kind and currency; its cell follows from the id.",
        ),
    )


def payday(stage: Stage) -> Scene:
    for customer in stage.customers:
        stage.post(stage.client.credit(customer.wallet_id, amount=SALARY, currency=CURRENCY, description="salary"))
    return Scene(
        title="Payday",
        lines=(f"Every customer is credited {money(SALARY)}. Balance and log entry commit together, or not at all.",),
    )


def coffee(stage: Stage) -> Scene:
    client, takings = stage.client, 0
    guests, prices = itertools.cycle(stage.customers), itertools.cycle(COFFEE_PRICES)
    for _ in range(COFFEES):
        price = next(prices)
        stage.post(client.debit(next(guests).wallet_id, amount=price, currency=CURRENCY, description="coffee"))
        takings += price
    told = "takings of the morning"
    stage.post(client.credit(stage.shop.wallet_id, amount=takings, currency=CURRENCY, description=told))
    return Scene(
        title="The coffee shop",
        lines=(f"{COFFEES} coffees are debited; the shop is credited its takings of {money(takings)}.",),
    )


def too_little_money(stage: Stage) -> Scene:
    wallet_id, price = stage.anna.wallet_id, SALARY * 10
    refused = expected(
        stage.client.debit(wallet_id, amount=price, currency=CURRENCY, description="a piano"),
        Refused,
        "a debit beyond the available balance is refused",
    )
    must(refused.reason == "available_balance_must_cover_amount", f"the reason of the refusal, not {refused.reason}")
    again = stage.client.debit(wallet_id, amount=price, currency=CURRENCY, transaction_id=refused.transaction_id)
    must(isinstance(again, Refused) and again.replayed, "a refused id stays refused")
    return Scene(
        title="A piano",
        lines=(
            f"Anna tries to pay {money(price)}, having {money(refused.available or 0)}: {refused.reason}.",
            "Refusals are entries of the log too: the same id is refused for ever, a new attempt takes a new id.",
        ),
    )


def lost_answer(stage: Stage) -> Scene:
    first = lunch(stage)
    repeated = stage.client.debit(
        first.wallet_id, amount=first.amount, currency=CURRENCY, transaction_id=first.transaction_id
    )
    second = accepted(repeated)
    must(second.replayed and (second.seq, second.balance) == (first.seq, first.balance), "a replay changes nothing")
    return Scene(
        title="A lost answer",
        lines=(
            f"Bruno pays {money(first.amount)} for lunch, the till loses the answer and sends the same id again:",
            f"the first answer comes back, marked as a replay (entry {second.seq}, {money(second.balance)} left).",
        ),
    )


def same_id_for_something_else(stage: Stage) -> Scene:
    eaten = lunch(stage)
    try:
        stage.client.debit(
            eaten.wallet_id, amount=eaten.amount + 1, currency=CURRENCY, transaction_id=eaten.transaction_id
        )
    except ConflictError as conflict:
        reason = conflict.problem.reason if conflict.problem is not None else ""
    else:
        raise DayMustGoAsToldError("the same id with another amount must be a conflict")
    must(reason == "transaction_exists_with_different_amount", f"the conflict names the amount, not {reason}")
    return Scene(
        title="A bug at the till",
        lines=(f"The same id with another amount is a conflict (409 {reason}); the original stands.",),
    )


def complaint(stage: Stage) -> Scene:
    eaten = lunch(stage)
    wallet_id, lunch_id = eaten.wallet_id, eaten.transaction_id
    part = stage.post(stage.client.reverse(wallet_id, original_transaction_id=lunch_id, amount=500))
    rest = stage.post(stage.client.reverse(wallet_id, original_transaction_id=lunch_id))
    must(part.amount + rest.amount == eaten.amount, "part and rest are the whole lunch")
    more = stage.client.reverse(wallet_id, original_transaction_id=lunch_id, amount=1)
    must(
        isinstance(more, Refused) and more.reason == "reversal_must_not_exceed_original",
        "no more can be reversed than was debited",
    )
    return Scene(
        title="A complaint",
        lines=(
            f"Lunch is reversed in part ({money(part.amount)}), then the rest ({money(rest.amount)}).",
            "One cent more is refused: reversal_must_not_exceed_original.",
        ),
    )


def lunch(stage: Stage) -> Posting:
    """A debit of Bruno's."""
    return stage.post(stage.client.debit(stage.bruno.wallet_id, amount=1_990, currency=CURRENCY, description="lunch"))
