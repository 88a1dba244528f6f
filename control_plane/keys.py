"""The keys of this process: its own signing key, and the public keys of the token issuer from their file.

The issuer's file may be replaced while the service runs (rotation with overlap); a file that cannot be read leaves
the last good keys in force.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from contract.signing import canonical_json, public_jwk, sign
from contract.values import value

log = structlog.get_logger()


class KeyMustBeUsableError(Exception):
    """A key file is missing or is not what it must be: an operator has to act."""


@value
class SigningKey:
    """Ed25519; signs the directory, configurations, and tokens of machines."""

    id: str
    key: Ed25519PrivateKey

    def signed_text(self, document: Mapping[str, Any]) -> str:
        return canonical_json(sign(document, key_id=self.id, key=self.key))

    def jwks(self) -> dict[str, Any]:
        return {"keys": [public_jwk(self.key.public_key(), key_id=self.id)]}


class IssuerKeys:
    """The issuer's JWKS as its file last had it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: tuple[int, int] | None = None
        self.jwks: Mapping[str, Any] = {"keys": []}

    def refresh(self) -> None:
        """Read the file again if it was replaced."""
        try:
            status = self._file.stat()
            if (status.st_mtime_ns, status.st_ino) == self._read_at:
                return
            self.jwks = _jwks_of(self._file.read_text())
        except (OSError, ValueError) as error:
            log.warning("issuer_keys_must_be_readable", file=str(self._file), error=str(error))
        else:
            self._read_at = (status.st_mtime_ns, status.st_ino)


def read_signing_key(file: Path, *, key_id: str) -> SigningKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise KeyMustBeUsableError(f"{file}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyMustBeUsableError(f"{file} must hold an Ed25519 private key")
    return SigningKey(id=key_id, key=key)


def read_issuer_keys(file: Path) -> IssuerKeys:
    """Refuses to start without them; later failures only leave the last good ones in force."""
    try:
        _jwks_of(file.read_text())
    except (OSError, ValueError) as error:
        raise KeyMustBeUsableError(f"{file}: {error}") from error
    keys = IssuerKeys(file)
    keys.refresh()
    return keys


def _jwks_of(text: str) -> Mapping[str, Any]:
    jwks = json.loads(text)
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise ValueError("must be a JWKS: an object with a list of keys")  # noqa: TRY004 - one kind of refusal
    if not all(isinstance(jwk, dict) and isinstance(jwk.get("kid"), str) for jwk in jwks["keys"]):
        raise ValueError("every key must be an object with a `kid`")
    return jwks
