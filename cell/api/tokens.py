"""Who is calling, and what may they do: verification of bearer tokens.

A token is believed because of its signature by a key of the cell's configuration, never because a router let it
pass. Verifying costs some 100 µs, so the verdict is kept by the raw header until the token expires; a new
configuration (another key, a blocked vendor, narrowed scopes) empties that memory. It knows no HTTP beyond the
header's text, no clock and no disk: time and keys come in as arguments.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import jwt
from jwt.exceptions import (
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from cell.cell_tokens import CELL_PREFIX
from contract.configuration import CellConfiguration, VendorPolicy
from contract.ids import VendorId, is_vendor_id
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import ALGORITHMS, OPERATOR_SCOPES, VENDOR_SCOPES, Scope
from contract.values import value

Keys = Mapping[str, jwt.PyJWK]
"""Key id to public key, bound to its one algorithm."""

HEADER_MAX_BYTES: Final = 8_192
"""A token is a few hundred bytes; what is longer is refused before it costs anything."""
VERIFIED_MAX: Final = 20_000
"""Verdicts kept: vendors x their processes x a few tokens each, at about 2 KB."""
REFUSED_MAX: Final = 1_000
"""Refusals kept apart, so that a flood of bad tokens cannot push out the good ones."""
CLOCK_SKEW_MAX_S: Final = 60.0
"""How far an issuer's clock may run ahead of ours (`nbf`). `exp` has no such grace."""
INSTANT_MAX_S: Final = 1e12
"""Seconds since 1970 that still are a date; NaN, infinity and milliseconds of a far future are not."""

_OPTIONS: Final[Any] = {
    "require": ["exp", "aud", "sub"],
    # Time comes in as an argument, so the library's own clock is switched off.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
_NO_POLICY: Final = VendorPolicy()
_NO_SCOPES: Final[frozenset[Scope]] = frozenset()


@value
class Principal:
    """A verified caller. `owner_types` narrows which owners' wallets it may touch; none = all."""

    vendor_id: VendorId
    scopes: frozenset[Scope]
    owner_types: frozenset[str] | None
    expires_at_s: float


def scope_problem(principal: Principal, scope: Scope) -> Problem | None:
    if scope in principal.scopes:
        return None
    return Problem(
        reason=Reason.SCOPE_MUST_ALLOW, qualifier=scope.action, detail=f"The token does not carry {scope.value}."
    )


class TokenVerifier:
    """Turns the value of an `Authorization` header into a principal, or says why not.

    `standing_keys` are trusted whatever the configuration says (the control plane's, on the admin port) and win over
    a key of the configuration with the same id. Scopes outside `scopes_honoured` are dropped from every token.
    """

    def __init__(
        self,
        *,
        audience: str,
        standing_keys: Keys | None = None,
        scopes_honoured: frozenset[Scope] = frozenset(Scope),
        verified_max: int = VERIFIED_MAX,
    ) -> None:
        self._audience = audience
        self._standing_keys = dict(standing_keys or {})
        self._scopes_honoured = scopes_honoured
        self._verified_max = verified_max
        self._keys: dict[str, jwt.PyJWK] = dict(self._standing_keys)
        self._policies: Mapping[str, VendorPolicy] = {}
        self._verified: OrderedDict[bytes | None, Principal] = OrderedDict()
        self._refused: OrderedDict[bytes, Problem] = OrderedDict()

    def configure(self, configuration: CellConfiguration) -> None:
        """Trust these keys and policies from now on; every verdict of before is forgotten."""
        self._keys = {**usable_keys(configuration.jwks), **self._standing_keys}
        self._policies = configuration.vendors
        self._verified.clear()
        self._refused.clear()

    def verify(self, authorization: bytes | None, now_s: float) -> Principal | Problem:
        principal = self._verified.get(authorization)
        if principal is not None and now_s < principal.expires_at_s:
            self._verified.move_to_end(authorization)
            return principal
        return self._verify_anew(authorization, now_s)

    def _verify_anew(self, authorization: bytes | None, now_s: float) -> Principal | Problem:
        if not self._keys:
            # Not 401: the token may be perfectly good, and the vendor must not throw it away.
            return Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail="The cell has no keys to verify tokens yet.")
        if authorization is None:
            return _refusal("The request carries no Authorization header.")
        if len(authorization) > HEADER_MAX_BYTES:
            return _refusal(f"The Authorization header is longer than {HEADER_MAX_BYTES} bytes.")
        refused = self._refused.get(authorization)
        if refused is not None:
            return refused
        self._verified.pop(authorization, None)
        verdict, is_lasting = self._judge(authorization, now_s)
        if isinstance(verdict, Principal):
            _remember(self._verified, authorization, verdict, at_most=self._verified_max)
        elif is_lasting:
            _remember(self._refused, authorization, verdict, at_most=REFUSED_MAX)
        return verdict

    def _judge(self, authorization: bytes, now_s: float) -> tuple[Principal | Problem, bool]:
        """The verdict, and whether it holds until the next configuration (or, for a principal, until it expires)."""
        claims = self._signed_claims(authorization)
        if isinstance(claims, Problem):
            return claims, True
        problem = _time_problem(claims, now_s)
        if problem is not None:
            return problem, not _is_early(claims, now_s)
        return self._principal_of(claims), True

    def _signed_claims(self, authorization: bytes) -> dict[str, Any] | Problem:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            return _refusal("The Authorization header must be `Bearer <token>`.")
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                return _refusal("The token names no key (kid) that this cell trusts.")
            algorithms = (key.algorithm_name,)
            return jwt.decode(token, key, algorithms=algorithms, audience=self._audience, options=_OPTIONS)
        except (PyJWTError, ValueError, RecursionError) as error:
            return _refusal(_explain(error))

    def _principal_of(self, claims: Mapping[str, Any]) -> Principal | Problem:
        vendor_id, issuer = claims["sub"], claims.get("iss", "")
        if any(not isinstance(name, str) or name.startswith(CELL_PREFIX) for name in (vendor_id, issuer)):
            # Whoever signed it: a token in the name of a cell is no vendor's.
            return _refusal("The token of a cell opens nothing here.")
        if not is_vendor_id(vendor_id):
            return _refusal("The token's subject (sub) is no vendor id.")
        policy = self._policies.get(vendor_id, _NO_POLICY)
        if policy.blocked:
            return _refusal("The vendor is blocked.")
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            return _refusal("The token's scope must be one text, separated by spaces.")
        owner_types = _owner_types_of(claims)
        if isinstance(owner_types, Problem):
            return owner_types
        return Principal(
            vendor_id=VendorId(vendor_id),
            scopes=_scopes_of(scope, policy) & self._scopes_honoured,
            owner_types=owner_types,
            expires_at_s=float(claims["exp"]),
        )


def vendor_tokens(*, audience: str) -> TokenVerifier:
    """For the vendor API: the issuer's keys, as the configuration brings them, and no others."""
    return TokenVerifier(audience=audience, scopes_honoured=frozenset(VENDOR_SCOPES))


def admin_tokens(*, audience: str, control_plane_keys: Keys) -> TokenVerifier:
    """For the admin API: the control plane itself, and people with a `fleet:*` scope from the issuer."""
    return TokenVerifier(
        audience=audience, standing_keys=control_plane_keys, scopes_honoured=frozenset(OPERATOR_SCOPES)
    )


def usable_keys(jwks: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The Ed25519 and P-256 signature keys of a JWKS by key id.

    Anything else is passed over: one key of a future kind must not take the present ones with it.
    """
    listed = jwks.get("keys")
    keys = [_usable_key(jwk) for jwk in listed] if isinstance(listed, list) else []
    return {str(key.key_id): key for key in keys if key is not None}


def _usable_key(jwk: Any) -> jwt.PyJWK | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
        return None
    expected = _ALGORITHM_OF.get(f"{jwk.get('kty')} {jwk.get('crv')}")
    if expected is None or jwk.get("alg", expected) != expected or "d" in jwk:
        return None
    try:
        return jwt.PyJWK(jwk, algorithm=expected)
    except (PyJWTError, ValueError):
        return None


_ALGORITHM_OF: Final = {"OKP Ed25519": "EdDSA", "EC P-256": "ES256"}


def _time_problem(claims: Mapping[str, Any], now_s: float) -> Problem | None:
    if not all(_is_instant(claims[name]) for name in ("exp", "nbf") if name in claims):
        return _refusal("The token's exp and nbf must be numbers of seconds.")
    if now_s >= claims["exp"]:
        return _refusal("The token has expired.")
    if _is_early(claims, now_s):
        return _refusal("The token is not valid yet (nbf).")
    return None


def _is_early(claims: Mapping[str, Any], now_s: float) -> bool:
    not_before = claims.get("nbf", 0)
    return _is_instant(not_before) and now_s + CLOCK_SKEW_MAX_S < not_before


def _is_instant(claim: Any) -> bool:
    return isinstance(claim, int | float) and not isinstance(claim, bool) and 0 <= claim < INSTANT_MAX_S


def _scopes_of(scope: str, policy: VendorPolicy) -> frozenset[Scope]:
    carried = scope.split()
    if policy.scopes_allowed is not None:
        carried = [name for name in carried if name in policy.scopes_allowed]
    return frozenset(_SCOPES[name] for name in carried if name in _SCOPES) if carried else _NO_SCOPES


_SCOPES: Final = {scope.value: scope for scope in Scope}


def _owner_types_of(claims: Mapping[str, Any]) -> frozenset[str] | Problem | None:
    named = claims.get("owner_types")
    if named is None:
        return None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return _refusal("The token's owner_types must be a list of texts.")
    return frozenset(named)


_EXPLANATIONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (InvalidSignatureError, "The token's signature does not fit its content."),
    (InvalidAudienceError, "The token is for another audience (aud)."),
    (InvalidAlgorithmError, f"The token's algorithm must be its key's, one of {', '.join(ALGORITHMS)}."),
)


def _explain(error: Exception) -> str:
    """One sentence that quotes nothing of the token."""
    if isinstance(error, MissingRequiredClaimError):
        return f"The token must carry {error.claim}."
    return next((text for kind, text in _EXPLANATIONS if isinstance(error, kind)), "The token is not well-formed.")


def _refusal(detail: str) -> Problem:
    return Problem(reason=Reason.TOKEN_MUST_BE_VALID, detail=detail)


def _remember(
    verdicts: OrderedDict[Any, Any], authorization: bytes, verdict: Principal | Problem, *, at_most: int
) -> None:
    verdicts[authorization] = verdict
    if len(verdicts) > at_most:
        verdicts.popitem(last=False)
