"""What an evacuation needs next, from its record, the directory and its routers: one step at a time.

Traffic leaves before primaries do, so that nobody asks for a database that is just moving. An end, ordered or by the
clock, brings traffic back and nothing else: primaries return by an order of their own, when somebody says so. But one
that is on its way then is followed until it is there, for a cell whose primary is half way serves nobody.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from contract.directory import DirectoryDocument
from contract.values import value
from control_plane.evacuations.model import (
    AT_ONCE,
    GAP_MAX,
    LOOKED_FOR,
    PATIENCE,
    PRIMARY_SETTLED,
    EvacuationReason,
    EvacuationRecord,
    Primary,
    shows,
)
from control_plane.evacuations.states import EvacuationEvent

NOT_DONE = "not done"
"""How a cordon is noted that was left out."""


@value
class AdvanceEvacuation:
    event: EvacuationEvent


@value
class NoteDirectory:
    """A publication shows what is wished; routers are to acknowledge it."""

    version: int


@value
class SwitchOver:
    """Begin a planned switch-over, or ask how far it is; the same again changes nothing."""

    primary: Primary
    may_begin: bool


@value
class Cordon:
    """Nothing new is to be placed in the zone."""


@value
class WaitFor:
    reason: EvacuationReason
    detail: str


EvacuationStep = AdvanceEvacuation | NoteDirectory | SwitchOver | Cordon | WaitFor


@value
class EvacuationGrounds:
    directory: DirectoryDocument | None
    routers: Mapping[str, int]
    """Live routers and the version that each has applied."""


@value
class Watched:
    """How long a worker has looked at an evacuation, turn by turn; time that it was away for is nobody's patience."""

    evacuation: str
    since: datetime
    last: datetime


def watched(before: Watched | None, evacuation: EvacuationRecord, now: datetime) -> Watched:
    goes_on = before is not None and before.evacuation == evacuation.id and now - before.last <= GAP_MAX
    return Watched(evacuation=evacuation.id, since=before.since if before and goes_on else now, last=now)


def next_evacuation_step(
    evacuation: EvacuationRecord,
    grounds: EvacuationGrounds,
    now: datetime,
    *,
    turn: int = 0,
    watch: Watched | None = None,
) -> EvacuationStep:
    """`turn` chooses among the primaries that may be asked for, so that each of them has its turn."""
    is_over = evacuation.is_end_ordered or now >= evacuation.expires_at
    if is_over and evacuation.state not in {"ending", "ended"} and evacuation.kind == "evacuation":
        return AdvanceEvacuation(event=EvacuationEvent.END_ORDERED)
    match evacuation.state:
        case "ordered":
            told = _told(evacuation, grounds, is_away=True)
            return told or AdvanceEvacuation(event=EvacuationEvent.ROUTERS_ACKNOWLEDGED)
        case "switching":
            return _switching(evacuation, turn)
        case "cordoning":
            return Cordon()
        case "in_force":
            return WaitFor(reason=EvacuationReason.ZONE_MUST_BE_CORDONED, detail="in force until it is ended")
        case "ending":
            told = _told(evacuation, grounds, is_away=False)
            if isinstance(told, NoteDirectory):
                return told
            followed = _followed(evacuation, waited(evacuation, watch, now), turn)
            return followed or told or AdvanceEvacuation(event=EvacuationEvent.TRAFFIC_RETURNED)
        case _:
            raise ValueError(f"evacuation {evacuation.id} has ended")


def _told(evacuation: EvacuationRecord, grounds: EvacuationGrounds, *, is_away: bool) -> EvacuationStep | None:
    """None once the directory says so and every live router has it."""
    document = grounds.directory
    if document is None or not shows(document, evacuation.zone, is_away=is_away):
        detail = f"the directory does not yet {'keep traffic away from' if is_away else 'send traffic to'} the zone"
        return WaitFor(reason=EvacuationReason.DIRECTORY_MUST_SAY_SO, detail=detail)
    if evacuation.announced_version is None:
        return NoteDirectory(version=document.version)
    behind = sorted(router for router, applied in grounds.routers.items() if applied < evacuation.announced_version)
    if behind:
        detail = f"{', '.join(behind)} must apply directory {evacuation.announced_version}"
        return WaitFor(reason=EvacuationReason.ROUTERS_MUST_ACKNOWLEDGE, detail=detail)
    return None


def _switching(evacuation: EvacuationRecord, turn: int) -> EvacuationStep:
    open_ones = [one for one in evacuation.primaries if one.state not in PRIMARY_SETTLED]
    if not open_ones:
        is_back = evacuation.kind == "fail_back"
        return AdvanceEvacuation(
            event=EvacuationEvent.PRIMARIES_RETURNED if is_back else EvacuationEvent.PRIMARIES_LEFT
        )
    under_way = [one for one in open_ones if one.state == "switching"]
    waiting = [one for one in open_ones if one.state == "waiting"]
    # One that has to wait for its standby keeps nobody else from going.
    candidates = [*under_way, *(waiting if len(under_way) < AT_ONCE else ())]
    return SwitchOver(primary=candidates[turn % len(candidates)], may_begin=True)


def _followed(evacuation: EvacuationRecord, waited: timedelta, turn: int) -> EvacuationStep | None:
    """Beside the way of the traffic, which neither waits for it nor keeps it waiting."""
    states = {"switching", "waiting"} if waited <= LOOKED_FOR else {"switching"}
    open_ones = [one for one in evacuation.primaries if one.state in states]
    return SwitchOver(primary=open_ones[turn % len(open_ones)], may_begin=False) if open_ones else None


def why_not_cordoned(evacuation: EvacuationRecord, *, moves_primaries: bool) -> str | None:
    """Where somebody moves primaries off closed nodes, at once and without a word to their cells, none may be left."""
    left = [one.cell for one in evacuation.primaries if one.state != "switched"]
    if not moves_primaries or not left:
        return None
    return f"{NOT_DONE}: it would move the primaries of {', '.join(left)}, and the cells would close themselves"


def has_waited_enough(
    evacuation: EvacuationRecord, before: Primary, after: Primary, now: datetime, *, watch: Watched | None = None
) -> bool:
    """Whether a primary that was asked for once more, to no avail, is not waited for any longer.

    The clock begins anew whenever one of them begins its way or is there, so that a long row of them has its time.
    """
    is_as_before = after.state == before.state and after.state not in PRIMARY_SETTLED
    return is_as_before and waited(evacuation, watch, now) > PATIENCE


def waited(evacuation: EvacuationRecord, watch: Watched | None, now: datetime) -> timedelta:
    """Since anything moved, and with somebody there to see it."""
    return now - (evacuation.changed_at if watch is None else max(evacuation.changed_at, watch.since))
