"""Who is believed: one row for each way in which a token can be wrong."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from platform_keys import PlatformKeys, token

from contract.scopes import Scope
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.tokens import MACHINE_TOKEN_LIFE, TOKEN_MAX, Caller, Tokens, utc_now

ES256_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


@pytest.fixture
def tokens(keys: PlatformKeys) -> Tokens:
    return tokens_of(keys)


def tokens_of(keys: PlatformKeys) -> Tokens:
    return Tokens(
        own=read_signing_key(keys.signing_key_file, key_id="cp-1"),
        issuer=read_issuer_keys(keys.issuer_jwks_file),
        audience="cellwallet",
    )


def test_a_token_of_the_issuer_names_its_caller(keys: PlatformKeys, tokens: Tokens) -> None:
    caller = tokens.caller_of(f"Bearer {keys.operator('fleet:read')}")
    assert caller == Caller(subject="olga", scopes=frozenset({"fleet:read"}), signer="issuer")
    assert not caller.may(Scope.FLEET_MANAGE)


def test_a_token_of_our_own_key_says_so(keys: PlatformKeys, tokens: Tokens) -> None:
    caller = tokens.caller_of(f"bearer {keys.join('cell-1')}")
    assert caller == Caller(subject="cell:cell-1", scopes=frozenset({"cell:join"}), signer="control_plane")


def test_a_key_of_es256_is_believed_too(keys: PlatformKeys) -> None:
    keys.write_issuer_jwks([es256_jwk()])
    signed = token(ES256_KEY, "issuer-2", subject="olga", scope="fleet:read", algorithm="ES256")
    assert isinstance(tokens_of(keys).caller_of(f"Bearer {signed}"), Caller)


def es256_jwk() -> dict[str, Any]:
    jwk = ECAlgorithm.to_jwk(ES256_KEY.public_key(), as_dict=True)
    return {**jwk, "kid": "issuer-2", "alg": "ES256", "use": "sig"}


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic b2xnYTpwYXNz", "Bearer x", "Bearer a.b.c", "Bearer \x00.é.ÿ"]
)
def test_what_is_no_token_is_refused(tokens: Tokens, header: str | None) -> None:
    assert isinstance(tokens.caller_of(header), str)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-platform"},
        {"aud": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": int(time.time()) + 3600},
        {"subject": None},
        {"subject": 7},
        {"subject": ""},
        {"subject": "ol\x00ga"},
        {"subject": "x" * 201},
        {"scope": ["fleet:read"]},
        {"scope": 7},
    ],
)
def test_a_wrong_claim_is_refused(keys: PlatformKeys, tokens: Tokens, claims: dict[str, Any]) -> None:
    wrong = {"subject": "olga", "scope": "fleet:read", **claims}
    if "subject" in claims:
        wrong["sub"] = claims["subject"]
    signed = encoded(keys, wrong)
    assert isinstance(tokens.caller_of(f"Bearer {signed}"), str)


def encoded(keys: PlatformKeys, members: dict[str, Any]) -> str:
    """By hand: a library would refuse to make some of these."""
    now = int(time.time())
    claims = {"sub": members.get("sub", "olga"), "scope": members["scope"], "aud": "cellwallet", "exp": now + 60}
    claims |= {name: claim for name, claim in members.items() if name != "subject"}
    signer = jwt.api_jws.PyJWS()
    payload = jwt.api_jwt.json.dumps({name: claim for name, claim in claims.items() if claim is not None})
    return signer.encode(payload.encode(), keys.issuer, algorithm="EdDSA", headers={"kid": "issuer-1"})


def test_the_tokens_made_by_hand_would_be_right_without_their_mistake(keys: PlatformKeys, tokens: Tokens) -> None:
    assert isinstance(tokens.caller_of(f"Bearer {encoded(keys, {'scope': 'fleet:read'})}"), Caller)


def test_a_strangers_key_is_refused_under_any_name(keys: PlatformKeys, tokens: Tokens) -> None:
    for key_id in ("issuer-1", "cp-1", "stranger-1"):
        signed = token(keys.stranger, key_id, subject="olga", scope="fleet:manage")
        assert isinstance(tokens.caller_of(f"Bearer {signed}"), str)


def test_the_issuer_cannot_speak_for_the_control_plane(keys: PlatformKeys, tokens: Tokens) -> None:
    signed = token(keys.issuer, "cp-1", subject="cell:cell-1", scope="cell:join")
    assert isinstance(tokens.caller_of(f"Bearer {signed}"), str)


def test_the_algorithm_is_the_keys_and_not_the_tokens(keys: PlatformKeys, tokens: Tokens) -> None:
    """A public key used as the secret of an HMAC, and no signature at all: both old tricks."""
    claims = {"sub": "olga", "scope": "fleet:manage", "aud": "cellwallet", "exp": int(time.time()) + 60}
    public = keys.issuer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    for key, algorithm in ((public, "HS256"), (None, "none")):
        signed = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "issuer-1"})
        assert isinstance(tokens.caller_of(f"Bearer {signed}"), str)


def test_a_key_of_another_algorithm_in_the_issuers_file_is_not_used(keys: PlatformKeys) -> None:
    keys.write_issuer_jwks(
        [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "issuer-1", "alg": "HS256"}]
    )
    secret = b"secret-secret-secret-secret-secret"
    signed = jwt.encode({"sub": "olga"}, secret, algorithm="HS256", headers={"kid": "issuer-1"})
    assert isinstance(tokens_of(keys).caller_of(f"Bearer {signed}"), str)


def test_an_endless_token_is_refused_before_it_is_read(tokens: Tokens) -> None:
    assert "characters" in str(tokens.caller_of(f"Bearer {'x' * (TOKEN_MAX + 1)}"))


def test_the_machine_token_is_kept_for_half_of_its_life(tokens: Tokens) -> None:
    now = utc_now()
    first = tokens.machine_token(now)
    assert tokens.machine_token(now + MACHINE_TOKEN_LIFE / 2) == first
    assert tokens.machine_token(now + MACHINE_TOKEN_LIFE / 2 + timedelta(seconds=1)) != first
    caller = tokens.caller_of(f"Bearer {first}")
    assert isinstance(caller, Caller)
    assert (caller.subject, caller.signer) == ("control-plane", "control_plane")
    assert caller.scopes == {"fleet:read", "fleet:manage"}
