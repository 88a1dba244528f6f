"""Signed documents: canonical JSON, a detached Ed25519 signature, and the public keys that may have made it.

The directory and the cells' configuration travel as such documents; they are trusted because of the key and never
because of the connection. Keys are held as JWKS (RFC 8037); loading them from disk is the caller's affair.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKeys = Mapping[str, Ed25519PublicKey]
"""Key id to key."""


class SignatureMustBeValidError(Exception):
    """The document is not what a trusted key signed."""


def canonical_json(document: Any) -> str:
    """Sorted keys, no blanks, UTF-8 without escapes: one text for one document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sign(document: Mapping[str, Any], *, key_id: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with `signature: {key_id, value}` over its canonical JSON without that member."""
    unsigned = {name: member for name, member in document.items() if name != "signature"}
    signature = key.sign(canonical_json(unsigned).encode())
    return {**unsigned, "signature": {"key_id": key_id, "value": _encode(signature)}}


def verify(document: Mapping[str, Any], keys: PublicKeys) -> dict[str, Any]:
    """The document without its signature.

    Raises:
        SignatureMustBeValidError: no signature, an unknown key, or other content than was signed.

    """
    unsigned = {name: member for name, member in document.items() if name != "signature"}
    signature = document.get("signature")
    if not isinstance(signature, dict):
        raise SignatureMustBeValidError("the document carries no signature")
    key = keys.get(str(signature.get("key_id")))
    if key is None:
        raise SignatureMustBeValidError(f"key {signature.get('key_id')!r} is not trusted")
    try:
        key.verify(_decode(str(signature.get("value"))), canonical_json(unsigned).encode())
    except (InvalidSignature, ValueError) as error:
        raise SignatureMustBeValidError("the signature does not fit the document") from error
    return unsigned


def public_jwk(key: Ed25519PublicKey, *, key_id: str) -> dict[str, str]:
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _encode(raw), "kid": key_id, "alg": "EdDSA", "use": "sig"}


def public_keys_of(jwks: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a JWKS, by key id; other kinds of keys are passed over."""
    return {
        str(jwk["kid"]): Ed25519PublicKey.from_public_bytes(_decode(str(jwk["x"])))
        for jwk in jwks.get("keys", [])
        if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519"
    }


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
