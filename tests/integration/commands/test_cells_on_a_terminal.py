"""`cellwallet cells` on a terminal: a bar, what is on its way and why the rest waits; and being asked twice."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from scripted_router import Answer, Seen, scripted_router

REPOSITORY = Path(__file__).parents[3]
COLUMNS = 120
MOVE = {"from_cell": "cell-2", "to_cell": "cell-3", "units": 512, "units_moved": 12, "state": "copying", "reason": None}
WAITING = {
    "reason": "failed_move_must_rest",
    "subject": "cell-2",
    "detail": "14 units, the first: unit 6251: its last move was aborted, unit_must_converge; again 5 s after that",
}


def test_a_bar_shows_how_far_it_is_and_what_is_on_its_way(tmp_path: Path) -> None:
    told = drained(tmp_path, plans=[[], [WAITING]])
    assert "cell-2 is being drained" in told
    assert re.search(r"━ +1096/4096 \d:\d\d:\d\d 500 from cell-2 to cell-3: copying", told), told
    cut = re.search(r"━ +2596/4096 \d:\d\d:\d\d cell-2: 14 units, the first: unit 6251.*…", told)
    assert cut, f"a long reason is cut, the bar is not: {told}"
    assert "cell-2 is empty and has 0 units" in told


@pytest.mark.parametrize("answers", ["n\n", "y\ncell-3\n", "y\n\x04"], ids=["no", "another", "nothing"])
def test_data_is_deleted_only_by_who_means_it_twice(tmp_path: Path, answers: str) -> None:
    with scripted_router(lambda _: Answer(status=200, document={})) as control_plane:
        stack(tmp_path, control_plane.url)
        named = ("--data", str(tmp_path))
        told = typed("cells", "retire", "cell-2", "--delete-data", *named, answers=answers, exit_code=1)
        assert "delete its database" in told
        assert control_plane.seen == [], "nothing was ordered"


def drained(folder: Path, *, plans: list[list[dict[str, Any]]]) -> str:
    """What is seen: one look for each plan, then the end."""
    left = iter(chain((3_000, 1_500), repeat(0)))
    waiting = iter(chain(plans, repeat([])))

    def answer(seen: Seen) -> Answer:
        if seen.path.startswith("/v1/moves"):
            return Answer(status=200, document={"moves": [MOVE], "next_cursor": None})
        if seen.path == "/v1/plan":
            return Answer(status=200, document={"waiting": next(waiting)})
        units = 4_096 if seen.method == "POST" else next(left)
        state = "draining" if units else "empty"
        return Answer(status=200, document={"state": state, "units": units, "is_filling": False})

    with scripted_router(answer) as control_plane:
        stack(folder, control_plane.url)
        return typed("cells", "drain", "cell-2", "--data", str(folder))


def typed(*arguments: str, answers: str = "", exit_code: int = 0) -> str:
    """At a terminal of its own; what is seen there, without colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm"}
    command = [sys.executable, "-m", "cellwallet", *arguments]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        os.write(ours, answers.encode())
        seen = b"".join(output_of(ours))
        os.close(ours)
        assert process.wait() == exit_code, seen.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode().replace("\r", "\n"))


def output_of(terminal: int) -> Iterator[bytes]:
    """Until the other side is closed, which a terminal tells as an error."""
    try:
        while content := os.read(terminal, 65_536):
            yield content
    except OSError:
        return


def stack(folder: Path, control_plane_url: str) -> None:
    document = {
        "router_url": "http://127.0.0.1:1",
        "control_plane_url": control_plane_url,
        "console_url": control_plane_url,
        "router": {"pids": [1]},
        "control_plane": {"pids": [1]},
        "cells": [],
        "tokens": {"vendor": "v", "operator": "operators-token"},
        "data": str(folder),
        "supervisor_pid": 1,
    }
    (folder / "stack.json").write_text(json.dumps(document))
