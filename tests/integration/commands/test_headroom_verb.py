"""`cellwallet headroom`: what it prints, what it draws, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from certificates import certificate_document
from click.testing import Result
from typer.testing import CliRunner

from cellwallet.commands import headroom

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(headroom.app, arguments)


def test_the_worked_example_is_told_and_its_limit_is_said_to_be_assumed() -> None:
    result = run("--tps", "8000", "--json")
    plan = json.loads(result.stdout)
    assert (result.exit_code, plan["cells"], plan["spare_cells"], plan["zones"]) == (0, 14, 1, 3)
    assert plan["limit_is_assumed"]
    assert "is assumed" in result.stderr
    assert {loss["what"] for loss in plan["losses"]} >= {"any one zone", "a whole cell", "a cell's primary database"}


def test_a_table_is_for_people() -> None:
    result = run("--tps", "8000", "--limit", "1000", "--drain", "60")
    assert result.exit_code == 0
    assert "15 at up to 533/s each" in result.stdout
    assert result.stderr == ""


def test_a_certificate_is_planned_with(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document()))
    plan = json.loads(run("--tps", "8000", "--certificate", str(file), "--json").stdout)
    assert (plan["limit_per_s"], plan["margins"]["degraded_loss"], plan["limit_is_assumed"]) == (500, 0.2, False)
    overridden = run("--tps", "8000", "--certificate", str(file), "--degraded-loss", "0.3", "--json")
    assert json.loads(overridden.stdout)["margins"]["degraded_loss"] == 0.3


def test_what_a_certificate_does_not_tell_is_assumed_and_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document(moves_loss=None, failover_s=20.0, assumed=[])))
    result = run("--tps", "8000", "--certificate", str(file), "--json")
    plan = json.loads(result.stdout)
    assert (plan["assumed"], plan["margins"]["moves_loss"], plan["margins"]["failover_s"]) == (["moves_loss"], 0.05, 20)
    assert "not measured by the certificate, so assumed: moves_loss = 0.05" in result.stderr
    given = run("--tps", "8000", "--certificate", str(file), "--moves-loss", "0.2", "--json")
    assert (json.loads(given.stdout)["assumed"], given.stderr) == ([], "")


def test_routers_are_planned_with_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document()))
    measured = json.loads(run("--tps", "8000", "--certificate", str(file), "--json").stdout)
    given = json.loads(run("--tps", "8000", "--certificate", str(file), "--router-limit", "300", "--json").stdout)
    assert measured["pods"]["router"] == given["pods"]["router"] > 0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"limit_per_s": -500.0}, "greater than 0"),
        ({"subject": {"kind": "router", "id": "router", "software_version": "0.1.0"}}, "certifies a router"),
        ({"form": 7}, "form"),
    ],
)
def test_a_certificate_that_is_none_of_a_cell_is_refused(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document(**changed)))
    result = run("--tps", "8000", "--certificate", str(file))
    assert (result.exit_code, told in result.stderr) == (1, True), result.stderr


def test_it_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "plan.png"
    result = run("--tps", "8000", "--zone-shares", "0.5,0.3,0.2", "--out", str(file))
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(PNG)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.png"]


def test_without_the_library_there_is_a_plan_and_a_word_on_how_to_get_it(tmp_path: Path) -> None:
    """In a process of its own, where an import of the library fails as if it were not installed."""
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from cellwallet.commands.headroom import app\n"
        f"app(['--tps', '8000', '--out', {str(tmp_path / 'plan.png')!r}])\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "pip install 'cellwallet[plots]'" in answer.stderr
    assert "cells" in answer.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tps", "-5"), "demand_per_s"),
        (("--tps", "nan"), "demand_per_s"),
        (("--tps", "8000", "--zones", "1"), "one zone cannot be lost"),
        (("--tps", "8000", "--zones", "2", "--zone-shares", "0.5,0.6"), "add up to 1"),
        (("--tps", "8000", "--zone-shares", "a,b"), "numbers with commas"),
        (("--tps", "8000", "--degraded-loss", "0.5", "--moves-loss", "0.5"), "below 1"),
        (("--tps", "8000", "--limit", "5", "--certificate", "x"), "not both"),
        (("--tps", "8000", "--utilisation", "0"), "utilisation"),
        (("--tps", "8000", "--limit", "1e-300"), "comes out"),
        (("--tps", "8000", "--limit", "-5"), "limit_per_s"),
        (("--tps", "8000", "--router-limit", "-5"), "process_per_s"),
        ((), "--tps"),
    ],
)
def test_nonsense_is_a_mistake_in_usage(arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)
    words = " ".join(result.stderr.replace("│", " ").split())
    assert (result.exit_code, told in words) == (2, True), words


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{}", "no capacity certificate"),
        (b"\xff", "no capacity certificate"),
        (json.dumps(certificate_document(limit_per_s=900.0)).encode(), "not to be relied on"),
        (
            json.dumps(
                certificate_document(subject={"kind": "router", "id": "router", "software_version": "1"})
            ).encode(),
            "certifies a router",
        ),
    ],
)
def test_what_is_no_certificate_of_a_cell_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "certificate.json"
    file.write_bytes(content)
    result = run("--tps", "8000", "--certificate", str(file))
    assert (result.exit_code, told in result.stderr) == (1, True), result.stderr
    assert run("--tps", "8000", "--certificate", str(tmp_path / "missing")).exit_code == 1
