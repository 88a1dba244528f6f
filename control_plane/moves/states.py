"""The life of a move as a table; the diagram in docs/ is printed from it.

A move carries its units over in portions: many empty slots at once, slots with wallets one after the other. The states
from `planned` to `published` are those of the portion in hand, and begin again with the next one. What a cell has
committed always wins over what is recorded here: a record may lag behind the cells, never lead them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, get_args

MoveState = Literal[
    "planned",
    "announced",
    "copying",
    "sealed",
    "granted",
    "activated",
    "published",
    "stopping",
    "done",
    "cancelled",
    "aborted",
    "quarantined",
]
MOVE_STATES: tuple[MoveState, ...] = get_args(MoveState)
ENDED: frozenset[MoveState] = frozenset({"done", "cancelled", "aborted", "quarantined"})
PAST_SEALED: frozenset[MoveState] = frozenset({"granted", "activated", "published"})
PAST_THE_GRANT: frozenset[MoveState] = PAST_SEALED | {"sealed"}
"""From `sealed` on the source may have granted at any moment: it is recorded before the source is asked."""

StopKind = Literal["cancelled", "aborted", "quarantined"]
STOP_KINDS: tuple[StopKind, ...] = get_args(StopKind)


class MoveEvent(StrEnum):
    ROUTERS_ACKNOWLEDGED = "routers_acknowledged"
    TARGET_STAGED = "target_staged"
    DIGESTS_AGREED = "digests_agreed"
    FENCE_LOST = "fence_lost"
    SOURCE_GRANTED = "source_granted"
    TARGET_ACTIVATED = "target_activated"
    DIRECTORY_PUBLISHED = "directory_published"
    NEXT_PORTION = "next_portion"
    STOP_ORDERED = "stop_ordered"
    LAST_PORTION_DONE = "last_portion_done"
    UNITS_GIVEN_BACK = "units_given_back"


_BEFORE_THE_GRANT: tuple[MoveState, ...] = ("planned", "announced", "copying", "sealed", "stopping")
"""The usual way to a grant is from `sealed`; a record that was restored from a backup may find one from anywhere."""

TRANSITIONS: Mapping[tuple[MoveState, MoveEvent], tuple[MoveState, ...]] = {
    ("planned", MoveEvent.ROUTERS_ACKNOWLEDGED): ("announced",),
    ("announced", MoveEvent.TARGET_STAGED): ("copying",),
    ("copying", MoveEvent.DIGESTS_AGREED): ("sealed",),
    ("sealed", MoveEvent.FENCE_LOST): ("copying",),
    **{(state, MoveEvent.SOURCE_GRANTED): ("granted",) for state in _BEFORE_THE_GRANT},
    ("granted", MoveEvent.TARGET_ACTIVATED): ("activated",),
    ("activated", MoveEvent.DIRECTORY_PUBLISHED): ("published",),
    ("published", MoveEvent.NEXT_PORTION): ("planned",),
    ("published", MoveEvent.LAST_PORTION_DONE): ("done",),
    ("published", MoveEvent.STOP_ORDERED): ("stopping",),
    ("planned", MoveEvent.STOP_ORDERED): ("stopping",),
    ("announced", MoveEvent.STOP_ORDERED): ("stopping",),
    ("copying", MoveEvent.STOP_ORDERED): ("stopping",),
    ("sealed", MoveEvent.STOP_ORDERED): ("stopping",),
    ("stopping", MoveEvent.UNITS_GIVEN_BACK): ("cancelled", "aborted", "quarantined"),
}
"""Where more than one state may follow, the kind of the recorded stop says which."""


def state_after(state: MoveState, event: MoveEvent, *, stop: StopKind | None = None) -> MoveState | None:
    """The next state, or None where the table has no such edge."""
    following = TRANSITIONS.get((state, event), ())
    if len(following) > 1:
        return stop
    return following[0] if following else None
