"""The invariants of a wallet's log, checked entry by entry against what is stored; numbers as in docs/INVARIANTS.md.

Nothing here trusts a stored sum: everything is computed again from the entries, with the same canonical form and the
same rules. A difference is a finding with the wallet, the entry, the field, and both values.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cell.ledger.holding import fold_hold, subject_of
from cell.ledger.model import Hold, TransactionKey
from cell.ledger.posting import NO_CURRENCY, InvariantBrokenError, wallet_account
from contract.chain import ZERO_HASH, CanonicalEntry, entry_hash, sealed_hash
from contract.ids import WalletId, wallet_id_of
from contract.money import AMOUNT_MAX
from contract.signing import canonical_json
from contract.values import value

FINDINGS_MAX = 1_000
"""Findings told per audit; a broken disk would otherwise fill the report."""


STUCK = "stuck"
"""What a finding says that breaks no invariant: something has been open for longer than anything should be."""


@value
class Finding:
    invariant: str
    wallet_id: str | None
    seq: int | None
    field: str
    expected: Any
    found: Any


@value
class AuditedEntry:
    """An entry as it is stored; salt, details and context are none once erased."""

    canonical: CanonicalEntry
    hash: bytes
    salt: bytes | None
    details: str | None
    context: str | None


@value
class AuditedWallet:
    """A wallet row as it is stored."""

    wallet_id: WalletId
    owner_type: str
    owner_ref: str
    kind: str
    currency: str
    status: str
    balance: int
    held: int
    overdraft_limit: int
    seq: int
    head_hash: bytes
    posted_at_us: int
    metadata: str
    pinned: int
    sent_away: int
    """Σ of its transfers that are in transit."""


class LogAudit:
    """Folds the entries of one wallet, in order, and compares the result with its row and its holds."""

    def __init__(self, wallet: AuditedWallet, holds: Sequence[Hold]) -> None:
        self.findings: list[Finding] = []
        self.counter_sums: defaultdict[str, int] = defaultdict(int)
        """Σ of what the entries say moved to each other account."""
        self._wallet = wallet
        self._stored_holds = {hold.key: hold for hold in holds}
        self._holds: dict[TransactionKey, tuple[Hold, int]] = {}
        """As folded, each with the seq of the last entry about it."""
        self._is_opened = False
        self._is_tail = False
        self._seq = 0
        self._posted_at_us = 0
        self._head = ZERO_HASH
        self._balance = 0
        self._held = 0
        self._limit = 0
        self._status = ""
        self._metadata: str | None = None
        self._amounts: dict[tuple[str, str], int] = {}
        self._reversed: defaultdict[tuple[str, str], int] = defaultdict(int)

    @property
    def currency(self) -> str:
        return self._wallet.currency

    def resume(self, before: AuditedEntry) -> None:
        """Begin after this entry, which an earlier audit has seen: what only the whole log tells is not compared."""
        canonical = before.canonical
        self._is_tail = True
        self._is_opened = canonical.status_after != "unopened"
        self._balance = canonical.balance_after
        self._held = canonical.held_after
        self._seq = canonical.seq
        self._posted_at_us = canonical.posted_at_us
        self._head = before.hash
        self._limit = canonical.overdraft_limit_after
        self._status = canonical.status_after

    def read(self, entry: AuditedEntry) -> None:
        canonical = entry.canonical
        self._balance += canonical.delta
        self._held += canonical.held_delta
        self._check("L4", canonical.seq, "seq", self._seq + 1, canonical.seq)
        self._must(canonical.posted_at_us >= self._posted_at_us, "L4", canonical.seq, "posted_at must not fall")
        self._check("L1", canonical.seq, "balance_after", self._balance, canonical.balance_after)
        self._check("L2", canonical.seq, "held_after", self._held, canonical.held_after)
        self._must(-AMOUNT_MAX <= self._balance <= AMOUNT_MAX, "L3", canonical.seq, "balance must be within bounds")
        available = canonical.balance_after - canonical.held_after + canonical.overdraft_limit_after
        self._must(available >= 0, "L3", canonical.seq, "available must not be negative")
        self._must(canonical.counter_account != "", "L5", canonical.seq, "counter account must be named")
        self._check("L6", canonical.seq, "hash", entry_hash(self._head, canonical).hex(), entry.hash.hex())
        self._check_seal(entry)
        self._is_opened = self._is_opened or canonical.kind == "opened"
        is_before = canonical.status_after == "unopened"
        self._check("L9", canonical.seq, "status_after is unopened", not self._is_opened, is_before)
        self._follow(entry)
        self._follow_hold(canonical)

    def finish(self) -> list[Finding]:
        """Compare with the row, and give everything that was found."""
        wallet = self._wallet
        self._check_owner()
        self._check("L1", None, "balance", self._balance, wallet.balance)
        self._check("L2", None, "held", self._held, wallet.held)
        self._check("L4", None, "seq", self._seq, wallet.seq)
        self._check("L4", None, "posted_at", self._posted_at_us, wallet.posted_at_us)
        self._check("L6", None, "head_hash", self._head.hex(), wallet.head_hash.hex())
        self._check("L9", None, "status", self._status, wallet.status)
        self._check("L9", None, "overdraft_limit", self._limit, wallet.overdraft_limit)
        if self._metadata is not None:
            self._check("L9", None, "metadata", self._metadata, wallet.metadata)
        for (vendor_id, original), amount in self._reversed.items():
            limit = self._amounts.get((vendor_id, original), 0)
            self._must(self._is_tail or amount <= limit, "L9", None, f"reversals of {original} must not exceed it")
        self._check_holds()
        return self.findings

    def _check_owner(self) -> None:
        wallet = self._wallet
        if not self._is_opened:
            self._check("L9", None, "owner", ("", NO_CURRENCY), (wallet.owner_type, wallet.currency))
            return
        computed_id = wallet_id_of(
            owner_type=wallet.owner_type, owner_ref=wallet.owner_ref, kind=wallet.kind, currency=wallet.currency
        )
        self._check("L9", None, "wallet_id", computed_id, wallet.wallet_id)

    def _check_holds(self) -> None:
        """Field by field; only the terms of a leg are no fold of entries."""
        if not self._is_tail:
            self._compare_holds()
        self._sum_holds()

    def _compare_holds(self) -> None:
        for key in sorted(self._holds.keys() | self._stored_holds.keys()):
            folded, seq = self._holds.get(key, (None, None))
            stored, name = self._stored_holds.get(key), f"hold {key.transaction_id} of {key.vendor_id}"
            if folded is None or stored is None:
                presence = {True: "absent", False: "present"}
                self._check("L9", seq, name, presence[folded is None], presence[stored is None])
                continue
            for field in ("kind", "amount", "captured", "remaining", "state", "placed_at_us", "expires_at_us"):
                self._check("L9", seq, f"{name}: {field}", getattr(folded, field), getattr(stored, field))

    def _sum_holds(self) -> None:
        still_open = [hold for hold in self._stored_holds.values() if hold.state == "open"]
        set_aside = sum(hold.remaining for hold in still_open if hold.kind != "pin")
        self._check("L2", None, "open holds", set_aside, self._wallet.held)
        pins = sum(hold.remaining for hold in still_open if hold.kind == "pin")
        self._check("L2", None, "pinned", pins + self._wallet.sent_away, self._wallet.pinned)

    def _check_seal(self, entry: AuditedEntry) -> None:
        if entry.salt is None or entry.details is None or entry.context is None:
            return
        sealed = sealed_hash(salt=entry.salt, details=entry.details, context=entry.context)
        self._check("L6", entry.canonical.seq, "sealed", sealed, entry.canonical.sealed)

    def _follow(self, entry: AuditedEntry) -> None:
        canonical = entry.canonical
        self._seq = canonical.seq
        self._posted_at_us = canonical.posted_at_us
        self._head = entry.hash
        self._limit = canonical.overdraft_limit_after
        self._status = canonical.status_after
        self.counter_sums[canonical.counter_account] -= canonical.delta
        if canonical.kind in {"debit", "credit", "capture"}:
            self._amounts[canonical.vendor_id, canonical.transaction_id] = abs(canonical.delta)
        if canonical.kind == "reversal":
            self._reversed[canonical.subject_vendor_id or "", canonical.subject_id or ""] += abs(canonical.delta)
        if canonical.kind in {"opened", "changed"}:
            self._metadata = self._metadata_after(entry)

    def _follow_hold(self, canonical: CanonicalEntry) -> None:
        key = subject_of(canonical)
        if key is None or self._is_tail:
            return
        before, _ = self._holds.get(key, (None, 0))
        try:
            self._holds[key] = (fold_hold(before, canonical), canonical.seq)
        except InvariantBrokenError as error:
            self._check("L9", canonical.seq, f"hold {key.transaction_id} of {key.vendor_id}", "follows", str(error))

    def _metadata_after(self, entry: AuditedEntry) -> str | None:
        """None = it was erased, and cannot be told any more."""
        if entry.details is None:
            return None
        details = json.loads(entry.details)
        if entry.canonical.kind == "opened":
            return canonical_json(details.get("metadata", {}))
        change = details.get("change", {})
        return canonical_json(change["metadata"]) if "metadata" in change else self._metadata

    def _must(self, holds: bool, invariant: str, seq: int | None, what: str) -> None:  # noqa: FBT001 - the fact itself
        self._check(invariant, seq, what, "holds", "holds" if holds else "broken")

    def _check(self, invariant: str, seq: int | None, field: str, expected: object, found: object) -> None:
        if expected != found and len(self.findings) < FINDINGS_MAX:
            self.findings.append(
                Finding(
                    invariant=invariant,
                    wallet_id=self._wallet.wallet_id,
                    seq=seq,
                    field=field,
                    expected=expected,
                    found=found,
                )
            )


def is_wallet_account(account: str) -> bool:
    return account.startswith(wallet_account(""))
