"""Opening a wallet, once, and changing what it is: its status, its overdraft limit, its metadata."""

from dataclasses import replace

from cell.ledger.commands import ChangeWallet, OpenWallet
from cell.ledger.content import differing_field
from cell.ledger.footprint import key_of
from cell.ledger.model import Instant, OpenedWallet, Wallet
from cell.ledger.outcomes import Accepted, Outcome, Rejected, Replayed
from cell.ledger.ownership import refuse_absent, refuse_write
from cell.ledger.posting import Effect, clearing_account, unopened
from cell.ledger.statuses import TRANSITIONS
from cell.ledger.verdicts import accept, is_opened, outside_owner_types, refuse
from cell.ledger.view import View
from contract.problems import Problem
from contract.reasons import Reason


def open_wallet(view: View, command: OpenWallet, now_us: Instant) -> Outcome:
    wallet = view.wallet(command.wallet_id)
    if command.owner_types is not None and command.owner_type not in command.owner_types:
        return outside_owner_types(command.owner_type, command)
    if wallet is None:
        elsewhere = refuse_absent(
            command.wallet_id, view.unit_state_of(command.wallet_id), view.exile(command.wallet_id)
        )
        if elsewhere is not None:
            return Rejected(problem=elsewhere)
        return _born(unopened(command.wallet_id), command, now_us)
    if wallet.frozen_by is not None:
        return Rejected(problem=refuse_write(wallet.unit, view.unit_state_of(wallet.wallet_id)))
    if not is_opened(wallet):
        return _born(wallet, command, now_us)
    return _open_again(view, wallet, command)


def _born(before: Wallet, command: OpenWallet, now_us: Instant) -> Accepted:
    """`before` has entries already where transfers to it were refused: its log goes on."""
    blank = replace(before, owner_type=command.owner_type, currency=command.currency)
    effect = Effect(
        kind="opened",
        counter_account=clearing_account(command.vendor_id),
        status="active",
        overdraft_limit=command.overdraft_limit,
    )
    accepted = accept(blank, effect, command, now_us, amount=0)
    opened = OpenedWallet(
        wallet=accepted.changes.wallets[0],
        owner_ref=command.owner_ref,
        kind=command.kind,
        metadata=command.metadata,
    )
    changes = accepted.changes
    if before.seq == 0:
        return replace(accepted, changes=replace(changes, opened=opened))
    return replace(accepted, changes=replace(changes, continued=opened))


def _open_again(view: View, wallet: Wallet, command: OpenWallet) -> Outcome:
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


def change(wallet: Wallet, command: ChangeWallet, now_us: Instant) -> Outcome:
    status = command.status or wallet.status
    limit = wallet.overdraft_limit if command.overdraft_limit is None else command.overdraft_limit
    if wallet.blocked_by is not None:
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_ACTIVE)
    if status not in TRANSITIONS[wallet.status]:
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_NOT_BE_CLOSED)
    if limit < wallet.overdraft_limit and wallet.balance - wallet.held < -limit:
        return refuse(wallet, command, now_us, Reason.OVERDRAFT_LIMIT_MUST_COVER_BALANCE)
    if status == "closed" and (wallet.balance != 0 or wallet.held != 0):
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_EMPTY_TO_CLOSE)
    if status == "closed" and wallet.pinned != 0:
        return refuse(wallet, command, now_us, Reason.WALLET_MUST_BE_IDLE_TO_CLOSE)
    effect = Effect(
        kind="changed", counter_account=clearing_account(command.vendor_id), overdraft_limit=limit, status=status
    )
    return accept(wallet, effect, command, now_us, amount=0, metadata=command.metadata)
