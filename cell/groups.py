"""Driving groups whose legs are in several cells: ask, decide, tell; at once where it can be, else by a loop.

The coordinator is the cell of the anchor wallet, and the one commit of its decision is the truth. A leg that waits here
for another cell's decision asks for it and never decides by itself. Knows no SQL and no HTTP.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from cell.at_once import each
from cell.crash_points import CrashPoints
from cell.elsewhere import Answer, Done, Elsewhere, RefusedThere
from cell.lanes import Lanes
from cell.ledger.commands import CancelLeg, ConfirmLeg, DecideGroup, MarkLegs
from cell.ledger.derived_ids import cancel_id_of, confirm_id_of
from cell.ledger.model import Group, Hold, Leg
from cell.ledger.outcomes import Marked
from cell.store.sagas import SagaStore
from contract.ids import INTERNAL_VENDOR, WalletId

ROUND_MAX: Final = 100
AT_ONCE_MAX: Final = 8
ATTEMPT_S: Final = 5.0
MARGIN_S: Final = 0.3
"""Of a request's time, kept for the decision and for telling it."""
LEG_PATIENCE_S: Final = 30.0
"""How long a prepared leg waits before it asks: longer than any coordinator needs to decide."""

log = structlog.get_logger()


class Groups:
    def __init__(
        self,
        *,
        lanes: Lanes,
        elsewhere: Elsewhere,
        store: SagaStore,
        salt: Callable[[], bytes],
        crash_points: CrashPoints,
    ) -> None:
        self._lanes = lanes
        self._elsewhere = elsewhere
        self._store = store
        self._salt = salt
        self._crash_points = crash_points

    async def drive(self, group: Group, *, deadline_at_s: float) -> Group:
        """As far as it goes now; what is left the loop goes on with."""
        await self._crash_points.reach("group.started")
        if group.state == "preparing":
            group = await self._decide(group, deadline_at_s)
        await self._crash_points.reach("group.decided")
        if group.state != "preparing" and not group.is_finished:
            group = await self._tell(group, deadline_at_s)
        return group

    async def work(self) -> None:
        """One round: every group that is due."""
        due = await self._store.due_groups(ROUND_MAX)
        deadline_at_s = asyncio.get_running_loop().time() + ATTEMPT_S
        driven = await each(due, lambda group: self.drive(group, deadline_at_s=deadline_at_s), at_most=AT_ONCE_MAX)
        await self._store.try_later("groups", [group.key for group in driven if not group.is_finished])

    async def ask_coordinators(self) -> None:
        """One round: every leg of this cell that has waited too long for its decision."""
        await each(
            await self._store.old_legs(older_than_s=LEG_PATIENCE_S, limit=ROUND_MAX), self._follow, at_most=AT_ONCE_MAX
        )

    async def _decide(self, group: Group, deadline_at_s: float) -> Group:
        timeout_s = deadline_at_s - asyncio.get_running_loop().time() - MARGIN_S
        asked = [leg for leg in group.legs if leg.state == "asked"]
        answers = await each(
            asked, lambda leg: self._elsewhere.prepare(group, leg, timeout_s=timeout_s), at_most=AT_ONCE_MAX
        )
        await self._crash_points.reach("group.answered")
        command = DecideGroup(
            wallet_id=group.key.wallet_id,
            vendor_id=INTERNAL_VENDOR,
            transaction_id=group.group_id,
            details=group.details or "{}",
            context="{}",
            salt=self._salt(),
            started_by=group.key.vendor_id,
            started_as=group.key.transaction_id,
            group_id=group.group_id,
            leg_wallet_ids=tuple(leg.wallet_id for leg in group.legs),
            prepared=frozenset(_done(asked, answers)),
            refused=tuple(
                (leg.wallet_id, answer.reason)
                for leg, answer in zip(asked, answers, strict=True)
                if isinstance(answer, RefusedThere)
            ),
        )
        return await self._mark(group, command, deadline_at_s)

    async def _tell(self, group: Group, deadline_at_s: float) -> Group:
        timeout_s = deadline_at_s - asyncio.get_running_loop().time() - MARGIN_S / 2
        left = [leg for leg in group.legs if leg.state not in {"confirmed", "cancelled"}]
        answers = await each(
            left, lambda leg: self._elsewhere.end_leg(group, leg, timeout_s=timeout_s), at_most=AT_ONCE_MAX
        )
        await self._crash_points.reach("group.told")
        command = MarkLegs(
            wallet_id=group.key.wallet_id,
            vendor_id=INTERNAL_VENDOR,
            transaction_id=group.group_id,
            details="{}",
            context="{}",
            salt=b"",
            started_by=group.key.vendor_id,
            started_as=group.key.transaction_id,
            followed=frozenset(_done(left, answers)),
        )
        return await self._mark(group, command, deadline_at_s) if command.followed else group

    async def _mark(self, group: Group, command: DecideGroup | MarkLegs, deadline_at_s: float) -> Group:
        """The group as it is afterwards, whoever brought it there."""
        outcome = await self._lanes.submit(command, deadline_at_s=deadline_at_s)
        if isinstance(outcome, Marked) and outcome.changes.groups:
            return outcome.changes.groups[0]
        return await self._store.group(group.key) or group

    async def _follow(self, leg: Hold) -> None:
        coordinator = json.loads(leg.terms or "{}")
        group_id = leg.key.transaction_id
        answer = await self._elsewhere.decision(WalletId(coordinator["anchor"]), group_id, timeout_s=ATTEMPT_S)
        state = answer.answer.get("state") if isinstance(answer, Done) else None
        if state not in {"confirmed", "cancelled"}:
            log.warning("a leg waits for its coordinator", group_id=group_id, wallet_id=leg.key.wallet_id, told=state)
            return
        kind, ending = (ConfirmLeg, confirm_id_of) if state == "confirmed" else (CancelLeg, cancel_id_of)
        command = kind(
            wallet_id=leg.key.wallet_id,
            vendor_id=INTERNAL_VENDOR,
            transaction_id=ending(group_id),
            details="{}",
            context="{}",
            salt=self._salt(),
            group_id=group_id,
        )
        await self._lanes.submit(command, deadline_at_s=asyncio.get_running_loop().time() + ATTEMPT_S)


def _done(legs: Iterable[Leg], answers: Iterable[Answer]) -> list[WalletId]:
    return [leg.wallet_id for leg, answer in zip(legs, answers, strict=True) if isinstance(answer, Done)]
