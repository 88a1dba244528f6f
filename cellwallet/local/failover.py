"""Which of a cell's two databases may be its primary, and what is done next: a table of phases, recorded step by step.

One rule carries it: a standby takes over only while the record says that commits wait for it, for then it has every
commit that was acknowledged; and the old primary is ended and marked before. Each plan may be broken off anywhere and
be made again. Pure: knows no file, clock, process or SQL. See docs/decisions/0022-failover.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from contract.values import value

Place = Literal["first", "second"]
"""Where the data lies; a place keeps its name whatever its role."""

Role = Literal["primary", "follower"]
"""As what a place is started. A follower is what its own data say: a standby, or one that was promoted meanwhile."""

Phase = Literal["alone", "following", "synchronous", "handing_over", "fencing", "promoting"]

PLACES: tuple[Place, ...] = get_args(Place)

SETTLED: frozenset[Phase] = frozenset({"alone", "following", "synchronous"})
"""One of the two is the primary, and nobody is changing that."""

NEXT: Mapping[Phase, frozenset[Phase]] = {
    "alone": frozenset({"following"}),
    "following": frozenset({"synchronous", "alone"}),
    "synchronous": frozenset({"following", "alone", "handing_over", "fencing"}),
    "handing_over": frozenset({"synchronous", "fencing"}),
    "fencing": frozenset({"promoting"}),
    "promoting": frozenset({"following", "alone"}),
}
"""The two ways out of `promoting` are those on which the roles have changed."""

MEANINGS: Mapping[Phase, str] = {
    "alone": "what lies in the other place is nobody's; commits wait for nobody",
    "following": "the other place is or becomes a copy; it may lack what was acknowledged",
    "synchronous": "commits wait for the standby: it has everything that was acknowledged, and may take over",
    "handing_over": "a planned change: the primary stops in order, and is not started again",
    "fencing": "the standby takes over; the old primary is ended and marked, and nobody is a primary",
    "promoting": "the old primary is marked; the standby becomes the primary, and its timeline is recorded",
}

Act = Literal[
    "close_address",
    "open_address",
    "checkpoint",
    "stop_primary",
    "end_primary",
    "put_aside",
    "mark_follower",
    "promote",
    "vouch",
    "end_standby",
    "clear_standby",
    "drop_aside",
    "reserve_log",
    "demand",
    "forgo",
]
"""Steps in the world, each safe to repeat. `primary` and `standby` are those of the record before the plan."""

SILENT_MAX_S = 10.0
"""A primary that does not answer for so long is as good as dead; a busy machine may need seconds for a connection."""
AWAY_MAX_S = 30.0
"""A standby that starts again is back in a second or two. After this commits do not wait for it any longer."""
HAND_OVER_MAX_S = 5.0
"""From the end of the primary until the standby has its last word; then it is treated as one that has died."""


@value
class Pair:
    """What stands on disk of a cell's two databases."""

    primary: Place = "first"
    phase: Phase = "alone"
    is_wanted: bool = True
    """Whether there is to be a standby."""
    has_ended_well: bool = False
    """While roles change: the old primary stopped in order and the standby has all of it, so it can follow as it is."""
    promotions: int = 0

    @property
    def standby(self) -> Place:
        return "second" if self.primary == "first" else "first"

    @property
    def is_settled(self) -> bool:
        return self.phase in SETTLED

    @property
    def is_new(self) -> bool:
        """Whether its primary may be made from nothing."""
        return self.phase == "alone" and self.promotions == 0 and self.primary == "first"


@value
class Seen:
    """One look at both."""

    primary_has_ended: bool = False
    """Its process, since it was let run; nobody is starting it."""
    primary_runs: bool = False
    """At least one process of it; looked at while it is being stopped only."""
    primary_answers: bool = False
    silent_s: float = 0.0
    """Since it answered last; 0 until it has answered once since its start."""
    standby_answers: bool = False
    is_streaming: bool = False
    is_synchronous: bool = False
    is_caught_up: bool = False
    """The standby has on disk what the primary had written when it was asked."""
    has_everything: bool = False
    """The primary has stopped in order, and the standby has the last of it."""
    away_s: float = 0.0
    """Since the standby was last connected, as far as it has its copy and the primary answers."""
    waited_s: float = 0.0
    """Since something was last done or recorded."""
    commits_wait: bool = False
    """By the primary's own setting."""
    has_slot: bool = False
    """The primary keeps what its standby has not got."""
    is_open: bool = False
    """Services have an address, and it is the primary's."""
    is_asked: bool = False
    """Somebody wants the roles to change."""


@value
class Plan:
    """What to do, in this order, and what to record when all of it is done; or why there is nothing to do."""

    acts: tuple[Act, ...] = ()
    then: Pair | None = None
    why: str = ""


def plan(pair: Pair, seen: Seen) -> Plan:
    return _PLANS[pair.phase](pair, seen)


def role_of(pair: Pair, place: Place) -> Role | None:
    """As what the place may be started now; None = not at all."""
    if place == pair.primary:
        return "primary" if pair.is_settled else None
    return None if pair.phase == "alone" else "follower"


def _alone(pair: Pair, seen: Seen) -> Plan:
    if not seen.primary_answers:
        return Plan(why="the primary must answer")
    if seen.commits_wait or seen.has_slot:
        return Plan(acts=("end_standby", "forgo", "clear_standby"), why="commits wait for nobody any more")
    if not seen.is_open:
        return Plan(acts=("open_address",))
    if pair.is_wanted:
        return Plan(
            acts=("end_standby", "clear_standby"), then=_in(pair, "following"), why="a standby is made from the primary"
        )
    return Plan(why="no standby is wanted")


def _following(pair: Pair, seen: Seen) -> Plan:
    if not seen.primary_answers:
        return Plan(why="the primary must answer")
    if not pair.is_wanted or seen.away_s > AWAY_MAX_S:
        return Plan(then=_in(pair, "alone"), why=f"the standby was not there for {AWAY_MAX_S:.0f} s: it is made anew")
    if not seen.has_slot:
        return Plan(acts=("reserve_log",))
    if not seen.is_open:
        return Plan(acts=("open_address",))
    if not seen.is_streaming:
        return Plan(why="the standby must get what was written meanwhile")
    return Plan(acts=("demand", "drop_aside"), then=_in(pair, "synchronous"), why="commits wait for the standby")


def _synchronous(pair: Pair, seen: Seen) -> Plan:
    if seen.primary_has_ended or seen.silent_s > SILENT_MAX_S:
        return _without_primary(pair, seen)
    if not seen.primary_answers:
        return Plan(why="the primary must answer")
    if not seen.commits_wait:
        return Plan(then=_in(pair, "following"), why="somebody told the primary not to wait for its standby")
    if not pair.is_wanted or seen.away_s > AWAY_MAX_S:
        why = f"commits waited {AWAY_MAX_S:.0f} s for a standby that is not there: they go on without"
        return Plan(then=_in(pair, "alone"), why=why if pair.is_wanted else "no standby is wanted any more")
    if not seen.is_open:
        if seen.is_caught_up:
            return Plan(acts=("open_address",))
        return Plan(why="what a primary finds after its start must be on its standby before anybody sees it")
    if not seen.is_synchronous:
        return Plan(why="commits wait: the standby is not there")
    if not seen.is_asked:
        return Plan()
    if not seen.standby_answers:
        return Plan(why="the standby must answer before the roles change")
    return Plan(acts=("checkpoint",), then=_in(pair, "handing_over"), why="somebody asked for a switch-over")


def _without_primary(pair: Pair, seen: Seen) -> Plan:
    if seen.standby_answers:
        how = "has ended" if seen.primary_has_ended else f"does not answer for {SILENT_MAX_S:.0f} s"
        return Plan(acts=_closing(seen), then=_in(pair, "fencing"), why=f"the primary {how}")
    return Plan(acts=_closing(seen), why="the primary is away, and so is its standby: whoever comes first")


def _handing_over(pair: Pair, seen: Seen) -> Plan:
    if seen.primary_runs:
        return Plan(acts=("close_address", "stop_primary"), why="the primary stops in order")
    # It may have died before anybody stopped it, and is let run again if the standby lacks its last word.
    acts = _closing(seen)
    if seen.standby_answers and seen.has_everything:
        then = replace(_in(pair, "fencing"), has_ended_well=True)
        return Plan(acts=acts, then=then, why="the standby has everything")
    if seen.waited_s > HAND_OVER_MAX_S:
        return Plan(acts=acts, then=_in(pair, "synchronous"), why="the standby did not get the primary's last word")
    return Plan(acts=acts, why="the standby must have everything")


def _closing(seen: Seen) -> tuple[Act, ...]:
    """A primary that has ended may be started again, and then shows what nobody waited for."""
    return ("close_address",) if seen.is_open else ()


def _fencing(pair: Pair, seen: Seen) -> Plan:
    del seen
    mark: Act = "mark_follower" if pair.has_ended_well else "put_aside"
    then = replace(pair, phase="promoting")
    return Plan(acts=("close_address", "end_primary", mark), then=then, why="the old primary cannot come back")


def _promoting(pair: Pair, seen: Seen) -> Plan:
    if not seen.standby_answers:
        return Plan(why="the standby must answer to be promoted")
    then = Pair(
        primary=pair.standby,
        phase="following" if pair.has_ended_well else "alone",
        is_wanted=pair.is_wanted,
        promotions=pair.promotions + 1,
    )
    return Plan(acts=("close_address", "promote", "vouch"), then=then, why="the standby is the primary")


def _in(pair: Pair, phase: Phase) -> Pair:
    return replace(pair, phase=phase, has_ended_well=False)


_PLANS: Mapping[Phase, Callable[[Pair, Seen], Plan]] = {
    "alone": _alone,
    "following": _following,
    "synchronous": _synchronous,
    "handing_over": _handing_over,
    "fencing": _fencing,
    "promoting": _promoting,
}
