"""Tokens: who is calling, proved by a signature of the issuer or of the control plane itself.

Knows JWTs and scopes; what a scope allows is decided by the routes.
"""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from jwt import PyJWK

from contract.scopes import ALGORITHMS, Scope
from contract.values import value
from control_plane.keys import IssuerKeys, SigningKey

Signer = Literal["issuer", "control_plane"]

LEEWAY_S = 5
"""Clocks of issuer and control plane may differ by so much."""
MACHINE_TOKEN_LIFE = timedelta(minutes=5)
"""Life of the token that the control plane shows to cells; it is made anew at half of it."""
TOKEN_MAX = 8_192
"""Characters of a token; real ones stay below one thousand."""
_SUBJECT = re.compile(r"[\x21-\x7e]{1,200}")


@value
class Caller:
    subject: str
    scopes: frozenset[str]
    signer: Signer

    def may(self, scope: Scope) -> bool:
        return scope.value in self.scopes


class Tokens:
    def __init__(self, *, own: SigningKey, issuer: IssuerKeys, audience: str) -> None:
        self._own = own
        self._issuer = issuer
        self._audience = audience
        self._machine_token: tuple[datetime, str] | None = None

    def caller_of(self, authorization: str | None) -> Caller | str:
        """Who calls, or one sentence on why nobody knows."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "the request must carry `Authorization: Bearer <token>`"
        if len(token) > TOKEN_MAX:
            return f"the token must not exceed {TOKEN_MAX} characters"
        try:
            key, signer = self._key_of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key=key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub", "aud"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            return f"the token must be valid: {error}"
        return _caller(claims, signer)

    def machine_token(self, now: datetime) -> str:
        """What the control plane shows to the cells' admin APIs."""
        made = self._machine_token
        if made is None or now - made[0] > MACHINE_TOKEN_LIFE / 2:
            made = (now, self._made_for_machine(now))
            self._machine_token = made
        return made[1]

    def _key_of(self, header: Mapping[str, Any]) -> tuple[PyJWK, Signer]:
        """The key that the token names; its own algorithm counts, never the one that the token wishes for."""
        sources: tuple[tuple[Mapping[str, Any], Signer], ...] = (
            (self._own.jwks(), "control_plane"),
            (self._issuer.jwks, "issuer"),
        )
        for jwks, signer in sources:
            for jwk in jwks["keys"]:
                if jwk["kid"] == header.get("kid"):
                    key = PyJWK.from_dict(jwk)
                    if key.algorithm_name not in ALGORITHMS:
                        raise ValueError(f"its key is for {key.algorithm_name}, not {' or '.join(ALGORITHMS)}")
                    return key, signer
        raise ValueError("its key is not known")

    def _made_for_machine(self, now: datetime) -> str:
        claims = {
            "sub": "control-plane",
            "scope": f"{Scope.FLEET_READ} {Scope.FLEET_MANAGE}",
            "aud": self._audience,
            "iat": now,
            "exp": now + MACHINE_TOKEN_LIFE,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._own.key, algorithm="EdDSA", headers={"kid": self._own.id})


def utc_now() -> datetime:
    return datetime.now(UTC)


def _caller(claims: Mapping[str, Any], signer: Signer) -> Caller | str:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        return "the token's `sub` must be 1-200 visible ASCII characters"
    if not isinstance(scope, str):
        return "the token's `scope` must be one string, separated by blanks"
    return Caller(subject=subject, scopes=frozenset(scope.split()), signer=signer)
