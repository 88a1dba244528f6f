"""Keys that are made once, and tokens that others verify with what the key files publish."""

import json
from pathlib import Path

import jwt
import pytest

from cellwallet.local.keys import Keys, KeysMustExistError, ensure_keys, load_keys
from contract.scopes import AUDIENCE
from contract.signing import public_keys_of


def verified(token: str, jwks_file: Path) -> dict[str, object]:
    keys = public_keys_of(json.loads(jwks_file.read_text()))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, object] = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE)
    return claims


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return ensure_keys(tmp_path / "keys")


def test_machine_tokens_are_signed_by_the_control_plane(keys: Keys) -> None:
    claims = verified(keys.machine_token("cell:cell-1", ["cell:join"]), keys.control_plane_jwks_file)
    assert (claims["sub"], claims["scope"]) == ("cell:cell-1", "cell:join")


def test_issued_tokens_are_signed_by_the_issuer_and_narrowed(keys: Keys) -> None:
    token = keys.issued_token("shop", ["wallet:read", "money:debit"], expires_in_s=60, owner_types=["customer"])
    claims = verified(token, keys.issuer_jwks_file)
    assert (claims["sub"], claims["scope"], claims["owner_types"]) == ("shop", "wallet:read money:debit", ["customer"])
    assert claims["exp"] == int(str(claims["iat"])) + 60
    assert "owner_types" not in verified(keys.issued_token("shop", [], expires_in_s=60), keys.issuer_jwks_file)


def test_every_token_has_an_id_of_its_own(keys: Keys) -> None:
    ids = {verified(keys.machine_token("x", []), keys.control_plane_jwks_file)["jti"] for _ in range(3)}
    assert len(ids) == 3


def test_keys_are_made_once_and_are_nobody_elses_to_read(keys: Keys) -> None:
    token = keys.issued_token("shop", [], expires_in_s=60)
    assert verified(token, ensure_keys(keys.folder).issuer_jwks_file)["sub"] == "shop"
    assert verified(token, load_keys(keys.folder).issuer_jwks_file)["sub"] == "shop"
    assert keys.cell_public_key("cell-1") == ensure_keys(keys.folder).cell_public_key("cell-1")
    assert keys.cell_public_key("cell-1")["x"] != keys.cell_public_key("cell-2")["x"]
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys.folder.iterdir()} == {0o600}


def test_the_two_keys_differ(keys: Keys) -> None:
    token = keys.machine_token("cell:cell-1", ["cell:join"])
    with pytest.raises(KeyError):
        verified(token, keys.issuer_jwks_file)


def test_without_a_platform_there_are_no_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysMustExistError, match="cellwallet up"):
        load_keys(tmp_path)
