"""Cells among themselves: the tokens that a cell makes with its own key, and how another cell verifies them.

A token lives for a minute at most and opens nothing but money between wallets. It is believed because of the key that
the configuration lists for the cell that it names; no vendor's issuer and no other cell can make one. It knows no
HTTP beyond the header's text, and no clock: time comes in as an argument.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.exceptions import PyJWTError

from contract.configuration import CellConfiguration
from contract.ids import CellId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import AUDIENCE, Scope
from contract.values import value

CELL_PREFIX: Final = "cell:"
"""Of the issuer and of the key id of a cell's tokens."""
LIFE_S: Final = 60
"""A stolen token is worth a minute, and clocks of cells may differ by a few seconds."""
CLOCK_SKEW_MAX_S: Final = 5
"""How far the maker's clock may run ahead of ours; a token that ends later than that was not made by our code."""
HEADER_MAX_BYTES: Final = 2_048
INSTANT_MAX_S: Final = 1e12

_ALGORITHM: Final = "EdDSA"
_OPTIONS: Final[Any] = {
    "require": ["iss", "sub", "aud", "iat", "exp"],
    # Time comes in as an argument, so the library's own clock is switched off.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@value
class Peer:
    """A verified cell of the fleet."""

    cell_id: CellId


class CellTokens:
    """Makes this cell's tokens; one is used again until half of its life is over."""

    def __init__(self, cell_id: str, key: Ed25519PrivateKey, *, audience: str = AUDIENCE) -> None:
        self._cell_id = cell_id
        self._key = key
        self._audience = audience
        self._made: tuple[int, str] | None = None

    def token(self, now_s: float) -> str:
        made = self._made
        if made is None or not made[0] <= now_s < made[0] + LIFE_S / 2:
            made = (int(now_s), self._mint(int(now_s)))
            self._made = made
        return made[1]

    def authorization(self, now_s: float) -> str:
        """The value of the header."""
        return f"Bearer {self.token(now_s)}"

    def _mint(self, now_s: int) -> str:
        claims = {
            "iss": f"{CELL_PREFIX}{self._cell_id}",
            "sub": self._cell_id,
            "aud": self._audience,
            "scope": Scope.CELL_TRANSFER.value,
            "iat": now_s,
            "exp": now_s + LIFE_S,
        }
        return jwt.encode(claims, self._key, _ALGORITHM, headers={"kid": f"{CELL_PREFIX}{self._cell_id}"})


class CellTokenVerifier:
    """Turns the value of an `Authorization` header into a peer, or says why not."""

    def __init__(self, *, audience: str = AUDIENCE) -> None:
        self._audience = audience
        self._keys: Mapping[str, jwt.PyJWK] = {}

    def configure(self, configuration: CellConfiguration) -> None:
        """Trust the cells that this configuration lists, and no others."""
        self._keys = {
            f"{CELL_PREFIX}{cell}": jwt.PyJWK(key.model_dump(), algorithm=_ALGORITHM)
            for cell, key in configuration.peers.items()
        }

    def verify(self, authorization: bytes | None, now_s: float) -> Peer | Problem:
        claims = self._signed_claims(authorization)
        if isinstance(claims, Problem):
            return claims
        explanation = _time_explanation(claims, now_s)
        if explanation is not None:
            return _refusal(explanation)
        scope = claims.get("scope")
        if not isinstance(scope, str) or Scope.CELL_TRANSFER.value not in scope.split():
            return Problem(
                reason=Reason.SCOPE_MUST_ALLOW,
                qualifier=Scope.CELL_TRANSFER.action,
                detail=f"The token does not carry {Scope.CELL_TRANSFER.value}.",
            )
        return Peer(cell_id=CellId(claims["sub"]))

    def _signed_claims(self, authorization: bytes | None) -> dict[str, Any] | Problem:
        if authorization is None:
            return _refusal("The request carries no Authorization header.")
        if len(authorization) > HEADER_MAX_BYTES:
            return _refusal(f"The Authorization header is longer than {HEADER_MAX_BYTES} bytes.")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            return _refusal("The Authorization header must be `Bearer <token>`.")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._keys.get(key_id) if isinstance(key_id, str) else None
            if key is None:
                return _refusal("The token names no key (kid) of a cell of this fleet.")
            claims = jwt.decode(
                token, key, algorithms=[_ALGORITHM], audience=self._audience, issuer=key_id, options=_OPTIONS
            )
        except (PyJWTError, ValueError, RecursionError):
            return _refusal("The token is not one that the named cell made for this audience.")
        if claims["sub"] != str(key_id).removeprefix(CELL_PREFIX):
            return _refusal("The token's subject (sub) must be the cell that made it.")
        return claims


def read_cell_key(file: Path) -> Ed25519PrivateKey:
    """The key of this cell; without it a process must not start.

    Raises:
        ValueError: the file holds something else. (A file that cannot be read is an `OSError`.)

    """
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except TypeError as error:
        raise ValueError(f"{file} must not be encrypted") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file} must hold an Ed25519 private key")  # noqa: TRY004 - one kind of refusal
    return key


def _time_explanation(claims: Mapping[str, Any], now_s: float) -> str | None:
    expires_at_s = claims["exp"]
    if isinstance(expires_at_s, bool) or not isinstance(expires_at_s, int | float):
        return "The token's exp must be a number of seconds."
    if not 0 <= expires_at_s < INSTANT_MAX_S or now_s >= expires_at_s:
        return "The token has expired."
    if expires_at_s > now_s + LIFE_S + CLOCK_SKEW_MAX_S:
        return f"The token of a cell must not live longer than {LIFE_S} s."
    return None


def _refusal(detail: str) -> Problem:
    return Problem(reason=Reason.TOKEN_MUST_BE_VALID, detail=detail)
