"""A bulk request in parts: who is asked about what, and what a result calls for."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.directory import DirectoryDocument
from contract.ids import WalletId
from router.routing.directory import Cell, Directory, directory_of
from router.routing.parts import Next, next_of, split, wallets_named

WALLETS = [WalletId(str(uuid.UUID(int=number))) for number in range(40)]


@pytest.fixture(scope="module")
def directory(make_document: Callable[..., DirectoryDocument]) -> Directory:
    return directory_of(make_document(cells=("a", "b", "c")), own_zone="zone-1")


@given(wallets=st.lists(st.sampled_from([*WALLETS, None]), min_size=1, max_size=60), data=st.data())
def test_every_place_is_asked_about_once_in_order_by_its_owner(
    directory: Directory, wallets: list[WalletId | None], data: st.DataObject
) -> None:
    places = sorted(data.draw(st.sets(st.sampled_from(range(len(wallets))), min_size=1)))
    shares = split(directory, wallets, places)
    assert not shares.homeless
    assert sorted(place for part in shares.parts for place in part.places) == places
    assert len({preferred(part.cell, part.bucket) for part in shares.parts}) == len(shares.parts)
    for part in shares.parts:
        assert part.places == sorted(part.places)
        for place in part.places:
            wallet_id = wallets[place]
            owner = None if wallet_id is None else directory.owner_of(wallet_id)
            assert owner is None or (owner.cell is not None and owner.cell.id == part.cell.id)
            assert owner is None or preferred(part.cell, owner.bucket) == preferred(part.cell, part.bucket)


def preferred(cell: Cell, bucket: int) -> str:
    return cell.instances_for(bucket)[0].url


def test_the_processes_of_a_cell_share_the_work(make_document: Callable[..., DirectoryDocument]) -> None:
    """Where none of them is nearer than the other."""
    directory = directory_of(make_document(cells=("a", "b", "c")), own_zone="another")
    shares = split(directory, WALLETS, range(len(WALLETS)))
    assert len({part.cell.id for part in shares.parts}) == 3
    assert len(shares.parts) == 6


def test_what_names_no_wallet_rides_along_or_goes_to_any_cell(directory: Directory) -> None:
    wallet_id = WALLETS[0]
    owner = directory.owner_of(wallet_id).cell
    assert owner is not None
    [part] = split(directory, [None, wallet_id, None], range(3)).parts
    assert (part.cell.id, part.places) == (owner.id, [0, 1, 2])
    [alone] = split(directory, [None], range(1)).parts
    assert alone.places == [0]


def test_without_owners_all_are_homeless(make_document: Callable[..., DirectoryDocument]) -> None:
    nobody = directory_of(make_document(slots=()), own_zone="zone-1")
    shares = split(nobody, [None, WALLETS[0]], range(2))
    assert (shares.parts, sorted(shares.homeless)) == ([], [0, 1])


def test_only_canonical_ids_name_a_wallet() -> None:
    odd: list[Any] = [5, None, [], {}, {"wallet_id": 5}, {"wallet_id": WALLETS[30].upper()}, {"wallet_id": "x"}]
    assert wallets_named(odd) == [None] * len(odd)
    assert wallets_named([{"wallet_id": WALLETS[1]}]) == [WALLETS[1]]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"status": 201, "body": {}}, Next.FINAL),
        ({"status": 421, "body": {}}, Next.FOLLOW),
        ({"status": 503, "body": {"reason": "wallet_is_moving"}}, Next.WAIT),
        ({"status": 503, "body": {"reason": "cell_must_be_reachable"}}, Next.FINAL),
        ({"status": 200, "body": {"reason": "wallet_is_moving"}}, Next.FINAL),
        ({"status": 503, "body": "wallet_is_moving"}, Next.FINAL),
        ({"status": 503}, Next.FINAL),
        ({}, Next.FINAL),
    ],
)
def test_what_a_result_calls_for(result: dict[str, Any], expected: Next) -> None:
    assert next_of(result) is expected
