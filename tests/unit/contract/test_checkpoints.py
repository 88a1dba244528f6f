"""The signed documents of checkpoints: a form that is fixed for ever, and everything that it must not be."""

import copy
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from contract.checkpoints import (
    NO_HASH,
    Checkpoint,
    CheckpointMustHoldError,
    Proof,
    checkpoint_hash,
    parse_document,
    proof_document,
    read_checkpoint,
    signed_checkpoint,
    verify_checkpoint,
    verify_link,
    verify_proof,
)
from contract.merkle import Leaf, leaf_hash, path_of, root_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYS = {"cell:cell-a": KEY.public_key()}
LEAVES = [Leaf(wallet_id=f"w-{n}", seq=n, head_hash=bytes([n] * 32), balance=10 * n, held=n) for n in range(1, 6)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def taken(number: int = 1, *, key: Ed25519PrivateKey = KEY, cell: str = "cell-a", previous: str = NO_HASH) -> Any:
    text = signed_checkpoint(
        cell=cell,
        number=number,
        taken_at="2027-01-15T08:00:00.000000Z",
        wallets=len(LEAVES),
        totals={"EUR": {"wallets": "5", "balance": "150", "held": "15"}},
        merkle_root=root_of(HASHES),
        previous_hash=previous,
        key=key,
    )
    return parse_document(text)


def proof(position: int = 2) -> dict[str, Any]:
    path = tuple(path_of(position, HASHES))
    return proof_document(
        Proof(leaf=LEAVES[position], position=position, path=path, checkpoint=read_checkpoint(taken()))
    )


def test_the_form_is_fixed() -> None:
    assert checkpoint_hash(taken()) == "2d8fd964583be5b4b96afcec3f7827f3c232602241a154945f1cc7e3ebfde9ca"
    assert sorted(taken()) == [
        "cell",
        "form",
        "merkle_root",
        "number",
        "previous_hash",
        "public_key",
        "signature",
        "taken_at",
        "totals",
        "wallets",
    ]


def test_a_trusted_checkpoint_is_read() -> None:
    checkpoint = verify_checkpoint(taken(), KEYS)
    assert (checkpoint.cell, checkpoint.number, checkpoint.wallets) == ("cell-a", 1, 5)
    assert checkpoint.merkle_root == root_of(HASHES).hex()
    assert checkpoint.document == taken()


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (taken(key=STRANGER), "key"),
        (taken(cell="cell-b"), "key"),
        ({**taken(), "number": 2}, "signature"),
        ({**taken(), "more": 1}, "signature"),
        ({**taken(), "signature": None}, "signature"),
        ({**taken(), "signature": {**taken()["signature"], "value": "%%"}}, "signature"),
        ({**taken(), "signature": {**taken()["signature"], "key_id": "cell:cell-b"}}, "signature"),
        ({**taken(), "public_key": "short"}, "signature"),
        ({**taken(), "public_key": 5}, "public_key"),
        ({**taken(), "number": True}, "number"),
        ({**taken(), "number": -1}, "number"),
        ({**taken(), "wallets": "5"}, "wallets"),
        ({**taken(), "merkle_root": "00"}, "merkle_root"),
        ({**taken(), "previous_hash": NO_HASH.replace("0", "Z")}, "previous_hash"),
        ({**taken(), "totals": {"EUR": 3}}, "totals"),
        ({**taken(), "form": "v2"}, "form"),
        ([], "checkpoint"),
        (None, "checkpoint"),
    ],
)
def test_anything_else_is_not_believed(document: Any, field: str) -> None:
    with pytest.raises(CheckpointMustHoldError) as refused:
        verify_checkpoint(document, KEYS)
    assert refused.value.field == field


def test_checkpoints_form_a_chain() -> None:
    first = read_checkpoint(taken())
    second = read_checkpoint(taken(2, previous=checkpoint_hash(first.document)))
    verify_link(None, first)
    verify_link(first, second)
    broken: list[tuple[Checkpoint | None, Checkpoint, str]] = [
        (None, second, "number"),
        (first, first, "number"),
        (first, read_checkpoint(taken(3, previous=checkpoint_hash(first.document))), "number"),
        (first, read_checkpoint(taken(2)), "previous_hash"),
        (first, read_checkpoint(taken(2, cell="cell-b", previous=checkpoint_hash(first.document))), "cell"),
    ]
    for previous, checkpoint, field in broken:
        with pytest.raises(CheckpointMustHoldError) as refused:
            verify_link(previous, checkpoint)
        assert refused.value.field == field


@pytest.mark.parametrize("position", range(len(LEAVES)))
def test_every_leaf_is_proven(position: int) -> None:
    verified = verify_proof(json.loads(json.dumps(proof(position))), KEYS)
    assert (verified.leaf, verified.position) == (LEAVES[position], position)


def changes(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The document with each of its leaves of JSON changed, one at a time, and by name."""
    changed = {}
    for names in [("leaf", name) for name in document["leaf"]] + [("position",)]:
        other = copy.deepcopy(document)
        place = other if len(names) == 1 else other[names[0]]
        before = place[names[-1]]
        place[names[-1]] = before + 1 if isinstance(before, int) else ("f" + before[1:])
        changed["/".join(names)] = other
    for number, sibling in enumerate(document["path"]):
        other = copy.deepcopy(document)
        other["path"][number] = f"{int(sibling[0], 16) ^ 1:x}" + sibling[1:]
        changed[f"path/{number}"] = other
    return changed


@given(st.integers(0, len(LEAVES) - 1))
def test_any_one_change_of_a_proof_is_noticed(position: int) -> None:
    for changed in changes(proof(position)).values():
        with pytest.raises(CheckpointMustHoldError):
            verify_proof(changed, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"leaf": None},
        {"leaf": {}},
        {"leaf": {**proof()["leaf"], "seq": "3"}},
        {"leaf": {**proof()["leaf"], "held": True}},
        {"position": -1},
        {"position": "2"},
        {"position": 2**70},
        {"path": None},
        {"path": ["zz"]},
        {"path": [5]},
        {"checkpoint": None},
    ],
)
def test_what_is_no_proof_is_refused_and_breaks_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointMustHoldError):
        verify_proof({**proof(), **change}, KEYS)


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000])
def test_what_is_no_json_is_told(text: str | bytes) -> None:
    with pytest.raises(CheckpointMustHoldError, match="JSON"):
        parse_document(text)


def test_the_proof_itself_must_be_an_object() -> None:
    with pytest.raises(CheckpointMustHoldError, match="JSON object"):
        verify_proof([], KEYS)
