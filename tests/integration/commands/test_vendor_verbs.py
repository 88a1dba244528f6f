"""Verbs against a router that a test controls: what is refused before anything is sent, and how failures are told."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import Result
from scripted_router import Answer, Seen, in_turn, problem, scripted_router
from typer.testing import CliRunner

from cellwallet.commands import audit, demo, replay, wallets
from cellwallet.replaying.movements import COLUMNS
from contract.reasons import Reason

WALLET = "0190a0b0-0000-7000-8000-000000000001"
ROW = "1993-01-01,704,0,207264,credit,100000,100000,cash_deposit,,,"


def _file(folder: Path, *rows: str) -> Path:
    path = folder / "bank.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


def _told(result: Result) -> str:
    """Standard error as one line: rich wraps it."""
    return " ".join(result.stderr.split())


def test_a_malformed_file_is_refused_by_line_before_anything_is_sent(tmp_path: Path) -> None:
    path = _file(tmp_path, ROW, ROW.replace("100000,100000", "ten,100000").replace("207264", "207265"))
    with scripted_router(in_turn(Answer(status=200, document={}))) as router:
        result = CliRunner().invoke(replay.app, [str(path), "--url", router.url, "--token", "t"])
    assert result.exit_code == 1
    assert "line 3" in _told(result)
    assert router.seen == []


def test_a_file_without_movements_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(replay.app, [str(_file(tmp_path)), "--url", "http://127.0.0.1:1", "--token", "t"])
    assert result.exit_code == 1
    assert "no movement" in _told(result)


def test_a_missing_file_is_a_matter_of_usage() -> None:
    assert CliRunner().invoke(replay.app, ["/no/such/file.csv"]).exit_code == 2


def test_a_router_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = CliRunner().invoke(demo.app, ["--url", url, "--token", "t"])
    assert result.exit_code == 1
    assert url in _told(result)


@pytest.mark.parametrize("arguments", [["wallet", WALLET], ["entries", WALLET]])
def test_without_a_platform_the_way_to_one_is_told(tmp_path: Path, arguments: list[str]) -> None:
    verb = "show" if arguments[0] == "wallet" else arguments[0]
    result = CliRunner().invoke(wallets.app, [verb, arguments[1], "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "cellwallet up" in _told(result)


def test_an_audit_without_a_platform_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(audit.app, ["--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "cellwallet up" in _told(result)


def test_a_platform_that_fails_ends_a_replay_with_its_reason(tmp_path: Path) -> None:
    """From a worker process: the failure must survive the way back."""
    with scripted_router(in_turn(problem(Reason.TOKEN_MUST_BE_VALID))) as router:
        result = CliRunner().invoke(
            replay.app, [str(_file(tmp_path, ROW)), "--url", router.url, "--token", "t", "--connections", "1"]
        )
    assert result.exit_code == 1
    assert "token_must_be_valid" in _told(result)


def test_a_wallet_that_does_not_exist_is_told() -> None:
    with scripted_router(in_turn(problem(Reason.WALLET_MUST_EXIST))) as router:
        result = CliRunner().invoke(wallets.app, ["verify", WALLET, "--url", router.url, "--token", "t"])
    assert result.exit_code == 1
    assert "wallet_must_exist" in _told(result)


@pytest.mark.parametrize("arguments", [["show"], ["show", WALLET, "--owner", "customer:7"], ["show", "--owner", "x"]])
def test_what_to_show_must_be_clear(arguments: list[str]) -> None:
    with scripted_router(in_turn(Answer(status=200, document={}))) as router:
        result = CliRunner().invoke(wallets.app, [*arguments, "--url", router.url, "--token", "t"])
    assert result.exit_code == 2


def test_a_forged_history_is_named_and_ends_with_1() -> None:
    """One entry whose hash is not the one of its fields."""

    def answer(seen: Seen) -> Answer:
        if "/proof" in seen.path:
            return problem(Reason.CHECKPOINT_MUST_EXIST)
        if "/entries" in seen.path:
            return Answer(status=200, document={"entries": [_opened()], "next_cursor": None})
        return Answer(status=200, document=_wallet())

    with scripted_router(answer) as router:
        result = CliRunner().invoke(wallets.app, ["verify", WALLET, "--url", router.url, "--token", "t", "--json"])
    assert result.exit_code == 1
    (verdict,) = json.loads(result.stdout)["wallets"]
    assert (verdict["seq"], verdict["field"]) == (1, "entry_hash")


def test_a_statement_is_shown_and_written(tmp_path: Path) -> None:
    instant = "2027-01-15T08:00:00.123456Z"
    line = {**_opened(), "kind": "credit", "amount": 500, "delta": 500, "balance_after": 500, "description": "gift"}
    ends = {"wallet_id": WALLET, "currency": "EUR", "from": instant, "to": instant}
    document = {**ends, "opening_balance": 0, "lines": [line], "closing_balance": 500}
    with scripted_router(in_turn(Answer(status=200, document=document))) as router:
        told = ["--url", router.url, "--token", "t"]
        as_table = CliRunner().invoke(wallets.app, ["statement", WALLET, *told])
        as_json = CliRunner().invoke(wallets.app, ["statement", WALLET, "--from", "2027-01-01", *told, "--json"])
        written = CliRunner().invoke(wallets.app, ["statement", WALLET, "--csv", str(tmp_path / "s.csv"), *told])
        nowhere = CliRunner().invoke(wallets.app, ["statement", WALLET, "--csv", str(tmp_path / "x" / "s.csv"), *told])
    assert "closing balance 5.00 EUR" in as_table.stdout
    assert "gift" in as_table.stdout
    shown = json.loads(as_json.stdout)
    assert (shown["from"], shown["lines"][0]["delta"], shown["closing_balance"]) == (instant, 500, 500)
    assert (written.exit_code, nowhere.exit_code) == (0, 1)
    assert json.loads((tmp_path / "s.csv").read_text()) == document
    asked = [seen for seen in router.seen if "statement" in seen.path]
    assert [seen.headers["accept"] for seen in asked] == ["application/json"] * 2 + ["text/csv"] * 2
    assert "from=2027-01-01T00%3A00%3A00.000000Z" in asked[1].path


def _wallet() -> dict[str, object]:
    instant = "2027-01-15T08:00:00.123456Z"
    return {
        "wallet_id": WALLET,
        "owner": {"type": "customer", "ref": "7"},
        "kind": "main",
        "currency": "EUR",
        "status": "active",
        "balance": 0,
        "held": 0,
        "available": 0,
        "overdraft_limit": 0,
        "seq": 1,
        "opened_at": instant,
        "updated_at": instant,
        "metadata": {},
    }


def _opened() -> dict[str, object]:
    return {
        "transaction_id": WALLET,
        "wallet_id": WALLET,
        "kind": "opened",
        "amount": 0,
        "currency": "EUR",
        "delta": 0,
        "held_delta": 0,
        "balance_after": 0,
        "held_after": 0,
        "available": 0,
        "overdraft_limit_after": 0,
        "status_after": "active",
        "seq": 1,
        "posted_at": "2027-01-15T08:00:00.123456Z",
        "vendor_id": "shop",
        "counter_account": "clearing:shop",
        "entry_hash": "ab" * 32,
        "sealed": "cd" * 32,
    }
