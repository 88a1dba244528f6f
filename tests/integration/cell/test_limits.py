"""Limits where money is: a breach is a recorded refusal, days add up, and nothing is forgotten."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from cell_answers import done, reason_of
from cell_databases import CellDatabase
from cell_process import RunningCell, Vendor, posting, running_cell

from contract.configuration import Limit, Limits, VendorLimits, VendorPolicy

LIMIT = "amount_must_not_exceed_limit"


class LimitedCell:
    def __init__(self, database: CellDatabase, stack: ExitStack) -> None:
        self.cell: RunningCell = stack.enter_context(running_cell(database))
        self._stack = stack

    def vendor(self, name: str = "acme") -> Vendor:
        return Vendor(self._stack.enter_context(self.cell.client(vendor=name)), self.cell)

    def limit(
        self,
        *,
        vendors: dict[str, int] | None = None,
        wallets: dict[str, Limit] | None = None,
        vendor_wallets: dict[str, dict[str, Limit]] | None = None,
    ) -> None:
        """These and no others."""
        self.cell.configure(
            vendors={
                vendor: VendorPolicy(limits=VendorLimits(amount_max=amount))
                for vendor, amount in (vendors or {}).items()
            },
            limits=Limits(wallets=wallets or {}, vendor_wallets=vendor_wallets or {}),
        )


Start = Callable[[], LimitedCell]


@pytest.fixture
def start(database: CellDatabase) -> Iterator[Start]:
    """Another process of the same cell."""
    with ExitStack() as stack:
        yield lambda: LimitedCell(database, stack)


@pytest.fixture
def limited(start: Start) -> LimitedCell:
    return start()


async def test_a_breach_is_recorded_and_stays_a_refusal(limited: LimitedCell, database: CellDatabase) -> None:
    vendor = limited.vendor()
    wallet_id = vendor.open(balance=1_000)
    limited.limit(vendors={"acme": 100})
    body = posting(101)
    path = f"/v1/wallets/{wallet_id}/debit"
    refused = vendor.client.post(path, json=body)
    assert (refused.status_code, reason_of(refused)) == (422, LIMIT)
    assert refused.json()["retry"] == "new_id"
    entry = done(vendor.get(f"/v1/wallets/{wallet_id}/transactions/{body['transaction_id']}"), 200)
    assert (entry["kind"], entry["reason"], entry["delta"], entry["requested_amount"]) == ("refused", LIMIT, 0, 101)
    limited.limit()
    again = vendor.client.post(path, json=body)
    assert (reason_of(again), again.headers["idempotent-replayed"]) == (LIMIT, "true")
    assert vendor.debit(wallet_id, 101).status_code == 201
    await database.assert_clean()


def test_the_least_of_all_single_limits_counts(limited: LimitedCell) -> None:
    acme, shop = limited.vendor(), limited.vendor("shop")
    wallet_id, other = acme.open(balance=1_000), acme.open(balance=1_000)
    limited.limit(
        vendors={"acme": 100},
        wallets={wallet_id: Limit(amount_max=70)},
        vendor_wallets={wallet_id: {"acme": Limit(amount_max=50)}},
    )
    assert [acme.debit(wallet_id, 50).status_code, shop.debit(wallet_id, 70).status_code] == [201, 201]
    assert [reason_of(acme.debit(wallet_id, 51)), reason_of(shop.debit(wallet_id, 71))] == [LIMIT, LIMIT]
    assert [acme.debit(other, 100).status_code, shop.debit(other, 500).status_code] == [201, 201]
    assert reason_of(acme.debit(other, 101)) == LIMIT
    assert acme.credit(wallet_id, 10_000).status_code == 201


async def test_a_day_adds_up_over_all_vendors_and_for_one(limited: LimitedCell, database: CellDatabase) -> None:
    acme, shop = limited.vendor(), limited.vendor("shop")
    wallet_id = acme.open(balance=1_000)
    limited.limit(wallets={wallet_id: Limit(day_max=100)}, vendor_wallets={wallet_id: {"acme": Limit(day_max=60)}})
    assert acme.debit(wallet_id, 60).status_code == 201
    assert reason_of(acme.debit(wallet_id, 1)) == LIMIT
    assert shop.debit(wallet_id, 40).status_code == 201
    assert reason_of(shop.debit(wallet_id, 1)) == LIMIT
    await database.assert_clean()


def test_what_was_refused_or_replayed_counts_nothing(limited: LimitedCell) -> None:
    vendor = limited.vendor()
    wallet_id = vendor.open(balance=50)
    limited.limit(wallets={wallet_id: Limit(day_max=100)})
    assert reason_of(vendor.debit(wallet_id, 90)) == "available_balance_must_cover_amount"
    body = posting(40)
    for _ in range(3):
        assert vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=body).status_code == 201
    vendor.credit(wallet_id, 100)
    assert vendor.debit(wallet_id, 60).status_code == 201
    assert reason_of(vendor.debit(wallet_id, 1)) == LIMIT


def test_holds_and_transfers_count_as_they_are_promised(limited: LimitedCell) -> None:
    vendor = limited.vendor()
    wallet_id, other = vendor.open(balance=1_000), vendor.open()
    limited.limit(wallets={wallet_id: Limit(day_max=100)})
    hold = vendor.client.post(f"/v1/wallets/{wallet_id}/holds", json=posting(50))
    assert hold.status_code == 201
    assert vendor.transfer(wallet_id, other, 30).status_code == 201
    assert reason_of(vendor.transfer(wallet_id, other, 21)) == LIMIT
    held = hold.json()["hold_id"]
    capture: dict[str, Any] = {"transaction_id": posting(1)["transaction_id"]}
    assert vendor.client.post(f"/v1/wallets/{wallet_id}/holds/{held}/capture", json=capture).status_code == 201
    assert vendor.debit(wallet_id, 20).status_code == 201
    assert reason_of(vendor.debit(wallet_id, 1)) == LIMIT


def test_a_restart_forgets_no_sum(start: Start) -> None:
    first = start()
    wallet_id = first.vendor().open(balance=1_000)
    wallets = {wallet_id: Limit(day_max=100)}
    first.limit(wallets=wallets)
    assert first.vendor().debit(wallet_id, 100).status_code == 201
    second = start()
    second.limit(wallets=wallets)
    assert reason_of(second.vendor().debit(wallet_id, 1)) == LIMIT


def test_commands_at_once_do_not_pass_a_limit_together(limited: LimitedCell) -> None:
    """They meet in batches; the sum is under the wallet's lock."""
    vendor = limited.vendor()
    wallet_id = vendor.open(balance=1_000)
    limited.limit(wallets={wallet_id: Limit(day_max=100)})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: vendor.debit(wallet_id, 7), range(40)))
    assert [answer.status_code for answer in answers].count(201) == 14
    assert {reason_of(answer) for answer in answers if answer.status_code != 201} == {LIMIT}
