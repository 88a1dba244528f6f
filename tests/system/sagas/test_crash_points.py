"""A process dies at each named point between two cells; afterwards the money is where it was sent, or back, once.

The vendor asks again with the same id until it is told the end; nobody else does anything. That these tests can fail is
shown by test_mutants.py.
"""

import pytest
from sagas.three_cells import ThreeCells

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

TRANSFER_POINTS = (
    "transfer.sent",
    "transfer.receiving",
    "transfer.received",
    "transfer.answered",
    "transfer.finished",
)
GROUP_POINTS = (
    "group.started",
    "leg.preparing",
    "leg.prepared",
    "group.answered",
    "group.decided",
    "leg.ending",
    "leg.ended",
    "group.told",
)


async def assert_all_is_well(cells: ThreeCells, *, total: int) -> None:
    assert not cells.is_armed, "nobody reached the point"
    assert await cells.settle(), "something stays open"
    assert await cells.findings() == []
    assert cells.total() == total


@pytest.mark.parametrize("point", TRANSFER_POINTS)
async def test_a_transfer_arrives_once(cells: ThreeCells, point: str) -> None:
    sender, receiver = await cells.wallet(0, balance=100), await cells.wallet(1)
    total = cells.total()
    cells.arm(point)

    answer = await cells.post(sender, "transfers", to_wallet_id=receiver, amount=30)

    assert (answer.status_code, answer.json()["state"]) == (201, "settled")
    assert (await cells.balance(sender), await cells.balance(receiver)) == (70, 30)
    await assert_all_is_well(cells, total=total)


@pytest.mark.parametrize("point", TRANSFER_POINTS)
async def test_a_refused_transfer_comes_back_once(cells: ThreeCells, point: str) -> None:
    sender, receiver = await cells.wallet(0, balance=100), await cells.wallet(1)
    await cells.patiently("PATCH", f"/v1/wallets/{receiver}", {"transaction_id": receiver, "status": "closed"})
    total = cells.total()
    cells.arm(point)

    answer = await cells.post(sender, "transfers", to_wallet_id=receiver, amount=30)

    assert (answer.status_code, answer.json()["reason"]) == (422, "target_wallet_must_accept")
    assert (await cells.balance(sender), await cells.balance(receiver)) == (100, 0)
    await assert_all_is_well(cells, total=total)


@pytest.mark.parametrize("point", GROUP_POINTS)
async def test_a_group_happens_as_a_whole(cells: ThreeCells, point: str) -> None:
    anchor, payer, payee = await cells.wallet(0, balance=50), await cells.wallet(1, balance=50), await cells.wallet(2)
    total = cells.total()
    cells.arm(point)

    legs = [
        {"wallet_id": anchor, "amount": -10},
        {"wallet_id": payer, "amount": -20},
        {"wallet_id": payee, "amount": 30},
    ]
    answer = await cells.post(anchor, "groups", legs=legs)

    assert await cells.settle()
    moved = [await cells.balance(wallet_id) for wallet_id in (anchor, payer, payee)]
    if answer.status_code == 201:
        assert (answer.json()["state"], moved) == ("confirmed", [40, 30, 30])
    else:  # a participant was gone for longer than a group may wait
        assert (answer.status_code, moved) == (422, [50, 50, 0])
    await assert_all_is_well(cells, total=total)


@pytest.mark.parametrize("point", GROUP_POINTS)
async def test_a_refused_group_does_not_happen_at_all(cells: ThreeCells, point: str) -> None:
    anchor, payer, payee = await cells.wallet(0, balance=50), await cells.wallet(1, balance=5), await cells.wallet(2)
    total = cells.total()
    cells.arm(point)

    legs = [
        {"wallet_id": anchor, "amount": -10},
        {"wallet_id": payer, "amount": -20},
        {"wallet_id": payee, "amount": 30},
    ]
    answer = await cells.post(anchor, "groups", legs=legs)

    assert answer.status_code == 422
    assert answer.json()["leg"]["wallet_id"] in {payer, payee}
    assert await cells.settle()
    assert [await cells.balance(wallet_id) for wallet_id in (anchor, payer, payee)] == [50, 5, 0]
    await assert_all_is_well(cells, total=total)
