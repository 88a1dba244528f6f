"""Transfers: within the cell two entries of one transaction, between cells a saga that starts with the debit.

The states of a transfer that left the cell are a table; docs/lives.md is printed from it.
"""

from dataclasses import replace

from cell.ledger.commands import ReceiveTransfer, RefundTransfer, SendTransfer, SettleTransfer
from cell.ledger.footprint import key_of, receipt_key_of, transfer_key_of
from cell.ledger.model import Instant, Transfer, TransferState, Wallet
from cell.ledger.outcomes import NOTHING, Accepted, Changes, Marked, Outcome, Rejected, Spending
from cell.ledger.ownership import refuse_absent
from cell.ledger.posting import IN_TRANSIT, Effect, record, wallet_account, write_entry
from cell.ledger.verdicts import (
    accept,
    is_opened,
    reason_not_to_give,
    reason_not_to_pay,
    reason_not_to_take,
    refuse,
    spendings_of,
)
from cell.ledger.view import View
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason

TRANSFER_TRANSITIONS: dict[TransferState, frozenset[TransferState]] = {
    "in_transit": frozenset({"settled", "refunded"}),
    "settled": frozenset(),
    "refunded": frozenset(),
}


def send(view: View, wallet: Wallet, command: SendTransfer, now_us: Instant) -> Outcome:
    is_to_itself = command.to_wallet_id == wallet.wallet_id
    target = None if is_to_itself else view.wallet(command.to_wallet_id)
    leaves = not is_to_itself and not is_local(view, command.to_wallet_id)
    if leaves and not command.may_leave:
        return _in_another_cell(command)
    reason = reason_not_to_give(wallet, command.currency)
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    if is_to_itself:
        return refuse(wallet, command, now_us, Reason.WALLETS_MUST_BE_DIFFERENT)
    if not leaves and not _accepts(target, command):
        return refuse(wallet, command, now_us, Reason.TARGET_WALLET_MUST_ACCEPT)
    reason = reason_not_to_pay(view, wallet, command.amount, now_us, caps=command.caps, vendor_id=command.vendor_id)
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    if leaves or target is None:
        return _send_away(wallet, command, now_us)
    return _send_within(wallet, target, command, now_us)


def is_local(view: View, wallet_id: WalletId) -> bool:
    """Whether this cell can judge the wallet within the same transaction."""
    wallet = view.wallet(wallet_id)
    if wallet is None:
        return refuse_absent(wallet_id, view.unit_state_of(wallet_id), view.exile(wallet_id)) is None
    return wallet.frozen_by is None


def _accepts(target: Wallet | None, command: SendTransfer) -> bool:
    if target is None or not is_opened(target):
        return False
    return reason_not_to_take(target, command.currency, command.amount) is None


def _send_within(wallet: Wallet, target: Wallet, command: SendTransfer, now_us: Instant) -> Accepted:
    key, receipt_key = key_of(command), receipt_key_of(command)
    out = Effect(kind="transfer_out", counter_account=wallet_account(target.wallet_id), delta=-command.amount)
    into = Effect(kind="transfer_in", counter_account=wallet_account(wallet.wallet_id), delta=command.amount)
    sent, wallet_after = write_entry(wallet, out, command, now_us, key=key)
    received, target_after = write_entry(target, into, command, now_us, key=receipt_key)
    recorded = record(key, command, sent, amount=command.amount)
    receipt = record(receipt_key, command, received, amount=command.amount)
    return Accepted(
        recorded=recorded,
        changes=Changes(
            entries=(sent, received),
            wallets=(wallet_after, target_after),
            recorded=(recorded, receipt),
            spendings=_spendings(wallet, command, now_us),
        ),
    )


def _send_away(wallet: Wallet, command: SendTransfer, now_us: Instant) -> Accepted:
    """Debit first, so that the money is never in two wallets; room is kept for its return."""
    effect = Effect(kind="transfer_out", counter_account=IN_TRANSIT, delta=-command.amount, pinned_delta=command.amount)
    transfer = Transfer(
        key=key_of(command),
        transfer_id=command.transfer_id,
        to_wallet_id=command.to_wallet_id,
        amount=command.amount,
        currency=wallet.currency,
        state="in_transit",
        details=command.details,
        sent_at_us=now_us,
    )
    return accept(
        wallet,
        effect,
        command,
        now_us,
        amount=command.amount,
        account_deltas=((IN_TRANSIT, wallet.currency, command.amount),),
        transfers=(transfer,),
        spendings=_spendings(wallet, command, now_us),
    )


def receive(wallet: Wallet, command: ReceiveTransfer, now_us: Instant) -> Outcome:
    """The wallet exists here; every no is recorded, for only a recorded no brings the money back."""
    reason = reason_not_to_take(wallet, command.currency, command.amount)
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    return accept(
        wallet,
        Effect(kind="transfer_in", counter_account=IN_TRANSIT, delta=command.amount, subject_id=command.from_wallet_id),
        command,
        now_us,
        amount=command.amount,
        account_deltas=((IN_TRANSIT, wallet.currency, -command.amount),),
    )


def settle(view: View, wallet: Wallet, command: SettleTransfer) -> Marked | Rejected:
    transfer = view.transfer(transfer_key_of(command))
    if transfer is None:
        return _unknown(command)
    if "settled" not in TRANSFER_TRANSITIONS[transfer.state]:
        return Marked(changes=NOTHING)
    settled = replace(transfer, state="settled", details=None)
    return Marked(
        changes=Changes(wallets=(replace(wallet, pinned=wallet.pinned - transfer.amount),), transfers=(settled,))
    )


def refund(view: View, wallet: Wallet, command: RefundTransfer, now_us: Instant) -> Outcome:
    """Has no ladder: it finishes what the receiver's cell has decided."""
    transfer = view.transfer(transfer_key_of(command))
    if transfer is None or "refunded" not in TRANSFER_TRANSITIONS[transfer.state]:
        return _unknown(command)
    effect = Effect(
        kind="refund",
        counter_account=IN_TRANSIT,
        delta=transfer.amount,
        pinned_delta=-transfer.amount,
        subject_id=command.sent_as,
        subject_vendor_id=command.sent_by,
    )
    return accept(
        wallet,
        effect,
        command,
        now_us,
        amount=transfer.amount,
        account_deltas=((IN_TRANSIT, wallet.currency, -transfer.amount),),
        transfers=(replace(transfer, state="refunded", details=None),),
    )


def _spendings(wallet: Wallet, command: SendTransfer, now_us: Instant) -> tuple[Spending, ...]:
    return spendings_of(wallet, command.amount, now_us, caps=command.caps, vendor_id=command.vendor_id)


def _unknown(command: SettleTransfer | RefundTransfer) -> Rejected:
    detail = f"No transfer {command.sent_as} of {command.sent_by} is on its way."
    return Rejected(problem=Problem(reason=Reason.TRANSACTION_MUST_EXIST, detail=detail))


def _in_another_cell(command: SendTransfer) -> Rejected:
    detail = f"Wallet {command.to_wallet_id} is in another cell, which this cell cannot reach."
    return Rejected(problem=Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail=detail))
