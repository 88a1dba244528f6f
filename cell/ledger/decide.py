"""What happens: one total function from what is stored and a command to an outcome.

Each command has a ladder of checks in the order of precedence of contract/reasons.py, one line each; after its ladder
the command must succeed. Nothing here raises for an expected case.
"""

from typing import assert_never

from cell.ledger.commands import ChangeWallet, Command, Credit, Debit, OpenWallet, Reverse, SendTransfer
from cell.ledger.content import differing_field, requested_amount_of
from cell.ledger.footprint import key_of, original_key_of, receipt_key_of
from cell.ledger.model import Instant, OpenedWallet, Recorded, Wallet
from cell.ledger.outcomes import Accepted, Changes, Outcome, Refused, Rejected, Replayed, Reversal
from cell.ledger.ownership import refuse_absent, refuse_write
from cell.ledger.posting import Effect, clearing_account, record, wallet_account, write_entry
from cell.ledger.statuses import TRANSITIONS
from cell.ledger.view import View
from contract.chain import ZERO_HASH
from contract.ids import WalletId
from contract.money import AMOUNT_MAX
from contract.problems import Problem
from contract.reasons import Reason
from contract.slots import slot_of

REVERSIBLE_KINDS = frozenset({"debit", "credit", "capture"})
"""Reversing one side of a transfer would mint money."""


def decide(view: View, command: Command, now_us: Instant) -> Outcome:
    """The outcome of `command` at `now_us`, given the rows of its footprint."""
    if isinstance(command, OpenWallet):
        return _open(view, command, now_us)
    wallet = _wallet_to_judge(view, command)
    if not isinstance(wallet, Wallet):
        return wallet
    match command:
        case Debit():
            return _debit(wallet, command, now_us)
        case Credit():
            return _credit(wallet, command, now_us)
        case Reverse():
            return _reverse(view, wallet, command, now_us)
        case SendTransfer():
            return _send_transfer(view, wallet, command, now_us)
        case ChangeWallet():
            return _change(wallet, command, now_us)
        case _:
            assert_never(command)


def _wallet_to_judge(view: View, command: Command) -> Wallet | Rejected | Replayed:
    """The wallet, if it is this cell's, exists, and the command is new to it."""
    wallet = view.wallet(command.wallet_id)
    if wallet is None:
        return Rejected(problem=_refuse_absent(view, command.wallet_id) or _absent(command))
    if command.owner_types is not None and wallet.owner_type not in command.owner_types:
        return Rejected(problem=_outside_owner_types(wallet.owner_type, command))
    if wallet.frozen_by is not None:
        return Rejected(problem=refuse_write(wallet.unit, view.unit_state_of(wallet.wallet_id)))
    recorded = view.recorded(key_of(command))
    if recorded is None:
        return wallet
    return _answer_again(recorded, command)


def _answer_again(recorded: Recorded, command: Command) -> Replayed | Rejected:
    field = differing_field(recorded, command)
    if field is None:
        return Replayed(recorded=recorded)
    return Rejected(
        problem=Problem(
            reason=Reason.TRANSACTION_EXISTS_WITH_DIFFERENT,
            qualifier=field,
            detail=f"Transaction {command.transaction_id} was decided before with another {field}; "
            "the original stands.",
        )
    )


def _open(view: View, command: OpenWallet, now_us: Instant) -> Outcome:
    wallet = view.wallet(command.wallet_id)
    if command.owner_types is not None and command.owner_type not in command.owner_types:
        return Rejected(problem=_outside_owner_types(command.owner_type, command))
    if wallet is not None:
        return _open_again(view, wallet, command)
    elsewhere = _refuse_absent(view, command.wallet_id)
    if elsewhere is not None:
        return Rejected(problem=elsewhere)
    unborn = Wallet(
        wallet_id=command.wallet_id,
        unit=slot_of(command.wallet_id),
        owner_type=command.owner_type,
        currency=command.currency,
        status="active",
        balance=0,
        held=0,
        overdraft_limit=command.overdraft_limit,
        seq=0,
        head_hash=ZERO_HASH,
        posted_at_us=Instant(0),
    )
    key = key_of(command)
    effect = Effect(kind="opened", counter_account=clearing_account(command.vendor_id))
    entry, born = write_entry(unborn, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=0)
    opened = OpenedWallet(wallet=born, owner_ref=command.owner_ref, kind=command.kind, metadata=command.metadata)
    return Accepted(
        recorded=recorded,
        changes=Changes(entries=(entry,), wallets=(born,), recorded=(recorded,), opened=opened),
    )


def _open_again(view: View, wallet: Wallet, command: OpenWallet) -> Outcome:
    if wallet.frozen_by is not None:
        return Rejected(problem=refuse_write(wallet.unit, view.unit_state_of(wallet.wallet_id)))
    recorded = view.recorded(key_of(command))
    field = None if recorded is None else differing_field(recorded, command)
    if recorded is not None and field is None:
        return Replayed(recorded=recorded)
    return Rejected(
        problem=Problem(
            reason=Reason.WALLET_EXISTS_WITH_DIFFERENT,
            qualifier=field or "opening",
            detail=f"Wallet {wallet.wallet_id} was opened with another {field or 'opening'}.",
        )
    )


def _debit(wallet: Wallet, command: Debit, now_us: Instant) -> Outcome:
    if command.currency != wallet.currency:
        return _refuse(wallet, command, now_us, Reason.CURRENCY_MUST_MATCH_WALLET)
    if wallet.status != "active" or wallet.blocked_by is not None:
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if command.amount > wallet.available:
        return _refuse(wallet, command, now_us, Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT)
    if wallet.balance - command.amount < -AMOUNT_MAX:
        return _refuse(wallet, command, now_us, Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS)
    return _post(wallet, command, now_us, delta=-command.amount)


def _credit(wallet: Wallet, command: Credit, now_us: Instant) -> Outcome:
    if command.currency != wallet.currency:
        return _refuse(wallet, command, now_us, Reason.CURRENCY_MUST_MATCH_WALLET)
    if wallet.status == "closed":
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if wallet.blocked_by is not None:
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if wallet.balance + command.amount > AMOUNT_MAX:
        return _refuse(wallet, command, now_us, Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS)
    return _post(wallet, command, now_us, delta=command.amount)


def _reverse(view: View, wallet: Wallet, command: Reverse, now_us: Instant) -> Outcome:
    original_key = original_key_of(command)
    original = view.recorded(original_key)
    takes_money = original is not None and original.delta > 0
    if wallet.status == "closed":
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if wallet.blocked_by is not None or (takes_money and wallet.status != "active"):
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if original is None:
        return _refuse(wallet, command, now_us, Reason.ORIGINAL_MUST_EXIST)
    if original.kind not in REVERSIBLE_KINDS or original.reason is not None:
        return _refuse(wallet, command, now_us, Reason.ORIGINAL_MUST_BE_REVERSIBLE)
    left = abs(original.delta) - view.reversed_amount(original_key)
    amount = left if command.amount is None else command.amount
    if amount > left or left == 0:
        return _refuse(wallet, command, now_us, Reason.REVERSAL_MUST_NOT_EXCEED_ORIGINAL)
    if takes_money and amount > wallet.available:
        return _refuse(wallet, command, now_us, Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT)
    delta = -amount if takes_money else amount
    if not -AMOUNT_MAX <= wallet.balance + delta <= AMOUNT_MAX:
        return _refuse(wallet, command, now_us, Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS)
    return _post_reversal(wallet, command, now_us, delta=delta)


def _post_reversal(wallet: Wallet, command: Reverse, now_us: Instant, *, delta: int) -> Accepted:
    key = key_of(command)
    account = clearing_account(command.original_vendor_id)
    effect = Effect(
        kind=command.KIND,
        counter_account=account,
        delta=delta,
        subject_id=command.original_transaction_id,
        subject_vendor_id=command.original_vendor_id,
    )
    entry, after = write_entry(wallet, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=abs(delta))
    reversal = Reversal(original=original_key_of(command), seq=entry.seq, amount=abs(delta))
    return Accepted(
        recorded=recorded,
        changes=Changes(
            entries=(entry,),
            wallets=(after,),
            recorded=(recorded,),
            account_deltas=((account, wallet.currency, -delta),),
            reversal=reversal,
        ),
    )


def _send_transfer(view: View, wallet: Wallet, command: SendTransfer, now_us: Instant) -> Outcome:
    target = None if command.to_wallet_id == wallet.wallet_id else view.wallet(command.to_wallet_id)
    if command.to_wallet_id != wallet.wallet_id and not _is_local(view, target, command):
        return Rejected(problem=_in_another_cell(command))
    if command.currency != wallet.currency:
        return _refuse(wallet, command, now_us, Reason.CURRENCY_MUST_MATCH_WALLET)
    if wallet.status != "active" or wallet.blocked_by is not None:
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if command.to_wallet_id == wallet.wallet_id:
        return _refuse(wallet, command, now_us, Reason.WALLETS_MUST_BE_DIFFERENT)
    if target is None or not _accepts(target, command):
        return _refuse(wallet, command, now_us, Reason.TARGET_WALLET_MUST_ACCEPT)
    if command.amount > wallet.available:
        return _refuse(wallet, command, now_us, Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT)
    if wallet.balance - command.amount < -AMOUNT_MAX:
        return _refuse(wallet, command, now_us, Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS)
    return _post_transfer(wallet, target, command, now_us)


def _is_local(view: View, target: Wallet | None, command: SendTransfer) -> bool:
    """Whether this cell can judge the receiving wallet within the same transaction."""
    if target is None:
        return _refuse_absent(view, command.to_wallet_id) is None
    return target.frozen_by is None


def _accepts(target: Wallet, command: SendTransfer) -> bool:
    return (
        target.currency == command.currency
        and target.status != "closed"
        and target.blocked_by is None
        and target.balance + command.amount <= AMOUNT_MAX
    )


def _post_transfer(wallet: Wallet, target: Wallet, command: SendTransfer, now_us: Instant) -> Accepted:
    key, receipt_key = key_of(command), receipt_key_of(command)
    out = Effect(kind="transfer_out", counter_account=wallet_account(target.wallet_id), delta=-command.amount)
    into = Effect(kind="transfer_in", counter_account=wallet_account(wallet.wallet_id), delta=command.amount)
    sent, wallet_after = write_entry(wallet, out, command, now_us, key=key)
    received, target_after = write_entry(target, into, command, now_us, key=receipt_key)
    recorded = record(key, command, sent, amount=command.amount)
    receipt = record(receipt_key, command, received, amount=command.amount)
    return Accepted(
        recorded=recorded,
        changes=Changes(entries=(sent, received), wallets=(wallet_after, target_after), recorded=(recorded, receipt)),
    )


def _change(wallet: Wallet, command: ChangeWallet, now_us: Instant) -> Outcome:
    status = command.status or wallet.status
    limit = wallet.overdraft_limit if command.overdraft_limit is None else command.overdraft_limit
    if status not in TRANSITIONS[wallet.status]:
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if limit < wallet.overdraft_limit and wallet.balance - wallet.held < -limit:
        return _refuse(wallet, command, now_us, Reason.OVERDRAFT_LIMIT_MUST_COVER_BALANCE)
    if status == "closed" and (wallet.balance != 0 or wallet.held != 0):
        return _refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_EMPTY_TO_CLOSE)
    key = key_of(command)
    effect = Effect(
        kind=command.KIND,
        counter_account=clearing_account(command.vendor_id),
        overdraft_limit=limit,
        status=status,
    )
    entry, after = write_entry(wallet, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=0)
    return Accepted(
        recorded=recorded,
        changes=Changes(entries=(entry,), wallets=(after,), recorded=(recorded,), metadata=command.metadata),
    )


def _post(wallet: Wallet, command: Debit | Credit, now_us: Instant, *, delta: int) -> Accepted:
    key = key_of(command)
    account = clearing_account(command.vendor_id)
    effect = Effect(kind=command.KIND, counter_account=account, delta=delta)
    entry, after = write_entry(wallet, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=command.amount)
    return Accepted(
        recorded=recorded,
        changes=Changes(
            entries=(entry,),
            wallets=(after,),
            recorded=(recorded,),
            account_deltas=((account, wallet.currency, -delta),),
        ),
    )


def _refuse(wallet: Wallet, command: Command, now_us: Instant, reason: Reason) -> Refused:
    key = key_of(command)
    amount = requested_amount_of(command)
    effect = Effect(
        kind="refused",
        counter_account=clearing_account(command.vendor_id),
        requested_kind=command.KIND,
        requested_amount=amount,
        reason=reason.value,
    )
    entry, after = write_entry(wallet, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=amount or 0, reason=reason.value)
    return Refused(recorded=recorded, changes=Changes(entries=(entry,), wallets=(after,), recorded=(recorded,)))


def _refuse_absent(view: View, wallet_id: WalletId) -> Problem | None:
    return refuse_absent(wallet_id, view.unit_state_of(wallet_id), view.exile(wallet_id))


def _absent(command: Command) -> Problem:
    return Problem(reason=Reason.WALLET_MUST_EXIST, detail=f"There is no wallet {command.wallet_id}.")


def _outside_owner_types(owner_type: str, command: Command) -> Problem:
    return Problem(
        reason=Reason.SCOPE_MUST_ALLOW,
        qualifier=command.SCOPE_ACTION,
        detail=f"The token does not cover wallets of owners of type {owner_type!r}.",
    )


def _in_another_cell(command: SendTransfer) -> Problem:
    return Problem(
        reason=Reason.CELL_MUST_BE_REACHABLE,
        detail=f"Wallet {command.to_wallet_id} is in another cell, which this cell cannot reach.",
    )
