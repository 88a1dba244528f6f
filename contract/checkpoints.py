"""Checkpoints of a cell: signed documents, each naming the one before, over the tree of all its wallets; and how
anybody verifies them, and what a wallet's proof of inclusion says, with nothing but the cell's public key.

The form is fixed for ever: canonical JSON (contract/signing.py) of the fields below. Pure: keys and texts come in as
arguments. Descriptions of the tree: contract/merkle.py.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contract.merkle import HASH_BYTES, Leaf, leaf_hash, root_by_path
from contract.signing import PublicKeys, SignatureMustBeValidError, canonical_json, public_jwk, sign, verify
from contract.values import value

FORM = "v1"
NO_HASH = "00" * HASH_BYTES
"""What the first checkpoint of a cell names as the one before."""

_HASH = re.compile(r"[0-9a-f]{64}")


@value
class Checkpoint:
    """`document` is the whole signed document that the other fields were read from."""

    cell: str
    number: int
    taken_at: str
    wallets: int
    totals: dict[str, dict[str, str]]
    """Per currency `wallets`, `balance` and `held`, as decimal texts: a sum may be beyond what JSON numbers hold."""
    merkle_root: str
    previous_hash: str
    public_key: str
    """`x` of the key that signed it; whether it may be trusted is for the reader to say."""
    document: dict[str, Any]


@value
class Proof:
    """That a wallet stood as the leaf says when the checkpoint was taken."""

    leaf: Leaf
    position: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint


class CheckpointMustHoldError(Exception):
    """The checkpoint or the proof is not what it must be; `field` names what shows it."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"{field} must be {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found


def signed_checkpoint(
    *,
    cell: str,
    number: int,
    taken_at: str,
    wallets: int,
    totals: Mapping[str, Mapping[str, str]],
    merkle_root: bytes,
    previous_hash: str,
    key: Ed25519PrivateKey,
) -> str:
    """The text of the document: what is stored, published, and hashed by the next one."""
    key_id = f"cell:{cell}"
    document = {
        "form": FORM,
        "cell": cell,
        "number": number,
        "taken_at": taken_at,
        "wallets": wallets,
        "totals": totals,
        "merkle_root": merkle_root.hex(),
        "previous_hash": previous_hash,
        "public_key": public_jwk(key.public_key(), key_id=key_id)["x"],
    }
    return canonical_json(sign(document, key_id=key_id, key=key))


def checkpoint_hash(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 over the canonical JSON of the signed document."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def read_checkpoint(document: object) -> Checkpoint:
    """The fields of a document, signed by the key that it names; whether that key is trusted is another question.

    Raises:
        CheckpointMustHoldError: it is no checkpoint, or not what its key signed.

    """
    if not isinstance(document, dict):
        raise CheckpointMustHoldError("checkpoint", "a JSON object", type(document).__name__)
    for field, form in _FORMS.items():
        if not form(document.get(field)):
            raise CheckpointMustHoldError(field, "well formed", repr(document.get(field))[:100])
    try:
        verify(document, {f"cell:{document['cell']}": _key_of(document["public_key"])})
    except (SignatureMustBeValidError, ValueError) as error:
        raise CheckpointMustHoldError("signature", "valid", str(error)) from error
    fields = {field: document[field] for field in _FORMS if field != "form"}
    return Checkpoint(**fields, document=document)


def verify_checkpoint(document: object, keys: PublicKeys) -> Checkpoint:
    """A checkpoint that is signed by one of these keys, which the caller trusts.

    Raises:
        CheckpointMustHoldError: it is not.

    """
    checkpoint = read_checkpoint(document)
    key_id = f"cell:{checkpoint.cell}"
    trusted = keys.get(key_id)
    if trusted is None:
        raise CheckpointMustHoldError("key", "trusted", f"{key_id}, which is none of the trusted keys")
    expected = public_jwk(trusted, key_id=key_id)["x"]
    if checkpoint.public_key != expected:
        raise CheckpointMustHoldError("key", expected, checkpoint.public_key)
    return checkpoint


def verify_link(previous: Checkpoint | None, checkpoint: Checkpoint) -> None:
    """That one follows the other, or that a checkpoint is the first of its cell.

    Raises:
        CheckpointMustHoldError: it does not.

    """
    number, hash_ = (1, NO_HASH) if previous is None else (previous.number + 1, checkpoint_hash(previous.document))
    for field, expected, found in (
        ("cell", checkpoint.cell if previous is None else previous.cell, checkpoint.cell),
        ("number", number, checkpoint.number),
        ("previous_hash", hash_, checkpoint.previous_hash),
    ):
        if expected != found:
            raise CheckpointMustHoldError(field, str(expected), str(found))


def proof_document(proof: Proof) -> dict[str, Any]:
    leaf = proof.leaf
    return {
        "leaf": {
            "wallet_id": leaf.wallet_id,
            "seq": leaf.seq,
            "head_hash": leaf.head_hash.hex(),
            "balance": leaf.balance,
            "held": leaf.held,
        },
        "position": proof.position,
        "path": [sibling.hex() for sibling in proof.path],
        "checkpoint": proof.checkpoint.document,
    }


def verify_proof(document: object, keys: PublicKeys) -> Proof:
    """A proof whose checkpoint is signed by a trusted key and whose leaf leads to that checkpoint's root.

    Raises:
        CheckpointMustHoldError: it is not.

    """
    if not isinstance(document, dict):
        raise CheckpointMustHoldError("proof", "a JSON object", type(document).__name__)
    checkpoint = verify_checkpoint(document.get("checkpoint"), keys)
    position, path = document.get("position"), document.get("path")
    if not _is_count(position) or not isinstance(path, list) or not all(map(_is_hash, path)):
        raise CheckpointMustHoldError("proof", "well formed", repr((position, path))[:100])
    leaf = _leaf_of(document.get("leaf"))
    siblings = tuple(map(bytes.fromhex, path))
    root = root_by_path(leaf_hash(leaf), position=position, size=checkpoint.wallets, path=siblings)
    if root is None or root.hex() != checkpoint.merkle_root:
        found = "no such path" if root is None else root.hex()
        raise CheckpointMustHoldError("merkle_root", checkpoint.merkle_root, found)
    return Proof(leaf=leaf, position=position, path=siblings, checkpoint=checkpoint)


def parse_document(text: str | bytes) -> object:
    """JSON as it came.

    Raises:
        CheckpointMustHoldError: it is none.

    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointMustHoldError("document", "JSON", str(error)[:100]) from error
    return document


def _leaf_of(document: object) -> Leaf:
    fields = document if isinstance(document, dict) else {}
    figures = [fields.get(name) for name in ("seq", "balance", "held")]
    is_whole = all(isinstance(figure, int) and not isinstance(figure, bool) for figure in figures)
    if not is_whole or not isinstance(fields.get("wallet_id"), str) or not _is_hash(fields.get("head_hash")):
        raise CheckpointMustHoldError("leaf", "well formed", repr(document)[:100])
    return Leaf(
        wallet_id=fields["wallet_id"],
        seq=fields["seq"],
        head_hash=bytes.fromhex(fields["head_hash"]),
        balance=fields["balance"],
        held=fields["held"],
    )


def _key_of(x: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))


def _is_text(field: object) -> bool:
    return isinstance(field, str)


def _is_count(field: object) -> TypeGuard[int]:
    return isinstance(field, int) and not isinstance(field, bool) and field >= 0


def _is_hash(field: object) -> bool:
    return isinstance(field, str) and _HASH.fullmatch(field) is not None


def _is_totals(field: object) -> bool:
    return isinstance(field, dict) and all(
        isinstance(total, dict) and all(isinstance(one, str) for one in total.values()) for total in field.values()
    )


_FORMS = {
    "form": lambda form: form == FORM,
    "cell": _is_text,
    "number": _is_count,
    "taken_at": _is_text,
    "wallets": _is_count,
    "totals": _is_totals,
    "merkle_root": _is_hash,
    "previous_hash": _is_hash,
    "public_key": _is_text,
}
