"""How a decision says yes or no: the entry, the recorded outcome and the changes of one wallet.

The rungs that several ladders share stand here too, so that a debit, a hold and a leg cannot disagree on them.
"""

from dataclasses import replace
from typing import Any

from cell.ledger.commands import Command
from cell.ledger.content import requested_amount_of
from cell.ledger.footprint import key_of
from cell.ledger.limits import Caps, day_of, is_within
from cell.ledger.model import Instant, OpenedWallet, TransactionKey, Wallet
from cell.ledger.outcomes import Accepted, Changes, Refused, Rejected, Spending
from cell.ledger.posting import Effect, clearing_account, record, unopened, write_entry
from cell.ledger.view import View
from contract.ids import VendorId, WalletId
from contract.money import AMOUNT_MAX
from contract.problems import Problem
from contract.reasons import Reason


def accept(
    wallet: Wallet,
    effect: Effect,
    command: Command,
    now_us: Instant,
    *,
    amount: int,
    key: TransactionKey | None = None,
    **more: Any,
) -> Accepted:
    """One entry on one wallet; `more` are further changes."""
    key = key or key_of(command)
    entry, after = write_entry(wallet, effect, command, now_us, key=key)
    recorded = record(key, command, entry, amount=amount)
    return Accepted(
        recorded=recorded, changes=Changes(entries=(entry,), wallets=(after,), recorded=(recorded,), **more)
    )


def refuse(wallet: Wallet, command: Command, now_us: Instant, reason: Reason, **more: Any) -> Refused:
    """A recorded no: an entry of the wallet's log."""
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
    return Refused(recorded=recorded, changes=Changes(entries=(entry,), wallets=(after,), recorded=(recorded,), **more))


def refuse_unopened(view: View, command: Command, now_us: Instant) -> Refused:
    """A recorded no of a wallet that nobody has opened: whatever of this command still arrives finds it."""
    wallet = view.wallet(command.wallet_id)
    if wallet is not None:
        return refuse(wallet, command, now_us, Reason.TARGET_WALLET_MUST_ACCEPT)
    refused = refuse(unopened(command.wallet_id), command, now_us, Reason.TARGET_WALLET_MUST_ACCEPT)
    return replace(refused, changes=replace(refused.changes, opened=row_of_unopened(refused.changes.wallets[0])))


def row_of_unopened(wallet: Wallet) -> OpenedWallet:
    """The owner is unknown, and a row must have one: the wallet's own id, of no type."""
    return OpenedWallet(wallet=wallet, owner_ref=wallet.wallet_id, kind="", metadata="{}")


def is_opened(wallet: Wallet | None) -> bool:
    return wallet is not None and wallet.status != "unopened"


def absent(wallet_id: WalletId) -> Rejected:
    return Rejected(problem=Problem(reason=Reason.WALLET_MUST_EXIST, detail=f"There is no wallet {wallet_id}."))


def outside_owner_types(owner_type: str, command: Command) -> Rejected:
    return Rejected(
        problem=Problem(
            reason=Reason.SCOPE_MUST_ALLOW,
            qualifier=command.SCOPE_ACTION,
            detail=f"The token does not cover wallets of owners of type {owner_type!r}.",
        )
    )


# Rungs that ladders share, in the order of precedence.


def reason_not_to_give(wallet: Wallet, currency: str) -> Reason | None:
    """Whether this wallet may give money at all."""
    if currency != wallet.currency:
        return Reason.CURRENCY_MUST_MATCH_WALLET
    if wallet.status != "active" or wallet.blocked_by is not None:
        return Reason.WALLET_MUST_BE_ACTIVE
    return None


def reason_not_to_pay(
    view: View, wallet: Wallet, amount: int, now_us: Instant, *, caps: Caps | None, vendor_id: VendorId
) -> Reason | None:
    """Whether it may give so much now."""
    if caps is not None and not _is_within(view, wallet, amount, now_us, caps, vendor_id):
        return Reason.AMOUNT_MUST_NOT_EXCEED_LIMIT
    if amount > wallet.available:
        return Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT
    if wallet.balance - amount < -AMOUNT_MAX:
        return Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS
    return None


def reason_not_to_take(wallet: Wallet, currency: str, amount: int) -> Reason | None:
    """Whether this wallet may be given so much."""
    if currency != wallet.currency:
        return Reason.CURRENCY_MUST_MATCH_WALLET
    if wallet.status == "closed":
        return Reason.WALLET_MUST_NOT_BE_CLOSED
    if wallet.blocked_by is not None:
        return Reason.WALLET_MUST_BE_ACTIVE
    if wallet.balance + wallet.pinned + amount > AMOUNT_MAX:
        return Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS
    return None


def _is_within(view: View, wallet: Wallet, amount: int, now_us: Instant, caps: Caps, vendor_id: VendorId) -> bool:
    day, wallet_id = day_of(now_us), wallet.wallet_id
    return is_within(
        caps,
        amount,
        spent_by_all=0 if caps.wallet_day_max is None else view.spent((wallet_id, ""), day),
        spent_by_vendor=0 if caps.vendor_day_max is None else view.spent((wallet_id, vendor_id), day),
    )


def spendings_of(
    wallet: Wallet, amount: int, now_us: Instant, *, caps: Caps | None, vendor_id: VendorId
) -> tuple[Spending, ...]:
    """What is added to the daily sums that are kept."""
    if caps is None:
        return ()
    day = day_of(now_us)
    by_all = Spending(key=(wallet.wallet_id, ""), day=day, amount=amount)
    by_vendor = Spending(key=(wallet.wallet_id, vendor_id), day=day, amount=amount)
    kept = ((caps.wallet_day_max, by_all), (caps.vendor_day_max, by_vendor))
    return tuple(spending for limit, spending in kept if limit is not None)
