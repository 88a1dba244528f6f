"""Keys and tokens of a platform on one machine: the control plane's key, one per cell, and the local stand-in for an
OIDC issuer.

Keys are made once per data folder and never leave it; tokens are made from them whenever they are needed.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from contract.scopes import AUDIENCE
from contract.signing import public_jwk
from contract.values import value

CONTROL_PLANE_KEY_ID = "cp-1"
ISSUER_KEY_ID = "issuer-1"
LONG_S = 10 * 365 * 24 * 3600
"""For tokens of the platform's own parts on this machine: nobody is there to renew them."""


class KeysMustExistError(Exception):
    """The data folder holds no keys yet."""


@value
class Keys:
    folder: Path
    control_plane: Ed25519PrivateKey
    issuer: Ed25519PrivateKey

    @property
    def signing_key_file(self) -> Path:
        return _pem(self.folder, "control-plane")

    @property
    def control_plane_jwks_file(self) -> Path:
        return _jwks(self.folder, "control-plane")

    @property
    def issuer_jwks_file(self) -> Path:
        return _jwks(self.folder, "issuer")

    def cell_key_file(self, cell: str) -> Path:
        """The key that the cell signs its tokens and checkpoints with, made when it is first asked for."""
        path = _pem(self.folder, cell)
        if not path.exists():
            _write_private(path, _pem_of(Ed25519PrivateKey.generate()))
        return path

    def cell_public_key(self, cell: str) -> dict[str, str]:
        """As JWK, as the configuration of every cell lists it."""
        return public_jwk(_load(self.cell_key_file(cell)).public_key(), key_id=f"cell:{cell}")

    def machine_token(self, subject: str, scopes: Iterable[str]) -> str:
        """For a part of the platform: signed by the control plane's key."""
        claims = _claims(subject, scopes, expires_in_s=LONG_S)
        return jwt.encode(claims, self.control_plane, "EdDSA", headers={"kid": CONTROL_PLANE_KEY_ID})

    def issued_token(
        self, subject: str, scopes: Iterable[str], *, expires_in_s: int, owner_types: Sequence[str] = ()
    ) -> str:
        """For a vendor or an operator: signed by the issuer's key."""
        claims = _claims(subject, scopes, expires_in_s=expires_in_s)
        if owner_types:
            claims["owner_types"] = list(owner_types)
        return jwt.encode(claims, self.issuer, "EdDSA", headers={"kid": ISSUER_KEY_ID})


def ensure_keys(folder: Path) -> Keys:
    """The keys of this folder, made if there are none; nobody else may read them."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, key_id in (("control-plane", CONTROL_PLANE_KEY_ID), ("issuer", ISSUER_KEY_ID)):
        if not _pem(folder, name).exists():
            _write_private(_pem(folder, name), _pem_of(Ed25519PrivateKey.generate()))
        jwk = public_jwk(_load(_pem(folder, name)).public_key(), key_id=key_id)
        _write_private(_jwks(folder, name), json.dumps({"keys": [jwk]}).encode())
    return load_keys(folder)


def load_keys(folder: Path) -> Keys:
    """Raises `KeysMustExistError` when no platform was ever started here."""
    try:
        return Keys(
            folder=folder, control_plane=_load(_pem(folder, "control-plane")), issuer=_load(_pem(folder, "issuer"))
        )
    except FileNotFoundError as error:
        raise KeysMustExistError(f"{folder} holds no keys: `cellwallet up` makes them") from error


def _claims(subject: str, scopes: Iterable[str], *, expires_in_s: int) -> dict[str, Any]:
    now_s = int(time.time())
    return {
        "sub": subject,
        "scope": " ".join(scopes),
        "aud": AUDIENCE,
        "iat": now_s,
        "exp": now_s + expires_in_s,
        "jti": str(uuid.uuid4()),
    }


def _pem(folder: Path, name: str) -> Path:
    return folder / f"{name}.pem"


def _jwks(folder: Path, name: str) -> Path:
    return folder / f"{name}.jwks.json"


def _pem_of(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{path} must hold an Ed25519 key")
    return key


def _write_private(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    draft.rename(path)
