"""`cellwallet audit` on the real platform: clean when it is, and exact about money that somebody forged."""

from collections.abc import Iterator

import psycopg
import pytest
from local_platform import LocalPlatform

from cellwallet.client import Client, accepted

CURRENCY = "EUR"


@pytest.fixture
def forged_wallet_id(platform: LocalPlatform) -> Iterator[str]:
    """A wallet whose row says one cent more than its log; put right again afterwards."""
    stack = platform.stack
    with Client(stack.router_url, stack.tokens.vendor) as client:
        wallet = accepted(client.open_wallet(owner_type="customer", owner_ref="forger", currency=CURRENCY))
        accepted(client.credit(wallet.wallet_id, amount=500, currency=CURRENCY))
    url = next(cell.database_url for cell in stack.cells if cell.id == wallet.cell)
    change = "UPDATE wallets SET balance = balance + %s WHERE wallet_id = %s"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change, (1, wallet.wallet_id))
        yield wallet.wallet_id
        connection.execute(change, (-1, wallet.wallet_id))


def test_an_honest_fleet_is_clean(platform: LocalPlatform) -> None:
    stack = platform.stack
    with Client(stack.router_url, stack.tokens.vendor) as client:
        wallet = accepted(client.open_wallet(owner_type="customer", owner_ref="honest", currency=CURRENCY))
        accepted(client.credit(wallet.wallet_id, amount=500, currency=CURRENCY))
    report = platform.run_json("audit", "--full")
    assert report["clean"]
    assert [cell["cell"] for cell in report["cells"]] == sorted(cell.id for cell in stack.cells)
    assert sum(cell["checked"].get("entries", 0) for cell in report["cells"]) > 0
    assert {total["total"] for total in report["totals"].values()} == {0}
    assert "clean" in platform.run("audit").stdout


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_forged_money_is_found_by_wallet_and_as_a_sum(
    platform: LocalPlatform, forged_wallet_id: str, options: list[str]
) -> None:
    report = platform.run_json("audit", *options, exit_code=1)
    subjects = {(finding["check"], finding["subject"]) for finding in report["findings"]}
    assert any(check.startswith("L") and forged_wallet_id in subject for check, subject in subjects)
    assert ("totals", CURRENCY) in subjects
    assert report["totals"][CURRENCY]["total"] == 1


def test_a_forged_wallet_is_not_verified(platform: LocalPlatform, forged_wallet_id: str) -> None:
    report = platform.run_json("wallets", "verify", forged_wallet_id, exit_code=1)
    (verdict,) = report["wallets"]
    assert verdict["field"] == "wallet.balance"
    assert int(verdict["found"]) == int(verdict["expected"]) + 1
