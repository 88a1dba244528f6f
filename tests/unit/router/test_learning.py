"""What a 421 teaches, and what it must not."""

from collections.abc import Callable

import pytest

from contract.directory import DirectoryDocument
from contract.ids import CellId, WalletId
from contract.slots import ISOLATED_UNIT_FIRST, ISOLATED_UNITS_MAX, Unit, slot_of
from router.routing import learning
from router.routing.directory import Directory, directory_of
from router.routing.learning import Hint, hint_of, hints_of, learn, take_over

MakeDocument = Callable[..., DirectoryDocument]

WALLET = WalletId("9f0c3f64-5717-4562-b3fc-2c963f66afa6")
OTHER_WALLET = WalletId("00000000-0000-4000-8000-000000000001")
SLOT = slot_of(WALLET)
HOT = Unit(ISOLATED_UNIT_FIRST + 3)


@pytest.fixture
def directory(make_document: MakeDocument) -> Directory:
    """The wallet's slot is at epoch 3 and moving."""
    return directory_of(make_document(epochs={SLOT: 3}, moving=(SLOT, SLOT + 1)), own_zone="zone-1")


@pytest.fixture
def isolated(make_document: MakeDocument) -> Directory:
    """The wallet is alone in unit HOT, in cell a at epoch 2."""
    document = make_document(isolated={WALLET: HOT}, unit_cells={HOT: "a"}, epochs={HOT: 2, SLOT: 3})
    return directory_of(document, own_zone="zone-1")


def other_cell(directory: Directory, unit: Unit) -> CellId:
    return CellId("b" if directory.cell_of(unit) == "a" else "a")


def check_only_a_higher_epoch_teaches(learn_: Callable[..., Directory | None], directory: Directory) -> None:
    other = other_cell(directory, SLOT)
    for epoch in (1, 2, 3):
        assert learn_(directory, Hint(unit=SLOT, cell=other, epoch=epoch), asked=WALLET) is None
    taught = learn_(directory, Hint(unit=SLOT, cell=other, epoch=4), asked=WALLET)
    assert taught is not None
    assert (taught.cell_of(SLOT), taught.epoch_of(SLOT)) == (other, 4)


def test_only_a_higher_epoch_teaches(directory: Directory) -> None:
    check_only_a_higher_epoch_teaches(learn, directory)


def test_mutant_that_believes_any_epoch_is_found(directory: Directory, mutant: Callable[..., object]) -> None:
    broken = mutant(learning, "elif hint.epoch <= known:", "elif False:")
    with pytest.raises(AssertionError):
        check_only_a_higher_epoch_teaches(broken.learn, directory)  # type: ignore[attr-defined]


def test_one_unit_is_taught_and_no_other(directory: Directory) -> None:
    taught = learn(directory, Hint(unit=SLOT, cell=other_cell(directory, SLOT), epoch=4), asked=WALLET)
    assert taught is not None
    differing = [n for n in range(16_384) if taught.cell_of(Unit(n)) != directory.cell_of(Unit(n))]
    assert differing == [SLOT]
    assert taught.moving == {SLOT, SLOT + 1}, "its taker may not have it yet"
    assert taught.version == directory.version
    assert directory.epoch_of(SLOT) == 3, "the map before is not touched"


@pytest.mark.parametrize(
    "hint",
    [
        Hint(unit=SLOT, cell=None, epoch=9),
        Hint(unit=SLOT, cell=CellId("stranger"), epoch=9),
        Hint(unit=Unit(SLOT + 1), cell=CellId("a"), epoch=9),
        Hint(unit=SLOT, cell=CellId("a"), epoch=9, wallet_id=OTHER_WALLET),
        Hint(unit=HOT, cell=CellId("a"), epoch=9),
        Hint(unit=HOT, cell=CellId("a"), epoch=9, wallet_id=OTHER_WALLET),
    ],
    ids=[
        "no cell",
        "unknown cell",
        "another slot",
        "another wallet",
        "isolated, no wallet",
        "isolated, another wallet",
    ],
)
def test_a_hint_that_does_not_fit_teaches_nothing(directory: Directory, hint: Hint) -> None:
    assert learn(directory, hint, asked=WALLET) is None


def test_an_isolation_is_learned(directory: Directory) -> None:
    taught = learn(directory, Hint(unit=HOT, cell=CellId("b"), epoch=1, wallet_id=WALLET), asked=WALLET)
    assert taught is not None
    owner = taught.owner_of(WALLET)
    assert owner.cell is not None
    assert (owner.unit, owner.cell.id, owner.epoch) == (HOT, "b", 1)


def test_an_isolated_unit_moves(isolated: Directory) -> None:
    for wallet_id in (WALLET, None):
        taught = learn(isolated, Hint(unit=HOT, cell=CellId("b"), epoch=3, wallet_id=wallet_id), asked=WALLET)
        assert taught is not None
        assert (taught.cell_of(HOT), taught.epoch_of(HOT)) == ("b", 3)
    assert learn(isolated, Hint(unit=HOT, cell=CellId("b"), epoch=2, wallet_id=WALLET), asked=WALLET) is None


def test_a_unit_holds_one_wallet_for_ever(isolated: Directory) -> None:
    hint = Hint(unit=HOT, cell=CellId("b"), epoch=9, wallet_id=OTHER_WALLET)
    assert learn(isolated, hint, asked=OTHER_WALLET) is None


def test_a_wallet_is_isolated_again_only_upwards(isolated: Directory) -> None:
    earlier = Hint(unit=Unit(HOT - 1), cell=CellId("b"), epoch=9, wallet_id=WALLET)
    assert learn(isolated, earlier, asked=WALLET) is None
    later = Hint(unit=Unit(HOT + 1), cell=CellId("b"), epoch=1, wallet_id=WALLET)
    taught = learn(isolated, later, asked=WALLET)
    assert taught is not None
    assert taught.isolated[WALLET] == HOT + 1


def test_a_wallet_rejoins_its_slot(isolated: Directory) -> None:
    hint = Hint(unit=SLOT, cell=isolated.cell_of(SLOT), epoch=3, wallet_id=WALLET)
    taught = learn(isolated, hint, asked=WALLET)
    assert taught is not None
    assert taught.owner_of(WALLET).unit == SLOT
    assert learn(isolated, Hint(unit=SLOT, cell=CellId("a"), epoch=2, wallet_id=WALLET), asked=WALLET) is None


def test_learning_isolations_has_a_limit(make_document: MakeDocument) -> None:
    isolated = {
        f"00000000-0000-4000-8000-{number:012x}": ISOLATED_UNIT_FIRST + number for number in range(ISOLATED_UNITS_MAX)
    }
    full = directory_of(
        make_document(isolated=isolated, unit_cells=dict.fromkeys(isolated.values(), "a")), own_zone="zone-1"
    )
    hint = Hint(unit=Unit(ISOLATED_UNIT_FIRST + ISOLATED_UNITS_MAX), cell=CellId("b"), epoch=1, wallet_id=WALLET)
    assert learn(full, hint, asked=WALLET) is None


def test_what_was_learned_can_be_written_down_and_taken_over(directory: Directory) -> None:
    taught = learn(directory, Hint(unit=SLOT, cell=other_cell(directory, SLOT), epoch=4), asked=WALLET)
    assert taught is not None
    taught = learn(taught, Hint(unit=HOT, cell=CellId("b"), epoch=2, wallet_id=WALLET), asked=WALLET)
    assert taught is not None
    restored = directory
    for hint in hints_of(taught):
        restored = take_over(restored, hint) or restored
    assert restored == taught


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"unit": "5", "cell": "a", "epoch": 2},
        {"unit": True, "cell": "a", "epoch": 2},
        {"unit": -1, "cell": "a", "epoch": 2},
        {"unit": 16_384, "cell": "a", "epoch": 2},
        {"unit": 65_535, "cell": "a", "epoch": 2},
        {"unit": 5, "cell": "a"},
        {"unit": 5, "cell": "a", "epoch": 0},
        {"unit": 5, "cell": "a", "epoch": 1.5},
    ],
)
def test_facts_of_another_form_are_no_hint(facts: dict[str, object]) -> None:
    assert hint_of(facts) is None


def test_facts_of_a_421_are_a_hint() -> None:
    assert hint_of({"unit": 5, "cell": None, "epoch": 2}) == Hint(unit=Unit(5), cell=None, epoch=2)
    facts = {"unit": HOT, "cell": "b", "epoch": 2, "wallet_id": WALLET, "status": 421}
    assert hint_of(facts) == Hint(unit=HOT, cell=CellId("b"), epoch=2, wallet_id=WALLET)
