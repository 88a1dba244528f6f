"""What was done to a move and how long it took: kept back while every millisecond counts, written down afterwards."""

import re
from datetime import datetime
from time import perf_counter
from typing import Any

from control_plane.mover.log import MoveLog
from control_plane.moves.model import MoveRecord
from control_plane.moves.steps import CopyPass, InHand, Step, Stop
from control_plane.store.moves import MoveStep


class StepHistory:
    def __init__(self, moves: MoveLog) -> None:
        self._moves = moves
        self._untold: list[MoveStep] = []

    def note(self, move: MoveRecord, step: Step, hand: InHand, *, at: datetime, started: float) -> None:
        """`hand` as it is after the step; `started` by the performance counter."""
        duration_ms = (perf_counter() - started) * 1000
        facts = _facts(step, hand)
        self._untold.append(
            MoveStep(at=at, portion=move.portion, step=_named(step), duration_ms=duration_ms, facts=facts)
        )

    async def tell(self, move: MoveRecord) -> None:
        if self._untold:
            untold, self._untold = self._untold, []
            await self._moves.tell(move, untold)


def _facts(step: Step, hand: InHand) -> dict[str, Any] | None:
    if isinstance(step, CopyPass) and hand.passes:
        return {"unit": hand.passes[-1].unit, "rows": hand.passes[-1].rows}
    if isinstance(step, Stop):
        return {"reason": step.reason, "detail": step.detail}
    return None


def _named(step: Step) -> str:
    """`TakeFence` is told as `take_fence`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()
