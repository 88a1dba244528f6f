"""Tokens of cells: what a peer makes and another believes, and every forgery that neither may fall for."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from cell.api.tokens import Principal, vendor_tokens
from cell.cell_tokens import CLOCK_SKEW_MAX_S, LIFE_S, CellTokens, CellTokenVerifier, Peer, read_cell_key
from contract.configuration import CellConfiguration, PublicKey
from contract.ids import CellId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import AUDIENCE
from contract.signing import public_jwk

NOW_S = 1_800_000_000
CELL_A, CELL_B, ISSUER = (Ed25519PrivateKey.generate() for _ in range(3))


def _peer(key: Ed25519PrivateKey, cell: str) -> PublicKey:
    return PublicKey.model_validate(public_jwk(key.public_key(), key_id=f"cell:{cell}"))


CONFIGURATION = CellConfiguration(
    cell="cell-b",
    version=1,
    issued_at="2027-01-15T08:00:00Z",
    jwks={"keys": [public_jwk(ISSUER.public_key(), key_id="issuer-1")]},
    peers={"cell-a": _peer(CELL_A, "cell-a"), "cell-b": _peer(CELL_B, "cell-b")},
)


def _token(
    key: Any = CELL_A, *, kid: Any = "cell:cell-a", alg: str = "EdDSA", without: str = "", **claims: Any
) -> bytes:
    content = {
        "iss": "cell:cell-a",
        "sub": "cell-a",
        "aud": AUDIENCE,
        "scope": "cell:transfer",
        "iat": NOW_S,
        "exp": NOW_S + 60,
        **claims,
    }
    content.pop(without, None)
    return b"Bearer " + jwt.encode(content, key, algorithm=alg, headers={"kid": kid} if kid else {}).encode()


@pytest.fixture
def verifier() -> CellTokenVerifier:
    verifier = CellTokenVerifier()
    verifier.configure(CONFIGURATION)
    return verifier


def test_what_a_cell_makes_another_believes_for_a_minute(verifier: CellTokenVerifier) -> None:
    header = CellTokens("cell-a", CELL_A).authorization(NOW_S + 0.9).encode()
    for now_s in (NOW_S - CLOCK_SKEW_MAX_S, NOW_S + 0.9, NOW_S + LIFE_S - 0.1):
        assert verifier.verify(header, now_s) == Peer(cell_id=CellId("cell-a"))
    for now_s in (NOW_S - CLOCK_SKEW_MAX_S - 1, NOW_S + LIFE_S):
        assert isinstance(verifier.verify(header, now_s), Problem)


def test_a_token_is_used_again_until_half_of_its_life_is_over() -> None:
    tokens = CellTokens("cell-a", CELL_A)
    first = tokens.token(NOW_S)
    assert tokens.token(NOW_S + LIFE_S / 2 - 1) == first
    second = tokens.token(NOW_S + LIFE_S / 2)
    assert second != first
    assert tokens.token(NOW_S) != second, "a clock that was set back must not hand out a token of the future"


def test_the_form_is_the_agreed_one() -> None:
    token = CellTokens("cell-a", CELL_A).token(NOW_S)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": "cell:cell-a", "typ": "JWT"}
    assert jwt.decode(token, options={"verify_signature": False}) == {
        "iss": "cell:cell-a",
        "sub": "cell-a",
        "aud": "cellwallet",
        "scope": "cell:transfer",
        "iat": NOW_S,
        "exp": NOW_S + 60,
    }


EC_KEY = ec.generate_private_key(ec.SECP256R1())
FORGERIES: dict[str, bytes | None] = {
    "nothing": None,
    "another scheme": b"Basic abc",
    "no token": b"Bearer ",
    "garbage": b"Bearer a.b.c",
    "no UTF-8": b"Bearer \xff.\xfe.\xfd",
    "too long": b"Bearer " + b"a" * 4_000,
    "another cell's key": _token(CELL_B),
    "another cell's name": _token(CELL_B, kid="cell:cell-b"),
    "another cell's subject": _token(sub="cell-b"),
    "a subject that is no text": _token(sub="cell:cell-a"),
    "the issuer's key under its own name": _token(ISSUER, kid="issuer-1"),
    "the issuer's key under the cell's name": _token(ISSUER),
    "an unknown cell": _token(kid="cell:cell-z", iss="cell:cell-z", sub="cell-z"),
    "a bare cell id as key id": _token(kid="cell-a"),
    "no key id": _token(kid=None),
    "no issuer": _token(without="iss"),
    "no subject": _token(without="sub"),
    "no audience": _token(without="aud"),
    "no end": _token(without="exp"),
    "no beginning": _token(without="iat"),
    "another audience": _token(aud="elsewhere"),
    "too long a life": _token(exp=NOW_S + LIFE_S + CLOCK_SKEW_MAX_S + 1),
    "expired": _token(exp=NOW_S),
    "an end that is a text": _token(exp=str(NOW_S + 60)),
    "an end that is a boolean": _token(exp=True),
    "an end beyond all dates": _token(exp=1e300),
    "another algorithm": _token(EC_KEY, alg="ES256"),
    "a secret": _token("x" * 32, alg="HS256"),
    "no signature": _token(None, alg="none"),
}


@pytest.mark.parametrize("header", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_no_peer(verifier: CellTokenVerifier, header: bytes | None) -> None:
    verdict = verifier.verify(header, NOW_S)
    assert isinstance(verdict, Problem)
    assert verdict.reason is Reason.TOKEN_MUST_BE_VALID


@pytest.mark.parametrize("scope", ["", "money:debit", "cell:transfers", ["cell:transfer"], None])
def test_without_the_scope_a_peer_may_do_nothing(verifier: CellTokenVerifier, scope: Any) -> None:
    verdict = verifier.verify(_token(scope=scope), NOW_S)
    assert isinstance(verdict, Problem)
    assert verdict.reason is Reason.SCOPE_MUST_ALLOW


def test_only_the_cells_of_the_newest_configuration_are_believed(verifier: CellTokenVerifier) -> None:
    verifier.configure(CONFIGURATION.model_copy(update={"peers": {"cell-b": _peer(CELL_B, "cell-b")}}))
    assert isinstance(verifier.verify(_token(), NOW_S), Problem)
    assert isinstance(CellTokenVerifier().verify(_token(), NOW_S), Problem)


def test_a_vendors_token_with_the_scope_of_cells_is_no_peer_and_loses_the_scope(verifier: CellTokenVerifier) -> None:
    claims = {"iss": "https://issuer", "sub": "shop", "scope": "cell:transfer cell:join fleet:manage money:debit"}
    header = _token(ISSUER, kid="issuer-1", **claims)
    assert isinstance(verifier.verify(header, NOW_S), Problem)
    vendors = vendor_tokens(audience=AUDIENCE)
    vendors.configure(CONFIGURATION)
    principal = vendors.verify(header, NOW_S)
    assert isinstance(principal, Principal)
    assert principal.scopes == {"money:debit"}


@pytest.mark.parametrize(
    "header",
    [
        _token(),
        _token(scope="money:debit cell:transfer"),
        _token(ISSUER, kid="issuer-1"),
        _token(ISSUER, kid="issuer-1", iss="https://issuer", sub="@cell"),
        _token(ISSUER, kid="issuer-1", iss="https://issuer", sub="@transfer"),
        _token(ISSUER, kid="issuer-1", iss="https://issuer", sub="cell:cell-a"),
    ],
)
def test_no_token_of_a_cell_and_no_reserved_name_is_a_vendor(header: bytes) -> None:
    vendors = vendor_tokens(audience=AUDIENCE)
    vendors.configure(CONFIGURATION)
    assert isinstance(vendors.verify(header, NOW_S), Problem)


def _pem(key: Any, encryption: KeySerializationEncryption = NoEncryption()) -> bytes:  # noqa: B008 - a constant
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem


def test_the_key_of_a_cell_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "cell.pem"
    file.write_bytes(_pem(CELL_A))
    assert read_cell_key(file).public_key() == CELL_A.public_key()


@pytest.mark.parametrize("content", [b"", b"no key", _pem(EC_KEY), _pem(CELL_A, BestAvailableEncryption(b"secret"))])
def test_a_file_with_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cell.pem"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"(?i)key|must|load"):
        read_cell_key(file)
