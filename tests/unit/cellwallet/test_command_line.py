"""The table of verbs: each is there, says what it does, and costs nothing to the others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellwallet.__main__ import app
from cellwallet.commands import VERBS

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert verb in result.stdout


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["frobnicate"]).exit_code == 2


def test_the_version_is_told_without_the_libraries_of_other_verbs() -> None:
    program = (
        "import sys; from cellwallet.__main__ import app\n"
        "try: app(['version', '--json'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'psycopg', 'httpx', 'jwt', 'fastapi', 'sqlalchemy'} & sys.modules.keys()), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert json.loads(answer.stdout).keys() == {"version"}
    assert answer.stderr.strip() == "[]"


def test_a_router_that_is_not_here_is_refused_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    result = CliRunner().invoke(app, ["up", "--router", "haproxy", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "apt-get install haproxy" in result.stderr
    assert "--router python" in result.stderr
