"""The map: one lookup per wallet, and whom to ask in which order."""

import uuid
from collections import Counter
from collections.abc import Callable

import pytest

from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument
from contract.ids import WalletId
from contract.slots import SLOTS, Unit, slot_of
from router.routing.directory import AFFINITY_BUCKETS, Directory, directory_of

MakeDocument = Callable[..., DirectoryDocument]

WALLET = WalletId("9f0c3f64-5717-4562-b3fc-2c963f66afa6")
HOT_UNIT = 65_540


def wallets(count: int) -> list[WalletId]:
    return [
        WalletId(str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))) for number in range(count)
    ]


def test_a_wallet_belongs_to_the_cell_of_its_slot(make_document: MakeDocument) -> None:
    cells = ("a", "b", "c")
    slot_cells = [cells[slot % 3] for slot in range(SLOTS)]
    directory = directory_of(make_document(cells=cells, slot_cells=slot_cells, epochs={5: 7}), own_zone="zone-1")
    for wallet in wallets(300):
        owner = directory.owner_of(wallet)
        assert owner.cell is not None
        assert (owner.unit, owner.cell.id) == (slot_of(wallet), slot_cells[slot_of(wallet)])
        assert owner.epoch == (7 if slot_of(wallet) == 5 else 1)
        assert 0 <= owner.bucket < AFFINITY_BUCKETS


def test_the_epoch_of_a_slot_is_found(make_document: MakeDocument) -> None:
    directory = directory_of(make_document(epochs={slot_of(WALLET): 9}), own_zone="zone-1")
    assert directory.owner_of(WALLET).epoch == 9


def test_an_isolated_wallet_is_looked_up_first(make_document: MakeDocument) -> None:
    home = make_document().slot_cells()[slot_of(WALLET)]
    other = "b" if home == "a" else "a"
    document = make_document(isolated={WALLET: HOT_UNIT}, unit_cells={HOT_UNIT: other}, epochs={HOT_UNIT: 3})
    owner = directory_of(document, own_zone="zone-1").owner_of(WALLET)
    assert owner.cell is not None
    assert (owner.cell.id, owner.unit, owner.epoch) == (other, HOT_UNIT, 3)


def test_nobody_owns_anything_before_the_first_cells_joined(make_document: MakeDocument) -> None:
    document = make_document().model_copy(update={"slots": ()})
    directory = directory_of(document, own_zone="zone-1")
    assert not directory.has_owners
    assert directory.owner_of(WALLET).cell is None
    assert directory.owning_cells() == ()


def test_only_cells_with_units_are_owning(make_document: MakeDocument) -> None:
    document = make_document(cells=("a", "b", "spare"), slot_cells=["a"] * SLOTS, unit_cells={HOT_UNIT: "b"})
    directory = directory_of(document, own_zone="zone-1")
    assert [cell.id for cell in directory.owning_cells()] == ["a", "b"]
    assert directory.cell_of(Unit(HOT_UNIT)) == "b"
    assert directory.cell_of(Unit(HOT_UNIT + 1)) is None


def with_instances(make_document: MakeDocument, *zones: str, **weights: int) -> Directory:
    api = tuple(ApiInstance(url=f"http://a{number}:80", zone=zone) for number, zone in enumerate(zones))
    cell = DirectoryCell(
        api=api, zone_weights={name.replace("_", "-"): n for name, n in weights.items()}, state="active"
    )
    document = make_document(cells=("a",)).model_copy(update={"cells": {"a": cell}})
    return directory_of(document, own_zone="zone-1")


def firsts(directory: Directory) -> Counter[str]:
    return Counter(directory.cells[0].instances_for(bucket)[0].zone for bucket in range(AFFINITY_BUCKETS))


def test_the_order_is_the_same_every_time(make_document: MakeDocument) -> None:
    one, other = (with_instances(make_document, "zone-1", "zone-1", "zone-2").cells[0] for _ in range(2))
    assert all(one.instances_for(n) == other.instances_for(n) == one.instances_for(n) for n in range(50))


def test_all_instances_are_named_once(make_document: MakeDocument) -> None:
    cell = with_instances(make_document, "zone-1", "zone-1", "zone-2", "zone-3").cells[0]
    assert all(set(cell.instances_for(n)) == set(cell.instances) for n in range(50))
    assert all(len(cell.instances_for(n)) == len(cell.instances) for n in range(50))


def test_the_own_zone_comes_first(make_document: MakeDocument) -> None:
    directory = with_instances(make_document, "zone-2", "zone-1", "zone-2", "zone-3", zone_2=100)
    assert firsts(directory) == {"zone-1": AFFINITY_BUCKETS}


def test_within_a_zone_wallets_are_spread_evenly(make_document: MakeDocument) -> None:
    cell = with_instances(make_document, "zone-1", "zone-1", "zone-1").cells[0]
    share = Counter(cell.instances_for(bucket)[0].url for bucket in range(AFFINITY_BUCKETS))
    assert len(share) == 3
    assert min(share.values()) > 0.8 * AFFINITY_BUCKETS / 3


def test_losing_an_instance_moves_only_its_own_wallets(make_document: MakeDocument) -> None:
    three = with_instances(make_document, "zone-1", "zone-1", "zone-1").cells[0]
    two = with_instances(make_document, "zone-1", "zone-1").cells[0]
    for bucket in range(200):
        before = three.instances_for(bucket)[0]
        assert before.url == "http://a2:80" or two.instances_for(bucket)[0] == before


def test_other_zones_come_by_weight(make_document: MakeDocument) -> None:
    share = firsts(with_instances(make_document, "zone-2", "zone-3", zone_2=3, zone_3=1))
    assert 0.65 < share["zone-2"] / AFFINITY_BUCKETS < 0.85


def test_an_evacuated_zone_is_not_asked(make_document: MakeDocument) -> None:
    cell = with_instances(make_document, "zone-1", "zone-2", zone_1=0).cells[0]
    assert {instance.zone for n in range(50) for instance in cell.instances_for(n)} == {"zone-2"}


def test_an_evacuated_zone_is_better_than_none(make_document: MakeDocument) -> None:
    cell = with_instances(make_document, "zone-1", zone_1=0).cells[0]
    assert [instance.zone for instance in cell.instances_for(0)] == ["zone-1"]


@pytest.mark.parametrize("url", ["http://a:80/", "http://a:80"])
def test_a_trailing_slash_is_no_other_instance(make_document: MakeDocument, url: str) -> None:
    cell = DirectoryCell(api=(ApiInstance(url=url, zone="z"),), state="active")
    document = make_document(cells=("a",)).model_copy(update={"cells": {"a": cell}})
    assert directory_of(document, own_zone="z").cells[0].instances[0].url == "http://a:80"
