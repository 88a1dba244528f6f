"""What a command touches: the rows to lock and load before its decision.

A view refuses every key that is not in the footprint, so a forgotten lock is a failing test and not a race.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, assert_never

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
from cell.ledger.derived_ids import GROUP_VENDOR, TRANSFER_VENDOR
from cell.ledger.limits import SpentKey, counted
from cell.ledger.model import TransactionKey
from contract.ids import INTERNAL_VENDOR, TransactionId, VendorId, WalletId
from contract.values import value


@value
class Footprint:
    wallet_ids: tuple[WalletId, ...]
    transactions: tuple[TransactionKey, ...] = ()
    """Recorded outcomes to know: the command's own first, then those it refers to."""
    originals: tuple[TransactionKey, ...] = ()
    """Transactions whose reversals so far must be known."""
    openings: tuple[WalletId, ...] = ()
    """Wallets that may get their row: their units are locked before any row."""
    holds: tuple[TransactionKey, ...] = ()
    transfers: tuple[TransactionKey, ...] = ()
    groups: tuple[TransactionKey, ...] = ()
    spendings: tuple[SpentKey, ...] = ()
    """Daily sums to know."""


def key_of(command: Command) -> TransactionKey:
    """Under which its outcome is recorded."""
    match command:
        case Debit() | Credit():
            vendor_id = command.vendor_id
        case OpenWallet():
            vendor_id = INTERNAL_VENDOR
        case ReceiveTransfer():
            vendor_id = TRANSFER_VENDOR
        case PrepareLeg():
            vendor_id = GROUP_VENDOR
        case _:
            vendor_id = command.vendor_id
    return TransactionKey(command.wallet_id, vendor_id, command.transaction_id)


def original_key_of(command: Reverse) -> TransactionKey:
    return TransactionKey(
        wallet_id=command.wallet_id,
        vendor_id=command.original_vendor_id,
        transaction_id=command.original_transaction_id,
    )


def receipt_key_of(command: SendTransfer) -> TransactionKey:
    return TransactionKey(command.to_wallet_id, TRANSFER_VENDOR, command.transfer_id)


def hold_key_of(command: PlaceHold | CaptureHold | ReleaseHold | ExtendHold | ExpireHold) -> TransactionKey:
    """A hold is addressed by the vendor that placed it, and by nobody else."""
    match command:
        case PlaceHold():
            return key_of(command)
        case ExpireHold():
            return TransactionKey(command.wallet_id, command.hold_vendor_id, command.hold_id)
        case _:
            return TransactionKey(command.wallet_id, command.vendor_id, command.hold_id)


def leg_key_of(wallet_id: WalletId, group_id: TransactionId) -> TransactionKey:
    """Of a prepared leg: of its hold, and of the outcome of its preparation."""
    return TransactionKey(wallet_id, GROUP_VENDOR, group_id)


def transfer_key_of(command: SettleTransfer | RefundTransfer) -> TransactionKey:
    return TransactionKey(command.wallet_id, command.sent_by, command.sent_as)


def group_key_of(command: StartGroup | DecideGroup | MarkLegs) -> TransactionKey:
    if isinstance(command, StartGroup):
        return key_of(command)
    return TransactionKey(command.wallet_id, command.started_by, command.started_as)


def footprint(command: Command) -> Footprint:
    own, key = (command.wallet_id,), key_of(command)
    match command:
        case Debit() | Credit():
            return Footprint(wallet_ids=own, transactions=(key,), spendings=_counted(command, command.vendor_id))
        case Reverse():
            original = original_key_of(command)
            return Footprint(wallet_ids=own, transactions=(key, original), originals=(original,))
        case SendTransfer():
            return Footprint(
                wallet_ids=(command.wallet_id, command.to_wallet_id),
                transactions=(key, receipt_key_of(command)),
                transfers=(key,),
                spendings=_counted(command, command.vendor_id),
            )
        case OpenWallet() | ReceiveTransfer():
            return Footprint(wallet_ids=own, transactions=(key,), openings=own)
        case PlaceHold():
            spendings = _counted(command, command.vendor_id)
            return Footprint(wallet_ids=own, transactions=(key,), holds=(key,), spendings=spendings)
        case CaptureHold() | ReleaseHold() | ExtendHold() | ExpireHold():
            return Footprint(wallet_ids=own, transactions=(key,), holds=(hold_key_of(command),))
        case SettleTransfer() | RefundTransfer():
            return Footprint(wallet_ids=own, transactions=(key,), transfers=(transfer_key_of(command),))
        case StartGroup() | DecideGroup() | MarkLegs():
            return _footprint_of_group(command)
        case PrepareLeg():
            spendings = _counted(command, command.vendor_id)
            holds = (leg_key_of(command.wallet_id, command.transaction_id),)
            return Footprint(wallet_ids=own, transactions=(key,), openings=own, holds=holds, spendings=spendings)
        case ConfirmLeg() | CancelLeg():
            holds = (leg_key_of(command.wallet_id, command.group_id),)
            return Footprint(wallet_ids=own, transactions=(key,), openings=own, holds=holds)
        case ChangeWallet():
            return Footprint(wallet_ids=own, transactions=(key,))
        case _:
            assert_never(command)


def _footprint_of_group(command: StartGroup | DecideGroup | MarkLegs) -> Footprint:
    groups = (group_key_of(command),)
    match command:
        case StartGroup():
            legs = command.legs
            sums = (counted(leg.caps, wallet_id=leg.wallet_id, vendor_id=command.vendor_id) for leg in legs)
            return Footprint(
                wallet_ids=tuple(leg.wallet_id for leg in legs),
                transactions=(key_of(command),),
                holds=tuple(leg_key_of(leg.wallet_id, command.group_id) for leg in legs),
                groups=groups,
                spendings=tuple(key for keys in sums for key in keys),
            )
        case DecideGroup():
            legs_of_all = command.leg_wallet_ids
            return Footprint(
                wallet_ids=legs_of_all,
                holds=tuple(leg_key_of(wallet_id, command.group_id) for wallet_id in legs_of_all),
                groups=groups,
            )
        case MarkLegs():
            return Footprint(wallet_ids=(command.wallet_id,), groups=groups)


def _counted(command: Command, vendor_id: VendorId) -> tuple[SpentKey, ...]:
    return counted(command.caps, wallet_id=command.wallet_id, vendor_id=vendor_id) if command.caps else ()


def union(footprints: list[Footprint]) -> Footprint:
    """The footprint of a batch: wallet ids in ascending order, which is the order of locks."""
    rare = [one for one in footprints if one.holds or one.transfers or one.groups or one.spendings or one.openings]
    return Footprint(
        wallet_ids=tuple(sorted({wallet_id for one in footprints for wallet_id in one.wallet_ids})),
        transactions=tuple({key: None for one in footprints for key in one.transactions}),
        originals=_together(footprints, "originals"),
        **{name: _together(rare, name) for name in ("openings", "holds", "transfers", "groups", "spendings")},
    )


def _together(footprints: Iterable[Footprint], name: str) -> tuple[Any, ...]:
    of = attrgetter(name)
    return tuple({key: None for one in footprints for key in of(one)})
