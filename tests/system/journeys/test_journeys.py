"""Vendors under load on a platform that loses a cell: nobody else notices, and everybody's money is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.whole_platform import REPOSITORY, whole_platform

pytestmark = pytest.mark.timeout(600)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtests.journeys", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_a_lost_cell_costs_only_its_own(tmp_path: Path) -> None:
    with whole_platform(tmp_path / "data") as platform:
        data = str(platform.folder.path)
        report = tmp_path / "journeys.html"
        # Bounds that only a broken platform misses: the machine may be busy with other things.
        bounds = ("--p99-ms", "20000", "--failed-share", "0.02")
        size = ("--users", "12", "--seconds", "20", "--workers", "2")

        answer = run("--stack", data, "--shape", "lose-a-cell", *size, *bounds, "--html", str(report), "--json")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        verdict = json.loads(answer.stdout)
        assert (verdict["passed"], verdict["lost_cell"]) == (True, platform.stack.cells[-1].id)
        assert verdict["requests"] > 100
        assert "<html" in report.read_text()[:2_000].lower()

        impossible = ("--p99-ms", "0.001", "--html", str(report), "--json")
        answer = run("--stack", data, "--users", "2", "--seconds", "3", *impossible)
        assert answer.returncode == 1
        assert not json.loads(answer.stdout)["passed"]


def test_without_a_platform_nothing_is_loaded(tmp_path: Path) -> None:
    answer = run("--stack", str(tmp_path))
    assert answer.returncode == 2
    assert "a platform must run" in answer.stderr
