"""Changes of roles under load on a real platform, in small: figures, and every check of them."""

import json
from pathlib import Path

import pytest

from loadtests import bench
from loadtests.page import render
from loadtests.targets import GOALS

pytestmark = pytest.mark.timeout(900)  # a bound for a machine that is busy with other things


def test_a_small_run_kills_a_primary_and_changes_roles_and_nothing_is_lost(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    code = bench.main(["--quick", "--only", "F", "--wallets", "8", "--seconds", "0.3", "--out", str(out)])
    document = json.loads(out.read_text())
    figures = document["figures"]
    failed = [one for figure in figures.values() for one in figure["rounds"][0]["checks"] if not one["passed"]]
    assert (code, failed) == (0, [])
    assert {need for goal in GOALS["F"] for need in goal.needs} <= set(figures)
    assert set(document["targets"]) == {"F"}
    for name, changes in (("killed", 1), ("switched", 2)):
        (one,) = figures[f"failover.{name}"]["rounds"]
        assert one["counts"]["changes"] == changes
        assert one["counts"]["measured"] > 0
        assert 0 < one["value"] < figures[f"failover.{name}.protected"]["median"] + 1
    assert sorted(one.stem for one in (tmp_path / "bench").glob("*.png")) == ["F"]
    assert "| F | primary killed: longest time without acknowledged writes |" in render(document)
