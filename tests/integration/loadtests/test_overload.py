"""A cell is held to its capacity, whatever is offered: what it is certified for is served, the rest is told to wait.

Rates have wide bounds, because the machine is shared; what is answered, and that nothing else is, has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cellwallet.local.postgres import Cluster
from cellwallet.local.scratch import ScratchCluster
from loadtests.cell_under_test import CellUnderTest, cell_under_test
from loadtests.checks import check_postings
from loadtests.generator import generator
from loadtests.load import Load, Openings, Pace, Postings, Target
from loadtests.payloads import wallet_of

CAPACITY_PER_S = 200.0
OFFERED_PER_S = 600.0
SETTLE_S, MEASURED_S = 2.0, 3.0
"""The first second's worth may come at once; it is gone before anything is measured."""
OWNERS = [f"owner {number}" for number in range(100)]


@contextmanager
def held_cell(cluster: Cluster, folder: Path, *, processes: int) -> Iterator[tuple[CellUnderTest, tuple[Target, ...]]]:
    """With processes that share the capacity, apart from the one that opens the wallets."""
    with cell_under_test(cluster, folder, processes=1, lanes=2) as cell:
        held = [
            cell.start_api(f"held-{number}", processes=processes, capacity_per_s=CAPACITY_PER_S)
            for number in range(processes)
        ]
        yield cell, tuple(api.target for api in held)


@pytest.fixture
def cluster(postgres_cluster: ScratchCluster) -> Cluster:
    return postgres_cluster.cluster


@pytest.mark.parametrize("processes", [1, 2])
def test_three_times_the_capacity_is_served_at_capacity(cluster: Cluster, tmp_path: Path, processes: int) -> None:
    with held_cell(cluster, tmp_path, processes=processes) as (cell, targets), generator(1) as senders:
        openings = Openings(owners=OWNERS, token=cell.vendor_token("opener"), overdraft_limit=1_000_000)
        opened = senders.run(Load(targets=cell.targets[:1], asks=openings, pace=Pace(duration_s=60, concurrency=8)))
        assert opened.accepted == len(OWNERS)
        asks = Postings(
            wallets=[wallet_of(owner) for owner in OWNERS], token=cell.vendor_token("busy"), run=1, duplicates=0
        )
        pace = Pace(duration_s=SETTLE_S + MEASURED_S, warm_up_s=SETTLE_S, rate_per_s=OFFERED_PER_S)
        tally = senders.run(Load(targets=targets, asks=asks, pace=pace))
        assert set(tally.statuses) == {201, 429}, tally.samples
        assert tally.unanswered == 0
        assert tally.measured >= 0.5 * CAPACITY_PER_S * MEASURED_S
        assert tally.accepted <= CAPACITY_PER_S * (tally.elapsed_s + 1)
        assert tally.turned_away.count > 0
        checks = check_postings(cell.database_url, vendor="busy", tally=tally)
        assert all(check.has_passed for check in checks), checks


def test_a_request_that_is_turned_away_says_when_to_come_again_and_leaves_no_trace(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The same id is accepted afterwards, so nothing was recorded under it."""
    with held_cell(cluster, tmp_path, processes=1) as (cell, targets):
        api = cell.start_api("nearly-closed", capacity_per_s=0.05)
        headers = {"Authorization": f"Bearer {cell.vendor_token('busy')}"}
        owner = {"owner": {"type": "bench", "ref": "owner 1"}, "currency": "EUR"}
        posting = {"transaction_id": "00000000-0000-7000-8000-000000000001", "amount": 5, "currency": "EUR"}
        wallet = wallet_of("owner 1")
        nearly_closed, door = (f"http://127.0.0.1:{target.port}" for target in (api.target, targets[0]))
        with httpx.Client(headers=headers, trust_env=False) as client:
            assert client.post(f"{nearly_closed}/v1/wallets", json=owner).status_code == 201
            refused = client.post(f"{nearly_closed}/v1/wallets/{wallet}/credit", json=posting)
            assert (refused.status_code, refused.json()["reason"]) == (429, "cell_must_have_capacity")
            assert 1 <= int(refused.headers["Retry-After"]) <= 20
            assert refused.json()["retry"] == "same_id"
            nobody = client.post(
                f"{nearly_closed}/v1/wallets/{wallet}/credit", json=posting, headers={"Authorization": "Bearer x"}
            )
            assert nobody.status_code == 401
            assert client.get(f"{nearly_closed}/v1/wallets/{wallet}/balance").json()["balance"] == 0
            assert client.post(f"{door}/v1/wallets/{wallet}/credit", json=posting).status_code == 201
