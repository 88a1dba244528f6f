"""The change of roles between a cell's two databases: all that can happen, at every step, and what may never be."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pair_world import DisasterError, World, ends_protected, explore

from cellwallet.local.failover import NEXT, Act, Pair, Phase, Place, Plan, Role, Seen, plan, role_of
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_file import (
    PairFileBrokenError,
    RolesMustBeSettledError,
    forget_standby,
    primary_folder,
    read_pair,
    write_pair,
)


@cache
def honest_worlds() -> tuple[frozenset[World], frozenset[tuple[str, str]]]:
    """All that there can be with the rules as they are, and the steps that were recorded on the way."""
    steps: set[tuple[str, str]] = set()

    def watched(pair: Pair, seen: Seen) -> Plan:
        planned = plan(pair, seen)
        if planned.then is not None:
            steps.add((pair.phase, planned.then.phase))
        return planned

    return frozenset(explore(watched, role_of)), frozenset(steps)


def test_whatever_happens_there_is_one_primary_and_it_lacks_nothing_that_was_acknowledged() -> None:
    """`explore` raises what it finds; that it finds things is shown below."""
    worlds, _ = honest_worlds()
    assert {world.pair.phase for world in worlds} == set(NEXT)
    assert any(world.is_protected and world.pair.promotions for world in worlds)


def test_wherever_it_is_broken_off_the_cell_comes_back_with_two_databases() -> None:
    worlds, _ = honest_worlds()
    stuck = [world for world in worlds if not ends_protected(world, plan, role_of)]
    assert not stuck, stuck[:3]


def test_phases_follow_one_another_as_the_table_says() -> None:
    """A person may tell the primary not to wait: the model knows nobody who does, for that may lose something."""
    by_hand = {("synchronous", "following")}
    _, steps = honest_worlds()
    assert steps | by_hand == {(phase, then) for phase, others in NEXT.items() for then in others}
    told_otherwise = plan(Pair(phase="synchronous"), Seen(primary_answers=True, commits_wait=False))
    assert told_otherwise.then == Pair(phase="following")


# Mutants: a mistake in the rules is found.


def without(*acts: Act) -> Callable[[Pair, Seen], Plan]:
    def careless(pair: Pair, seen: Seen) -> Plan:
        planned = plan(pair, seen)
        return replace(planned, acts=tuple(one for one in planned.acts if one not in acts))

    return careless


def promotes_who_merely_follows(pair: Pair, seen: Seen) -> Plan:
    if pair.phase == "following" and seen.primary_has_ended and seen.standby_answers:
        return Plan(then=replace(pair, phase="fencing"))
    return plan(pair, seen)


def believes_in_a_demand_before_it_is_made(pair: Pair, seen: Seen) -> Plan:
    if pair.phase == "following" and seen.primary_answers:
        return Plan(then=replace(pair, phase="synchronous"))
    if pair.phase == "synchronous" and seen.primary_answers and not seen.commits_wait:
        return Plan(acts=("open_address",) if not seen.is_open else ())
    return plan(pair, seen)


def opens_before_the_standby_has_what_was_found(pair: Pair, seen: Seen) -> Plan:
    return plan(pair, replace(seen, is_caught_up=True))


def leaves_the_address_open(phase: Phase) -> Callable[[Pair, Seen], Plan]:
    """Of a primary that has ended by itself, and may be started again."""

    def careless(pair: Pair, seen: Seen) -> Plan:
        planned = plan(pair, seen)
        is_down = pair.phase == phase and not seen.primary_answers and not seen.primary_runs
        return replace(planned, acts=()) if is_down else planned

    return careless


def goes_on_without_recording_it(pair: Pair, seen: Seen) -> Plan:
    """Commits are let go on before the record says that the standby lacks them."""
    planned = plan(pair, seen)
    if pair.phase == "synchronous" and planned.then is not None and planned.then.phase == "alone":
        return replace(planned, acts=("forgo",))
    return planned


def leaves_the_old_primary_as_it_is(pair: Pair, seen: Seen) -> Plan:
    if pair.phase == "promoting" and seen.standby_answers:
        then = replace(plan(pair, seen), then=replace(pair, phase="following", primary=pair.standby, promotions=1))
        return replace(then, acts=("promote", "vouch"))
    return without("end_primary", "put_aside", "close_address")(pair, seen)


def starts_the_old_primary_again(pair: Pair, place: Place) -> Role | None:
    return "primary" if place == pair.primary else role_of(pair, place)


MUTANT_PLANS = {
    "promotes who merely follows": (promotes_who_merely_follows, "lacks"),
    "believes in a demand before it is made": (believes_in_a_demand_before_it_is_made, "lacks"),
    "goes on without recording it": (goes_on_without_recording_it, "lacks"),
    "leaves the old primary alive": (without("end_primary"), "running database"),
    "leaves the old primary as it is": (leaves_the_old_primary_as_it_is, "two primaries"),
    "records no timeline": (without("vouch"), "timeline"),
    "opens before the standby has what was found": (opens_before_the_standby_has_what_was_found, "takes back"),
    "leaves the address of a primary that died": (leaves_the_address_open("synchronous"), "takes back"),
    "leaves it while roles change by order": (leaves_the_address_open("handing_over"), "takes back"),
    "removes what still runs": (without("end_standby"), "running database"),
}


@pytest.mark.parametrize("name", MUTANT_PLANS)
def test_a_mistake_in_the_plans_is_found(name: str) -> None:
    mutant, finds = MUTANT_PLANS[name]
    with pytest.raises(DisasterError, match=finds):
        explore(mutant, role_of)


def test_an_old_primary_that_may_start_again_is_found() -> None:
    with pytest.raises(DisasterError, match="two primaries"):
        explore(without("put_aside", "mark_follower", "end_primary"), starts_the_old_primary_again)


def test_a_primary_that_may_start_after_a_turn_that_failed_is_found() -> None:
    """Its address was to be closed before."""
    with pytest.raises(DisasterError, match="takes back"):
        explore(plan, role_of, starts_after_trouble=True)


# The record.


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "pairs" / "cell-1.json"
    assert read_pair(file) is None
    pair = Pair(primary="second", phase="promoting", has_ended_well=True, promotions=3)
    write_pair(file, pair)
    assert read_pair(file) == pair


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"primary": "third", "phase": "alone", "is_wanted": true, "has_ended_well": false, "promotions": 0}',
    ],
)
def test_a_record_that_says_nothing_is_no_new_beginning(text: str, tmp_path: Path) -> None:
    file = tmp_path / "cell-1.json"
    file.write_text(text)
    with pytest.raises(PairFileBrokenError):
        read_pair(file)


def test_places_keep_their_folders_whatever_their_roles(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    assert primary_folder(data, "cell-1") == data.postgres("cell-1")
    write_pair(data.pair("cell-1"), Pair(primary="second", phase="alone", promotions=1))
    assert primary_folder(data, "cell-1") == data.postgres("cell-1-second")


def test_a_restored_primary_has_no_standby(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    forget_standby(data, "cell-1")
    assert read_pair(data.pair("cell-1")) is None
    write_pair(data.pair("cell-1"), Pair(phase="synchronous"))
    forget_standby(data, "cell-1")
    assert read_pair(data.pair("cell-1")) == Pair(phase="alone")
    write_pair(data.pair("cell-1"), Pair(phase="fencing"))
    with pytest.raises(RolesMustBeSettledError):
        forget_standby(data, "cell-1")
