"""The life of a rollout as a table; the diagram in docs/ is printed from it.

The states from `planned` to `passed` are those of the wave in hand, and begin again with the next one. What the cells
really run always wins over what is recorded here: a record may lag behind them, never lead them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, get_args

RolloutState = Literal[
    "planned", "updating", "baking", "auditing", "passed", "rolling_back", "done", "failed", "cancelled", "rolled_back"
]
ROLLOUT_STATES: tuple[RolloutState, ...] = get_args(RolloutState)

RolloutStop = Literal["failed", "cancelled", "rolled_back"]
ROLLOUT_STOPS: tuple[RolloutStop, ...] = get_args(RolloutStop)
"""`failed`: judged so. `cancelled`: an operator gives the wave in hand back. `rolled_back`: gives everything back."""

ROLLOUT_ENDED: frozenset[RolloutState] = frozenset({"done", "failed", "cancelled", "rolled_back"})


class RolloutEvent(StrEnum):
    GATES_OPENED = "gates_opened"
    WAVE_SETTLED = "wave_settled"
    WINDOWS_WERE_GOOD = "windows_were_good"
    BOOKS_BALANCED = "books_balanced"
    NEXT_WAVE = "next_wave"
    LAST_WAVE_PASSED = "last_wave_passed"
    STOP_ORDERED = "stop_ordered"
    IMAGES_RESTORED = "images_restored"


TRANSITIONS: Mapping[tuple[RolloutState, RolloutEvent], tuple[RolloutState, ...]] = {
    ("planned", RolloutEvent.GATES_OPENED): ("updating",),
    ("updating", RolloutEvent.WAVE_SETTLED): ("baking",),
    ("baking", RolloutEvent.WINDOWS_WERE_GOOD): ("auditing",),
    ("auditing", RolloutEvent.BOOKS_BALANCED): ("passed",),
    ("passed", RolloutEvent.NEXT_WAVE): ("planned",),
    ("passed", RolloutEvent.LAST_WAVE_PASSED): ("done",),
    ("planned", RolloutEvent.STOP_ORDERED): ("rolling_back",),
    ("updating", RolloutEvent.STOP_ORDERED): ("rolling_back",),
    ("baking", RolloutEvent.STOP_ORDERED): ("rolling_back",),
    ("auditing", RolloutEvent.STOP_ORDERED): ("rolling_back",),
    ("passed", RolloutEvent.STOP_ORDERED): ("rolling_back",),
    ("rolling_back", RolloutEvent.IMAGES_RESTORED): ("failed", "cancelled", "rolled_back"),
}
"""Where more than one state may follow, the kind of the recorded stop says which."""


def rollout_state_after(
    state: RolloutState, event: RolloutEvent, *, stop: RolloutStop | None = None
) -> RolloutState | None:
    """The next state, or None where the table has no such edge."""
    following = TRANSITIONS.get((state, event), ())
    if len(following) > 1:
        return stop
    return following[0] if following else None
