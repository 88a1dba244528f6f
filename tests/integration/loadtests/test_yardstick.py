"""TigerBeetle's benchmark as a peer: a program on the PATH that speaks as it does is run, judged, and believed no more
than its exit code and its numbers allow. Where there is none, that is said.
"""

import json
import os
from pathlib import Path

import pytest

from loadtests import bench
from loadtests.benchmarks.bulks import TRANSFERS_PER_S, why_absent
from loadtests.tigerbeetle import run_benchmark, tigerbeetle_program

SPEAKER = """#!/bin/sh
[ "$1" = benchmark ] || exit 64
touch 0_0.tigerbeetle.benchmark
echo "error: io_uring is not available" >&2
cat <<END
13 batches in {elapsed_s:.2f} s
transfer batch size = 8189 txs
transfer batch delay = 0 us
load accepted = {per_s} tx/s
batch latency p1   = 0 ms
batch latency p50  = 22 ms
batch latency p99  = 32 ms
batch latency p100 = 42 ms
END
exit {exit_code}
"""
SMALL = ("--quick", "--only", "P3", "--wallets", "20", "--seconds", "0.2")


def speaker(folder: Path, *, transfers: int, per_s: int = 200_000, exit_code: int = 0) -> Path:
    program = folder / "tigerbeetle"
    program.write_text(SPEAKER.format(elapsed_s=transfers / per_s, per_s=per_s, exit_code=exit_code))
    program.chmod(0o755)
    return program


def test_it_runs_in_a_folder_of_its_own_and_its_figures_are_taken(tmp_path: Path) -> None:
    ran = run_benchmark(speaker(tmp_path, transfers=1_000_000), transfers=1_000_000)
    assert (ran.per_s, ran.batch_ms["p99"]) == (200_000, 32)
    assert all(check.has_passed for check in ran.checks)
    assert [one.name for one in tmp_path.iterdir()] == ["tigerbeetle"]


def test_one_that_fails_has_no_valid_figure_and_says_why(tmp_path: Path) -> None:
    ran = run_benchmark(speaker(tmp_path, transfers=1_000_000, exit_code=1), transfers=1_000_000)
    (failed,) = [check for check in ran.checks if not check.has_passed]
    assert "exit code 1: error: io_uring is not available" in failed.detail


def test_one_that_says_nothing_has_no_figure(tmp_path: Path) -> None:
    program = tmp_path / "tigerbeetle"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    ran = run_benchmark(program, transfers=1_000)
    assert ran.per_s == 0
    assert [check.has_passed for check in ran.checks] == [True, False]


def test_with_it_bulk_is_judged_against_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker(tmp_path, transfers=round(TRANSFERS_PER_S * 0.2))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "bench.json"
    assert bench.main([*SMALL, "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert [part["name"] for part in document["targets"]["P3"]["parts"]] == ["bulk operations", "over TigerBeetle"]
    assert document["figures"]["tigerbeetle.peak"]["median"] == 200_000
    assert document["absent"] == []


def test_without_it_bulk_is_judged_alone_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.tigerbeetle.PROGRAM", "a-ledger-that-nobody-has")
    assert tigerbeetle_program() is None
    (line,) = why_absent()
    assert "P3 is judged without it" in line
    out = tmp_path / "bench.json"
    assert bench.main([*SMALL, "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert [part["name"] for part in document["targets"]["P3"]["parts"]] == ["bulk operations"]
    assert document["absent"] == [line]
