"""What HAProxy is told: maps out of a directory, and the way from one map to the next."""

from collections.abc import Callable

import pytest

from contract.directory import DirectoryDocument
from contract.ids import WalletId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from router.routing.directory import Directory, directory_of
from router.routing.haproxy_maps import (
    AGENT,
    COMMANDS_MAX,
    FACTS_MAP,
    SLOTS_MAP,
    WALLETS_MAP,
    Amend,
    InPlace,
    Reload,
    entries_shown,
    maps_of,
    plan,
    text_of,
)
from router.routing.learning import Hint, learn

MakeDocument = Callable[..., DirectoryDocument]

WALLET = WalletId("9f0c3f64-5717-4562-b3fc-2c963f66afa6")
HOT = ISOLATED_UNIT_FIRST + 4


def directory(make_document: MakeDocument, **members: object) -> Directory:
    return directory_of(make_document(**members), own_zone="zone-1")


def in_place(of: Directory | None, digest: str = "d") -> InPlace:
    return InPlace(digest=digest, maps=maps_of(of))


def test_every_slot_leads_to_its_cell(make_document: MakeDocument) -> None:
    slots = maps_of(directory(make_document))[SLOTS_MAP]
    assert slots == {str(slot): "a" if slot < SLOTS // 2 else "b" for slot in range(SLOTS)}


def test_a_unit_in_transition_leads_to_the_agent(make_document: MakeDocument) -> None:
    members = {"isolated": {WALLET: HOT}, "unit_cells": {HOT: "b"}, "moving": (5, HOT)}
    maps = maps_of(directory(make_document, **members))
    assert [maps[SLOTS_MAP][slot] for slot in ("4", "5", "6")] == ["a", AGENT, "a"]
    assert maps[WALLETS_MAP] == {WALLET: AGENT}


def test_an_isolated_wallet_has_an_entry_of_its_own(make_document: MakeDocument) -> None:
    maps = maps_of(directory(make_document, isolated={WALLET: HOT}, unit_cells={HOT: "b"}))
    assert maps[WALLETS_MAP] == {WALLET: "b"}


def test_what_a_421_taught_is_in_the_map(make_document: MakeDocument) -> None:
    known = directory(make_document)
    slot = slot_of(WALLET)
    new_owner = "b" if slot < SLOTS // 2 else "a"
    taught = learn(known, Hint(unit=slot, cell=new_owner, epoch=2), asked=WALLET)
    assert taught is not None
    assert maps_of(taught)[SLOTS_MAP][str(slot)] == new_owner


@pytest.mark.parametrize("is_known", [False, True])
def test_nothing_is_ready_without_owners(make_document: MakeDocument, *, is_known: bool) -> None:
    unowned = directory_of(make_document().model_copy(update={"slots": ()}), own_zone="zone-1") if is_known else None
    maps = maps_of(unowned)
    assert maps[FACTS_MAP] == {}
    assert set(maps[SLOTS_MAP].values()) <= {AGENT}


def test_the_same_map_needs_no_command(make_document: MakeDocument) -> None:
    known = in_place(directory(make_document))
    assert plan(known, known) == Amend(commands=())


def test_a_move_is_two_commands(make_document: MakeDocument) -> None:
    before = in_place(directory(make_document))
    after = in_place(directory(make_document, version=11, moving=(7,)))
    assert plan(before, after) == Amend(
        commands=(f"set map slots.map 7 {AGENT}", "set map facts.map version 11"),
    )


def test_isolating_and_rejoining_add_and_delete(make_document: MakeDocument) -> None:
    plain = in_place(directory(make_document))
    isolated = in_place(directory(make_document, isolated={WALLET: HOT}, unit_cells={HOT: "b"}))
    assert plan(plain, isolated) == Amend(commands=(f"add map wallets.map {WALLET} b",))
    assert plan(isolated, plain) == Amend(commands=(f"del map wallets.map {WALLET}",))


def test_the_version_comes_last(make_document: MakeDocument) -> None:
    after = in_place(directory(make_document, version=11, isolated={WALLET: HOT}, unit_cells={HOT: "b"}, moving=(1,)))
    step = plan(in_place(directory(make_document)), after)
    assert isinstance(step, Amend)
    assert step.commands[-1] == "set map facts.map version 11"


def test_other_servers_need_a_reload(make_document: MakeDocument) -> None:
    known = directory(make_document)
    assert isinstance(plan(in_place(known, "before"), in_place(known, "after")), Reload)


@pytest.mark.parametrize(("changes", "is_reload"), [(COMMANDS_MAX, False), (COMMANDS_MAX + 1, True)])
def test_very_many_changes_are_a_reload(make_document: MakeDocument, changes: int, *, is_reload: bool) -> None:
    moving = in_place(directory(make_document, moving=tuple(range(changes))))
    assert isinstance(plan(in_place(directory(make_document)), moving), Reload) == is_reload


def test_what_haproxy_shows_is_what_it_was_given(make_document: MakeDocument) -> None:
    slots = maps_of(directory(make_document, moving=(3,)))[SLOTS_MAP]
    shown = "".join(f"0x55d0{number:08x} {line}\n" for number, line in enumerate(text_of(slots).splitlines()))
    assert entries_shown(f"{shown}\n") == slots
