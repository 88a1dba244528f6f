"""Holds: money set aside, captured in parts, released, extended, expired.

A hold is the fold of the entries that name it (`subject`), by the one function that the write path and audits share.
"""

from dataclasses import replace

from cell.ledger.commands import CaptureHold, ExpireHold, ExtendHold, PlaceHold, ReleaseHold
from cell.ledger.derived_ids import GROUP_VENDOR
from cell.ledger.footprint import hold_key_of
from cell.ledger.model import Entry, Hold, HoldState, Instant, TransactionKey, Wallet
from cell.ledger.outcomes import Accepted, Outcome, Refused, Rejected
from cell.ledger.posting import Effect, InvariantBrokenError, clearing_account
from cell.ledger.verdicts import accept, reason_not_to_give, reason_not_to_pay, refuse, spendings_of
from cell.ledger.view import View
from contract.chain import CanonicalEntry
from contract.ids import TransactionId, VendorId, WalletId
from contract.problems import Problem
from contract.reasons import Reason

SECOND_US = 1_000_000


def place(view: View, wallet: Wallet, command: PlaceHold, now_us: Instant) -> Outcome:
    caps, vendor_id, amount = command.caps, command.vendor_id, command.amount
    reason = reason_not_to_give(wallet, command.currency) or reason_not_to_pay(
        view, wallet, amount, now_us, caps=caps, vendor_id=vendor_id
    )
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    effect = Effect(
        kind="hold",
        counter_account=clearing_account(vendor_id),
        held_delta=amount,
        subject_id=command.transaction_id,
        subject_vendor_id=vendor_id,
        expires_at_us=now_us + command.expires_in_s * SECOND_US,
    )
    spendings = spendings_of(wallet, amount, now_us, caps=caps, vendor_id=vendor_id)
    return with_hold(accept(wallet, effect, command, now_us, amount=amount, spendings=spendings), None)


def capture(view: View, wallet: Wallet, command: CaptureHold, now_us: Instant) -> Outcome:
    hold = _open_hold(view, wallet, command, now_us)
    if not isinstance(hold, Hold):
        return hold
    amount = hold.remaining if command.amount is None else command.amount
    if amount > hold.remaining:
        return refuse(wallet, command, now_us, Reason.CAPTURE_MUST_NOT_EXCEED_HOLD)
    account = clearing_account(command.vendor_id)
    effect = Effect(
        kind="capture",
        counter_account=account,
        delta=-amount,
        held_delta=-hold.remaining if command.is_final else -amount,
        subject_id=hold.key.transaction_id,
        subject_vendor_id=hold.key.vendor_id,
    )
    deltas = ((account, wallet.currency, amount),)
    return with_hold(accept(wallet, effect, command, now_us, amount=amount, account_deltas=deltas), hold)


def release(view: View, wallet: Wallet, command: ReleaseHold, now_us: Instant) -> Outcome:
    hold = _open_hold(view, wallet, command, now_us)
    if not isinstance(hold, Hold):
        return hold
    effect = Effect(
        kind="release",
        counter_account=clearing_account(command.vendor_id),
        held_delta=-hold.remaining,
        subject_id=hold.key.transaction_id,
        subject_vendor_id=hold.key.vendor_id,
    )
    return with_hold(accept(wallet, effect, command, now_us, amount=hold.remaining), hold)


def extend(view: View, wallet: Wallet, command: ExtendHold, now_us: Instant) -> Outcome:
    hold = _open_hold(view, wallet, command, now_us)
    if not isinstance(hold, Hold):
        return hold
    effect = Effect(
        kind="extend",
        counter_account=clearing_account(command.vendor_id),
        subject_id=hold.key.transaction_id,
        subject_vendor_id=hold.key.vendor_id,
        expires_at_us=now_us + command.expires_in_s * SECOND_US,
        requested_amount=hold.remaining,
    )
    return with_hold(accept(wallet, effect, command, now_us, amount=hold.remaining), hold)


def expire(view: View, wallet: Wallet, command: ExpireHold, now_us: Instant) -> Outcome:
    """Exactly one of a capture and an expiry finds the hold open: both look under the wallet's lock."""
    hold = view.hold(hold_key_of(command))
    if hold is None or hold.state != "open" or hold.expires_at_us is None or now_us < hold.expires_at_us:
        detail = f"Hold {command.hold_id} is not one that is open past its time."
        return Rejected(problem=Problem(reason=Reason.HOLD_MUST_BE_OPEN, detail=detail))
    effect = Effect(
        kind="expire",
        counter_account=clearing_account(command.hold_vendor_id),
        held_delta=-hold.remaining,
        subject_id=hold.key.transaction_id,
        subject_vendor_id=hold.key.vendor_id,
    )
    return with_hold(accept(wallet, effect, command, now_us, amount=hold.remaining), hold)


def _open_hold(
    view: View, wallet: Wallet, command: CaptureHold | ReleaseHold | ExtendHold, now_us: Instant
) -> Hold | Refused:
    """The rungs that capture, release and extend share. A suspended wallet's holds may be ended."""
    if wallet.status == "closed":
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if wallet.blocked_by is not None:
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    hold = view.hold(hold_key_of(command))
    if hold is None:
        return refuse(wallet, command, now_us, Reason.HOLD_MUST_EXIST)
    if hold.state != "open" or (hold.expires_at_us is not None and now_us >= hold.expires_at_us):
        return refuse(wallet, command, now_us, Reason.HOLD_MUST_BE_OPEN)
    return hold


def with_hold(accepted: Accepted, before: Hold | None, *, terms: str | None = None) -> Accepted:
    """The same, with the hold after the entry."""
    (entry,) = accepted.changes.entries
    return replace(accepted, changes=replace(accepted.changes, holds=(fold_hold(before, entry, terms=terms),)))


def subject_of(entry: CanonicalEntry) -> TransactionKey | None:
    """The hold that an entry is about. (A transfer's entries name the other wallet, and no vendor of it.)"""
    if entry.kind not in HOLD_AFTER or entry.subject_id is None or entry.subject_vendor_id is None:
        return None
    return TransactionKey(WalletId(entry.wallet_id), VendorId(entry.subject_vendor_id), TransactionId(entry.subject_id))


def fold_hold(before: Hold | None, entry: Entry | CanonicalEntry, *, terms: str | None = None) -> Hold:
    """The hold after an entry that is about it.

    Raises:
        InvariantBrokenError: the entry does not follow from the hold.

    """
    key = subject_of(entry)
    if key is None:
        raise InvariantBrokenError(f"L2: entry {entry.seq} of {entry.wallet_id} is about no hold")
    if before is None:
        return _placed(key, entry, terms)
    if before.state != "open" or entry.kind == "hold":
        raise InvariantBrokenError(f"L2: entry {entry.seq} of {entry.wallet_id} is about a hold that is over")
    is_pin = before.kind == "pin"
    taken = abs(entry.delta)
    is_extended = entry.kind == "extend"
    captured = before.captured + taken
    remaining = 0 if is_pin else before.remaining + entry.held_delta
    if remaining < 0 or captured + remaining > before.amount:
        raise InvariantBrokenError(f"L2: entry {entry.seq} of {entry.wallet_id} takes more than its hold")
    state = HOLD_AFTER[entry.kind]
    return Hold(
        key=before.key,
        kind=before.kind,
        amount=before.amount,
        captured=captured,
        remaining=remaining,
        state="open" if state == "open" or (state == "captured" and remaining > 0) else state,
        placed_at_us=before.placed_at_us,
        expires_at_us=_instant(entry.expires_at_us) if is_extended else before.expires_at_us,
        terms=before.terms,
    )


def _placed(key: TransactionKey, entry: CanonicalEntry, terms: str | None) -> Hold:
    """A hold is placed; or a leg is cancelled before it was prepared, and what comes too late must find that."""
    is_vendors = key.vendor_id != GROUP_VENDOR
    amount = entry.held_delta or (entry.requested_amount or 0)
    is_open = entry.kind == "hold"
    if not is_open and (is_vendors or amount):
        raise InvariantBrokenError(f"L2: entry {entry.seq} of {entry.wallet_id} is about a hold that is unknown")
    return Hold(
        key=key,
        kind="vendor" if is_vendors else "pin" if is_open and entry.held_delta == 0 else "group",
        amount=amount,
        captured=0,
        remaining=amount,
        state="open" if is_open else "released",
        placed_at_us=Instant(entry.posted_at_us),
        expires_at_us=_instant(entry.expires_at_us),
        terms=terms,
    )


def _instant(instant_us: int | None) -> Instant | None:
    return None if instant_us is None else Instant(instant_us)


HOLD_AFTER: dict[str, HoldState] = {
    "hold": "open",
    "extend": "open",
    "capture": "captured",
    "transfer_in": "captured",
    "release": "released",
    "expire": "expired",
}
"""What a hold is after an entry about it, by the entry's kind; `transfer_in` is what a pin was set for.

A capture in part leaves it open. docs/lives.md is printed from this table.
"""
