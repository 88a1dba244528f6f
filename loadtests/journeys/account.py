"""What one vendor must have, wallet by wallet, after everything that it was told. Pure.

The vendor's wallets are its own and it does one thing at a time, so each answer can be held against this account.
"""

from typing import Any


class Account:
    """`balance` and `held` per wallet; a contradiction is kept as a sentence."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.contradictions: list[str] = []

    def open(self, wallet_id: str) -> None:
        self.balances.setdefault(wallet_id, 0)
        self.held.setdefault(wallet_id, 0)

    def posted(self, wallet_id: str, posting: dict[str, Any]) -> None:
        """An accepted posting: it changes the account, and states what must be true afterwards."""
        self.balances[wallet_id] += posting["delta"]
        self.held[wallet_id] += posting["held_delta"]
        self.stated(wallet_id, posting)

    def received(self, wallet_id: str, amount: int) -> None:
        """A settled transfer's other side."""
        self.balances[wallet_id] += amount

    def stated(self, wallet_id: str, answer: dict[str, Any]) -> None:
        """An answer that states balance and held."""
        expected = (self.balances[wallet_id], self.held[wallet_id])
        told = (answer["balance"], answer["held"])
        if told != expected:
            self.contradictions.append(f"wallet {wallet_id} states balance and held {told} instead of {expected}")
