"""Bodies that vendors receive. Fields may be added here, never change their meaning."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from contract.ids import NAME_PATTERN

WalletStatus = Literal["active", "suspended", "closed"]
EntryKind = Literal[
    "opened",
    "changed",
    "debit",
    "credit",
    "reversal",
    "hold",
    "capture",
    "release",
    "extend",
    "expire",
    "transfer_out",
    "transfer_in",
    "refund",
    "refused",
]
HoldState = Literal["open", "captured", "released", "expired"]


class Answer(BaseModel):
    pass


class OwnerAnswer(Answer):
    type: Annotated[str, Field(pattern=NAME_PATTERN)]
    ref: str


class WalletAnswer(Answer):
    """`available` = balance - held + overdraft_limit."""

    wallet_id: str
    owner: OwnerAnswer
    kind: str
    currency: str
    status: WalletStatus
    balance: int
    held: int
    available: int
    overdraft_limit: int
    seq: int
    opened_at: str
    updated_at: str
    metadata: dict[str, Any]


class OwnedWalletsAnswer(Answer):
    wallets: list[WalletAnswer]


class BalanceAnswer(Answer):
    wallet_id: str
    currency: str
    balance: int
    held: int
    available: int
    seq: int
    as_of: str
    """The instant that this answer describes for ever: asking again `at` this instant gives the same figures."""


class PostingAnswer(Answer):
    """`amount` is positive, `delta` is what the balance changed by, `held_delta` what the held sum changed by."""

    transaction_id: str
    wallet_id: str
    kind: EntryKind
    amount: int
    currency: str
    delta: int
    held_delta: int
    balance: int
    held: int
    available: int
    seq: int
    posted_at: str
    entry_hash: str
    hold_id: str | None = None
    to_wallet_id: str | None = None
    state: str | None = None
    original_transaction_id: str | None = None


class HoldAnswer(Answer):
    """Money set aside. One whose time is over is `expired`, also in the moment before its money is given back."""

    hold_id: str
    wallet_id: str
    vendor_id: str
    amount: int
    captured: int
    remaining: int
    """What is still set aside."""
    state: HoldState
    placed_at: str
    expires_at: str | None


class HoldsAnswer(Answer):
    holds: list[HoldAnswer]
    next_cursor: str | None


class EntryAnswer(Answer):
    """One immutable line of a wallet's log, with everything that its hash covers (contract/chain.py)."""

    transaction_id: str
    wallet_id: str
    kind: EntryKind
    amount: int
    currency: str
    delta: int
    held_delta: int
    balance_after: int
    held_after: int
    available: int
    overdraft_limit_after: int
    status_after: str
    seq: int
    posted_at: str
    vendor_id: str
    counter_account: str
    entry_hash: str
    sealed: str
    """Hex SHA-256 that stands for description, metadata and context in the hash."""
    reason: str | None = None
    requested_kind: str | None = None
    requested_amount: int | None = None
    hold_id: str | None = None
    original_transaction_id: str | None = None
    subject_id: str | None = None
    """What the entry is about: the original of a reversal, a hold, the transfer or group it belongs to."""
    subject_vendor_id: str | None = None
    expires_at: str | None = None
    to_wallet_id: str | None = None
    description: str | None = None
    reference: str | None = None
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class StatementAnswer(Answer):
    """Every line changes the balance: `opening_balance` + Σ `delta` = `closing_balance`, the same for ever.

    `to` is the asked one, or the latest instant before it that can no longer change.
    """

    wallet_id: str
    currency: str
    from_: str = Field(alias="from")
    to: str
    opening_balance: int
    lines: list[EntryAnswer]
    closing_balance: int


class EntriesAnswer(Answer):
    entries: list[EntryAnswer]
    next_cursor: str | None


class LeafAnswer(Answer):
    """How a wallet stood when the checkpoint was taken; `seq` and `head_hash` are those of an entry of its log."""

    wallet_id: str
    seq: int
    head_hash: str
    balance: int
    held: int


class SignatureAnswer(Answer):
    key_id: str
    value: str


class CheckpointAnswer(Answer):
    """What a cell signed of all its wallets (contract/checkpoints.py); totals are decimal texts without a bound."""

    form: Literal["v1"]
    cell: str
    number: int
    taken_at: str
    wallets: int
    totals: dict[str, dict[str, str]]
    merkle_root: str
    previous_hash: str
    public_key: str
    signature: SignatureAnswer


class CheckpointsAnswer(Answer):
    cell: str
    checkpoints: list[CheckpointAnswer]
    next_cursor: str | None


class ProofAnswer(Answer):
    """That the leaf is in the checkpoint: hashed with its siblings, position by position, it gives the Merkle root."""

    leaf: LeafAnswer
    position: int
    path: list[str]
    checkpoint: CheckpointAnswer


class KeysAnswer(Answer):
    """A JWKS (RFC 7517): of the cells (`kid` = `cell:<id>`), and of the token issuer."""

    keys: list[dict[str, Any]]


class LegAnswer(Answer):
    """`amount` is what the wallet's balance changes by."""

    wallet_id: str
    amount: int
    state: Literal["asked", "prepared", "refused", "confirmed", "cancelled"]
    reason: str | None


class GroupAnswer(Answer):
    """`is_finished` says whether every leg has followed the decision."""

    transaction_id: str
    wallet_id: str
    currency: str
    state: Literal["preparing", "confirmed", "cancelled"]
    is_finished: bool
    started_at: str
    legs: list[LegAnswer]


class ProblemAnswer(Answer):
    """RFC 9457, `application/problem+json`; `retry` says whether the same id may be sent again."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    retry: Literal["never", "same_id", "new_id"]
    request_id: str
