"""`cellwallet loadtest` on real cells: the certificate that comes out, and that nothing half done is left.

What the figures are is not asserted: the machine is shared, so the objective is wide.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cellwallet.commands import headroom, loadtest
from cellwallet.local.haproxy import HaproxyMustBeInstalledError
from cellwallet.local.processes import PROC
from contract.certificate import PARTS, certificate_of
from loadtests.certification.site import SiteMustBeUsableError, must_be_ours
from loadtests.load import Target

ROOT = Path(__file__).parents[3]
WIDE = ("--p99-ms", "20000", "--late-share", "0.99", "--noise-max", "1000")
SMALL = ("--quick", "--seconds", "0.3", "--wallets", "40", *WIDE)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(loadtest.app, arguments)


def test_a_cell_of_its_own_is_certified_and_headroom_plans_with_it(tmp_path: Path) -> None:
    result = run("certify", *SMALL, "--cell", "cell-7", "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "README.md",
        "certificate.json",
        "histogram.png",
        "latency.png",
        "limits.png",
    ]
    certificate = certificate_of((tmp_path / "out" / "certificate.json").read_bytes())
    assert certificate.limit_per_s == document["limit_per_s"] > 0
    assert (certificate.subject.id, certificate.is_quick, certificate.is_noisy) == ("cell-7", True, False)
    assert (certificate.topology.api_processes, certificate.degraded_topology) == (
        2,
        certificate.topology.model_copy(update={"api_processes": 1}),
    )
    assert {one.topology for one in certificate.rounds} == {"normal", "degraded"}
    routers = {"router_python", "router_haproxy"} if shutil.which("haproxy") else {"router_python"}
    assert set(certificate.measured) == {"normal", "degraded", *routers}
    assert {one.part for one in certificate.unmeasured} == set(PARTS) - set(certificate.measured)
    assert (certificate.moves_loss, certificate.failover_s, certificate.assumed) == (None, None, ())
    assert {"conservation", "chains", "full audit", "applied once"} <= {check.name for check in certificate.checks}
    file = str(tmp_path / "out" / "certificate.json")
    planned = CliRunner().invoke(headroom.app, ["--tps", "10000", "--certificate", file, "--json"])
    plan = json.loads(planned.stdout)
    assert (plan["limit_per_s"], plan["limit_is_assumed"]) == (certificate.limit_per_s, False)


def test_an_interrupt_leaves_no_half_certificate_and_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cellwallet", "loadtest", "certify", "--quick", *WIDE, "--seconds", "30"]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as certifying:
        assert certifying.stderr is not None
        told = ""
        while "looking where to begin" not in told:
            line = certifying.stderr.readline()
            assert line, told
            told += line
        certifying.send_signal(signal.SIGINT)
        told += certifying.stderr.read()
        assert certifying.wait() == 1, told
    assert "interrupted: nothing was written" in told
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("cellwallet-certify-*"))
    assert not _processes_that_name(str(tmp_path))


def _processes_that_name(text: str) -> list[str]:
    found = []
    for entry in PROC.iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if text.encode() in environment:
            found.append(entry.name)
    return found


def test_a_busy_machine_is_refused_when_asked_to(tmp_path: Path) -> None:
    """Nothing is quieter than no core at all."""
    busy = ("--noise-max", "0")
    result = run("certify", "--quick", "--strict", *busy, "--wallets", "5", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "cores are busy" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("certify", "--out", "x", "--upload"), 2, "--stack"),
        (("certify", "--out", "x", "--rounds", "0"), 2, "--rounds"),
        (("certify", "--out", "x", "--seconds", "1e9"), 2, "--seconds"),
        (("certify", "--out", "x", "--p99-ms", "-1"), 2, "--p99-ms"),
        (("certify", "--out", "x", "--cell", "Cell 1"), 2, "no name of a cell"),
        (("certify",), 2, "--out"),
        (("steady", "--rate", "0"), 2, "--rate"),
        (("peak", "--shape", "200:5,,100:5"), 2, "stretch 2"),
    ],
)
def test_bad_input_is_told(arguments: tuple[str, ...], exit_code: int, told: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, told in result.stderr) == (exit_code, True), result.stderr


def test_without_a_platform_there_is_no_cell_to_measure(tmp_path: Path) -> None:
    result = run("certify", "--out", str(tmp_path / "out"), "--stack", str(tmp_path / "nothing"))
    assert result.exit_code == 1
    assert "no platform is up" in result.stderr


def stack_with(folder: Path, *, api: str, router: str = "http://127.0.0.1:1") -> Path:
    """As a platform leaves it behind, or as anyone may have written it."""
    one = {"zone": "zone-a", "url": api, "pid": os.getpid()}
    cell = {"id": "cell-1", "home_zone": "zone-a", "api": [one], "admin_url": "", "database_url": ""}
    document = {
        "router_url": router,
        "control_plane_url": "http://127.0.0.1:1",
        "console_url": "",
        "router": {"pids": [os.getpid()]},
        "control_plane": {},
        "cells": [cell | {"pids": {"api": [os.getpid()], "postgres": os.getpid()}}],
        "tokens": {"vendor": "v", "operator": "o"},
        "data": str(folder),
        "supervisor_pid": 1,
    }
    (folder / "stack.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("verb", [("steady", "--rate", "1"), ("peak", "--shape", "1:1"), ("certify", "--out", "x")])
def test_a_cell_elsewhere_is_never_loaded(tmp_path: Path, verb: tuple[str, ...]) -> None:
    result = run(*verb, "--stack", str(stack_with(tmp_path, api="http://10.0.0.1:80")))
    assert result.exit_code == 1
    assert "nothing else is ever loaded" in result.stderr


def test_what_listens_here_and_is_not_ours_is_never_loaded(tmp_path: Path) -> None:
    result = run("steady", "--rate", "1", "--stack", str(stack_with(tmp_path, api="http://127.0.0.1:5432")))
    assert result.exit_code == 1
    assert "127.0.0.1:5432 is not ours" in result.stderr


def test_only_a_process_that_was_started_for_the_port_is_ours() -> None:
    settings: dict[str, str | None] = {"CELL_ID": "cell-1", "CELL_PORT": None}
    environment = {**os.environ, "CELL_ID": "cell-1", "CELL_PORT": "4711"}
    waiting = [sys.executable, "-c", "print('here', flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(waiting, stdin=pipe, stdout=pipe, env=environment) as ours:
        try:
            assert ours.stdout is not None
            assert ours.stdout.readline() == b"here\n"
            must_be_ours(Target(port=4711), ours.pid, settings)
            for port, cell in ((4712, "cell-1"), (4711, "cell-2")):
                with pytest.raises(SiteMustBeUsableError, match="is not ours"):
                    must_be_ours(Target(port=port), ours.pid, settings | {"CELL_ID": cell})
        finally:
            ours.kill()
    with pytest.raises(SiteMustBeUsableError, match="the platform is not running"):
        must_be_ours(Target(port=4711), ours.pid, settings)


def test_a_missing_tool_is_told_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = run("certify", "--quick", "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "pip install 'cellwallet[plots]'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_plane_that_is_not_installed_is_told_in_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise HaproxyMustBeInstalledError("haproxy is not installed")

    monkeypatch.setattr("loadtests.certification.site.haproxy_program", missing)
    result = run("certify", *SMALL, "--api-processes", "1", "--no-pictures", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    certificate = certificate_of((tmp_path / "out" / "certificate.json").read_bytes())
    assert certificate.measured == ("normal", "router_python")
    why = {one.part: one.why for one in certificate.unmeasured}
    assert (why["router_haproxy"], why["degraded"]) == (
        "haproxy is not installed",
        "the cell has one API process only",
    )
    assert (certificate.degraded_loss, certificate.degraded_topology) == (None, None)
    assert "not measured: haproxy is not installed" in result.stdout
