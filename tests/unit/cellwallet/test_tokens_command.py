"""`cellwallet tokens issue`: only the token on stdout, and nothing that was not asked for in it."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from cellwallet.__main__ import app
from cellwallet.local.keys import ensure_keys


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path


def issue(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["tokens", "issue", "--data", str(data), *arguments])


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token.strip(), options={"verify_signature": False})
    return found


@pytest.mark.parametrize(
    "scopes",
    [
        ("--scope", "wallet:open", "--scope", "money:debit"),
        ("--scope", "wallet:open", "money:debit"),
        ("--scope", "wallet:open money:debit"),
        ("--scope", "wallet:open,money:debit", "money:debit"),
    ],
)
def test_scopes_may_be_given_in_every_usual_way(data: Path, scopes: tuple[str, ...]) -> None:
    result = issue(data, "--vendor", "shop", *scopes)
    assert result.exit_code == 0, result.output
    found = claims(result.stdout)
    assert (found["sub"], found["scope"]) == ("shop", "wallet:open money:debit")
    assert "owner_types" not in found


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)]
)
def test_its_life_is_as_long_as_asked_for(data: Path, text: str, seconds: int) -> None:
    found = claims(issue(data, "--vendor", "shop", "--scope", "wallet:read", "--expires-in", text).stdout)
    assert found["exp"] - found["iat"] == seconds


def test_it_may_be_narrowed_to_types_of_owners_and_printed_for_machines(data: Path) -> None:
    result = issue(data, "--vendor", "shop", "--scope", "wallet:read", "--owner-type", "customer", "--json")
    document = json.loads(result.stdout)
    assert claims(document["token"])["owner_types"] == document["owner_types"] == ["customer"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--vendor", "shop"),
        ("--scope", "wallet:read"),
        ("--vendor", "shop", "--scope", "wallet:steal"),
        ("--vendor", "shop", "--scope", "cell:join"),
        ("--vendor", "shop", "--scope", " "),
        ("--vendor", "@cell", "--scope", "wallet:read"),
        ("--vendor", "shop", "--scope", "wallet:read", "--expires-in", "soon"),
        ("--vendor", "shop", "--scope", "wallet:read", "--expires-in", "0"),
        ("--vendor", "shop", "--scope", "wallet:read", "--owner-type", "Customer"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(data: Path, arguments: tuple[str, ...]) -> None:
    result = issue(data, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_without_keys_it_fails(tmp_path: Path) -> None:
    result = issue(tmp_path, "--vendor", "shop", "--scope", "wallet:read")
    assert (result.exit_code, result.stdout) == (1, "")
