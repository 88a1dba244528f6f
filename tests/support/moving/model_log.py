"""`MoveLog` in memory: the record of one move and a directory, with the same compare-and-sets as the database's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from contract.moves import Survey
from control_plane.mover.log import Grounds, NotPublished
from control_plane.moves.model import MoveRecord
from control_plane.moves.publication import Shown
from control_plane.moves.states import ENDED, MoveEvent, state_after
from control_plane.store.moves import MoveStep, Recorded


class ModelMoves:
    def __init__(self, move: MoveRecord, clock: Callable[[], datetime]) -> None:
        self.move = move
        self.owners: dict[int, tuple[str, int, bool]] = {
            unit.unit: (move.from_cell, unit.from_epoch, False) for unit in move.units
        }
        """What the directory says: cell, epoch, moving."""
        self.version = 1
        self.router_lag = 0
        """So many looks until the routers have acknowledged."""
        self.steps: list[MoveStep] = []
        self.target_state = "active"
        self._clock = clock

    async def read(self, move_id: str) -> MoveRecord | None:
        return self.move if self.move.id == move_id else None

    async def grounds(self, move: MoveRecord) -> Grounds:
        self.router_lag = max(0, self.router_lag - 1)
        is_acknowledged = move.announced_version is not None and not self.router_lag
        return Grounds(source_state="active", target_state=self.target_state, is_acknowledged=is_acknowledged)  # type: ignore[arg-type]

    async def exiled_slots(self) -> frozenset[int]:
        return frozenset()

    async def take_up(self, move: MoveRecord, chosen: Sequence[Survey]) -> MoveRecord | None:
        portion = move.portion + 1
        facts = {
            one.unit: {"result": "in_hand", "portion": portion, "wallets": one.wallets, "entries": one.entries}
            for one in chosen
        }
        return await self.note(move, Recorded(move={"portion": portion, "announced_version": None}, units=facts))

    async def advance(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None:
        following = state_after(move.state, event, stop=move.stop)
        assert following is not None, (move.state, event)
        if event is MoveEvent.DIGESTS_AGREED and self.move.stop is not None:
            return None
        ended = {"ended_at": self._clock()} if following in ENDED else {}
        move_facts = {**(recorded.move or {}), "state": following, **ended}
        return await self.note(move, replace(recorded, move=move_facts))

    async def note(self, move: MoveRecord, recorded: Recorded) -> MoveRecord | None:
        if (move.state, move.portion) != (self.move.state, self.move.portion):
            return None
        units = tuple(
            replace(
                unit,
                **(recorded.all_in_hand or {} if unit.result == "in_hand" else {}),
                **(recorded.units or {}).get(unit.unit, {}),
            )
            for unit in self.move.units
        )
        self.move = replace(self.move, units=units, **(recorded.move or {}))
        return self.move

    async def stop(
        self, move: MoveRecord, kind: str, reason: str, detail: str, difference: Mapping[str, Any] | None
    ) -> MoveRecord | None:
        facts = {"stop": kind, "reason": reason, "detail": detail, "difference": difference}
        return await self.advance(move, MoveEvent.STOP_ORDERED, Recorded(move={} if self.move.stop else facts))

    async def show(self, move: MoveRecord, shown: Shown) -> MoveRecord | NotPublished | None:
        for unit in move.in_hand:
            moved = (move.to_cell, unit.to_epoch, False)
            staying = (move.from_cell, unit.from_epoch, shown == "moving")
            self.owners[unit.unit] = moved if shown == "moved" else staying
        self.version += 1
        if shown == "moved":
            return await self.advance(move, MoveEvent.DIRECTORY_PUBLISHED, Recorded())
        announced = self.version if shown == "moving" else None
        return await self.note(move, Recorded(move={"announced_version": announced}))

    async def tell(self, move: MoveRecord, steps: Sequence[MoveStep]) -> None:
        assert move.id == self.move.id
        self.steps.extend(steps)
