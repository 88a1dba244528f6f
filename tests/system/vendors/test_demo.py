"""`cellwallet demo` and the verbs that it recommends, on the real platform."""

import signal
from pathlib import Path

from local_platform import LocalPlatform
from typer.testing import CliRunner

from cellwallet.__main__ import app
from cellwallet.client import Client, accepted


def test_a_vendors_day_goes_as_told_as_often_as_one_likes(platform: LocalPlatform) -> None:
    day = platform.run_json("demo")
    assert day["totals"]["difference"] == 0
    assert day["totals"]["in_wallets"] > 0
    assert day["totals"]["held"] == 0
    assert day["totals"]["cells"] == len(platform.stack.cells)
    assert len(day["scenes"]) == 19
    assert day["addresses"]["router"] == platform.stack.router_url
    story = platform.run("demo").stdout
    for told in (
        *("available_balance_must_cover_amount", "hold_must_be_open", "amount_must_not_exceed_limit"),
        *("3 guests of 3 cells", "entry.credit", "0 were forged", "as the control plane tells it"),
        *("/debit", "audit --full", platform.stack.router_url),
    ):
        assert told in story


def test_a_day_leaves_no_limit_and_no_webhook_behind(platform: LocalPlatform) -> None:
    platform.run("demo")
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        assert accepted(client.webhooks()).webhooks == ()
    assert platform.run_json("limits", "show")["limits"] == []


def test_a_day_without_an_operator_tells_what_cannot_be_played(platform: LocalPlatform, tmp_path: Path) -> None:
    stack = platform.stack
    result = CliRunner().invoke(
        app, ["demo", "--url", stack.router_url, "--token", stack.tokens.vendor, "--data", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    assert "there is no operator's token here" in result.stdout


def test_a_day_that_is_ended_early_takes_back_what_it_has_set(platform: LocalPlatform) -> None:
    day = platform.start("demo")
    assert day.stdout is not None
    while "The coffee shop" not in day.stdout.readline():
        assert day.poll() is None
    day.send_signal(signal.SIGTERM)
    day.communicate(timeout=30)
    assert day.returncode not in {0, -signal.SIGTERM}
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        assert accepted(client.webhooks()).webhooks == ()


def test_wallets_are_opened_shown_listed_and_verified(platform: LocalPlatform) -> None:
    opening = ["wallets", "open", "--owner-type", "customer", "--owner-ref", "system test", "--currency", "EUR"]
    wallet = platform.run_json(*opening)
    assert platform.run_json(*opening)["replayed"]
    assert platform.run_json("wallets", "show", wallet["wallet_id"])["owner"]["ref"] == "system test"
    assert len(platform.run_json("wallets", "show", "--owner", "customer:system test")["wallets"]) == 1
    (entry,) = platform.run_json("wallets", "entries", wallet["wallet_id"])["entries"]
    assert entry["kind"] == "opened"
    assert platform.run_json("wallets", "entries", wallet["wallet_id"], "--to", "2020-01-01")["entries"] == []
    verdict = platform.run_json("wallets", "verify", "--all-of-owner", "customer:system test")
    assert verdict["verified"]
    assert verdict["wallets"][0]["head_hash"] == entry["entry_hash"]
    told = platform.run("wallets", "verify", wallet["wallet_id"]).stdout
    assert "whole" in told


def test_errors_go_to_stderr(platform: LocalPlatform) -> None:
    failed = platform.run("wallets", "show", "0190a0b0-0000-7000-8000-000000000001", "--json", exit_code=1)
    assert failed.stdout == ""
    assert "wallet_must_exist" in failed.stderr


def test_holds_are_listed(platform: LocalPlatform) -> None:
    opening = ["wallets", "open", "--owner-type", "customer", "--owner-ref", "hold test", "--currency", "EUR"]
    wallet_id = platform.run_json(*opening)["wallet_id"]
    assert platform.run("wallets", "holds", wallet_id).stdout == "no holds\n"
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        accepted(client.credit(wallet_id, amount=100, currency="EUR"))
        held = accepted(client.place_hold(wallet_id, amount=70, currency="EUR"))
        accepted(client.capture(wallet_id, str(held.hold_id), amount=30, final=False))
    (listed,) = platform.run_json("wallets", "holds", wallet_id, "--state", "open")["holds"]
    assert (listed["hold_id"], listed["captured"], listed["remaining"]) == (held.hold_id, 30, 40)
    assert platform.run_json("wallets", "holds", wallet_id, "--state", "expired")["holds"] == []
    assert "0.40 EUR" in platform.run("wallets", "holds", wallet_id).stdout


def test_webhooks_are_added_listed_and_removed(platform: LocalPlatform) -> None:
    assert platform.run("webhooks", "list").stdout == "no webhooks\n"
    added = platform.run_json("webhooks", "add", "https://you.example/events", "--kind", "debit", "--kind", "refused")
    assert added["secret"].startswith("whsec_")
    webhook_id = added["id"]
    assert webhook_id in platform.run("webhooks", "list").stdout
    assert platform.run_json("webhooks", "rotate", webhook_id)["secret"] != added["secret"]
    assert platform.run("webhooks", "dead-letters", webhook_id).stdout == "no dead letters\n"
    assert platform.run_json("webhooks", "redeliver", webhook_id) == {"redelivered": 0}
    assert platform.run_json("webhooks", "remove", webhook_id) == {"webhooks": []}
    refused = platform.run("webhooks", "add", "ftp://you.example", "--json", exit_code=1)
    assert "request_must_be_well_formed" in refused.stderr
