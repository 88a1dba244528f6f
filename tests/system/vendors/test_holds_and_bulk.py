"""Holds and bulk requests against the real platform: three cells behind a router, with the expiry duty at work."""

import uuid
from collections.abc import Iterator

import pytest
from local_platform import LocalPlatform

from cellwallet.client import AsyncClient, CallerMustActError, Client, Posting, Refused, accepted, calls, holds

CURRENCY = "EUR"


@pytest.fixture
def client(platform: LocalPlatform) -> Iterator[Client]:
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        yield client


def opened(client: Client, *, balance: int = 0) -> str:
    wallet = accepted(client.open_wallet(owner_type="customer", owner_ref=str(uuid.uuid4()), currency=CURRENCY))
    if balance:
        accepted(client.credit(wallet.wallet_id, amount=balance, currency=CURRENCY))
    return wallet.wallet_id


def test_the_life_of_a_hold(client: Client) -> None:
    wallet_id = opened(client, balance=100)
    placed = accepted(client.place_hold(wallet_id, amount=60, currency=CURRENCY, expires_in_s=600))
    hold_id = str(placed.hold_id)
    assert (placed.held, placed.available, hold_id) == (60, 40, placed.transaction_id)
    part = accepted(client.capture(wallet_id, hold_id, amount=20, final=False))
    assert (part.balance, part.held, part.hold_id) == (80, 40, hold_id)
    extended = accepted(client.extend(wallet_id, hold_id, expires_in_s=900))
    assert extended.kind == "extend"
    assert accepted(client.hold(wallet_id, hold_id)).remaining == 40
    assert accepted(client.release(wallet_id, hold_id)).held == 0
    over = client.capture(wallet_id, hold_id)
    assert isinstance(over, Refused)
    assert over.reason == "hold_must_be_open"
    missing = client.hold(wallet_id, str(uuid.uuid4()))
    assert isinstance(missing, Refused)
    assert (missing.reason, missing.problem.status) == ("hold_must_exist", 404)
    page = accepted(client.holds_page(wallet_id, state="released"))
    assert [(one.hold_id, one.captured, one.state) for one in page.holds] == [(hold_id, 20, "released")]


def test_a_hold_gives_its_money_back_by_itself(client: Client) -> None:
    """No vendor does anything: the duty of the cell ends it, and its entry is in the log."""
    wallet_id = opened(client, balance=100)
    hold = accepted(client.place_hold(wallet_id, amount=60, currency=CURRENCY, expires_in_s=1))
    client_of_waiting = (accepted(client.balance(wallet_id)) for _ in range(100_000))
    assert next(balance for balance in client_of_waiting if balance.held == 0).available == 100
    [entry, *_] = client.entries(wallet_id)
    assert (entry.kind, entry.vendor_id, entry.hold_id, entry.held_delta) == ("expire", "@cell", hold.hold_id, -60)


def test_bulk_over_all_cells(client: Client) -> None:
    wallet_ids = [opened(client, balance=100) for _ in range(12)]
    hold = accepted(client.place_hold(wallet_ids[0], amount=5, currency=CURRENCY))
    asked = [calls.debit(wallet_id, amount=number, currency=CURRENCY) for number, wallet_id in enumerate(wallet_ids, 1)]
    asked += [
        holds.capture(wallet_ids[0], str(hold.hold_id)),
        calls.transfer(wallet_ids[0], to_wallet_id=wallet_ids[0], amount=1, currency=CURRENCY),
        calls.debit("no wallet", amount=1, currency=CURRENCY),
    ]
    *debits, captured, to_itself, malformed = client.bulk(asked)
    postings = [one for one in debits if isinstance(one, Posting)]
    assert [one.balance for one in postings] == [100 - number for number in range(1, 13)]
    assert isinstance(captured, Posting)
    assert captured.balance == 94
    assert isinstance(to_itself, Refused)
    assert to_itself.reason == "wallets_must_be_different"
    assert isinstance(malformed, CallerMustActError)
    again = [one for one in client.bulk(asked[:13]) if isinstance(one, Posting)]
    assert [one.replayed for one in again] == [True] * 13
    cells = {accepted(client.balance(wallet_id)).cell for wallet_id in wallet_ids}
    assert len(cells) > 1, "one cell would not show that the parts are put together"


async def test_the_asyncio_client_too(platform: LocalPlatform) -> None:
    async with AsyncClient(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        wallet = accepted(
            await client.open_wallet(owner_type="customer", owner_ref=str(uuid.uuid4()), currency=CURRENCY)
        )
        asked = [calls.credit(wallet.wallet_id, amount=1, currency=CURRENCY) for _ in range(1_000)]
        outcomes = await client.bulk(asked)
        assert [one.seq for one in outcomes if isinstance(one, Posting)] == list(range(2, 1_002))
        held = accepted(await client.place_hold(wallet.wallet_id, amount=1_000, currency=CURRENCY))
        assert accepted(await client.capture(wallet.wallet_id, str(held.hold_id))).balance == 0
