"""Keys and tokens of a control plane under test: its own key, the issuer's, and a stranger's."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contract.signing import public_jwk

OPERATOR = "fleet:read fleet:manage"


class PlatformKeys:
    def __init__(self, folder: Path) -> None:
        self.own, self.issuer, self.stranger = (Ed25519PrivateKey.generate() for _ in range(3))
        self.signing_key_file = folder / "signing_key.pem"
        self.signing_key_file.write_bytes(self.own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.issuer_jwks_file = folder / "issuer_jwks.json"
        self.write_issuer_jwks([public_jwk(self.issuer.public_key(), key_id="issuer-1")])

    def write_issuer_jwks(self, keys: list[dict[str, Any]]) -> None:
        """By rename, as whoever rotates keys does it."""
        following = self.issuer_jwks_file.with_suffix(".new")
        following.write_text(json.dumps({"keys": keys}))
        following.rename(self.issuer_jwks_file)

    def own_jwks(self) -> dict[str, Any]:
        return {"keys": [public_jwk(self.own.public_key(), key_id="cp-1")]}

    def operator(self, scope: str = OPERATOR, subject: str = "olga") -> str:
        return token(self.issuer, "issuer-1", subject=subject, scope=scope)

    def router(self, router: str) -> str:
        return token(self.own, "cp-1", subject=f"router:{router}", scope="fleet:read")

    def join(self, cell: str) -> str:
        return token(self.own, "cp-1", subject=f"cell:{cell}", scope="cell:join")


def token(key: Any, key_id: str, *, subject: str, scope: str, algorithm: str = "EdDSA", **claims: Any) -> str:
    now = int(time.time())
    usual = {
        "sub": subject,
        "scope": scope,
        "aud": "cellwallet",
        "iat": now,
        "exp": now + 3600,
        "jti": str(uuid.uuid4()),
    }
    named = {name: claim for name, claim in {**usual, **claims}.items() if claim is not None}
    return jwt.encode(named, key, algorithm=algorithm, headers={"kid": key_id})


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
