"""Which part is killed at which point of a move: the legal pairs, and of every other one why it is none.

Pure. The mover comes by one of its points when a step is done; there it dies, or waits while somebody else is killed. A
cell comes by its own points in the middle of a step that the mover waits for. What a pair must end as stands here too,
and how long it may usually take; both are judged elsewhere.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from cell.crash_points import MOVE_POINTS
from contract.values import value
from control_plane.crash_points import POINTS as MOVER_POINTS


class Part(StrEnum):
    MOVER = "mover"
    SOURCE_API = "source API"
    SOURCE_POSTGRES = "source PostgreSQL"
    TARGET_API = "target API"
    TARGET_POSTGRES = "target PostgreSQL"
    CONTROL_PLANE = "control plane"
    """Its API and its PostgreSQL at once."""
    ROUTER = "router"


class Place(StrEnum):
    """Who comes by a point; the names of a cell and of the mover are partly the same."""

    MOVER = "mover"
    SOURCE = "source"
    TARGET = "target"


@value
class Pair:
    place: Place
    point: str
    victim: Part

    @property
    def name(self) -> str:
        return f"{self.place}:{self.point}:{self.victim}".replace(" ", "_")

    @property
    def dies_itself(self) -> bool:
        """Whether the one that comes by is the one that is killed."""
        return self.victim is _OF_A_PLACE[self.place]


class Special(StrEnum):
    """What is no pair: something else than one death at one point."""

    LATE_GRANT = "a grant that comes after its fence has fallen"
    DIGESTS_DIFFER = "digests that differ"
    WHOLE_SOURCE = "the whole source dies after its grant"
    NO_STANDBY = "a source without a synchronous standby"

    @property
    def title(self) -> str:
        return str(self)


Case = Pair | Special


def name_of(case: Case) -> str:
    return case.name.lower() if isinstance(case, Special) else case.name


_OF_A_PLACE: Final = {Place.MOVER: Part.MOVER, Place.SOURCE: Part.SOURCE_API, Place.TARGET: Part.TARGET_API}
_DATABASE_OF: Final = {Place.SOURCE: Part.SOURCE_POSTGRES, Place.TARGET: Part.TARGET_POSTGRES}

CELL_POINTS: Final = {
    "move.staging": Place.TARGET,
    "move.rows_taken": Place.TARGET,
    "move.fencing": Place.SOURCE,
    "move.fenced": Place.SOURCE,
    "move.staged": Place.TARGET,
    "move.granting": Place.SOURCE,
    "move.granted": Place.SOURCE,
    "move.activated": Place.TARGET,
    "move.tombstoned": Place.SOURCE,
    "move.cleaned": Place.SOURCE,
}
"""In which cell each point of `MOVE_POINTS` is."""

SOURCE_PARTS: Final = (Part.SOURCE_API, Part.SOURCE_POSTGRES)
TARGET_PARTS: Final = (Part.TARGET_API, Part.TARGET_POSTGRES)

_NOT_BEGUN = "no cell has been told anything yet: it dies as it would without a move"
_NO_NEWS = "no router has been told anything since the point before: the same as there"
_NOT_RECORDED = "nothing is recorded or published between here and the next point: the same as there"
_SOURCE_IS_DONE = "the source has nothing left to do in this move: it dies as it would without one"
_TARGET_IS_DONE = "the target has nothing left to do in this move: it dies as it would without one"
_SOURCE_SERVES = "the source serves as if there had been no move"

_WHY_NOT: Final[dict[tuple[str, Part], str]] = {
    **{(point, part): _NOT_BEGUN for point in ("move.taken_up", "move.announced") for part in SOURCE_PARTS},
    **{(point, part): _NOT_BEGUN for point in ("move.taken_up", "move.announced") for part in TARGET_PARTS},
    ("move.taken_up", Part.ROUTER): _NOT_BEGUN,
    **{
        (point, Part.ROUTER): _NO_NEWS
        for point in ("move.staged", "move.delta_sent", "move.sealed", "move.tombstoned", "move.discarded")
    },
    ("move.fence_taken_down", Part.ROUTER): _NO_NEWS,
    **{
        (point, Part.CONTROL_PLANE): _NOT_RECORDED
        for point in ("move.staged", "move.fenced", "move.delta_sent", "move.fence_taken_down")
    },
    **{("move.tombstoned", part): _SOURCE_IS_DONE for part in SOURCE_PARTS},
    **{(point, part): _TARGET_IS_DONE for point in ("move.published", "move.tombstoned") for part in TARGET_PARTS},
    **{(point, part): _SOURCE_SERVES for point in ("move.discarded", "move.withdrawn") for part in SOURCE_PARTS},
    **{("move.withdrawn", part): _TARGET_IS_DONE for part in TARGET_PARTS},
}
"""Of the mover's points."""

_WITHIN_A_STEP = (
    "within the step only the cell, its database and the mover that waits have a part; the others: see the \
mover's point of the step, where the same is on disk"
)
_AS_AFTER_THE_STEP = "what is on disk is what the mover finds on disk at its own point of the step: see there"
_OPEN_TRANSACTIONS: Final = frozenset({"move.fencing", "move.cleaned"})
"""Where the database dies in a transaction, or between two, that no point of the mover stands for."""


def why_not(place: Place, point: str, victim: Part) -> str | None:
    """Why this is no pair of its own; None = it is legal."""
    if place is Place.MOVER:
        return _WHY_NOT.get((point, victim))
    if victim in {_OF_A_PLACE[place], Part.MOVER}:
        return None
    if victim is _DATABASE_OF[place]:
        return None if point in _OPEN_TRANSACTIONS else _AS_AFTER_THE_STEP
    return _WITHIN_A_STEP


def all_points() -> Iterator[tuple[Place, str]]:
    """The mover's in the order of a move, then those within the steps of cells."""
    yield from ((Place.MOVER, point) for point in MOVER_POINTS)
    yield from ((CELL_POINTS[point], point) for point in MOVE_POINTS)


PAIRS: Final = tuple(
    Pair(place=place, point=point, victim=victim)
    for place, point in all_points()
    for victim in Part
    if why_not(place, point, victim) is None
)
CASES: Final[tuple[Case, ...]] = (*PAIRS, *Special)

CANCELLED: Final = frozenset({"move.discarded", "move.withdrawn"})
"""Points that a move comes by only if it is cancelled."""


def expected_ends(case: Case) -> frozenset[str]:
    """The states in which the move may end; anything else is a finding."""
    if case is Special.DIGESTS_DIFFER:
        return frozenset({"quarantined"})
    if isinstance(case, Pair) and case.place is Place.MOVER and case.point in CANCELLED:
        return frozenset({"cancelled"})
    return frozenset({"done"})


USUAL_S: Final = {
    Part.MOVER: 8,
    Part.SOURCE_API: 10,
    Part.SOURCE_POSTGRES: 12,
    Part.TARGET_API: 10,
    Part.TARGET_POSTGRES: 12,
    Part.CONTROL_PLANE: 12,
    Part.ROUTER: 8,
}
"""From the kill until the move has ended, every part runs and every vendor is served: what two quiet cores need. Stated
and printed beside what was measured; a busy machine may take longer, and only BACK_MAX_S is a verdict."""
BACK_MAX_S: Final = 90

CRASHES: Final[dict[str, tuple[Case, ...]]] = {
    "C0": tuple(one for one in PAIRS if one.point == "move.taken_up"),
    "C1": tuple(one for one in PAIRS if one.point in {"move.staged", "move.staging"} and one.place is not Place.SOURCE),
    "C2": tuple(one for one in PAIRS if one.point in {"move.copied", "move.rows_taken"}),
    "C3": tuple(one for one in PAIRS if one.point == "move.fencing"),
    "C4": tuple(one for one in PAIRS if one.point == "move.fenced" and one.victim is Part.MOVER),
    "C5": tuple(one for one in PAIRS if one.point == "move.fenced" and one.victim in SOURCE_PARTS),
    "C6": tuple(one for one in PAIRS if one.point in {"move.delta_sent", "move.sealed"} and one.victim in TARGET_PARTS),
    "C7": (Special.DIGESTS_DIFFER,),
    "C8": (*(one for one in PAIRS if one.point == "move.granting"), Special.LATE_GRANT),
    "C9": tuple(one for one in PAIRS if one.point == "move.granted" and one.victim is Part.MOVER),
    "C10": (
        *(one for one in PAIRS if one.point == "move.granted" and one.victim in SOURCE_PARTS),
        Special.WHOLE_SOURCE,
    ),
    "C11": tuple(one for one in PAIRS if one.point == "move.activated" and one.victim is Part.CONTROL_PLANE),
    "C12": tuple(one for one in PAIRS if one.point == "move.published" and one.victim is Part.ROUTER),
    "C13": tuple(one for one in PAIRS if one.point == "move.cleaned"),
    "C15": (Special.NO_STANDBY,),
}
"""The crash table of the design. C14, a restored backup, is no crash within a move and has a test of its own."""

SUBSET: Final = (
    Pair(place=Place.MOVER, point="move.sealed", victim=Part.MOVER),
    Pair(place=Place.MOVER, point="move.fenced", victim=Part.SOURCE_POSTGRES),
    Pair(place=Place.MOVER, point="move.delta_sent", victim=Part.TARGET_POSTGRES),
    Pair(place=Place.SOURCE, point="move.granted", victim=Part.SOURCE_API),
    Pair(place=Place.TARGET, point="move.activated", victim=Part.TARGET_API),
    Pair(place=Place.MOVER, point="move.granted", victim=Part.CONTROL_PLANE),
    Pair(place=Place.MOVER, point="move.published", victim=Part.ROUTER),
    Pair(place=Place.MOVER, point="move.discarded", victim=Part.MOVER),
    Pair(place=Place.SOURCE, point="move.granting", victim=Part.MOVER),
)
"""What every run of the tests goes through: each part once, each kind of recovery once."""
