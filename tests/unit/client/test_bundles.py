"""An exported history: what is read, what is refused, and that nothing in it is believed."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from cellwallet.client import Entry, Wallet
from cellwallet.client.bundles import (
    BundleMustBeReadableError,
    bundle_text,
    read_bundle,
    read_keys,
    verified_proof,
    verify_bundle,
)
from cellwallet.client.history import Broken, Verified, canonical_entry
from contract.chain import ZERO_HASH, entry_hash
from contract.checkpoints import NO_HASH, parse_document, signed_checkpoint
from contract.merkle import Leaf, leaf_hash
from contract.signing import public_jwk

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
JWK = public_jwk(KEY.public_key(), key_id="cell:cell-1")
KEYS = {"cell:cell-1": KEY.public_key()}
INSTANT = "2027-01-15T08:00:00.123456Z"
WALLET_ID = "0190a0b0-0000-7000-8000-000000000001"
WALLET: dict[str, Any] = {
    "wallet_id": WALLET_ID,
    "owner": {"type": "customer", "ref": "7"},
    "kind": "main",
    "currency": "EUR",
    "status": "active",
    "seq": 1,
    "opened_at": INSTANT,
    "updated_at": INSTANT,
    "metadata": {},
    **dict.fromkeys(("balance", "held", "available", "overdraft_limit"), 0),
}
DRAFT: dict[str, Any] = {
    "transaction_id": WALLET_ID,
    "wallet_id": WALLET_ID,
    "kind": "opened",
    "currency": "EUR",
    "status_after": "active",
    "seq": 1,
    "posted_at": INSTANT,
    "vendor_id": "shop",
    "counter_account": "clearing:shop",
    "entry_hash": "",
    "sealed": "cd" * 32,
    **dict.fromkeys(("amount", "delta", "held_delta", "balance_after", "held_after"), 0),
    **dict.fromkeys(("available", "overdraft_limit_after"), 0),
}
HASH = entry_hash(ZERO_HASH, canonical_entry(TypeAdapter(Entry).validate_python(DRAFT)))
ENTRY = TypeAdapter(Entry).validate_python({**DRAFT, "entry_hash": HASH.hex()})


def proof(*, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    """The one leaf of its tree."""
    leaf = Leaf(wallet_id=WALLET_ID, seq=1, head_hash=HASH, balance=0, held=0)
    text = signed_checkpoint(
        cell="cell-1",
        number=3,
        taken_at=INSTANT,
        wallets=1,
        totals={},
        merkle_root=leaf_hash(leaf),
        previous_hash=NO_HASH,
        key=key,
    )
    told = {"wallet_id": WALLET_ID, "seq": 1, "head_hash": HASH.hex(), "balance": 0, "held": 0}
    return {"leaf": told, "position": 0, "path": [], "checkpoint": parse_document(text)}


def exported(**other: Any) -> str:
    text = bundle_text(TypeAdapter(Wallet).validate_python(WALLET), [ENTRY], proof())
    return json.dumps({**json.loads(text), **other})


def test_an_exported_history_is_whole() -> None:
    verdict = verify_bundle(read_bundle(exported()), KEYS)
    assert isinstance(verdict, Verified)
    assert verdict.checkpoint is not None
    assert (verdict.entries, verdict.checkpoint.number) == (1, 3)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"entries": [{**DRAFT, "entry_hash": HASH.hex(), "delta": 1}]}, "entry 1: balance_after must be"),
        ({"entries": [{**DRAFT, "entry_hash": HASH.hex(), "vendor_id": "me"}]}, "entry 1: entry_hash must be"),
        ({"entries": [{**DRAFT, "entry_hash": HASH.hex(), "seq": "one"}]}, "entry 1: seq must be well formed"),
        ({"entries": ["x"]}, "entry 1: "),
        ({"entries": []}, "entry 1: seq must be 1, found no entry"),
        ({"proof": proof(key=STRANGER)}, "checkpoint 3: key must be"),
        ({"proof": {**proof(), "position": 1}}, "checkpoint 3: merkle_root must be"),
        ({"proof": {**proof(), "checkpoint": {**proof()["checkpoint"], "number": 4}}}, "checkpoint 4: signature"),
        ({"proof": {}}, "checkpoint 0: checkpoint must be"),
        ({"wallet": {**WALLET, "balance": 5}}, "entry 1: wallet.balance must be 0, found 5"),
        ({"wallet": {**WALLET, "wallet_id": "another"}}, "entry 1: wallet_id must be another"),
    ],
)
def test_the_first_difference_is_told_by_its_place(other: dict[str, Any], told: str) -> None:
    verdict = verify_bundle(read_bundle(exported(**other)), KEYS)
    assert isinstance(verdict, Broken)
    assert str(verdict).startswith(told)


def test_a_history_without_proof_is_checked_against_itself() -> None:
    verdict = verify_bundle(read_bundle(exported(proof=None)), KEYS)
    assert isinstance(verdict, Verified)
    assert verdict.checkpoint is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        b"\xff",
        "[" * 100_000,
        exported(form="v2"),
        exported(entries={}),
        exported(proof=[]),
        exported(wallet={}),
    ],
)
def test_a_file_that_is_none_is_refused(text: str | bytes) -> None:
    with pytest.raises(BundleMustBeReadableError):
        read_bundle(text)


@pytest.mark.parametrize("text", [json.dumps(JWK), json.dumps({"keys": [JWK]})])
def test_keys_are_a_set_or_one(text: str) -> None:
    assert read_keys(text).keys() == {"cell:cell-1"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "{}", '{"keys": 5}', '{"keys": [5]}', '{"keys": []}', json.dumps({**JWK, "x": "AA"})],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BundleMustBeReadableError):
        read_keys(text)


@pytest.mark.parametrize("document", [None, [], {}, {"checkpoint": 5}, {"checkpoint": {"number": "x"}}])
def test_anything_at_all_is_only_no_proof(document: Any) -> None:
    verdict = verified_proof(WALLET_ID, document, KEYS)
    assert isinstance(verdict, Broken)
    assert verdict.checkpoint == 0
