"""Tokens: who is believed, who is not, and what the verifier remembers."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cell.api.tokens import (
    CLOCK_SKEW_MAX_S,
    HEADER_MAX_BYTES,
    REFUSED_MAX,
    Principal,
    TokenVerifier,
    admin_tokens,
    scope_problem,
    usable_keys,
    vendor_tokens,
)
from contract.configuration import CellConfiguration, VendorPolicy
from contract.ids import VendorId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import AUDIENCE, Scope
from contract.signing import public_jwk

NOW_S = 1_800_000_000.0
ISSUER = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
CONTROL_PLANE = Ed25519PrivateKey.generate()
EC_ISSUER = ec.generate_private_key(ec.SECP256R1())


def _ec_jwk(key: ec.EllipticCurvePrivateKey, key_id: str) -> dict[str, Any]:
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, "kid": key_id, "use": "sig"}


JWKS = {"keys": [public_jwk(ISSUER.public_key(), key_id="issuer-1"), _ec_jwk(EC_ISSUER, "issuer-2")]}


def _configuration(version: int = 1, **fields: Any) -> CellConfiguration:
    return CellConfiguration(
        cell="cell-a", version=version, issued_at="2027-01-15T08:00:00Z", **{"jwks": JWKS, **fields}
    )


def _token(
    key: Any = ISSUER, *, kid: str | None = "issuer-1", alg: str = "EdDSA", without: str = "", **claims: Any
) -> bytes:
    content = {
        "sub": "shop",
        "aud": AUDIENCE,
        "exp": NOW_S + 60,
        "scope": "money:debit wallet:read",
        **claims,
    }
    content.pop(without, None)
    headers = {} if kid is None else {"kid": kid}
    return b"Bearer " + jwt.encode(content, key, algorithm=alg, headers=headers).encode()


def _unsigned(header: Any, payload: Any, signature: bytes = b"x" * 64) -> bytes:
    parts = [header if isinstance(header, bytes) else json.dumps(header).encode()]
    parts.append(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return b"Bearer " + b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in [*parts, signature])


@pytest.fixture
def verifier() -> TokenVerifier:
    verifier = vendor_tokens(audience=AUDIENCE)
    verifier.configure(_configuration())
    return verifier


def _refused(verdict: Principal | Problem) -> Problem:
    assert isinstance(verdict, Problem)
    return verdict


def test_a_good_token_names_its_principal(verifier: TokenVerifier) -> None:
    assert verifier.verify(_token(), NOW_S) == Principal(
        vendor_id=VendorId("shop"),
        scopes=frozenset({Scope.MONEY_DEBIT, Scope.WALLET_READ}),
        owner_types=None,
        expires_at_s=NOW_S + 60,
    )


@pytest.mark.parametrize(
    "header",
    [
        _token(EC_ISSUER, kid="issuer-2", alg="ES256"),
        _token(aud=["elsewhere", AUDIENCE]),
        _token().replace(b"Bearer ", b"bearer "),
        _token(nbf=NOW_S + CLOCK_SKEW_MAX_S),
        _token(sub="a" * 64),
    ],
)
def test_believed(verifier: TokenVerifier, header: bytes) -> None:
    assert isinstance(verifier.verify(header, NOW_S), Principal)


REFUSALS: list[tuple[str, bytes | None, str]] = [
    ("nothing", None, "carries no Authorization"),
    ("empty", b"", "Bearer <token>"),
    ("other scheme", b"Basic c2hvcDpzZWNyZXQ=", "Bearer <token>"),
    ("no token", b"Bearer ", "Bearer <token>"),
    ("no jwt", b"Bearer abc", "not well-formed"),
    ("too long", b"Bearer " + b"a" * HEADER_MAX_BYTES, "longer than"),
    ("stranger's key", _token(STRANGER), "signature"),
    ("changed content", _token()[:-8] + b"AAAAAAAA", "signature"),
    ("no kid", _token(kid=None), "names no key"),
    ("unknown kid", _token(kid="issuer-9"), "names no key"),
    ("kid of another kind", _token(EC_ISSUER, kid="issuer-1", alg="ES256"), "algorithm"),
    ("no algorithm", _unsigned({"alg": "none", "kid": "issuer-1"}, {"sub": "shop"}, b""), "algorithm"),
    ("public key as secret", _token("x" * 32, alg="HS256"), "algorithm"),
    ("expired", _token(exp=NOW_S), "expired"),
    ("expired long ago", _token(exp=1), "expired"),
    ("no exp", _token(without="exp"), "must carry exp"),
    ("exp a date of dates", _token(exp=10**400), "numbers of seconds"),
    ("exp infinite", _token(exp=float("inf")), "numbers of seconds"),
    ("exp a boolean", _token(exp=True), "numbers of seconds"),
    ("exp a text", _token(exp="tomorrow"), "numbers of seconds"),
    ("not yet", _token(nbf=NOW_S + CLOCK_SKEW_MAX_S + 1), "not valid yet"),
    ("nbf a text", _token(nbf="now"), "numbers of seconds"),
    ("no audience", _token(without="aud"), "must carry aud"),
    ("other audience", _token(aud="elsewhere"), "another audience"),
    ("no subject", _token(without="sub"), "must carry sub"),
    ("the platform's own name", _token(sub="@cell"), "no vendor id"),
    ("subject too long", _token(sub="a" * 65), "no vendor id"),
    ("subject with a line feed", _token(sub="shop\n"), "no vendor id"),
    ("scope a list", _token(scope=["money:debit"]), "scope must be one text"),
    ("owner types a text", _token(owner_types="player"), "owner_types"),
    ("owner types mixed", _token(owner_types=["player", 1]), "owner_types"),
    ("header nested too deep", _unsigned(b"[" * 3_000, {}), "not well-formed"),
    ("header no object", _unsigned([], {}), "not well-formed"),
    ("header no text", _unsigned(b"\xff\xfe", {}), "not well-formed"),
    ("kid a number", _unsigned({"alg": "EdDSA", "kid": 7}, {}), "not well-formed"),
    ("critical extension", _unsigned({"alg": "EdDSA", "kid": "issuer-1", "crit": ["x"]}, {}), "not well-formed"),
]


@pytest.mark.parametrize(("header", "detail"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refused(verifier: TokenVerifier, header: bytes | None, detail: str) -> None:
    for _ in range(2):  # remembered refusals are the same refusals
        problem = _refused(verifier.verify(header, NOW_S))
        assert problem.reason is Reason.TOKEN_MUST_BE_VALID
        assert detail in problem.detail


@given(header=st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"Bearer " + rest))
def test_no_header_breaks_the_verifier(header: bytes) -> None:
    verifier = vendor_tokens(audience=AUDIENCE)
    verifier.configure(_configuration())
    assert _refused(verifier.verify(header, NOW_S)).reason is Reason.TOKEN_MUST_BE_VALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(header=st.fixed_dictionaries({"alg": st.just("EdDSA") | JSON, "kid": st.just("issuer-1") | JSON}) | JSON)
def test_no_unsigned_header_breaks_the_verifier(header: Any) -> None:
    verifier = vendor_tokens(audience=AUDIENCE)
    verifier.configure(_configuration())
    assert _refused(verifier.verify(_unsigned(header, {"sub": "shop"}), NOW_S)).status == 401


@given(claim=st.sampled_from(["sub", "aud", "exp", "nbf", "scope", "owner_types"]), content=JSON)
def test_no_signed_claim_breaks_the_verifier(claim: str, content: Any) -> None:
    verifier = vendor_tokens(audience=AUDIENCE)
    verifier.configure(_configuration())
    payload = {"sub": "shop", "aud": AUDIENCE, "exp": NOW_S + 60, claim: content}
    token = jwt.api_jws.encode(json.dumps(payload).encode(), ISSUER, algorithm="EdDSA", headers={"kid": "issuer-1"})
    verdict = verifier.verify(b"Bearer " + token.encode(), NOW_S)
    assert isinstance(verdict, Principal) or verdict.status == 401


def test_a_remembered_token_expires_to_the_second(verifier: TokenVerifier) -> None:
    token = _token()
    assert isinstance(verifier.verify(token, NOW_S), Principal)
    assert isinstance(verifier.verify(token, NOW_S + 59.999), Principal)
    assert "expired" in _refused(verifier.verify(token, NOW_S + 60)).detail


def test_a_token_that_came_too_early_is_believed_later(verifier: TokenVerifier) -> None:
    token = _token(nbf=NOW_S + 100, exp=NOW_S + 200)
    _refused(verifier.verify(token, NOW_S))
    assert isinstance(verifier.verify(token, NOW_S + 100), Principal)


def test_a_hit_verifies_nothing(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    verified, refused = _token(), _token(STRANGER)
    first = verifier.verify(verified, NOW_S), verifier.verify(refused, NOW_S)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a signature was verified again")

    monkeypatch.setattr(jwt, "decode", fail)
    assert verifier.verify(verified, NOW_S) is first[0]
    assert verifier.verify(refused, NOW_S) is first[1]


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    verifier = TokenVerifier(audience=AUDIENCE, verified_max=2)
    verifier.configure(_configuration())
    tokens = [_token(jti=str(number)) for number in range(3)]
    first, _ = (verifier.verify(token, NOW_S) for token in tokens[:2])
    verifier.verify(tokens[0], NOW_S)
    verifier.verify(tokens[2], NOW_S)
    assert len(verifier._verified) == 2
    assert verifier.verify(tokens[0], NOW_S) is first


def test_a_flood_of_bad_tokens_does_not_forget_a_good_one(verifier: TokenVerifier) -> None:
    good = verifier.verify(_token(), NOW_S)
    for number in range(REFUSED_MAX + 10):
        verifier.verify(b"Bearer %d" % number, NOW_S)
    assert len(verifier._refused) == REFUSED_MAX
    assert verifier.verify(_token(), NOW_S) is good


def test_without_keys_the_token_is_not_blamed() -> None:
    problem = _refused(vendor_tokens(audience=AUDIENCE).verify(_token(), NOW_S))
    assert (problem.reason, problem.status) == (Reason.CELL_MUST_BE_REACHABLE, 503)


def test_a_vendor_is_blocked_by_the_next_configuration_and_freed_by_another(verifier: TokenVerifier) -> None:
    token, other = _token(), _token(sub="bank")
    assert isinstance(verifier.verify(token, NOW_S), Principal)
    verifier.configure(_configuration(2, vendors={"shop": VendorPolicy(blocked=True)}))
    assert "blocked" in _refused(verifier.verify(token, NOW_S)).detail
    assert isinstance(verifier.verify(other, NOW_S), Principal)
    verifier.configure(_configuration(3))
    assert isinstance(verifier.verify(token, NOW_S), Principal)


def test_a_key_that_is_withdrawn_is_not_trusted_any_more(verifier: TokenVerifier) -> None:
    token = _token()
    verifier.verify(token, NOW_S)
    verifier.configure(_configuration(2, jwks={"keys": JWKS["keys"][1:]}))
    assert "names no key" in _refused(verifier.verify(token, NOW_S)).detail


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, {Scope.MONEY_DEBIT, Scope.WALLET_READ}),
        (("wallet:read", "money:credit"), {Scope.WALLET_READ}),
        ((), set()),
    ],
)
def test_the_configuration_narrows_and_never_widens(
    verifier: TokenVerifier, allowed: tuple[str, ...] | None, expected: set[Scope]
) -> None:
    verifier.configure(_configuration(2, vendors={"shop": VendorPolicy(scopes_allowed=allowed)}))
    principal = verifier.verify(_token(), NOW_S)
    assert isinstance(principal, Principal)
    assert principal.scopes == expected


def test_unknown_scopes_grant_nothing(verifier: TokenVerifier) -> None:
    principal = verifier.verify(_token(scope="money:print  wallet:read "), NOW_S)
    assert isinstance(principal, Principal)
    assert principal.scopes == {Scope.WALLET_READ}
    problem = scope_problem(principal, Scope.MONEY_DEBIT)
    assert problem is not None
    assert (problem.status, problem.code) == (403, "scope_must_allow_debit")
    assert scope_problem(principal, Scope.WALLET_READ) is None


def test_a_token_without_scope_may_do_nothing(verifier: TokenVerifier) -> None:
    principal = verifier.verify(_token(without="scope"), NOW_S)
    assert isinstance(principal, Principal)
    assert principal.scopes == frozenset()


@pytest.mark.parametrize(("owner_types", "expected"), [(["player"], {"player"}), ([], set()), (None, None)])
def test_owner_types(verifier: TokenVerifier, owner_types: list[str] | None, expected: set[str] | None) -> None:
    principal = verifier.verify(_token(owner_types=owner_types), NOW_S)
    assert isinstance(principal, Principal)
    assert principal.owner_types == expected


def _admin() -> TokenVerifier:
    keys = usable_keys({"keys": [public_jwk(CONTROL_PLANE.public_key(), key_id="cp-1")]})
    return admin_tokens(audience=AUDIENCE, control_plane_keys=keys)


def test_the_control_plane_is_trusted_before_any_configuration() -> None:
    principal = _admin().verify(
        _token(CONTROL_PLANE, kid="cp-1", sub="control-plane", scope="fleet:read fleet:manage"), NOW_S
    )
    assert isinstance(principal, Principal)
    assert principal.scopes == {Scope.FLEET_READ, Scope.FLEET_MANAGE}


def test_an_operator_needs_the_issuers_signature_and_a_fleet_scope() -> None:
    verifier = _admin()
    operator = _token(scope="fleet:read money:debit", sub="ada")
    assert "names no key" in _refused(verifier.verify(operator, NOW_S)).detail
    verifier.configure(_configuration())
    principal = verifier.verify(operator, NOW_S)
    assert isinstance(principal, Principal)
    assert principal.scopes == {Scope.FLEET_READ}
    vendor = verifier.verify(_token(), NOW_S)
    assert isinstance(vendor, Principal)
    assert scope_problem(vendor, Scope.FLEET_READ) is not None


def test_an_issuer_cannot_take_the_control_planes_key_id() -> None:
    verifier = _admin()
    verifier.configure(_configuration(jwks={"keys": [public_jwk(ISSUER.public_key(), key_id="cp-1")]}))
    forged = _token(ISSUER, kid="cp-1", sub="control-plane", scope="fleet:manage")
    assert "signature" in _refused(verifier.verify(forged, NOW_S)).detail


def test_the_control_planes_signature_is_none_for_the_vendor_api(verifier: TokenVerifier) -> None:
    _refused(verifier.verify(_token(CONTROL_PLANE, kid="cp-1"), NOW_S))


def test_unusable_keys_do_not_take_the_usable_with_them() -> None:
    good = public_jwk(ISSUER.public_key(), key_id="good")
    private = jwt.algorithms.OKPAlgorithm.to_jwk(ISSUER, as_dict=True)
    rejected: list[Any] = [
        None,
        {},
        {**good, "kid": ""},
        {**good, "kid": 3},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "alg", "alg": "RS256"},
        {**good, "kid": "short", "x": "AAAA"},
        {**good, "kid": "kty", "kty": ["OKP"]},
        {**private, "kid": "private"},
        {**_ec_jwk(ec.generate_private_key(ec.SECP384R1()), "p-384")},
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
    ]
    assert usable_keys({"keys": [*rejected, good]}).keys() == {"good"}


@pytest.mark.parametrize("jwks", [{}, {"keys": None}, {"keys": {"kid": "x"}}])
def test_a_set_without_keys_has_none(jwks: dict[str, Any]) -> None:
    assert usable_keys(jwks) == {}
