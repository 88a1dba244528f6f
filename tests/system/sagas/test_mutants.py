"""Proof that the tests of the crash points can fail: with one protection gone, the money of the same story is wrong."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from faults.mutants import SAGA_MUTANTS
from sagas.three_cells import ThreeCells, three_cells

from cellwallet.local.postgres import Cluster

pytestmark = pytest.mark.timeout(300)

WITHOUT_KEY = "ALTER TABLE transactions DROP CONSTRAINT transactions_pkey"


async def transfer_whose_answer_is_lost(cells: ThreeCells) -> list[str]:
    """The receiver has it and dies, again and again, until the sender has stopped waiting."""
    sender, receiver = await cells.wallet(0, balance=100), await cells.wallet(1)
    cells.arm("transfer.received", until_disarmed=True)
    await cells.once(sender, "transfers", to_wallet_id=receiver, amount=30, deadline_ms=5_000)
    assert await cells.has_stored(receiver, at_least=30)
    cells.disarm()
    return await said_of(cells, (sender, 70), (receiver, 30))


async def transfer_whose_vendor_never_asks_again(cells: ThreeCells) -> list[str]:
    """The sender dies whenever it has taken the money, until the router has stopped asking for the vendor."""
    sender, receiver = await cells.wallet(0, balance=100), await cells.wallet(1)
    cells.arm("transfer.sent", until_disarmed=True)
    await cells.once(sender, "transfers", to_wallet_id=receiver, amount=30)
    assert cells.total() == 70
    cells.disarm()
    return await said_of(cells, (sender, 70), (receiver, 30))


async def refused_group_whose_participant_was_slow(cells: ThreeCells) -> list[str]:
    anchor, payer, payee = await cells.wallet(0, balance=50), await cells.wallet(1, balance=5), await cells.wallet(2)
    cells.arm("group.answered")
    legs = [
        {"wallet_id": anchor, "amount": -10},
        {"wallet_id": payer, "amount": -20},
        {"wallet_id": payee, "amount": 30},
    ]
    await cells.once(anchor, "groups", legs=legs)
    return await said_of(cells, (anchor, 50), (payer, 5), (payee, 0))


async def said_of(cells: ThreeCells, *expected: tuple[str, int]) -> list[str]:
    assert not cells.is_armed
    found = [] if await cells.settle(deadline_s=25.0) else ["something stays open"]
    for wallet_id, balance in expected:
        if (has := await cells.balance(wallet_id)) != balance:
            found.append(f"{wallet_id} has {has} instead of {balance}")
    return [*found, *await cells.findings()]


Story = Callable[[ThreeCells], Awaitable[list[str]]]
MUTATIONS: dict[str, tuple[Story, str]] = {
    "refund_on_any_no": (transfer_whose_answer_is_lost, ""),
    "forget_receipts": (transfer_whose_answer_is_lost, WITHOUT_KEY),
    "leave_transfers_to_their_requests": (transfer_whose_vendor_never_asks_again, ""),
    "decide_legs_alone": (refused_group_whose_participant_was_slow, ""),
}


def test_every_mutant_is_tried() -> None:
    assert MUTATIONS.keys() == SAGA_MUTANTS.keys()


@pytest.mark.parametrize("mutant", MUTATIONS)
async def test_a_mutant_is_found(mutant: str, saga_cluster: Cluster, tmp_path: Path) -> None:
    story, sabotage = MUTATIONS[mutant]
    async with three_cells(saga_cluster, tmp_path, name=mutant, mutant=mutant, sabotage=sabotage) as cells:
        assert await story(cells) != []


@pytest.mark.parametrize("story", dict.fromkeys(story for story, _ in MUTATIONS.values()))
async def test_the_stories_end_well_without_a_mutant(story: Story, saga_cluster: Cluster, tmp_path: Path) -> None:
    async with three_cells(saga_cluster, tmp_path, name=story.__name__) as cells:
        assert await story(cells) == []
