"""A wallet's history in one file, with the proof that a signed checkpoint has it: to be verified anywhere, for ever.

Reads and writes the document and verifies it with nothing but public keys; knows no network. The first thing that does
not hold is told by its place.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cellwallet.client.history import Broken, HistoryCheck, Verified
from cellwallet.client.results import Entry, Wallet
from contract.checkpoints import CheckpointMustHoldError, Proof, verify_proof
from contract.signing import PublicKeys, public_keys_of
from contract.values import value

FORM = "wallet-history-v1"

_WALLET = TypeAdapter(Wallet)
_ENTRY = TypeAdapter(Entry)


class BundleMustBeReadableError(Exception):
    """The file is no history of a wallet, or the keys are none."""


@value
class Bundle:
    """As it was exported: nothing in it is believed yet."""

    wallet: Wallet
    entries: tuple[Mapping[str, Any], ...]
    proof: Mapping[str, Any] | None
    """None = the cell had taken no checkpoint of the wallet yet."""


def bundle_text(wallet: Wallet, entries: list[Entry], proof: Mapping[str, Any] | None) -> str:
    document = {
        "form": FORM,
        "wallet": _WALLET.dump_python(wallet, mode="json"),
        "entries": [_ENTRY.dump_python(entry, mode="json") for entry in entries],
        "proof": proof,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_bundle(text: str | bytes) -> Bundle:
    """Raises `BundleMustBeReadableError`."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("form") != FORM:
            raise BundleMustBeReadableError(f"the file must be a history of the form {FORM}")
        entries, proof = document.get("entries"), document.get("proof")
        if not isinstance(entries, list) or not (proof is None or isinstance(proof, dict)):
            raise BundleMustBeReadableError("the file must have a list of entries and a proof")
        return Bundle(wallet=_WALLET.validate_python(document.get("wallet")), entries=tuple(entries), proof=proof)
    except (ValueError, RecursionError) as error:
        raise BundleMustBeReadableError(f"the file must be a wallet's history: {str(error)[:200]}") from error


def read_keys(text: str) -> PublicKeys:
    """Of a JWKS, or of one JWK. Raises `BundleMustBeReadableError`."""
    try:
        document = json.loads(text)
        jwks = document if isinstance(document, dict) and "keys" in document else {"keys": [document]}
        keys = public_keys_of(jwks)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleMustBeReadableError(f"the keys must be a JWKS or a JWK: {str(error)[:200]}") from error
    if not keys:
        raise BundleMustBeReadableError("the keys must hold an Ed25519 public key")
    return keys


def verify_bundle(bundle: Bundle, keys: PublicKeys) -> Verified | Broken:
    wallet = bundle.wallet
    proof = None if bundle.proof is None else verified_proof(wallet.wallet_id, bundle.proof, keys)
    if isinstance(proof, Broken):
        return proof
    check = HistoryCheck(wallet, proof)
    for place, document in enumerate(bundle.entries, start=1):
        try:
            entry = _ENTRY.validate_python(document)
        except ValidationError as error:
            field = "/".join(map(str, error.errors()[0]["loc"])) or "entry"
            return Broken(
                wallet_id=wallet.wallet_id, seq=place, field=field, expected="well formed", found=str(document)[:100]
            )
        broken = check.take(entry)
        if broken is not None:
            return broken
    return check.finish()


def verified_proof(wallet_id: str, document: object, keys: PublicKeys) -> Proof | Broken:
    """The proof, if a trusted key signed its checkpoint and its path leads there."""
    try:
        return verify_proof(document, keys)
    except CheckpointMustHoldError as error:
        return broken_checkpoint(wallet_id, document.get("checkpoint") if isinstance(document, dict) else None, error)


def broken_checkpoint(wallet_id: str, checkpoint: object, error: CheckpointMustHoldError) -> Broken:
    """By the number that the document tells; 0 where it tells none."""
    number = checkpoint.get("number") if isinstance(checkpoint, dict) else None
    return Broken(
        wallet_id=wallet_id,
        seq=0,
        field=error.field,
        expected=error.expected,
        found=error.found,
        checkpoint=number if isinstance(number, int) else 0,
    )
