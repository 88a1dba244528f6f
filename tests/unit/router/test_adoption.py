"""Which documents may replace the map: versions, epochs, the bound on change."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.directory import DirectoryDocument
from contract.ids import CellId, WalletId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, Unit, slot_of
from router.routing import adoption
from router.routing.adoption import Adopted, Declined, DeclineReason
from router.routing.directory import Directory, directory_of
from router.routing.learning import Hint, learn

MakeDocument = Callable[..., DirectoryDocument]
Adopt = Callable[..., Adopted | Declined]

WALLET = WalletId("9f0c3f64-5717-4562-b3fc-2c963f66afa6")
HOT = Unit(ISOLATED_UNIT_FIRST)
LIMIT = SLOTS * 5 // 100


def held(make_document: MakeDocument, **members: object) -> Directory:
    return directory_of(make_document(**members), own_zone="zone-1")


def moved(count: int) -> list[str]:
    """Half of the slots are a's, half are b's; `count` of a's become b's."""
    return ["b" if slot < count or slot >= SLOTS // 2 else "a" for slot in range(SLOTS)]


def adopted(verdict: Adopted | Declined) -> Directory:
    assert isinstance(verdict, Adopted), verdict
    return verdict.directory


def reason(verdict: Adopted | Declined) -> DeclineReason:
    assert isinstance(verdict, Declined)
    return verdict.reason


def check_versions_never_go_backwards(adopt: Adopt, make_document: MakeDocument) -> None:
    current = held(make_document, version=10)
    assert (
        reason(adopt(current, make_document(version=9), own_zone="zone-1"))
        is DeclineReason.VERSION_MUST_NOT_GO_BACKWARDS
    )
    meant = make_document(version=9, is_large_change_meant=True)
    assert reason(adopt(current, meant, own_zone="zone-1")) is DeclineReason.VERSION_MUST_NOT_GO_BACKWARDS


def check_large_changes_are_declined(adopt: Adopt, make_document: MakeDocument) -> None:
    current = held(make_document, version=10)
    for previous in (None, 10):
        large = make_document(version=11, previous_version=previous, slot_cells=moved(LIMIT + 1))
        assert reason(adopt(current, large, own_zone="zone-1")) is DeclineReason.CHANGE_MUST_NOT_BE_LARGE


def check_cells_do_not_disappear(adopt: Adopt, make_document: MakeDocument) -> None:
    cells = ("a", "b", "spare")
    slot_cells = ["a"] * SLOTS
    current = held(make_document, version=10, cells=cells, slot_cells=slot_cells)
    without = make_document(version=11, cells=("a", "b"), slot_cells=slot_cells)
    assert reason(adopt(current, without, own_zone="zone-1")) is DeclineReason.CELLS_MUST_NOT_DISAPPEAR


def check_the_higher_epoch_wins(adopt: Adopt, make_document: MakeDocument) -> None:
    unit = slot_of(WALLET)
    owner = make_document().slot_cells()[unit]
    other = "b" if owner == "a" else "a"
    hint = Hint(unit=unit, cell=CellId(other), epoch=4)
    current = learn(held(make_document, version=10), hint, asked=WALLET)
    assert current is not None
    older = adopted(adopt(current, make_document(version=11, epochs={unit: 3}, moving=(unit,)), own_zone="zone-1"))
    assert (older.cell_of(unit), older.epoch_of(unit), older.version) == (other, 4, 11)
    assert unit in older.learned_units
    assert unit in older.moving
    newer = adopted(adopt(current, make_document(version=11, epochs={unit: 4}), own_zone="zone-1"))
    assert (newer.cell_of(unit), newer.epoch_of(unit), newer.learned_units) == (owner, 4, frozenset())
    assert unit not in newer.moving


CHECKS = {
    "if published.version < current.version:": check_versions_never_go_backwards,
    "if changed > CHANGE_SHARE_MAX * owned:": check_large_changes_are_declined,
    "    if gone:\n": check_cells_do_not_disappear,
    "    if not kept:\n": check_the_higher_epoch_wins,
}


@pytest.mark.parametrize("check", CHECKS.values())
def test_protection(check: Callable[[Adopt, MakeDocument], None], make_document: MakeDocument) -> None:
    check(adoption.adopt, make_document)


@pytest.mark.parametrize("line", CHECKS)
def test_mutant_without_protection_is_found(
    line: str, make_document: MakeDocument, mutant: Callable[..., object]
) -> None:
    """Each protection is one `if`; the check must notice when its condition is switched off."""
    constant = "True" if "not kept" in line else "False"
    condition = line.strip().removeprefix("if ").removesuffix(":")
    broken = mutant(adoption, line, line.replace(condition, constant))
    with pytest.raises((AssertionError, KeyError)):
        CHECKS[line](broken.adopt, make_document)  # type: ignore[attr-defined]


def test_the_first_document_is_taken_whatever_it_says(make_document: MakeDocument) -> None:
    directory = adopted(adoption.adopt(None, make_document(version=3), own_zone="zone-1"))
    assert (directory.version, len(directory.cells)) == (3, 2)


def test_a_change_at_the_bound_is_taken(make_document: MakeDocument) -> None:
    document = make_document(version=11, slot_cells=moved(LIMIT))
    directory = adopted(adoption.adopt(held(make_document), document, own_zone="zone-1"))
    assert [directory.cell_of(Unit(slot)) for slot in (0, LIMIT - 1, LIMIT)] == ["b", "b", "a"]


@pytest.mark.parametrize("members", [{"is_large_change_meant": True}, {"previous_version": 9}])
def test_a_large_change_is_taken_if_meant_or_not_the_next(
    make_document: MakeDocument, members: dict[str, object]
) -> None:
    document = make_document(version=11, cells=("b",), slot_cells=["b"] * SLOTS, **members)
    directory = adopted(adoption.adopt(held(make_document), document, own_zone="zone-1"))
    assert [cell.id for cell in directory.cells] == ["b"]


def test_after_a_decline_the_next_version_is_bound_too(make_document: MakeDocument) -> None:
    """The mistake of the declined version is in the one that follows it as well."""
    large = make_document(version=12, previous_version=11, slot_cells=moved(LIMIT + 1))
    verdict = adoption.adopt(held(make_document), large, own_zone="zone-1", is_after_decline=True)
    assert reason(verdict) is DeclineReason.CHANGE_MUST_NOT_BE_LARGE


def test_slots_given_out_for_the_first_time_are_no_change(make_document: MakeDocument) -> None:
    empty = directory_of(make_document().model_copy(update={"slots": ()}), own_zone="zone-1")
    assert adopted(adoption.adopt(empty, make_document(version=11), own_zone="zone-1")).has_owners


def test_slots_that_lose_their_owner_are_a_change(make_document: MakeDocument) -> None:
    empty = make_document(version=11).model_copy(update={"slots": ()})
    verdict = adoption.adopt(held(make_document), empty, own_zone="zone-1")
    assert reason(verdict) is DeclineReason.CHANGE_MUST_NOT_BE_LARGE


def test_a_learned_isolation_outlives_an_older_document(make_document: MakeDocument) -> None:
    hint = Hint(unit=HOT, cell=CellId("b"), epoch=2, wallet_id=WALLET)
    current = learn(held(make_document), hint, asked=WALLET)
    assert current is not None
    kept = adopted(adoption.adopt(current, make_document(version=11), own_zone="zone-1"))
    assert (kept.isolated[WALLET], kept.cell_of(HOT), kept.epoch_of(HOT)) == (HOT, "b", 2)
    again = adopted(adoption.adopt(kept, make_document(version=12), own_zone="zone-1"))
    assert again.isolated == {WALLET: HOT}


def test_a_learned_isolation_ends_with_a_document_that_knows_of_it(make_document: MakeDocument) -> None:
    hint = Hint(unit=HOT, cell=CellId("b"), epoch=2, wallet_id=WALLET)
    current = learn(held(make_document), hint, asked=WALLET)
    assert current is not None
    rejoined = adopted(adoption.adopt(current, make_document(version=11, epochs={HOT: 2}), own_zone="zone-1"))
    assert rejoined.isolated == {}
    document = make_document(version=11, isolated={WALLET: HOT}, unit_cells={HOT: "a"}, epochs={HOT: 3})
    known = adopted(adoption.adopt(current, document, own_zone="zone-1"))
    assert (known.cell_of(HOT), known.learned_wallets) == ("a", frozenset())


def test_what_was_learned_of_a_dropped_cell_is_forgotten(make_document: MakeDocument) -> None:
    unit = slot_of(WALLET)
    cells = ("a", "b", "c")
    current = learn(held(make_document, cells=cells), Hint(unit=unit, cell=CellId("c"), epoch=5), asked=WALLET)
    assert current is not None
    document = make_document(version=11, is_large_change_meant=True)
    assert adopted(adoption.adopt(current, document, own_zone="zone-1")).cell_of(unit) in {"a", "b"}


@settings(max_examples=30)
@given(
    epochs=st.lists(st.dictionaries(st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=6),
    versions=st.lists(st.integers(1, 30), min_size=6, max_size=6),
)
def test_neither_versions_nor_epochs_ever_decrease(
    make_document: MakeDocument, epochs: list[dict[int, int]], versions: list[int]
) -> None:
    current: Directory | None = None
    for version, of_units in zip(versions, epochs, strict=False):
        document = make_document(version=version, epochs=of_units)
        verdict = adoption.adopt(current, document, own_zone="zone-1")
        if isinstance(verdict, Declined):
            assert current is not None
            assert version < current.version
            continue
        if current is not None:
            assert verdict.directory.version >= current.version
            assert all(verdict.directory.epoch_of(Unit(u)) >= current.epoch_of(Unit(u)) for u in range(41))
        current = verdict.directory
