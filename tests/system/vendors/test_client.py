"""The Python client against the real platform: every call, blocking and asyncio."""

import uuid
from datetime import timedelta

import pytest
from local_platform import LocalPlatform

from cellwallet.client import (
    AsyncClient,
    CallerMustActError,
    Client,
    ConflictError,
    Posting,
    Refused,
    RefusedLeg,
    Wallet,
    accepted,
)

CURRENCY = "EUR"


@pytest.fixture
def ref() -> str:
    """An owner of this test alone, with all that a path must escape."""
    return f"Žofie {uuid.uuid4()} %2F?"


def test_a_journey_of_all_calls(platform: LocalPlatform, ref: str) -> None:
    stack = platform.stack
    with Client(stack.router_url, stack.tokens.vendor) as client:
        wallet = accepted(client.open_wallet(owner_type="customer", owner_ref=ref, currency=CURRENCY))
        assert not wallet.replayed
        assert accepted(client.open_wallet(owner_type="customer", owner_ref=ref, currency=CURRENCY)).replayed
        credit = accepted(client.credit(wallet.wallet_id, amount=1_000, currency=CURRENCY, metadata={"a": {"b": True}}))
        debit = accepted(client.debit(wallet.wallet_id, amount=300, currency=CURRENCY, description="coffee"))
        assert (credit.balance, debit.balance, debit.delta, debit.seq) == (1_000, 700, -300, 3)
        refused = client.debit(wallet.wallet_id, amount=701, currency=CURRENCY)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.available) == ("available_balance_must_cover_amount", 700)
        back = accepted(client.reverse(wallet.wallet_id, original_transaction_id=debit.transaction_id))
        assert (back.kind, back.balance, back.original_transaction_id) == ("reversal", 1_000, debit.transaction_id)
        suspended = accepted(client.change(wallet.wallet_id, status="suspended", metadata={"why": "test"}))
        assert (suspended.status, suspended.metadata) == ("suspended", {"why": "test"})
        then = accepted(client.balance(wallet.wallet_id, at=debit.posted_at - timedelta(microseconds=1)))
        assert then.balance in {0, 1_000}
        assert accepted(client.transaction(wallet.wallet_id, debit.transaction_id)).description == "coffee"
        decided = accepted(client.transaction(wallet.wallet_id, str(refused.transaction_id)))
        assert (decided.kind, decided.reason) == ("refused", "available_balance_must_cover_amount")
        assert [entry.seq for entry in client.entries(wallet.wallet_id, page_entries=2)] == [6, 5, 4, 3, 2, 1]
        owned = accepted(client.wallets_of(owner_type="customer", owner_ref=ref))
        assert [one.wallet_id for one in owned.wallets] == [wallet.wallet_id]
        assert client.wallet(wallet.wallet_id) == accepted(client.wallet(wallet.wallet_id))


def test_the_same_id_is_decided_once(platform: LocalPlatform, ref: str) -> None:
    stack = platform.stack
    one_id = str(uuid.uuid4())
    with Client(stack.router_url, stack.tokens.vendor) as client:
        wallet = accepted(client.open_wallet(owner_type="customer", owner_ref=ref, currency=CURRENCY))
        first = accepted(client.credit(wallet.wallet_id, amount=5, currency=CURRENCY, transaction_id=one_id))
        second = accepted(client.credit(wallet.wallet_id, amount=5, currency=CURRENCY, transaction_id=one_id))
        assert (first.replayed, second.replayed, second.entry_hash) == (False, True, first.entry_hash)
        with pytest.raises(ConflictError, match="transaction_exists_with_different_amount"):
            client.credit(wallet.wallet_id, amount=6, currency=CURRENCY, transaction_id=one_id)
        assert accepted(client.balance(wallet.wallet_id)).balance == 5


def test_a_wrong_token_is_the_callers(platform: LocalPlatform) -> None:
    with Client(platform.stack.router_url, "nonsense") as client, pytest.raises(CallerMustActError) as failure:
        client.wallet("0190a0b0-0000-7000-8000-000000000001")
    assert failure.value.problem is not None
    assert failure.value.problem.status == 401


async def test_the_same_in_asyncio(platform: LocalPlatform, ref: str) -> None:
    stack = platform.stack
    async with AsyncClient(stack.router_url, stack.tokens.vendor) as client:
        wallet = await client.open_wallet(owner_type="customer", owner_ref=ref, currency=CURRENCY)
        assert isinstance(wallet, Wallet)
        outcomes = [
            await client.credit(wallet.wallet_id, amount=100, currency=CURRENCY),
            await client.debit(wallet.wallet_id, amount=30, currency=CURRENCY),
            await client.debit(wallet.wallet_id, amount=71, currency=CURRENCY),
        ]
        assert [type(outcome) for outcome in outcomes] == [Posting, Posting, Refused]
        assert [entry.kind async for entry in client.entries(wallet.wallet_id)] == [
            "refused",
            "debit",
            "credit",
            "opened",
        ]


async def test_money_between_cells_and_groups(platform: LocalPlatform) -> None:
    """Wallets enough that not all of them are in one cell."""
    stack = platform.stack
    async with AsyncClient(stack.router_url, stack.tokens.vendor) as client:
        wallets = [
            accepted(await client.open_wallet(owner_type="customer", owner_ref=str(uuid.uuid4()), currency=CURRENCY))
            for _ in range(12)
        ]
        one = wallets[0]
        other = next(wallet for wallet in wallets if wallet.cell != one.cell)
        accepted(await client.credit(one.wallet_id, amount=100, currency=CURRENCY))

        way = {"to_wallet_id": other.wallet_id, "amount": 40, "currency": CURRENCY}
        sent = accepted(await client.transfer(one.wallet_id, **way, wait=True))
        assert (sent.state, sent.balance, sent.to_wallet_id) == ("settled", 60, other.wallet_id)
        assert accepted(await client.transfer_status(one.wallet_id, sent.transaction_id)).state == "settled"

        closed = accepted(await client.change(wallets[-1].wallet_id, status="closed"))
        way = {"to_wallet_id": closed.wallet_id, "amount": 10, "currency": CURRENCY}
        back = await client.transfer(one.wallet_id, **way, wait=True)
        assert isinstance(back, Refused)
        assert back.reason == "target_wallet_must_accept"

        legs = {one.wallet_id: -10, other.wallet_id: 10}
        paid = accepted(await client.group(one.wallet_id, legs=legs, currency=CURRENCY, wait=True))
        assert paid.state == "confirmed"
        told = accepted(await client.group_status(one.wallet_id, paid.transaction_id))
        assert {leg.wallet_id: leg.amount for leg in told.legs} == legs
        refused = await client.group(
            one.wallet_id, legs={one.wallet_id: 1_000, other.wallet_id: -1_000}, currency=CURRENCY, wait=True
        )
        assert isinstance(refused, Refused)
        assert refused.leg == RefusedLeg(wallet_id=other.wallet_id, reason="available_balance_must_cover_amount")
        assert accepted(await client.balance(one.wallet_id)).balance == 50
