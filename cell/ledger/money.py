"""Debits, credits and reversals: the ladder of each, one line a rung, and what it posts."""

from cell.ledger.commands import Credit, Debit, Reverse
from cell.ledger.footprint import original_key_of
from cell.ledger.model import Instant, Recorded, Wallet
from cell.ledger.outcomes import Accepted, Outcome, Reversal
from cell.ledger.posting import Effect, clearing_account
from cell.ledger.verdicts import accept, reason_not_to_give, reason_not_to_pay, reason_not_to_take, refuse, spendings_of
from cell.ledger.view import View
from contract.money import AMOUNT_MAX
from contract.reasons import Reason

REVERSIBLE_KINDS = frozenset({"debit", "credit", "capture"})
"""Reversing one side of a transfer would mint money."""


def debit(view: View, wallet: Wallet, command: Debit, now_us: Instant) -> Outcome:
    caps, vendor_id, amount = command.caps, command.vendor_id, command.amount
    reason = reason_not_to_give(wallet, command.currency) or reason_not_to_pay(
        view, wallet, amount, now_us, caps=caps, vendor_id=vendor_id
    )
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    account = clearing_account(vendor_id)
    return accept(
        wallet,
        Effect(kind="debit", counter_account=account, delta=-amount),
        command,
        now_us,
        amount=amount,
        account_deltas=((account, wallet.currency, amount),),
        spendings=spendings_of(wallet, amount, now_us, caps=caps, vendor_id=vendor_id),
    )


def credit(wallet: Wallet, command: Credit, now_us: Instant) -> Outcome:
    reason = reason_not_to_take(wallet, command.currency, command.amount)
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    account = clearing_account(command.vendor_id)
    return accept(
        wallet,
        Effect(kind="credit", counter_account=account, delta=command.amount),
        command,
        now_us,
        amount=command.amount,
        account_deltas=((account, wallet.currency, -command.amount),),
    )


def reverse(view: View, wallet: Wallet, command: Reverse, now_us: Instant) -> Outcome:
    original_key = original_key_of(command)
    original = view.recorded(original_key)
    takes_money = original is not None and original.delta > 0
    if wallet.status == "closed":
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if wallet.blocked_by is not None or (takes_money and wallet.status != "active"):
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if original is None:
        return refuse(wallet, command, now_us, Reason.ORIGINAL_MUST_EXIST)
    if not _is_reversible(original):
        return refuse(wallet, command, now_us, Reason.ORIGINAL_MUST_BE_REVERSIBLE)
    left = abs(original.delta) - view.reversed_amount(original_key)
    amount = left if command.amount is None else command.amount
    if amount > left or left == 0:
        return refuse(wallet, command, now_us, Reason.REVERSAL_MUST_NOT_EXCEED_ORIGINAL)
    if takes_money and amount > wallet.available:
        return refuse(wallet, command, now_us, Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT)
    delta = -amount if takes_money else amount
    if not -AMOUNT_MAX <= wallet.balance + delta <= AMOUNT_MAX - (wallet.pinned if delta > 0 else 0):
        return refuse(wallet, command, now_us, Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS)
    return _post_reversal(wallet, command, now_us, delta=delta)


def _is_reversible(original: Recorded) -> bool:
    """The platform's own captures end legs of groups: one side of a transfer."""
    is_a_vendors = not original.key.vendor_id.startswith("@")
    return is_a_vendors and original.kind in REVERSIBLE_KINDS and original.reason is None


def _post_reversal(wallet: Wallet, command: Reverse, now_us: Instant, *, delta: int) -> Accepted:
    account = clearing_account(command.original_vendor_id)
    effect = Effect(
        kind="reversal",
        counter_account=account,
        delta=delta,
        subject_id=command.original_transaction_id,
        subject_vendor_id=command.original_vendor_id,
    )
    return accept(
        wallet,
        effect,
        command,
        now_us,
        amount=abs(delta),
        account_deltas=((account, wallet.currency, -delta),),
        reversal=Reversal(original=original_key_of(command), seq=wallet.seq + 1, amount=abs(delta)),
    )
