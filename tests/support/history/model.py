"""What clients saw and what the cells stored, as values: all that the checks of this package look at.

A command is one thing asked under one id, however often it was sent. Of its answers only a decision counts: an
accepted posting or a recorded refusal. Anything else (no answer, a 503) leaves open whether it happened.
Instants of clients are seconds of one monotonic clock; instants of cells are the texts of their answers.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from contract.values import value

Kind = Literal["debit", "credit", "reversal", "transfer_out"]


class Key(NamedTuple):
    """What idempotency is scoped to; all commands of a history are one vendor's."""

    wallet_id: str
    transaction_id: str


@value
class Asked:
    """One command; two with the same key and other content are a conflict."""

    wallet_id: str
    transaction_id: str
    kind: Kind
    amount: int | None
    """None = all that is left of the original."""
    currency: str | None = None
    subject_id: str | None = None
    """The original of a reversal, the target of a transfer."""

    @property
    def key(self) -> Key:
        return Key(self.wallet_id, self.transaction_id)


@value
class Answer:
    status: int
    document: dict[str, Any]
    is_replay: bool = False

    @property
    def is_accepted(self) -> bool:
        return self.status == 201

    @property
    def is_refusal(self) -> bool:
        """A recorded "no"."""
        return self.status == 422 and self.document.get("retry") == "new_id"

    @property
    def is_decision(self) -> bool:
        return self.is_accepted or self.is_refusal

    @property
    def lasting(self) -> tuple[int, dict[str, Any]]:
        """What a replay must repeat: everything but the name of the request."""
        return self.status, {name: member for name, member in self.document.items() if name != "request_id"}


@value
class Attempt:
    """One sending of a command, and what came back: None = nothing, so it may have happened."""

    asked: Asked
    began_s: float
    ended_s: float
    answer: Answer | None
    fault: str = ""

    @property
    def decision(self) -> Answer | None:
        return self.answer if self.answer is not None and self.answer.is_decision else None


@value
class Read:
    """A balance that a client was told."""

    wallet_id: str
    began_s: float
    ended_s: float
    seq: int
    balance: int


@value
class StoredEntry:
    """One line of a wallet's log as the cell's database holds it."""

    wallet_id: str
    seq: int
    kind: str
    delta: int
    balance_after: int
    held_after: int
    overdraft_limit_after: int
    transaction_id: str
    vendor_id: str
    counter_account: str
    posted_at: str
    hash: str
    subject_id: str | None = None
    reason: str | None = None

    @property
    def key(self) -> Key:
        return Key(self.wallet_id, self.transaction_id)

    @property
    def is_own(self) -> bool:
        """Whether it stands under the id of somebody's command: openings and receipts have names of their own."""
        return self.kind not in {"opened", "transfer_in"}


@value
class StoredWallet:
    wallet_id: str
    cell: str
    balance: int
    seq: int
    head_hash: str


@value
class CellTotal:
    """In one snapshot of one cell."""

    cell: str
    currency: str
    wallets: int
    accounts: int


@value
class Ledger:
    """What the cells hold of the history's wallets; `entries` by wallet, in the order of seq."""

    wallets: dict[str, StoredWallet]
    entries: dict[str, tuple[StoredEntry, ...]]
    totals: tuple[CellTotal, ...]


@value
class Finding:
    """Something that must not be; `check` is a word to count by."""

    check: str
    wallet_id: str
    detail: str
    transaction_id: str | None = None


class History:
    """Grows while clients work; checks read it afterwards."""

    def __init__(self, attempts: Iterable[Attempt] = (), reads: Iterable[Read] = ()) -> None:
        self.attempts = list(attempts)
        self.reads = list(reads)

    def by_key(self) -> dict[Key, list[Attempt]]:
        """The attempts under each id, in the order in which they ended."""
        grouped: dict[Key, list[Attempt]] = {}
        for attempt in sorted(self.attempts, key=lambda one: one.ended_s):
            grouped.setdefault(attempt.asked.key, []).append(attempt)
        return grouped
