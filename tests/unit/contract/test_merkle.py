"""The tree of a checkpoint: vectors that are fixed for ever, and proofs that nothing but the truth satisfies."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.merkle import EMPTY_ROOT, Leaf, leaf_hash, leaf_text, node_hash, path_of, root_by_path, root_of

LEAF = Leaf(
    wallet_id="53785e27-b4fe-59d8-ade4-f2c23944cb1f", seq=7, head_hash=bytes(range(32)), balance=-1_500, held=20
)
HASHES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)


def defined_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, word for word."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return hashlib.sha256(b"\x01" + defined_root(hashes[:half]) + defined_root(hashes[half:])).digest()


def test_the_form_of_a_leaf() -> None:
    text = (
        "v1\n53785e27-b4fe-59d8-ade4-f2c23944cb1f\n7\n"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n-1500\n20"
    )
    assert leaf_text(LEAF) == text
    assert leaf_hash(LEAF) == hashlib.sha256(b"\x00" + text.encode()).digest()
    assert leaf_hash(LEAF).hex() == "27ca7ed8b377855f50605eb199db5ff07feb443758631ee90bdea06cafe523b7"


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "e1c7340229471ca5956ebbe96f1029967932b7971d23806e84629e44905dec4e"),
        (2, "c19dcf551e3a2e3e4a3f3a969c858246542289cd603ee5da19a55082ff46fe5a"),
        (3, "e1841fe2cb163ea36e19869d6ae4f4f1d72dd8604e08fef1727e04fe681d7bb0"),
        (7, "b3d0adbb1584f79dbed3aa2fc2dcae254d526bd42c1af563b35676d086179625"),
        (1_025, "56360560aa7ffe568227e4e33779b5c0ee62640cf6a5173deffd76de75975db7"),
    ],
)
def test_roots(size: int, root: str) -> None:
    hashes = [leaf_hash(Leaf(wallet_id=str(n), seq=n, head_hash=bytes(32), balance=n, held=0)) for n in range(size)]
    assert root_of(hashes).hex() == root


def test_a_leaf_cannot_pass_for_a_node() -> None:
    left, right = bytes(32), bytes([1] * 32)
    assert node_hash(left, right) not in {
        hashlib.sha256(left + right).digest(),
        hashlib.sha256(b"\x00" + left + right).digest(),
    }
    assert root_of([]) == EMPTY_ROOT


@given(HASHES)
def test_the_root_is_that_of_the_definition(hashes: list[bytes]) -> None:
    assert root_of(hashes) == defined_root(hashes)


@given(HASHES, st.sampled_from([1, 2, 4, 8, 16]))
def test_pages_of_a_power_of_two_are_subtrees(hashes: list[bytes], page: int) -> None:
    pages = [hashes[at : at + page] for at in range(0, len(hashes), page)]
    roots = [root_of(one) for one in pages]
    assert root_of(roots) == root_of(hashes)
    for position in range(len(hashes)):
        upper, lower = divmod(position, page)
        assert path_of(lower, pages[upper]) + path_of(upper, roots) == path_of(position, hashes)


@given(HASHES, st.data())
def test_every_leaf_has_a_proof_and_any_change_of_it_fails(hashes: list[bytes], data: st.DataObject) -> None:
    size, root = len(hashes), root_of(hashes)
    position = data.draw(st.integers(0, size - 1))
    path = path_of(position, hashes)
    assert root_by_path(hashes[position], position=position, size=size, path=path) == root

    other = data.draw(st.binary(min_size=32, max_size=32).filter(lambda one: one != hashes[position]))
    assert root_by_path(other, position=position, size=size, path=path) != root
    assert root_by_path(hashes[position], position=position, size=size, path=[*path, other]) is None
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert root_by_path(hashes[position], position=position, size=size, path=changed) != root
        assert root_by_path(hashes[position], position=position, size=size, path=path[:at] + path[at + 1 :]) is None
        short = [*path[:at], path[at][:31], *path[at + 1 :]]
        assert root_by_path(hashes[position], position=position, size=size, path=short) is None


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=2, max_size=40), st.data())
def test_a_proof_is_of_its_own_position_and_of_no_other(distinct: set[bytes], data: st.DataObject) -> None:
    hashes = sorted(distinct)
    position = data.draw(st.integers(0, len(hashes) - 1))
    path = path_of(position, hashes)
    for elsewhere in {*range(-1, len(hashes) + 2)} - {position}:
        root = root_by_path(hashes[position], position=elsewhere, size=len(hashes), path=path)
        assert root != root_of(hashes)


@pytest.mark.parametrize(("position", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_outside_of_the_tree_is_nothing(position: int, size: int) -> None:
    assert root_by_path(bytes(32), position=position, size=size, path=[]) is None
    with pytest.raises(ValueError, match="position"):
        path_of(position, [bytes(32)] * size)
