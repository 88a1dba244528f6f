"""Two minutes of everything at once over three cells, while API processes are killed at random.

Afterwards: what was acknowledged is in the ledger exactly once and nothing else is, every answer is given again as it
was, no cent is missing, nothing between the cells or held is stuck, and the full audit finds nothing.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from faults.site import kill_now
from sagas.random_vendors import RandomVendor, Said
from sagas.three_cells import CELLS, ThreeCells, three_cells

from cellwallet.local.postgres import Cluster

RUN_S = float(os.environ.get("RANDOM_RUN_S", "120"))
VENDORS = 8
WALLETS_PER_CELL = 5
OPENING_CREDIT = 5_000

pytestmark = pytest.mark.timeout(RUN_S + 480)

RECORDED = """
SELECT wallet_id::text, transaction_id::text, delta, reason FROM transactions WHERE vendor_id = 'vendor'
"""
OVERDUE = """
SELECT count(*) FROM holds WHERE state = 'open' AND expires_at < clock_timestamp() - interval '5 seconds'
"""


async def test_everything_at_once(saga_cluster: Cluster, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"scenario seed {seed}")  # noqa: T201 - shown with a failure
    async with three_cells(saga_cluster, tmp_path, name="random", api_processes=2) as cells:
        wallet_ids = [
            await cells.wallet(number % CELLS, balance=OPENING_CREDIT) for number in range(CELLS * WALLETS_PER_CELL)
        ]
        vendors = [
            RandomVendor(cells.fleet.entrances[0], cells.fleet.token, wallet_ids=wallet_ids, seed=seed + number)
            for number in range(VENDORS)
        ]
        kills = await played(cells, vendors, random.Random(seed))
        assert kills > RUN_S / 20
        assert await cells.settle(), "something between the cells stays open"
        said = [one for vendor in vendors for one in vendor.said]
        await vendors[0].ask_each_again(said[:: max(1, len(said) // 2_000)])
        assert [told for vendor in vendors for told in vendor.contradictions] == []
        assert_ledger_is_what_was_said(cells, wallet_ids, said)
        assert await cells.findings() == []
        for vendor in vendors:
            await vendor.close()
    statuses = Counter(one.status for one in said)
    kinds = Counter(one.answer.get("kind", "group") for one in said if one.status == 201)
    print(f"{len(said)} decided {dict(statuses)} {dict(kinds)}, {kills} processes killed")  # noqa: T201
    assert {"debit", "credit", "capture", "reversal", "hold", "release", "transfer_out", "group"} <= kinds.keys()
    assert sum(vendor.bulks for vendor in vendors) > 0


async def played(cells: ThreeCells, vendors: list[RandomVendor], dice: random.Random) -> int:
    """The run; how many processes were killed in it."""
    stop = asyncio.Event()
    working = [asyncio.create_task(vendor.work(stop)) for vendor in vendors]
    ends_s = asyncio.get_running_loop().time() + RUN_S
    kills = 0
    while asyncio.get_running_loop().time() < ends_s:
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        part = f"{dice.choice(cells.fleet.cells)}-api-{dice.randint(1, 2)}"
        kills += kill_now(cells.fleet, part) > 0
    stop.set()
    await asyncio.gather(*working)
    return kills


def assert_ledger_is_what_was_said(cells: ThreeCells, wallet_ids: list[str], said: list[Said]) -> None:
    recorded: Counter[tuple[str, str]] = Counter()
    delta = 0
    for url in cells.fleet.databases.values():
        with psycopg.connect(url) as connection:
            for wallet_id, transaction_id, moved, _ in connection.execute(RECORDED):
                recorded[wallet_id, transaction_id] += 1
                delta += moved
            ((overdue,),) = connection.execute(OVERDUE).fetchall()
            assert overdue == 0, "holds are open long after their time"
    acknowledged = {one.key for one in said}
    assert acknowledged <= recorded.keys(), "acknowledged and lost"
    assert set(recorded.values()) == {1}
    openings = {key for key in recorded if key not in acknowledged}
    assert len(openings) == len(wallet_ids), "recorded and never asked"
    moved = sum(one.answer["delta"] for one in said if one.status == 201 and one.answer.get("kind") in OF_ONE_WALLET)
    distinct = {one.key: one for one in said if one.status == 201 and one.answer.get("kind") in OF_ONE_WALLET}
    assert moved == sum(one.answer["delta"] for one in distinct.values()), "a vendor kept an answer twice"
    assert cells.total() == OPENING_CREDIT * len(wallet_ids) + moved


OF_ONE_WALLET = frozenset({"debit", "credit", "capture", "reversal"})
"""What changes the sum of all wallets; transfers and groups do not."""
