"""Groups: legs over several wallets that happen all or not at all.

Legs in this cell are prepared, confirmed or cancelled within the transaction that starts or decides the group; those of
other cells are asked for by cell/groups.py, which tells the answers to `decide_group`. The one commit of that decision
is the truth. A prepared debit is a hold of kind `group`, a prepared credit is a pin; only the decision ends them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cell.ledger.commands import (
    CancelLeg,
    Command,
    ConfirmLeg,
    DecideGroup,
    LegAsked,
    MarkLegs,
    PrepareLeg,
    StartGroup,
)
from cell.ledger.derived_ids import cancel_id_of, confirm_id_of
from cell.ledger.footprint import group_key_of, key_of, leg_key_of
from cell.ledger.holding import with_hold
from cell.ledger.limits import Caps
from cell.ledger.model import Group, GroupState, Hold, Instant, Leg, LegState, TransactionKey, Wallet
from cell.ledger.outcomes import NOTHING, Accepted, Changes, Marked, Outcome, Rejected
from cell.ledger.posting import IN_TRANSIT, Effect, InvariantBrokenError, unopened
from cell.ledger.transferring import is_local
from cell.ledger.verdicts import (
    accept,
    is_opened,
    reason_not_to_give,
    reason_not_to_pay,
    reason_not_to_take,
    refuse,
    row_of_unopened,
    spendings_of,
)
from cell.ledger.view import View
from contract.ids import INTERNAL_VENDOR
from contract.problems import Problem
from contract.reasons import Reason
from contract.signing import canonical_json

GROUP_TRANSITIONS: dict[GroupState, frozenset[GroupState]] = {
    "preparing": frozenset({"confirmed", "cancelled"}),
    "confirmed": frozenset(),
    "cancelled": frozenset(),
}


TOO_LATE = Reason.DEADLINE_MUST_NOT_PASS.value
"""Why a leg that never answered was not waited for any longer."""


def start_group(view: View, anchor: Wallet, command: StartGroup, now_us: Instant) -> Outcome:
    if _takes_beyond_its_token(command):
        return Rejected(
            problem=Problem(
                reason=Reason.SCOPE_MUST_ALLOW,
                qualifier=command.SCOPE_ACTION,
                detail="A token that is narrowed to types of owners takes from no wallet but the group's own.",
            )
        )
    _must_add_up(command)
    local = {leg.wallet_id: leg for leg in command.legs if is_local(view, leg.wallet_id)}
    if len(local) < len(command.legs) and not command.may_leave:
        detail = "A leg is in another cell, which this cell cannot reach."
        return Rejected(problem=Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail=detail))
    for leg in local.values():
        reason = _reason_against(view, view.wallet(leg.wallet_id), leg.amount, command, now_us, caps=leg.caps)
        if reason is not None:
            legs = _legs(command, {leg.wallet_id: "refused"}, others="cancelled", reason=reason)
            group = _group(command, legs, now_us, state="cancelled", is_finished=True)
            return refuse(anchor, command, now_us, reason, groups=(group,))
    is_whole = len(local) == len(command.legs)
    states: dict[str, LegState] = dict.fromkeys(local, "confirmed" if is_whole else "prepared")
    group = _group(
        command,
        _legs(command, states, others="asked"),
        now_us,
        state="confirmed" if is_whole else "preparing",
        is_finished=is_whole,
    )
    parts = [
        _move(wallet, leg.amount, command, now_us) if is_whole else _prepare(wallet, leg.amount, command, now_us)
        for leg in _anchor_first(command)
        if leg.wallet_id in local and (wallet := view.wallet(leg.wallet_id)) is not None
    ]
    spendings = tuple(
        spending
        for leg in local.values()
        if leg.amount < 0 and (wallet := view.wallet(leg.wallet_id)) is not None
        for spending in spendings_of(wallet, -leg.amount, now_us, caps=leg.caps, vendor_id=command.vendor_id)
    )
    return replace(parts[0], changes=together(parts, groups=(group,), spendings=spendings))


def prepare_leg(view: View, wallet: Wallet, command: PrepareLeg, now_us: Instant) -> Outcome:
    """The wallet exists here. Every no is recorded; a leg that was cancelled before it came stays so."""
    if view.hold(leg_key_of(wallet.wallet_id, command.transaction_id)) is not None:
        return refuse(wallet, command, now_us, Reason.HOLD_MUST_BE_OPEN)
    reason = _reason_against(view, wallet, command.amount, command, now_us, caps=command.caps)
    if reason is not None:
        return refuse(wallet, command, now_us, reason)
    prepared = _prepare(wallet, command.amount, command, now_us)
    if command.amount > 0:
        return prepared
    spent = spendings_of(wallet, -command.amount, now_us, caps=command.caps, vendor_id=command.vendor_id)
    return replace(prepared, changes=replace(prepared.changes, spendings=spent))


def decide_group(view: View, command: DecideGroup, now_us: Instant) -> Marked | Rejected:
    """Merge what the legs answered; with everything known, or too late, decide, and end the legs of this cell."""
    group = view.group(group_key_of(command))
    if group is None:
        return _unknown(command)
    if not GROUP_TRANSITIONS[group.state]:
        return Marked(changes=NOTHING)
    legs = tuple(_answered(leg, command) for leg in group.legs)
    is_late = now_us > group.decide_by_us
    decision = _decision(legs, is_late=is_late)
    if decision == "preparing":
        return Marked(changes=Changes(groups=(replace(group, legs=legs),)))
    if is_late:
        legs = tuple(replace(leg, reason=TOO_LATE) if leg.state == "asked" else leg for leg in legs)
    ended = [_end_here(view, leg, group, decision, command, now_us) for leg in legs]
    legs = tuple(
        replace(leg, state=decision) if end is not None or leg.state == "refused" else leg
        for leg, end in zip(legs, ended, strict=True)
    )
    decided = replace(group, state=decision, legs=legs, is_finished=_is_over(legs), details=None)
    return Marked(changes=together([end for end in ended if end is not None], groups=(decided,)))


def confirm_leg(view: View, wallet: Wallet, command: ConfirmLeg, now_us: Instant) -> Outcome:
    """Has no ladder: what was prepared must succeed."""
    hold = view.hold(leg_key_of(wallet.wallet_id, command.group_id))
    if hold is None or hold.state != "open":
        detail = f"Group {command.group_id} has no open leg on wallet {wallet.wallet_id}."
        return Rejected(problem=Problem(reason=Reason.HOLD_MUST_BE_OPEN, detail=detail))
    return _end(wallet, hold, "confirmed", command, now_us, key=key_of(command))


def cancel_leg(view: View, wallet: Wallet | None, command: CancelLeg, now_us: Instant) -> Outcome:
    """An unknown leg is cancelled too, so that a late preparation finds it."""
    hold = None if wallet is None else view.hold(leg_key_of(wallet.wallet_id, command.group_id))
    if wallet is not None and hold is not None:
        if hold.state != "open":
            detail = f"The leg of group {command.group_id} on wallet {wallet.wallet_id} is over."
            return Rejected(problem=Problem(reason=Reason.HOLD_MUST_BE_OPEN, detail=detail))
        return _end(wallet, hold, "cancelled", command, now_us, key=key_of(command))
    leg_key = leg_key_of(command.wallet_id, command.group_id)
    effect = Effect(
        kind="release",
        counter_account=IN_TRANSIT,
        subject_id=leg_key.transaction_id,
        subject_vendor_id=leg_key.vendor_id,
    )
    accepted = with_hold(accept(wallet or unopened(command.wallet_id), effect, command, now_us, amount=0), None)
    if wallet is not None:
        return accepted
    row = row_of_unopened(accepted.changes.wallets[0])
    return replace(accepted, changes=replace(accepted.changes, opened=row))


def mark_legs(view: View, command: MarkLegs) -> Marked | Rejected:
    group = view.group(group_key_of(command))
    if group is None:
        return _unknown(command)
    if group.state == "preparing" or group.is_finished:
        return Marked(changes=NOTHING)
    legs = tuple(replace(leg, state=group.state) if leg.wallet_id in command.followed else leg for leg in group.legs)
    return Marked(changes=Changes(groups=(replace(group, legs=legs, is_finished=_is_over(legs)),)))


def _takes_beyond_its_token(command: StartGroup) -> bool:
    """Whose the other wallets are, other cells know; the answer may not depend on where they are."""
    return command.owner_types is not None and any(
        leg.amount < 0 and leg.wallet_id != command.wallet_id for leg in command.legs
    )


def _must_add_up(command: StartGroup) -> None:
    """Raises InvariantBrokenError: such a group would mint money; the contract's bodies refuse it long before."""
    if sum(leg.amount for leg in command.legs) != 0:
        raise InvariantBrokenError(f"L5: the legs of group {command.group_id} do not add up to zero")
    if len({leg.wallet_id for leg in command.legs}) < len(command.legs):
        raise InvariantBrokenError(f"L5: group {command.group_id} has two legs on one wallet")


# Legs of this cell.


def _reason_against(
    view: View,
    wallet: Wallet | None,
    amount: int,
    command: StartGroup | PrepareLeg,
    now_us: Instant,
    *,
    caps: Caps | None,
) -> Reason | None:
    if wallet is None or not is_opened(wallet):
        return Reason.TARGET_WALLET_MUST_ACCEPT
    if amount > 0:
        return reason_not_to_take(wallet, command.currency, amount)
    return reason_not_to_give(wallet, command.currency) or reason_not_to_pay(
        view, wallet, -amount, now_us, caps=caps, vendor_id=command.vendor_id
    )


def _move(wallet: Wallet, amount: int, command: StartGroup, now_us: Instant) -> Accepted:
    """A leg of a group that is whole here: it needs no preparation."""
    kind = "transfer_in" if amount > 0 else "transfer_out"
    effect = Effect(kind=kind, counter_account=IN_TRANSIT, delta=amount, requested_kind=_asked_as(wallet, command))
    deltas = ((IN_TRANSIT, wallet.currency, -amount),)
    key = _preparation_key(wallet, command)
    return accept(wallet, effect, command, now_us, amount=abs(amount), key=key, account_deltas=deltas)


def _prepare(wallet: Wallet, amount: int, command: StartGroup | PrepareLeg, now_us: Instant) -> Accepted:
    group_id = command.group_id if isinstance(command, StartGroup) else command.transaction_id
    leg_key = leg_key_of(wallet.wallet_id, group_id)
    effect = Effect(
        kind="hold",
        counter_account=IN_TRANSIT,
        held_delta=-min(amount, 0),
        pinned_delta=max(amount, 0),
        subject_id=leg_key.transaction_id,
        subject_vendor_id=leg_key.vendor_id,
        requested_kind=_asked_as(wallet, command),
        requested_amount=abs(amount),
    )
    accepted = accept(wallet, effect, command, now_us, amount=abs(amount), key=_preparation_key(wallet, command))
    return with_hold(accepted, None, terms=_coordinator_of(command))


def _end_here(
    view: View, leg: Leg, group: Group, decision: GroupState, command: DecideGroup, now_us: Instant
) -> Accepted | None:
    """The end of a leg that is prepared in this cell; None = it is not."""
    wallet, hold = view.wallet(leg.wallet_id), view.hold(leg_key_of(leg.wallet_id, group.group_id))
    if leg.state == "refused" or wallet is None or wallet.frozen_by is not None or hold is None:
        return None
    if hold.state != "open":
        return None
    ending = confirm_id_of if decision == "confirmed" else cancel_id_of
    key = TransactionKey(leg.wallet_id, INTERNAL_VENDOR, ending(group.group_id))
    return _end(wallet, hold, decision, command, now_us, key=key)


def _end(
    wallet: Wallet, hold: Hold, decision: GroupState, command: Command, now_us: Instant, *, key: TransactionKey
) -> Accepted:
    amount, is_pin = hold.remaining, hold.kind == "pin"
    is_confirmed = decision == "confirmed"
    delta = (amount if is_pin else -amount) if is_confirmed else 0
    effect = Effect(
        kind=("transfer_in" if is_pin else "capture") if is_confirmed else "release",
        counter_account=IN_TRANSIT,
        delta=delta,
        held_delta=0 if is_pin else -amount,
        pinned_delta=-amount if is_pin else 0,
        subject_id=hold.key.transaction_id,
        subject_vendor_id=hold.key.vendor_id,
        requested_amount=amount,
    )
    deltas = ((IN_TRANSIT, wallet.currency, -delta),) if delta else ()
    return with_hold(accept(wallet, effect, command, now_us, amount=amount, key=key, account_deltas=deltas), hold)


# What the coordinator keeps.


def _anchor_first(command: StartGroup) -> list[LegAsked]:
    return sorted(command.legs, key=lambda leg: leg.wallet_id != command.wallet_id)


def _asked_as(wallet: Wallet, command: StartGroup | PrepareLeg) -> str | None:
    """The anchor's entry decides the vendor's transaction: what was asked under that id is the whole group."""
    return "group" if isinstance(command, StartGroup) and wallet.wallet_id == command.wallet_id else None


def _preparation_key(wallet: Wallet, command: StartGroup | PrepareLeg) -> TransactionKey:
    if isinstance(command, PrepareLeg) or wallet.wallet_id == command.wallet_id:
        return key_of(command)
    return leg_key_of(wallet.wallet_id, command.group_id)


def _coordinator_of(command: StartGroup | PrepareLeg) -> str:
    if isinstance(command, PrepareLeg):
        return command.coordinator
    return coordinator_text(key_of(command))


def coordinator_text(key: TransactionKey) -> str:
    """Who decides a group: the cell that owns this wallet."""
    return canonical_json({"anchor": key.wallet_id, "vendor": key.vendor_id, "transaction": key.transaction_id})


def _legs(
    command: StartGroup, states: dict[str, LegState], *, others: LegState, reason: Reason | None = None
) -> tuple[Leg, ...]:
    return tuple(
        Leg(
            wallet_id=leg.wallet_id,
            amount=leg.amount,
            state=(state := states.get(leg.wallet_id, others)),
            reason=reason.value if reason is not None and state == "refused" else None,
        )
        for leg in command.legs
    )


def _group(
    command: StartGroup, legs: tuple[Leg, ...], now_us: Instant, *, state: GroupState, is_finished: bool
) -> Group:
    return Group(
        key=key_of(command),
        group_id=command.group_id,
        currency=command.currency,
        state=state,
        is_finished=is_finished,
        legs=legs,
        details=None if is_finished else command.details,
        started_at_us=now_us,
        decide_by_us=Instant(now_us + command.decide_within_us),
    )


def _answered(leg: Leg, command: DecideGroup) -> Leg:
    if leg.state != "asked":
        return leg
    reason = dict(command.refused).get(leg.wallet_id)
    if reason is not None:
        return replace(leg, state="refused", reason=reason)
    return replace(leg, state="prepared") if leg.wallet_id in command.prepared else leg


def _decision(legs: Iterable[Leg], *, is_late: bool) -> GroupState:
    states = {leg.state for leg in legs}
    if "refused" in states:
        return "cancelled"
    if "asked" in states:
        return "cancelled" if is_late else "preparing"
    return "confirmed"


def _is_over(legs: Iterable[Leg]) -> bool:
    return all(leg.state in {"confirmed", "cancelled"} for leg in legs)


def together(parts: Iterable[Accepted], **more: Any) -> Changes:
    """The changes of several decisions as those of one."""
    changes = [part.changes for part in parts]
    return Changes(
        entries=tuple(one for change in changes for one in change.entries),
        wallets=tuple(one for change in changes for one in change.wallets),
        recorded=tuple(one for change in changes for one in change.recorded),
        account_deltas=tuple(one for change in changes for one in change.account_deltas),
        holds=tuple(one for change in changes for one in change.holds),
        **more,
    )


def _unknown(command: DecideGroup | MarkLegs) -> Rejected:
    detail = f"No group {command.started_as} of {command.started_by} was started by wallet {command.wallet_id}."
    return Rejected(problem=Problem(reason=Reason.TRANSACTION_MUST_EXIST, detail=detail))
