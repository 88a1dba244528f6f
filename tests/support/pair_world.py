"""A model of two databases, their supervisor and their clients, in which everything that can happen is tried.

The plans are the project's own; what acts do, and what fails when, is modelled here. A world is one state of it all,
told from the record's point of view: `primary` and `standby` are what the record calls so.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

from cellwallet.local.failover import AWAY_MAX_S, HAND_OVER_MAX_S, SILENT_MAX_S, Act, Pair, Place, Plan, Role, Seen

Kind = Literal["none", "primary", "standby"]
Asking = Literal["primary", "standby"]
ASKING: frozenset[Asking] = frozenset(("primary", "standby"))
OTHER: Mapping[Asking, Asking] = {"primary": "standby", "standby": "primary"}
PlanOf = Callable[[Pair, Seen], Plan]
RoleOf = Callable[[Pair, Place], "Role | None"]


class ActFailedError(Exception):
    """As a real one: the plan is broken off there, and nothing is recorded."""


class DisasterError(Exception):
    """What must never be; the message names it."""


NEW = Pair()


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    data: Kind = "none"
    runs: bool = False
    """As what its data say."""
    lacks: bool = False
    """Something that a client was told was done."""
    commits_wait: bool = False
    """Its own setting, which lies in its data."""
    has_ended_well: bool = False
    """Stopped in order since it ran last, and its standby has all of it."""
    is_ahead: bool = False
    """It shows what it found at its start: commits that nobody waited for, and that its standby need not have."""

    @property
    def writes(self) -> bool:
        return self.runs and self.data == "primary"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    pair: Pair = NEW
    primary: Database = Database()
    standby: Database = Database()
    is_connected: bool = False
    """The standby streams."""
    is_hung: bool = False
    """The primary runs, and answers nobody for long."""
    has_run: bool = False
    """The primary, since the supervisor was started."""
    open_to: Literal["nobody", "primary", "standby"] = "nobody"
    is_vouched: bool = True
    """Of the timeline of whoever is or becomes the primary."""

    @property
    def is_serving(self) -> bool:
        return self.open_to == "primary" and self.primary.writes and not self.is_hung

    @property
    def is_protected(self) -> bool:
        return self.is_serving and self.pair.phase == "synchronous" and self.is_connected


# What a watch sees.


def looks(world: World) -> Iterator[Seen]:
    """All that it may see of this world; clocks and orders may stand anywhere."""
    for is_late in (False, True):
        for is_asked in (False, True):
            yield look(world, is_late=is_late, is_asked=is_asked)


def look(world: World, *, is_late: bool = False, is_asked: bool = False) -> Seen:
    primary, standby, is_handing_over = world.primary, world.standby, world.pair.phase == "handing_over"
    answers = primary.writes and not world.is_hung
    return Seen(
        primary_has_ended=world.has_run and not primary.runs,
        primary_runs=is_handing_over and primary.runs,
        primary_answers=answers,
        silent_s=SILENT_MAX_S + 1 if world.is_hung and is_late else 0.0,
        standby_answers=standby.runs,
        is_streaming=answers and world.is_connected,
        is_synchronous=answers and world.is_connected and primary.commits_wait,
        is_caught_up=answers and world.is_connected and not standby.lacks and not primary.is_ahead,
        has_everything=is_handing_over and primary.has_ended_well and standby.runs,
        away_s=AWAY_MAX_S + 1 if is_late and answers and not world.is_connected and standby.data != "none" else 0.0,
        waited_s=HAND_OVER_MAX_S + 1 if is_late else 0.0,
        commits_wait=answers and primary.commits_wait,
        has_slot=world.pair.phase != "alone",
        is_open=world.open_to == "primary",
        is_asked=is_asked and world.pair.phase == "synchronous",
    )


# What acts do.


def act(world: World, what: Act) -> World:
    return _settled(_ACTS[what](world))


def recorded(world: World, then: Pair) -> World:
    """The record alone changes; what was the standby is the primary from now on if it says so."""
    if then.primary == world.pair.primary:
        return _settled(replace(world, pair=then))
    open_to: Literal["nobody", "primary", "standby"] = "nobody" if world.open_to == "nobody" else "standby"
    promotions = min(then.promotions, 1)
    return _settled(
        replace(
            world,
            # Named anew, so that a world after two changes is the one before.
            pair=replace(then, primary="first", promotions=promotions),
            primary=world.standby,
            standby=world.primary,
            is_connected=False,
            is_hung=False,
            has_run=True,
            open_to=open_to,
        )
    )


def _open(world: World) -> World:
    if not world.is_vouched:
        raise DisasterError("services reach a timeline that nobody has recorded")
    return replace(world, open_to="primary")


def _needs_primary(world: World) -> None:
    if not world.primary.writes or world.is_hung:
        raise ActFailedError


def _checkpoint(world: World) -> World:
    _needs_primary(world)
    return world


def _stop_primary(world: World) -> World:
    is_well = world.is_connected and world.primary.writes and not world.is_hung
    standby = replace(world.standby, lacks=False) if is_well else world.standby
    return replace(world, primary=replace(world.primary, runs=False, has_ended_well=is_well), standby=standby)


def _end_primary(world: World) -> World:
    return replace(world, primary=replace(world.primary, runs=False))


def _put_aside(world: World) -> World:
    if world.primary.runs:
        raise DisasterError("data were put aside under a running database")
    return replace(world, primary=Database())


def _mark_follower(world: World) -> World:
    if not world.primary.has_ended_well or world.primary.runs:
        raise DisasterError("a database that may have what others lack is made a follower")
    return replace(world, primary=replace(world.primary, data="standby", commits_wait=False))


def _promote(world: World) -> World:
    if not world.standby.runs:
        raise ActFailedError
    if world.standby.data == "primary":
        return world
    return replace(world, standby=replace(world.standby, data="primary"), is_vouched=False)


def _vouch(world: World) -> World:
    if not world.standby.writes:
        raise ActFailedError
    return replace(world, is_vouched=True)


def _end_standby(world: World) -> World:
    return replace(world, standby=replace(world.standby, runs=False))


def _clear_standby(world: World) -> World:
    if world.standby.runs:
        raise DisasterError("data were removed under a running database")
    return replace(world, standby=Database())


def _demand(world: World) -> World:
    _needs_primary(world)
    if not world.is_connected:
        raise ActFailedError
    return replace(
        world,
        primary=replace(world.primary, commits_wait=True, is_ahead=False),
        standby=replace(world.standby, lacks=False),
    )


def _forgo(world: World) -> World:
    _needs_primary(world)
    return replace(world, primary=replace(world.primary, commits_wait=False))


_ACTS: dict[Act, Callable[[World], World]] = {
    "close_address": lambda world: replace(world, open_to="nobody"),
    "open_address": _open,
    "checkpoint": _checkpoint,
    "stop_primary": _stop_primary,
    "end_primary": _end_primary,
    "put_aside": _put_aside,
    "mark_follower": _mark_follower,
    "promote": _promote,
    "vouch": _vouch,
    "end_standby": _end_standby,
    "clear_standby": _clear_standby,
    "drop_aside": lambda world: world,
    "reserve_log": _checkpoint,
    "demand": _demand,
    "forgo": _forgo,
}


# What happens besides.


def down(world: World) -> frozenset[Asking]:
    """They ask what they may run as."""
    return frozenset(name for name in ASKING if not getattr(world, name).runs)


def started(world: World, role_of: RoleOf, asking: AbstractSet[Asking] = ASKING) -> Iterator[World]:
    """Places that ask and may run do."""
    role = role_of(world.pair, world.pair.primary)
    if role == "primary" and "primary" in asking and not world.primary.runs:
        if world.primary.data == "none" and world.pair.is_new:
            yield _run(world, primary=replace(world.primary, data="primary", runs=True))
        elif world.primary.data == "primary":
            yield _run(world, primary=replace(world.primary, runs=True, has_ended_well=False, is_ahead=True))
    role = role_of(world.pair, world.pair.standby)
    if role == "follower" and "standby" in asking and not world.standby.runs:
        if world.standby.data == "none" and world.primary.writes and not world.is_hung:
            copy = Database(data="standby", runs=True, lacks=world.primary.lacks)
            yield _settled(replace(world, standby=copy))
        elif world.standby.data != "none":
            yield _settled(replace(world, standby=replace(world.standby, runs=True, has_ended_well=False)))


def _run(world: World, *, primary: Database) -> World:
    return _settled(replace(world, primary=primary, has_run=True))


def happens(world: World) -> Iterator[World]:
    """Everything that may happen to it next without anybody's plan; the supervisor goes on."""
    if world.primary.runs:
        yield _settled(replace(world, primary=replace(world.primary, runs=False)))
        yield _settled(replace(world, is_hung=not world.is_hung))
    if world.standby.runs:
        yield _settled(replace(world, standby=replace(world.standby, runs=False)))
    if world.is_connected:
        yield replace(world, is_connected=False)
        yield caught_up(world)
    elif world.standby.runs and world.standby.data == "standby" and world.primary.writes:
        yield replace(world, is_connected=True)
    yield from _committed(world)


def caught_up(world: World) -> World:
    return replace(
        world,
        primary=replace(world.primary, is_ahead=False),
        standby=replace(world.standby, lacks=world.primary.lacks),
    )


def _committed(world: World) -> Iterator[World]:
    """A client is told that something is done. A hung primary may still say so to those who are connected."""
    reached = {"primary": world.primary, "standby": world.standby}.get(world.open_to)
    if reached is None or not reached.writes:
        return
    if reached.lacks:
        raise DisasterError("services work on a database that lacks what was acknowledged")
    if reached.is_ahead and reached is world.primary and world.pair.phase == "synchronous":
        raise DisasterError("services see what its standby lacks, and a failover takes back")
    if not reached.commits_wait:
        other = world.standby if reached is world.primary else world.primary
        missing = replace(other, lacks=other.data != "none")
        yield replace(world, standby=missing) if reached is world.primary else replace(world, primary=missing)


def crashed(world: World) -> World:
    """The supervisor is killed, and what it started with it; the next one closes the address first."""
    return _settled(
        replace(
            world,
            primary=replace(world.primary, runs=False),
            standby=replace(world.standby, runs=False),
            has_run=False,
            open_to="nobody",
        )
    )


def _settled(world: World) -> World:
    """What follows from it; and what may not be."""
    if world.primary.writes and world.standby.writes:
        raise DisasterError("two primaries")
    if world.is_connected and not (world.primary.writes and world.standby.runs and world.standby.data == "standby"):
        world = replace(world, is_connected=False)
    if world.is_hung and not world.primary.runs:
        world = replace(world, is_hung=False)
    return world


# Trying all of it.


def explore(
    plan: PlanOf, role_of: RoleOf, *, starts_after_trouble: bool = False, worlds_max: int = 200_000
) -> set[World]:
    """All worlds that there can be. `starts_after_trouble`: mutant of the watch, which lets nobody run then.

    Raises:
        DisasterError: something happens that must not.

    """
    found, waiting = {World()}, [World()]
    while waiting:
        for after in _next(waiting.pop(), plan, role_of, starts_after_trouble=starts_after_trouble):
            if after not in found:
                found.add(after)
                waiting.append(after)
                if len(found) > worlds_max:
                    raise RuntimeError("the model has no end")
    return found


def _next(world: World, plan: PlanOf, role_of: RoleOf, *, starts_after_trouble: bool) -> Iterator[World]:
    yield crashed(world)
    yield from happens(world)
    for planned in dict.fromkeys(plan(world.pair, seen) for seen in looks(world)):
        for meanwhile in (world, *happens(world)):
            for after, asking, is_trouble in _turned(meanwhile, planned, down(world)):
                yield after
                if starts_after_trouble or not is_trouble:
                    yield from started(after, role_of, asking)


def _turned(
    world: World, planned: Plan, asking: AbstractSet[Asking]
) -> Iterator[tuple[World, AbstractSet[Asking], bool]]:
    """As it is when the turn is broken off after each act, whether the supervisor lives or not; and when all was done.

    With those who asked before it; nobody asks a supervisor that is dead.
    """
    yield world, asking, bool(planned.acts or planned.then)
    try:
        for one in planned.acts:
            world = act(world, one)
            yield crashed(world), frozenset(), True
            yield world, asking, True
    except ActFailedError:
        return
    if planned.then is None:
        yield world, asking, False
        return
    if planned.then.primary != world.pair.primary:
        asking = frozenset(OTHER[name] for name in asking)
    yield recorded(world, planned.then), asking, False


def ends_protected(world: World, plan: PlanOf, role_of: RoleOf, *, turns_max: int = 60) -> bool:
    """Whether the cell comes to serve on two databases when nothing happens any more."""
    for _ in range(turns_max):
        if world.is_protected:
            return True
        if world.is_hung and world.pair.phase != "synchronous":
            world = _settled(replace(world, is_hung=False))  # who hangs for ever is for people to end
        planned = plan(world.pair, look(world, is_late=world.is_hung))
        if not planned.acts and planned.then is None:
            planned = plan(world.pair, look(world, is_late=True))
        try:
            for one in planned.acts:
                world = act(world, one)
            world = world if planned.then is None else recorded(world, planned.then)
        except ActFailedError:
            continue
        for after in list(started(world, role_of))[:1]:
            world = after
        if world.standby.runs and world.standby.data == "standby" and world.primary.writes:
            world = caught_up(replace(world, is_connected=True))
    return False
