"""What happens: one total function from what is stored and a command to an outcome.

Each command has a ladder of checks in the order of precedence of contract/reasons.py, one line each; after its ladder
the command must succeed. Nothing here raises for an expected case. The ladders stand in the module of their subject.
"""

from typing import assert_never

from cell.ledger import grouping, holding, money, opening, transferring
from cell.ledger.commands import (
    CancelLeg,
    CaptureHold,
    ChangeWallet,
    Command,
    ConfirmLeg,
    Credit,
    Debit,
    DecideGroup,
    ExpireHold,
    ExtendHold,
    MarkLegs,
    OpenWallet,
    PlaceHold,
    PrepareLeg,
    ReceiveTransfer,
    RefundTransfer,
    ReleaseHold,
    Reverse,
    SendTransfer,
    SettleTransfer,
    StartGroup,
)
from cell.ledger.content import differing_field
from cell.ledger.footprint import key_of
from cell.ledger.model import Instant, Recorded, Wallet
from cell.ledger.outcomes import Outcome, Rejected, Replayed
from cell.ledger.ownership import refuse_absent, refuse_write
from cell.ledger.verdicts import absent, is_opened, outside_owner_types, refuse_unopened
from cell.ledger.view import View
from contract.problems import Problem
from contract.reasons import Reason


def decide(view: View, command: Command, now_us: Instant) -> Outcome:
    """The outcome of `command` at `now_us`, given the rows of its footprint."""
    if isinstance(command, OpenWallet):
        return opening.open_wallet(view, command, now_us)
    wallet = view.wallet(command.wallet_id)
    elsewhere = _reason_elsewhere(view, wallet, command)
    if elsewhere is not None:
        return Rejected(problem=elsewhere)
    recorded = None if isinstance(command, SettleTransfer | DecideGroup | MarkLegs) else view.recorded(key_of(command))
    if wallet is None or not is_opened(wallet):
        return _decide_unopened(view, wallet, recorded, command, now_us)
    if command.owner_types is not None and wallet.owner_type not in command.owner_types:
        return outside_owner_types(wallet.owner_type, command)
    if recorded is not None:
        return _answer_again(recorded, command)
    return _judge(view, wallet, command, now_us)


def _reason_elsewhere(view: View, wallet: Wallet | None, command: Command) -> Problem | None:
    """Why this cell may not judge the wallet now; none = it may."""
    if wallet is None:
        wallet_id = command.wallet_id
        return refuse_absent(wallet_id, view.unit_state_of(wallet_id), view.exile(wallet_id))
    if wallet.frozen_by is not None:
        return refuse_write(wallet.unit, view.unit_state_of(wallet.wallet_id))
    return None


def _decide_unopened(
    view: View, wallet: Wallet | None, recorded: Recorded | None, command: Command, now_us: Instant
) -> Outcome:
    """To vendors the wallet does not exist; what other cells ask of it gets a recorded answer."""
    if recorded is not None and isinstance(command, ReceiveTransfer | PrepareLeg | CancelLeg):
        return _answer_again(recorded, command)
    match command:
        case ReceiveTransfer() | PrepareLeg():
            return refuse_unopened(view, command, now_us)
        case CancelLeg():
            return grouping.cancel_leg(view, wallet, command, now_us)
        case _:
            return absent(command.wallet_id)


def _judge(view: View, wallet: Wallet, command: Command, now_us: Instant) -> Outcome:
    match command:
        case Debit():
            return money.debit(view, wallet, command, now_us)
        case Credit():
            return money.credit(wallet, command, now_us)
        case Reverse():
            return money.reverse(view, wallet, command, now_us)
        case PlaceHold():
            return holding.place(view, wallet, command, now_us)
        case CaptureHold():
            return holding.capture(view, wallet, command, now_us)
        case ReleaseHold():
            return holding.release(view, wallet, command, now_us)
        case ExtendHold():
            return holding.extend(view, wallet, command, now_us)
        case ExpireHold():
            return holding.expire(view, wallet, command, now_us)
        case SendTransfer():
            return transferring.send(view, wallet, command, now_us)
        case ReceiveTransfer():
            return transferring.receive(wallet, command, now_us)
        case SettleTransfer():
            return transferring.settle(view, wallet, command)
        case RefundTransfer():
            return transferring.refund(view, wallet, command, now_us)
        case StartGroup():
            return grouping.start_group(view, wallet, command, now_us)
        case PrepareLeg():
            return grouping.prepare_leg(view, wallet, command, now_us)
        case DecideGroup():
            return grouping.decide_group(view, command, now_us)
        case ConfirmLeg():
            return grouping.confirm_leg(view, wallet, command, now_us)
        case CancelLeg():
            return grouping.cancel_leg(view, wallet, command, now_us)
        case MarkLegs():
            return grouping.mark_legs(view, command)
        case ChangeWallet():
            return opening.change(wallet, command, now_us)
        case OpenWallet():
            return opening.open_wallet(view, command, now_us)
        case _:
            assert_never(command)


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
