"""What is asked of a restored cell again when some of it gets no answer."""

from typing import Any

import pytest
from typer.testing import CliRunner

from cellwallet.__main__ import app
from cellwallet.commands import cells

PAGE = {"asked": 2, "taken": 2, "unknown": 0, "refused": [], "after": None}
SILENCE = {**PAGE, "taken": 1, "unknown": 1}


def resend(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, what was told, and what was asked, of a fleet in which one other cell had sent something."""
    left, asked = list(answers), []

    class Fleet:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get(self, _: str) -> dict[str, Any]:
            return {"cells": [{"id": name, "state": "active"} for name in ("cell-1", "cell-2")]}

        def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            asked.append({"path": path, **body})
            return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(cells, "Operator", Fleet)
    monkeypatch.setattr(cells, "RESENDING_PAUSE_S", 0.001)
    result = CliRunner().invoke(app, ["cells", "resend", "cell-2", "--json"])
    return result.exit_code, f"{result.stdout}{result.stderr}", asked


def test_a_page_with_transfers_without_an_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {**PAGE, "after": ["wallet", "vendor", "transaction"]}
    code, told, asked = resend(monkeypatch, first, SILENCE, SILENCE, PAGE)
    assert (code, '"taken": 4' in told) == (0, True), told
    assert [one["after"] for one in asked] == [None, *[first["after"]] * 3]
    assert {one["from_cell"] for one in asked} == {"cell-1"}


def test_whoever_stays_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "RESENDING_PATIENCE_S", 0.05)
    code, told, asked = resend(monkeypatch, SILENCE)
    assert (code, len(asked) > 1) == (1, True)
    assert "1 transfers of cell-1 got no answer; the same command again goes on" in told
