"""Verbs of operators find their control plane: the one that the environment names, else the one of this machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import typer
from served_in_a_thread import served
from typer.testing import CliRunner

from cellwallet.__main__ import app
from cellwallet.commands.operators import TOKEN, URL, Operator

CELL = {"state": "retired", "units": 0, "is_filling": False}


class ControlPlane(BaseHTTPRequestHandler):
    """Tells who asked for what."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "as": self.headers["Authorization"], **CELL}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with served(ControlPlane) as found:
        yield f"{found}/"


def test_a_control_plane_elsewhere_is_asked_with_the_token_that_was_named(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, url)
    monkeypatch.setenv(TOKEN, "an-operator-s")
    told = Operator(tmp_path).get("/v1/rollouts")
    assert (told["path"], told["as"]) == ("/v1/rollouts", "Bearer an-operator-s")


@pytest.mark.parametrize("named", [URL, TOKEN])
def test_one_without_the_other_is_refused(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(named, "http://127.0.0.1:1")
    with pytest.raises(typer.Exit):
        Operator(tmp_path)
    assert "must be named together" in capsys.readouterr().err


def test_without_either_and_without_a_platform_both_ways_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        Operator(tmp_path)
    said = capsys.readouterr().err
    assert f"{URL} and {TOKEN}" in said
    assert "cellwallet up" in said


@pytest.fixture
def elsewhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, url)
    monkeypatch.setenv(TOKEN, "an-operator-s")


def test_a_cell_elsewhere_is_retired_without_a_word_to_what_runs_here(elsewhere: None, tmp_path: Path) -> None:
    """There is no platform in the folder, so a word to it would fail."""
    told = CliRunner().invoke(app, ["cells", "retire", "cell-2", "--data", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "up to whoever started them" in told.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cells", "add"], "a cell elsewhere is started there"),
        (["cells", "switch-over", "cell-2"], "databases elsewhere are switched over there"),
        (["cells", "retire", "cell-2", "--delete-data", "--yes"], "is for cells of this machine"),
    ],
)
def test_what_is_done_by_processes_of_this_machine_is_refused_for_another(
    elsewhere: None, tmp_path: Path, words: list[str], said: str
) -> None:
    told = CliRunner().invoke(app, [*words, "--data", str(tmp_path)])
    assert told.exit_code != 0
    assert said in " ".join(told.output.split())
