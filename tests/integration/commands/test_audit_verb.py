"""`cellwallet audit` against a fleet that a test makes up: silent cells, no control plane, two owners of one unit."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_router import Answer, ScriptedRouter, Seen, scripted_router
from typer.testing import CliRunner

from cellwallet.commands import audit
from contract.slots import SLOTS

Script = Callable[[Seen], Answer]


def _cell(name: str, *, first: int, last: int, **audit_fields: Any) -> Script:
    report = {
        "cell": name,
        "clean": True,
        "checked": {"wallets": 1, "entries": 2},
        "totals": {"EUR": {"wallets": 5, "wallet_count": 1, "accounts": {"clearing:shop": -5}}},
        "findings": [],
        "duration_s": 0.1,
        **audit_fields,
    }
    units = {"cell": name, "units": [{"first": first, "last": last, "state": "active", "epoch": 1}]}
    return lambda seen: Answer(status=200, document=report if seen.path == "/admin/audit" else units)


def _directory(seen: Seen) -> Answer:
    if seen.path == "/v1/cells":
        return Answer(
            status=200, document={"cells": [{"id": f"cell-{number}", "state": "active"} for number in (1, 2)]}
        )
    cells = {name: {"api": [], "state": "active"} for name in ("cell-1", "cell-2")}
    slots = [[SLOTS // 2, "cell-1"], [SLOTS // 2, "cell-2"]]
    document = {"version": 7, "issued_at": "2027-01-15T08:00:00Z", "cells": cells, "slots": slots}
    return Answer(status=200, document={**document, "signature": {"key_id": "cp-1", "value": "x"}})


@pytest.fixture
def control_plane() -> Iterator[ScriptedRouter]:
    with scripted_router(_directory) as running:
        yield running


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def _stack(folder: Path, admin_urls: dict[str, str], control_plane_url: str) -> Path:
    def cell(name: str, url: str) -> dict[str, Any]:
        pids = {"api": [1], "postgres": 1}
        return {"id": name, "home_zone": "a", "api": [], "admin_url": url, "database_url": "", "pids": pids}

    document = {
        "router_url": "http://127.0.0.1:1",
        "control_plane_url": control_plane_url,
        "console_url": control_plane_url,
        "router": {"pids": [1]},
        "control_plane": {"pids": [1]},
        "cells": [cell(name, url) for name, url in admin_urls.items()],
        "tokens": {"vendor": "v", "operator": "operators-token"},
        "data": str(folder),
        "supervisor_pid": 1,
    }
    (folder / "stack.json").write_text(json.dumps(document))
    return folder


def _audit(data: Path, *options: str, exit_code: int) -> dict[str, Any]:
    result = CliRunner().invoke(audit.app, ["--data", str(data), "--json", *options])
    assert result.exit_code == exit_code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["clean"] is (exit_code == 0)
    return report


@pytest.mark.parametrize(("options", "full"), [((), False), (("--full",), True)])
def test_every_cell_is_asked_as_an_operator(
    tmp_path: Path, control_plane: ScriptedRouter, options: tuple[str, ...], *, full: bool
) -> None:
    half = SLOTS // 2
    with (
        scripted_router(_cell("cell-1", first=0, last=half - 1)) as one,
        scripted_router(_cell("cell-2", first=half, last=SLOTS - 1)) as two,
    ):
        data = _stack(tmp_path, {"cell-1": one.url, "cell-2": two.url}, control_plane.url)
        report = _audit(data, *options, exit_code=0)
    assert [cell["cell"] for cell in report["cells"]] == ["cell-1", "cell-2"]
    assert report["directory_version"] == 7
    for seen in (*one.seen, *two.seen, *control_plane.seen):
        assert seen.headers["authorization"] == "Bearer operators-token"
    asked = [seen for seen in (*one.seen, *two.seen) if seen.path == "/admin/audit"]
    assert [(seen.method, seen.body) for seen in asked] == [("POST", {"full": full})] * 2


def test_a_silent_cell_is_a_finding_and_no_other(tmp_path: Path, control_plane: ScriptedRouter, nobody: str) -> None:
    with scripted_router(_cell("cell-1", first=0, last=SLOTS // 2 - 1)) as one:
        data = _stack(tmp_path, {"cell-1": one.url, "cell-2": nobody}, control_plane.url)
        report = _audit(data, exit_code=1)
    (finding,) = report["findings"]
    assert (finding["check"], finding["cell"]) == ("reachable", "cell-2")


def test_an_answer_outside_the_contract_is_told_as_such(tmp_path: Path, control_plane: ScriptedRouter) -> None:
    with scripted_router(lambda _: Answer(status=200, document={"cell": "cell-1"})) as one:
        report = _audit(_stack(tmp_path, {"cell-1": one.url}, control_plane.url), exit_code=1)
    assert "outside the contract" in report["findings"][0]["found"]


def test_without_the_control_plane_the_cells_are_judged_among_themselves(tmp_path: Path, nobody: str) -> None:
    with scripted_router(_cell("cell-1", first=0, last=SLOTS - 1)) as one:
        data = _stack(tmp_path, {"cell-1": one.url}, nobody)
        assert _audit(data, exit_code=0)["directory_version"] is None
        told = CliRunner().invoke(audit.app, ["--data", str(data)]).stdout
    assert "control plane does not answer" in " ".join(told.split())


def test_two_owners_of_one_unit_are_named(tmp_path: Path, control_plane: ScriptedRouter) -> None:
    half = SLOTS // 2
    with (
        scripted_router(_cell("cell-1", first=0, last=half)) as one,
        scripted_router(_cell("cell-2", first=half, last=SLOTS - 1)) as two,
    ):
        data = _stack(tmp_path, {"cell-1": one.url, "cell-2": two.url}, control_plane.url)
        report = _audit(data, exit_code=1)
    (finding,) = report["findings"]
    assert (finding["check"], finding["subject"]) == ("ownership", f"unit {half}")


def test_what_is_right_at_the_second_look_was_a_move_under_way(tmp_path: Path, control_plane: ScriptedRouter) -> None:
    half = SLOTS // 2
    looks = [_cell("cell-1", first=0, last=half), _cell("cell-1", first=0, last=half - 1)]

    def changing(seen: Seen) -> Answer:
        script = looks.pop(0) if seen.path == "/admin/units" and len(looks) > 1 else looks[0]
        return script(seen)

    with scripted_router(changing) as one, scripted_router(_cell("cell-2", first=half, last=SLOTS - 1)) as two:
        data = _stack(tmp_path, {"cell-1": one.url, "cell-2": two.url}, control_plane.url)
        _audit(data, exit_code=0)
    assert sum(seen.path == "/admin/units" for seen in one.seen) == 2


def test_a_cells_finding_and_a_sum_that_is_not_zero_end_with_1(tmp_path: Path, control_plane: ScriptedRouter) -> None:
    forged = {"EUR": {"wallets": 6, "wallet_count": 1, "accounts": {"clearing:shop": -5}}}
    finding = {"invariant": "L1", "wallet_id": "w-1", "seq": 3, "field": "balance", "expected": 5, "found": 6}
    half = SLOTS // 2
    with (
        scripted_router(_cell("cell-1", first=0, last=half - 1, clean=False, findings=[finding], totals=forged)) as one,
        scripted_router(_cell("cell-2", first=half, last=SLOTS - 1)) as two,
    ):
        data = _stack(tmp_path, {"cell-1": one.url, "cell-2": two.url}, control_plane.url)
        report = _audit(data, exit_code=1)
        told = CliRunner().invoke(audit.app, ["--data", str(data)]).stdout
    assert {one["check"] for one in report["findings"]} == {"L1", "totals"}
    assert "wallet w-1, entry 3, field balance" in told


def test_what_a_retired_cell_took_in_is_in_the_books_of_the_fleet(tmp_path: Path) -> None:
    """Its wallets left with their money: what the others got by moves is what it gave."""
    came = {"EUR": {"wallets": 12, "wallet_count": 2, "accounts": {"clearing:shop": -5, "migrated": -7}}}
    closing = {"EUR": {"clearing:shop": -7, "migrated": 7}}
    half = SLOTS // 2

    def control_plane(*, tells: bool) -> Script:
        def script(seen: Seen) -> Answer:
            if seen.path == "/v1/cells":
                return Answer(status=200, document={"cells": [{"id": "cell-3", "state": "retired"}]})
            if seen.path.startswith("/v1/changes"):
                after = {"state": "retired", **({"accounts": closing} if tells else {})}
                return Answer(status=200, document={"changes": [{"after": None}, {"after": after}]})
            return _directory(seen)

        return script

    with (
        scripted_router(_cell("cell-1", first=0, last=half - 1)) as one,
        scripted_router(_cell("cell-2", first=half, last=SLOTS - 1, totals=came)) as two,
    ):
        for tells in (True, False):
            with scripted_router(control_plane(tells=tells)) as told:
                data = _stack(tmp_path, {"cell-1": one.url, "cell-2": two.url}, told.url)
                report = _audit(data, exit_code=0 if tells else 1)
            if tells:
                assert report["totals"]["EUR"] == {"wallets": 17, "accounts": -17, "total": 0}
            else:
                assert [one["subject"] for one in report["findings"]] == ["EUR, account migrated over all cells"]
