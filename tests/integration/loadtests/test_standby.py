"""A cell on a primary whose commits wait for a standby: what it acknowledged survives the primary's death there."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellwallet.local.databases import CELL_DATABASE
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.standby import Standby, standing_by
from loadtests import bench
from loadtests.cell_under_test import cell_under_test
from loadtests.checks import check_audit, check_chains, check_conservation, check_postings
from loadtests.generator import Generator, generator
from loadtests.load import Load, Openings, Pace, Postings
from loadtests.payloads import wallet_of

OWNERS = [f"owner {number}" for number in range(50)]
SMALL = ("--quick", "--only", "P7", "--wallets", "50", "--seconds", "0.3")


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "primary", settings=THROWAWAY)
    cluster.start()
    yield cluster
    cluster.stop(signal.SIGQUIT)


@pytest.fixture
def standby(primary: Cluster, tmp_path: Path) -> Iterator[Standby]:
    with standing_by(primary, tmp_path / "standby") as standby:
        yield standby


@pytest.fixture(scope="module")
def senders() -> Iterator[Generator]:
    with generator(1) as made:
        yield made


def test_a_cell_works_and_its_killed_primary_takes_nothing_with_it(
    primary: Cluster, standby: Standby, senders: Generator, tmp_path: Path
) -> None:
    with cell_under_test(primary, tmp_path / "cell", processes=1, lanes=2) as cell:
        openings = Openings(owners=OWNERS, token=cell.vendor_token("opener"), overdraft_limit=1_000_000)
        opened = senders.run(Load(targets=cell.targets, asks=openings, pace=Pace(duration_s=60, concurrency=8)))
        assert opened.accepted == len(OWNERS)
        asks = Postings(wallets=[wallet_of(owner) for owner in OWNERS], token=cell.vendor_token("calm"), run=1)
        calm = senders.run(Load(targets=cell.targets, asks=asks, pace=Pace(duration_s=0.5, concurrency=16)))
        assert calm.accepted > 0
        assert calm.unexpected == calm.unanswered == 0
        assert check_audit(cell.audit(is_full=True), is_full=True).has_passed
        asks = Postings(wallets=[wallet_of(owner) for owner in OWNERS], token=cell.vendor_token("cut"), run=2)
        assert primary.pid is not None
        killing = threading.Timer(0.7, os.kill, (primary.pid, signal.SIGKILL))
        killing.start()
        pace = Pace(duration_s=1.5, concurrency=16, drain_s=5)
        cut = senders.run(Load(targets=cell.targets, asks=asks, pace=pace))
        killing.join()
        assert cut.accepted > 0
        assert cut.unexpected > 0
    survived = standby.url(database=CELL_DATABASE)
    for vendor, tally in (("calm", calm), ("cut", cut)):
        checks = check_postings(survived, vendor=vendor, tally=tally)
        assert all(check.has_passed for check in checks), checks
    assert check_conservation(survived).has_passed
    assert check_chains(survived).has_passed


def test_its_figures_are_measured_in_turn_and_checked_on_the_standby(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert bench.main([*SMALL, "--out", str(out)]) == 0, out.read_text()
    document = json.loads(out.read_text())
    assert set(document["targets"]) == {"P7"}
    assert len(document["targets"]["P7"]["parts"]) == 3
    (one,) = document["figures"]["standby.uniform.peak"]["rounds"]
    checks = {check["name"] for check in one["checks"]}
    assert {"the standby is synchronous", "acknowledged is in the ledger, on the standby", "applied once"} <= checks
    audits = {check["name"] for check in document["checks"]}
    assert {"full audit", "full audit of the cell with a standby"} <= audits


def test_mutant_figures_of_a_standby_that_nobody_waits_for_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standby, "demand", lambda _: None)
    out = tmp_path / "bench.json"
    assert bench.main([*SMALL, "--out", str(out)]) == 1
    document = json.loads(out.read_text())
    assert not document["figures"]["standby.uniform.peak"]["valid"]
    assert document["figures"]["standby.uniform.without"]["valid"]
    assert not document["targets"]["P7"]["reached"]
