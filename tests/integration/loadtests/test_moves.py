"""Moves under load on a real platform, in small; and that every check over the cells can fail."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cellwallet.local.processes import PROC
from cellwallet.local.scratch import ScratchCluster
from loadtests import bench
from loadtests.cell_under_test import CellUnderTest, cell_under_test
from loadtests.figures import Check
from loadtests.fleet_checks import check_fleet_conservation, check_fleet_postings
from loadtests.generator import Generator, generator
from loadtests.load import Load, Openings, Pace, Postings, Tally
from loadtests.page import render
from loadtests.payloads import wallet_of
from loadtests.platform_under_test import PlatformUnderTest
from loadtests.targets import GOALS

pytestmark = pytest.mark.timeout(900)  # a bound for a machine that is busy with other things

SMALL = ("--quick", "--only", "P8", "--wallets", "8", "--seconds", "0.3", "--history", "300")
VENDOR = "busy"
Posted = tuple[CellUnderTest, Tally]


def test_a_small_run_moves_units_under_load_and_nobody_sees_an_error(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    code = bench.main([*SMALL, "--out", str(out)])
    document = json.loads(out.read_text())
    figures = document["figures"]
    failed = [one for figure in figures.values() for one in figure["rounds"][0]["checks"] if not one["passed"]]
    assert (code, failed) == (0, [])
    assert {need for goal in GOALS["P8"] for need in goal.needs} <= set(figures)
    assert set(document["targets"]) == {"P8"}
    assert figures["moves.errors"]["median"] == 0
    for subject in ("slot", "hot", "long"):
        (wait,) = figures[f"moves.{subject}.wait"]["rounds"]
        assert wait["counts"]["moves"] == 2
        assert wait["counts"]["measured"] > 0
        assert 0 < figures[f"moves.{subject}.pause"]["latency_ms"]["p50"] <= figures[f"moves.{subject}.pause"]["median"]
        cutover = document["cutovers"][subject]
        assert cutover["pause_ms"] > 0
        assert len(cutover["at_ms"]) == len(cutover["latency_ms"]) > 0
        assert cutover["errors_at_ms"] == []
    assert figures["moves.copied"]["rounds"][0]["counts"]["rows"] >= 300
    assert figures["moves.neighbours.still"]["median"] > 0
    assert figures["moves.neighbours.moving"]["median"] > 0
    assert sorted(one.stem for one in (tmp_path / "bench").glob("*.png")) == ["P8", "P8-cutovers"]
    page = render(document)
    assert "P8-cutovers.png" in page
    assert "| P8 | errors at the vendor | 0 errors | ≤ 0 | ≤ 0 | 1.00 | yes, and what comes then |" in page


def test_an_interrupt_between_moves_writes_nothing_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pids: list[int] = []

    def interrupted(self: PlatformUnderTest, unit: int, *, to_cell: str) -> None:
        stack = self._stack
        pids.extend((stack.supervisor_pid, *stack.router.pids, *stack.mover.pids, *stack.cells[0].pids.api))
        pids.extend(cell.pids.postgres for cell in stack.cells)
        assert all(is_running(pid) for pid in pids), unit
        raise KeyboardInterrupt(to_cell)

    monkeypatch.setattr(PlatformUnderTest, "moved", interrupted)
    assert bench.main([*SMALL, "--out", str(tmp_path / "bench.json")]) == 2
    assert "interrupted: nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert len(pids) >= 6
    assert not [pid for pid in pids if is_running(pid)]


def is_running(pid: int) -> bool:
    """Of a process that nobody has waited for yet, only its name is left."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def posted(postgres_cluster: ScratchCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Posted]:
    """A cell, and what a vendor's sender saw of its postings there."""
    folder = tmp_path_factory.mktemp("cell")
    with cell_under_test(postgres_cluster.cluster, folder, processes=1, lanes=1) as cell, generator(1) as sender:
        owners = [f"owner {number}" for number in range(10)]
        opening = Openings(owners=owners, token=cell.vendor_token("opener"), overdraft_limit=10**9)
        assert sent(sender, cell, opening).accepted == len(owners)
        wallets = [wallet_of(owner) for owner in owners]
        yield cell, sent(sender, cell, Postings(wallets=wallets, token=cell.vendor_token(VENDOR)))


def sent(sender: Generator, cell: CellUnderTest, asks: Openings | Postings) -> Tally:
    pace = Pace(duration_s=60, concurrency=4, count_max=200)
    return sender.run(Load(targets=cell.targets, asks=asks, pace=pace))


DAMAGES = (
    (
        "conservation in each cell and over both",
        "UPDATE wallets SET balance = balance + 1 WHERE unit = (SELECT min(unit) FROM wallets)",
        "UPDATE wallets SET balance = balance - 1 WHERE unit = (SELECT min(unit) FROM wallets)",
    ),
    (
        "conservation in each cell and over both",
        (
            "INSERT INTO account_deltas (account, currency, delta, cause)"
            " VALUES ('migrated', 'EUR', 1, 'damage'), ('world', 'EUR', -1, 'damage')"
        ),
        "DELETE FROM account_deltas WHERE cause = 'damage'",
    ),
    (
        "acknowledged is in the ledger",
        "UPDATE unit_state SET state = 'moved' WHERE unit = (SELECT min(unit) FROM wallets)",
        "UPDATE unit_state SET state = 'active' WHERE unit = (SELECT min(unit) FROM wallets)",
    ),
    (
        "applied once",
        "UPDATE entries SET vendor_id = 'nobody' WHERE vendor_id = 'busy' AND seq = 2",
        "UPDATE entries SET vendor_id = 'busy' WHERE vendor_id = 'nobody'",
    ),
    (
        "sums are as answered",
        "UPDATE transactions SET delta = delta + 1 WHERE vendor_id = 'busy' AND seq = 2",
        "UPDATE transactions SET delta = delta - 1 WHERE vendor_id = 'busy' AND seq = 2",
    ),
)
"""A check, what somebody with all rights does, and how it is undone."""


@pytest.mark.parametrize(("check", "damage", "repair"), DAMAGES)
def test_each_check_over_cells_sees_its_damage(posted: Posted, check: str, damage: str, repair: str) -> None:
    cell, tally = posted
    assert failed(cell, tally) == set()
    change(cell, damage)
    try:
        assert check in failed(cell, tally)
    finally:
        change(cell, repair)
    assert failed(cell, tally) == set()


def failed(cell: CellUnderTest, tally: Tally) -> set[str]:
    urls = (cell.database_url,)
    found: tuple[Check, ...] = (
        check_fleet_conservation(urls),
        *check_fleet_postings(urls, vendor=VENDOR, tally=tally),
    )
    return {one.name for one in found if not one.has_passed}


def change(cell: CellUnderTest, statement: str) -> None:
    with psycopg.connect(cell.database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # triggers stand aside
        connection.execute(statement.encode())
