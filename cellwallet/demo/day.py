"""The scenes of a vendor's day: each acts through the client, checks what came of it, and tells it in a few lines.

Owners are new in every run, so a run can be repeated at will and its totals are its own. Knows the vendor API only;
printing is the command's affair.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from cellwallet.client import Client, ConflictError, Posting, Refused, Wallet, accepted
from cellwallet.client.history import Verified, verify_history
from contract.money import amount_text
from contract.values import value

T = TypeVar("T")

CURRENCY = "EUR"
CUSTOMERS = ("anna", "bruno", "clara", "david", "elena", "farid")
CUSTOMERS_MAX = 40
"""Bound of the search for two customers in one cell."""
SALARY = 120_000
COFFEES = 60
COFFEE_PRICES = (290, 340, 420)
ENTRIES_SHOWN = 5


class DayMustGoAsToldError(Exception):
    """The platform did something else than the story says: a bug."""


@value
class Scene:
    title: str
    lines: tuple[str, ...]


@value
class Totals:
    """Minor units of `CURRENCY`; in - out + given back = what lies in the wallets."""

    wallets: int
    cells: int
    money_in: int
    money_out: int
    given_back: int
    in_wallets: int
    entries: int

    @property
    def difference(self) -> int:
        return self.money_in - self.money_out + self.given_back - self.in_wallets


class VendorDay:
    """Play `scenes` to their end, then ask for `totals`."""

    def __init__(self, client: Client, *, run: str) -> None:
        self._client = client
        self._run = run
        self._customers: list[Wallet] = []
        self._postings: list[Posting] = []
        self._entries = 0

    @property
    def a_wallet_id(self) -> str:
        """A customer's wallet, for whoever wants to go on from here."""
        return self._customers[0].wallet_id

    def scenes(self) -> Iterator[Scene]:
        """One scene after the other, each played when it is asked for.

        Raises:
            DayMustGoAsToldError: the platform did something else.
            CallFailedError: a call failed.

        """
        yield self._open()
        yield self._payday()
        breakfast_ends_at = self._postings[-1].posted_at
        yield self._coffee()
        yield self._too_little_money()
        yield self._lost_answer()
        yield self._same_id_for_something_else()
        yield self._returns()
        yield self._pocket_money()
        yield self._looking_back(breakfast_ends_at)
        yield self._statement()
        yield self._verification()

    def totals(self) -> Totals:
        """What the day did, and what lies in its wallets now."""
        wallets = [accepted(self._client.wallet(wallet.wallet_id)) for wallet in [*self._customers, self._shop]]
        deltas = {"credit": 0, "debit": 0, "reversal": 0}
        for posting in self._postings:
            if posting.kind in deltas:
                deltas[posting.kind] += posting.delta
        return Totals(
            wallets=len(wallets),
            cells=len({wallet.cell for wallet in wallets}),
            money_in=deltas["credit"],
            money_out=-deltas["debit"],
            given_back=deltas["reversal"],
            in_wallets=sum(wallet.balance for wallet in wallets),
            entries=self._entries,
        )

    def _open(self) -> Scene:
        self._shop = self._open_wallet("merchant", "coffee-shop")
        for name in _names():
            self._customers.append(self._open_wallet("customer", name))
            if len(self._customers) >= len(CUSTOMERS) and self._neighbours() is not None:
                break
        cells = Counter(wallet.cell for wallet in [*self._customers, self._shop])
        spread = ", ".join(f"{count} in {cell}" for cell, count in sorted(cells.items(), key=str))
        return Scene(
            title="The doors open",
            lines=(
                f"{len(self._customers)} customers and a coffee shop open wallets: {spread}.",
                "A wallet's id is computed from owner, kind and currency; its cell follows from the id.",
            ),
        )

    def _payday(self) -> Scene:
        for customer in self._customers:
            self._post(self._client.credit(customer.wallet_id, amount=SALARY, currency=CURRENCY, description="salary"))
        return Scene(
            title="Payday",
            lines=(
                f"Every customer is credited {_money(SALARY)}. Balance and log entry commit together, or not at all.",
            ),
        )

    def _coffee(self) -> Scene:
        takings = 0
        guests, prices = itertools.cycle(self._customers), itertools.cycle(COFFEE_PRICES)
        for _ in range(COFFEES):
            price = next(prices)
            guest = next(guests)
            self._post(self._client.debit(guest.wallet_id, amount=price, currency=CURRENCY, description="coffee"))
            takings += price
        self._post(
            self._client.credit(
                self._shop.wallet_id, amount=takings, currency=CURRENCY, description="takings of the morning"
            )
        )
        return Scene(
            title="The coffee shop",
            lines=(f"{COFFEES} coffees are debited; the shop is credited its takings of {_money(takings)}.",),
        )

    def _too_little_money(self) -> Scene:
        anna = self._customers[0]
        refused = _expected(
            self._client.debit(anna.wallet_id, amount=SALARY * 10, currency=CURRENCY, description="a piano"),
            Refused,
            "a debit beyond the available balance is refused",
        )
        _must(
            refused.reason == "available_balance_must_cover_amount", f"the reason of the refusal, not {refused.reason}"
        )
        again = self._client.debit(
            anna.wallet_id, amount=SALARY * 10, currency=CURRENCY, transaction_id=refused.transaction_id
        )
        _must(isinstance(again, Refused) and again.replayed, "a refused id stays refused")
        return Scene(
            title="A piano",
            lines=(
                f"Anna tries to pay {_money(SALARY * 10)}, having {_money(refused.available or 0)}: {refused.reason}.",
                "Refusals are entries of the log too: the same id is refused for ever, a new attempt takes a new id.",
            ),
        )

    def _lost_answer(self) -> Scene:
        bruno = self._customers[1]
        first = self._post(self._client.debit(bruno.wallet_id, amount=1_990, currency=CURRENCY, description="lunch"))
        second = accepted(
            self._client.debit(bruno.wallet_id, amount=1_990, currency=CURRENCY, transaction_id=first.transaction_id)
        )
        _must(
            second.replayed and (second.seq, second.balance) == (first.seq, first.balance), "a replay changes nothing"
        )
        self._lunch = first
        return Scene(
            title="A lost answer",
            lines=(
                f"Bruno pays {_money(first.amount)} for lunch, the till loses the answer and sends the same id again:",
                f"the first answer comes back, marked as a replay (entry {second.seq}, {_money(second.balance)} left).",
            ),
        )

    def _same_id_for_something_else(self) -> Scene:
        lunch = self._lunch
        try:
            self._client.debit(
                lunch.wallet_id, amount=lunch.amount + 1, currency=CURRENCY, transaction_id=lunch.transaction_id
            )
        except ConflictError as conflict:
            reason = conflict.problem.reason if conflict.problem is not None else ""
        else:
            raise DayMustGoAsToldError("the same id with another amount must be a conflict")
        _must(reason == "transaction_exists_with_different_amount", f"the conflict names the amount, not {reason}")
        return Scene(
            title="A bug at the till",
            lines=(f"The same id with another amount is a conflict (409 {reason}); the original stands.",),
        )

    def _returns(self) -> Scene:
        wallet_id, lunch_id = self._lunch.wallet_id, self._lunch.transaction_id
        part = self._post(self._client.reverse(wallet_id, original_transaction_id=lunch_id, amount=500))
        rest = self._post(self._client.reverse(wallet_id, original_transaction_id=lunch_id))
        _must(part.amount + rest.amount == self._lunch.amount, "part and rest are the whole lunch")
        more = self._client.reverse(wallet_id, original_transaction_id=lunch_id, amount=1)
        _must(
            isinstance(more, Refused) and more.reason == "reversal_must_not_exceed_original",
            "no more can be reversed than was debited",
        )
        return Scene(
            title="A complaint",
            lines=(
                f"Lunch is reversed in part ({_money(part.amount)}), then the rest ({_money(rest.amount)}).",
                "One cent more is refused: reversal_must_not_exceed_original.",
            ),
        )

    def _pocket_money(self) -> Scene:
        giver, taker = _expected(self._neighbours(), tuple, "two customers live in one cell")
        before = accepted(self._client.balance(taker.wallet_id)).balance
        sent = self._post(
            self._client.transfer(giver.wallet_id, to_wallet_id=taker.wallet_id, amount=2_500, currency=CURRENCY)
        )
        after = accepted(self._client.balance(taker.wallet_id)).balance
        _must((sent.state, after - before) == ("settled", 2_500), "a transfer within a cell arrives at once")
        return Scene(
            title="Pocket money",
            lines=(
                f"{_money(sent.amount)} go from wallet to wallet in {giver.cell}, in one transaction: {sent.state}.",
            ),
        )

    def _looking_back(self, moment: datetime) -> Scene:
        anna = self._customers[0]
        then = accepted(self._client.balance(anna.wallet_id, at=moment))
        now = accepted(self._client.balance(anna.wallet_id))
        _must(then.balance == SALARY, "before the first coffee there was a whole salary")
        return Scene(
            title="Looking back",
            lines=(
                f"At {moment:%H:%M:%S.%f}, before the first coffee, Anna had {_money(then.balance)}.",
                f"Now she has {_money(now.balance)}. Every past instant can be asked for.",
            ),
        )

    def _statement(self) -> Scene:
        bruno = self._customers[1]
        page = accepted(self._client.entries_page(bruno.wallet_id, limit=ENTRIES_SHOWN))
        _must(len(page.entries) == ENTRIES_SHOWN and page.next_cursor is not None, "a page is as long as asked for")
        lines = (
            f"{entry.seq:>5}  {entry.kind:<10}{_money(entry.delta):>16}{_money(entry.balance_after):>18}  "
            f"{entry.reason or entry.description or ''}"
            for entry in page.entries
        )
        return Scene(title=f"Bruno's last {ENTRIES_SHOWN} entries", lines=tuple(lines))

    def _verification(self) -> Scene:
        for wallet in [*self._customers, self._shop]:
            present = accepted(self._client.wallet(wallet.wallet_id))
            verdict = verify_history(present, self._client.entries(wallet.wallet_id, order="asc"))
            story = f"the history of wallet {wallet.wallet_id} is whole, not {verdict}"
            self._entries += _expected(verdict, Verified, story).entries
        return Scene(
            title="Trust, but verify",
            lines=(
                f"{self._entries} entries of {len(self._customers) + 1} wallets are read over HTTP.",
                "Every number, sum and hash is computed again: the histories are whole.",
            ),
        )

    def _open_wallet(self, owner_type: str, name: str) -> Wallet:
        opening = self._client.open_wallet(
            owner_type=owner_type, owner_ref=f"demo-{self._run}-{name}", currency=CURRENCY, metadata={"demo": self._run}
        )
        wallet = accepted(opening)
        _must(not wallet.replayed, f"{owner_type} {name} is new")
        return wallet

    def _post(self, outcome: Posting | Refused) -> Posting:
        posting = accepted(outcome)
        self._postings.append(posting)
        return posting

    def _neighbours(self) -> tuple[Wallet, Wallet] | None:
        """Two customers in one cell."""
        pairs = itertools.combinations(self._customers, 2)
        return next(((one, other) for one, other in pairs if one.cell == other.cell), None)


def _names() -> Iterator[str]:
    yield from CUSTOMERS
    for number in range(len(CUSTOMERS), CUSTOMERS_MAX):
        yield f"guest-{number + 1}"


def _money(amount: int) -> str:
    return f"{amount_text(amount, CURRENCY)} {CURRENCY}"


def _expected(outcome: object, kind: type[T], story: str) -> T:
    if not isinstance(outcome, kind):
        raise DayMustGoAsToldError(f"the platform disagrees with the story: {story}; it says {outcome}")
    return outcome


def _must(holds: bool, story: str) -> None:  # noqa: FBT001 - reads as the sentence that it is
    if not holds:
        raise DayMustGoAsToldError(f"the platform disagrees with the story: {story}")
