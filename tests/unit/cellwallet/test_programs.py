"""What child processes inherit."""

import os
from pathlib import Path

import pytest

import cellwallet
from cellwallet.local.programs import our_code, quiet_environment


def test_what_would_redirect_postgres_or_its_clients_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATA", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.setenv(name, "elsewhere")
    assert not {"PGHOST", "PGPORT", "PGDATA", "LC_ALL", "LC_MESSAGES"} & quiet_environment().keys()


def test_what_a_process_is_told_comes_before_what_it_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_ID", "left-over")
    monkeypatch.setenv("CELL_LOG_LEVEL", "debug")
    environment = quiet_environment({"CELL_ID": "cell-1"})
    assert (environment["CELL_ID"], environment["CELL_LOG_LEVEL"]) == ("cell-1", "debug")


@pytest.mark.parametrize("told", ["/opt/libraries", ""])
def test_children_run_our_code_and_find_what_we_find(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("PYTHONPATH", told)
    root = str(Path(cellwallet.__file__).parent.parent)
    assert our_code()["PYTHONPATH"].split(os.pathsep) == ([root, told] if told else [root])
