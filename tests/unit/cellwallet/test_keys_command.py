"""`cellwallet keys make`: everybody is known to those who ask, nobody else may read, and nothing is made twice."""

import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from cellwallet.__main__ import app
from contract.scopes import AUDIENCE
from contract.signing import public_keys_of


def make(folder: Path, *cells: str) -> Result:
    options = [text for cell in cells for text in ("--cell", cell)]
    return CliRunner().invoke(app, ["keys", "make", "--out", str(folder), *options])


def claims_by_control_plane(token: str, jwks: Path) -> dict[str, Any]:
    key = public_keys_of(json.loads(jwks.read_text()))[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE)
    return claims


def test_each_part_gets_what_its_secret_holds(tmp_path: Path) -> None:
    assert make(tmp_path / "fleet", "cell-1", "blue").exit_code == 0
    found = {
        str(path.relative_to(tmp_path / "fleet"))
        for path in (tmp_path / "fleet").rglob("*")
        if "keys" not in path.parts
    }
    of_cells = {f"{cell}/{name}" for cell in ("cell-1", "blue") for name in ("signing_key.pem", "join_token")}
    of_others = {"control-plane/signing_key.pem", "control-plane/issuer_jwks.json", "router/control_plane_token"}
    trust = {f"{part}/control_plane_jwks.json" for part in ("router", "cell-1", "blue")}
    assert found == of_cells | of_others | trust | {"cell-1", "blue", "router", "control-plane", "compose.env"}


def test_the_control_plane_is_believed_by_those_who_join_it(tmp_path: Path) -> None:
    make(tmp_path, "cell-1")
    jwks = tmp_path / "cell-1" / "control_plane_jwks.json"
    joining = claims_by_control_plane((tmp_path / "cell-1" / "join_token").read_text(), jwks)
    reading = claims_by_control_plane((tmp_path / "router" / "control_plane_token").read_text(), jwks)
    assert (joining["sub"], joining["scope"]) == ("cell:cell-1", "cell:join")
    assert (reading["sub"], reading["scope"]) == ("router:router-*", "fleet:read")


def test_another_cell_later_changes_no_key(tmp_path: Path) -> None:
    make(tmp_path, "cell-1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert make(tmp_path, "cell-1", "cell-2").exit_code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "cell-2" / "signing_key.pem").read_bytes() not in before.values()


def test_nobody_else_may_read_any_of_it(tmp_path: Path) -> None:
    make(tmp_path, "cell-1")
    modes = {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")}
    assert modes == {0}


def test_compose_is_told_the_tokens_and_whose_the_files_are(tmp_path: Path) -> None:
    make(tmp_path, "cell-1")
    told = dict(line.split("=", 1) for line in (tmp_path / "compose.env").read_text().splitlines())
    assert told["CELLWALLET_IDENTITIES"] == str(tmp_path.resolve())
    assert told["CELLWALLET_USER"] == f"{os.getuid()}:{os.getgid()}"
    assert told["CELL_1_TOKEN"] == (tmp_path / "cell-1" / "join_token").read_text()
    assert told["ROUTER_TOKEN"] == (tmp_path / "router" / "control_plane_token").read_text()


def test_a_fleet_that_is_kept_there_issues_tokens_of_vendors(tmp_path: Path) -> None:
    make(tmp_path, "cell-1")
    arguments = ["tokens", "issue", "--data", str(tmp_path), "--vendor", "shop", "--scope", "wallet:read"]
    token = CliRunner().invoke(app, arguments).stdout.strip()
    assert claims_by_control_plane(token, tmp_path / "control-plane" / "issuer_jwks.json")["sub"] == "shop"


@pytest.mark.parametrize("name", ["Cell", "../cell", "router", "control-plane", "keys", "1"])
def test_a_name_that_is_no_cells_is_refused(tmp_path: Path, name: str) -> None:
    assert make(tmp_path / "fleet", name).exit_code == 2
    assert not (tmp_path / "fleet").exists()
