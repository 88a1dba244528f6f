"""What all scenes of the day share: the client, the people and their wallets, what was posted, and how a story fails.

Owners are new in every run, so a run can be repeated at will and its totals are its own. Knows the vendor API only.
"""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from cellwallet.client import Client, Posting, Refused, Wallet, accepted
from contract.money import amount_text
from contract.values import value

T = TypeVar("T")

CURRENCY = "EUR"
CUSTOMERS = ("anna", "bruno", "clara", "david", "elena", "farid")
CUSTOMERS_MAX = 40
"""Bound of the search for two customers in one cell."""
CUSTOMERS_FOR_CELLS = 32
"""Bound of the search for a third cell: of three cells, so many customers miss one once in 100,000 days."""
CELLS_WANTED = 3
SALARY = 120_000
PATIENCE_S = 20.0
"""How long the day waits for what happens by itself: an expiry, a limit on its way to the cells, an event."""
LOOK_EVERY_S = 0.1


class DayMustGoAsToldError(Exception):
    """The platform did something else than the story says: a bug."""


@value
class Scene:
    title: str
    lines: tuple[str, ...]


class Stage:
    def __init__(self, client: Client, *, run: str) -> None:
        self.client = client
        self.run = run
        self.customers: list[Wallet] = []
        self.postings: list[Posting] = []
        self.entries = 0

    @property
    def anna(self) -> Wallet:
        return self.customers[0]

    @property
    def bruno(self) -> Wallet:
        return self.customers[1]

    @property
    def wallets(self) -> list[Wallet]:
        return [*self.customers, self.shop]

    def open_wallets(self) -> None:
        """A shop's, and so many customers' that two share a cell and three cells have one, if there are three."""
        self.shop = self._open_wallet("merchant", "coffee-shop")
        for number in range(CUSTOMERS_MAX):
            name = CUSTOMERS[number] if number < len(CUSTOMERS) else f"guest-{number + 1}"
            self.customers.append(self._open_wallet("customer", name))
            if len(self.customers) >= len(CUSTOMERS) and self._is_cast():
                return

    def post(self, outcome: Posting | Refused) -> Posting:
        posting = accepted(outcome)
        self.postings.append(posting)
        return posting

    def balance(self, wallet: Wallet) -> int:
        return accepted(self.client.balance(wallet.wallet_id)).balance

    def neighbours(self) -> tuple[Wallet, Wallet] | None:
        """Two customers in one cell."""
        pairs = itertools.combinations(self.customers, 2)
        return next(((one, other) for one, other in pairs if one.cell == other.cell), None)

    def one_of_each_cell(self) -> list[Wallet]:
        """The first customer of each cell, three at most."""
        first: dict[str | None, Wallet] = {}
        for customer in self.customers:
            first.setdefault(customer.cell, customer)
        return list(first.values())[:CELLS_WANTED]

    def _is_cast(self) -> bool:
        is_spread = len(self.one_of_each_cell()) == CELLS_WANTED or len(self.customers) >= CUSTOMERS_FOR_CELLS
        return is_spread and self.neighbours() is not None

    def _open_wallet(self, owner_type: str, name: str) -> Wallet:
        opening = self.client.open_wallet(
            owner_type=owner_type, owner_ref=f"demo-{self.run}-{name}", currency=CURRENCY, metadata={"demo": self.run}
        )
        wallet = accepted(opening)
        must(not wallet.replayed, f"{owner_type} {name} is new")
        return wallet


def money(amount: int) -> str:
    return f"{amount_text(amount, CURRENCY)} {CURRENCY}"


def expected(outcome: object, kind: type[T], story: str) -> T:
    if not isinstance(outcome, kind):
        raise DayMustGoAsToldError(f"the platform disagrees with the story: {story}; it says {outcome}")
    return outcome


def must(holds: bool, story: str) -> None:  # noqa: FBT001 - reads as the sentence that it is
    if not holds:
        raise DayMustGoAsToldError(f"the platform disagrees with the story: {story}")


def wait_until(look: Callable[[], T | None], story: str) -> T:
    """What `look` finds at last, within the day's patience."""
    ends_at_s = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found is not None:
            return found
        must(time.monotonic() < ends_at_s, f"{story} within {PATIENCE_S:.0f} s")
        time.sleep(LOOK_EVERY_S)
