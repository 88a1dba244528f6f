"""`cellwallet demo` and the verbs that it recommends, on the real platform."""

from local_platform import LocalPlatform


def test_a_vendors_day_goes_as_told_as_often_as_one_likes(platform: LocalPlatform) -> None:
    day = platform.run_json("demo")
    assert day["totals"]["difference"] == 0
    assert day["totals"]["in_wallets"] > 0
    assert len(day["scenes"]) == 11
    assert day["addresses"]["router"] == platform.stack.router_url
    story = platform.run("demo").stdout
    for told in ("available_balance_must_cover_amount", "/debit", "audit --full", platform.stack.router_url):
        assert told in story


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
