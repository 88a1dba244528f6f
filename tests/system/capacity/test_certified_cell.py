"""A cell of a running platform is certified, told so, and holds itself to it; what was in force stays when it fails."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_platform import LocalPlatform, local_platform
from typer.testing import CliRunner

from cellwallet.commands import loadtest

WIDE = ("--p99-ms", "20000", "--late-share", "0.99", "--noise-max", "1000", "--no-pictures")
SMALL = ("--quick", "--seconds", "0.3", "--wallets", "20", *WIDE)
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    with local_platform(tmp_path_factory.mktemp("capacity") / "data", cells=1, api_processes=2) as running:
        yield running


def asked(platform: LocalPlatform, method: str, path: str, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {platform.stack.tokens.operator}"}
    answer = httpx.request(method, platform.stack.control_plane_url + path, headers=headers, **body)
    answer.raise_for_status()
    return answer.json()


def test_a_cell_is_certified_and_held_to_it(platform: LocalPlatform, tmp_path: Path) -> None:
    asked(platform, "PUT", "/v1/cells/cell-1/capacity", json={"capacity_per_s": 1.0})
    out = tmp_path / "out"
    arguments = ["certify", *SMALL, "--stack", str(platform.data), "--cell", "cell-1", "--out", str(out), "--upload"]
    result = CliRunner().invoke(loadtest.app, arguments)
    assert result.exit_code == 0, result.output
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["limit_per_s"] > 1, "the capacity in force was lifted while it was measured"
    assert certificate["degraded_topology"]["api_processes"] == 1
    assert [one["data_plane"] for one in certificate["routers"]] == ["python"]
    why = {one["part"]: one["why"] for one in certificate["unmeasured"]}
    assert (set(why), why["router_haproxy"]) == (
        {"router_haproxy", "moves", "failover"},
        "the platform's router is python",
    )
    shown = asked(platform, "GET", "/v1/cells")["cells"][0]
    assert shown["capacity_per_s"] == certificate["limit_per_s"]
    assert asked(platform, "GET", "/v1/cells/cell-1/capacity")["certificate"] == certificate


def test_what_was_in_force_is_put_back_when_nothing_is_certified(platform: LocalPlatform, tmp_path: Path) -> None:
    asked(platform, "PUT", "/v1/cells/cell-1/capacity", json={"capacity_per_s": 7.0})
    impossible = ("--quick", "--seconds", "0.2", "--wallets", "5", "--p99-ms", "0.1", "--no-pictures")
    arguments = ["certify", *impossible, "--stack", str(platform.data), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(loadtest.app, arguments)
    assert result.exit_code == 1
    assert "no rate held" in result.stderr
    assert not (tmp_path / "out").exists()
    assert asked(platform, "GET", "/v1/cells/cell-1/capacity")["capacity_per_s"] == 7.0


def test_a_steady_load_tells_what_was_turned_away(platform: LocalPlatform) -> None:
    asked(platform, "PUT", "/v1/cells/cell-1/capacity", json={"capacity_per_s": None})
    shape = ["peak", "--shape", "20:0.5,40:0.5", "--wallets", "10", "--stack", str(platform.data), "--json"]
    result = CliRunner().invoke(loadtest.app, shape)
    assert result.exit_code == 0, result.output
    stretches = json.loads(result.stdout)["stretches"]
    assert [one["offered_per_s"] for one in stretches] == [20, 40]
    assert all(one["errors"] == 0 for one in stretches)


def test_status_shows_limit_rate_and_headroom(platform: LocalPlatform) -> None:
    asked(platform, "PUT", "/v1/cells/cell-1/capacity", json={"capacity_per_s": None})
    (free,) = platform.run_json("status")["cells"]
    assert (free["limit"], free["headroom_per_s"]) == ({"per_s": None, "is_certified": False}, None)
    load = ["loadtest", "steady", "--rate", "40", "--seconds", "60", "--wallets", "10", "--stack", str(platform.data)]
    with subprocess.Popen([sys.executable, "-m", "cellwallet", *load], stderr=subprocess.DEVNULL) as loading:
        try:
            ends_at_s = time.monotonic() + PATIENCE_S
            while not (busy := platform.run_json("status")["cells"][0])["taken_per_s"]:
                assert time.monotonic() < ends_at_s, "the load never showed"
        finally:
            loading.send_signal(signal.SIGINT)
            loading.wait(PATIENCE_S)
    assert 0 < busy["taken_per_s"] < 400
    asked(platform, "PUT", "/v1/cells/cell-1/capacity", json={"capacity_per_s": 500.0})
    (held,) = platform.run_json("status")["cells"]
    assert held["limit"] == {"per_s": 500.0, "is_certified": False}
    assert held["headroom_per_s"] == 500.0 - held["taken_per_s"]
    assert "500 by hand" in platform.run("status").stdout


def test_a_cell_that_is_not_there_is_told(platform: LocalPlatform, tmp_path: Path) -> None:
    arguments = ["certify", *SMALL, "--stack", str(platform.data), "--cell", "cell-9", "--out", str(tmp_path)]
    result = CliRunner().invoke(loadtest.app, arguments)
    assert result.exit_code == 1
    assert "cell-9 is none of cell-1" in result.stderr
