"""What operators type: each verb about moves, isolated wallets, cells and the directory, as a table and as JSON, and
what is refused, which is one word at the command line and a problem document by HTTP, with nothing half done.
"""

import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_platform import LocalPlatform, local_platform
from moving.orders import arm

from cellwallet.local.folder import DataFolder
from cellwallet.local.postgres import Cluster

pytestmark = pytest.mark.timeout(580)

HOME, AWAY, THIRD = "cell-1", "cell-2", "cell-3"
DEADLINE_S = 60.0
NOWHERE = "cell-9"
NOBODYS_UNIT = 20_000
NO_WALLET = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f"


@pytest.fixture
def crash_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mover waits wherever this file says so."""
    file = tmp_path / "point"
    monkeypatch.setenv("CONTROL_PLANE_CRASH_FILE", str(file))
    return file


def test_what_operators_type(tmp_path: Path, crash_file: Path) -> None:
    with local_platform(tmp_path / "data", cells=3) as platform:
        units_move(platform)
        what_cannot_be_ordered(platform)
        a_move_that_is_under_way(platform, crash_file)
        a_move_past_its_grant(platform, crash_file)
        a_hot_wallet_moves_alone(platform)
        a_full_cell(platform)
        the_directory(platform)
        a_draining_cell(platform)


def units_move(platform: LocalPlatform) -> None:
    assert platform.run_json("moves", "list") == {"moves": []}
    assert "no move is under way" in platform.run("moves", "list").stdout
    assert "no moves" in platform.run("moves", "list", "--all").stdout
    table = platform.run("moves", "start", "--units", "0-99,200", "--to", AWAY).stdout
    assert columns(table) == ["move", "from", "to", "state", "units", "moved", "rows copied", "longest pause", "why"]
    assert re.search(rf"{HOME} .* {AWAY} .* done .* 101 .* 101 ", table), table
    named = str(uuid.uuid4())
    for _ in range(2):
        move = platform.run_json("moves", "start", "--units", "300", "--to", AWAY, "--move-id", named)
        assert (move["move_id"], move["state"], move["units"], move["units_moved"]) == (named, "done", 1, 1)
    assert platform.run_json("moves", "list")["moves"] == []
    listed = platform.run_json("moves", "list", "--all")["moves"]
    assert [one["units"] for one in listed] == [1, 101], "the newest first"
    assert len(platform.run_json("moves", "list", "--all", "--limit", "1")["moves"]) == 1
    assert platform.run_json("moves", "watch", named)["state"] == "done"
    assert f"{named} " in platform.run("moves", "watch", named).stdout


def what_cannot_be_ordered(platform: LocalPlatform) -> None:
    for what, to_cell, status, reason in (
        ({"units": [0]}, AWAY, 409, "target_cell_must_be_another"),
        ({"units": [1_000]}, NOWHERE, 404, "cell_must_exist"),
        ({"units": [NOBODYS_UNIT]}, AWAY, 404, "unit_must_have_an_owner"),
        ({"units": [1_000, 16_000]}, AWAY, 409, "units_must_be_in_one_cell"),
        ({"wallet_id": NO_WALLET}, AWAY, 404, "wallet_must_exist"),
    ):
        move_is_refused(platform, what, to_cell, status=status, reason=reason)
    unknown = str(uuid.uuid4())
    for verb in ("watch", "cancel"):
        assert "move_must_exist" in platform.run("moves", verb, unknown, exit_code=1).stderr
        assert "no id of a move" in platform.run("moves", verb, "nonsense", exit_code=2).stderr
    for arguments in (("--units", "7-3"), ("--units", "0-5000"), (), ("--units", "1", "--wallet", NO_WALLET)):
        platform.run("moves", "start", *arguments, "--to", AWAY, exit_code=2)
    for verb in ("isolate", "rejoin"):
        assert "is a UUID" in platform.run("wallets", verb, "alice", exit_code=2).stderr
    assert "wallet_must_exist" in platform.run("wallets", "isolate", NO_WALLET, exit_code=1).stderr
    for verb in ("activate", "drain", "retire"):
        order_is_refused(platform, verb, NOWHERE, status=404, reason="cell_must_exist")
    order_is_refused(platform, "retire", HOME, status=409, reason="cell_must_be_empty")
    assert len(platform.run_json("moves", "list", "--all")["moves"]) == 2, "nothing was ordered"


def a_move_that_is_under_way(platform: LocalPlatform, crash_file: Path) -> None:
    with held(crash_file, "move.announced"):
        started = platform.run_json("moves", "start", "--units", "400-409", "--to", AWAY, "--no-wait")
        wait_until(held_file(crash_file).exists, "the mover waits")
        move_is_refused(platform, {"units": [409]}, AWAY, status=409, reason="unit_must_not_be_in_another_move")
        refused = platform.run("directory", "rebuild", "--dry-run", exit_code=1)
        assert "moves_must_have_ended" in refused.stderr
        [listed] = platform.run_json("moves", "list")["moves"]
        assert (listed["move_id"], listed["units_moved"]) == (started["move_id"], 0)
        assert started["move_id"] in platform.run("moves", "list").stdout
        cancelled = platform.run_json("moves", "cancel", started["move_id"])
        assert (cancelled["stop"], cancelled["reason"]) == ("cancelled", "operator_must_not_have_cancelled")
        assert "cancelled" in platform.run("moves", "cancel", started["move_id"]).stdout, "again, it is the same"
    ended = platform.run_json("moves", "watch", started["move_id"], exit_code=1)
    assert (ended["state"], ended["units_moved"], ended["units_left"]) == ("cancelled", 0, 10)


def a_move_past_its_grant(platform: LocalPlatform, crash_file: Path) -> None:
    with held(crash_file, "move.granted"):
        started = platform.run_json("moves", "start", "--units", "410", "--to", AWAY, "--no-wait")
        wait_until(held_file(crash_file).exists, "the source has granted")
        path = f"/v1/moves/{started['move_id']}/cancel"
        assert (
            "move_must_be_before_its_grant" in platform.run("moves", "cancel", started["move_id"], exit_code=1).stderr
        )
        is_problem(post(platform, path), 409, "move_must_be_before_its_grant")
    ended = platform.run_json("moves", "watch", started["move_id"])
    assert (ended["state"], ended["stop"], ended["units_moved"]) == ("done", None, 1)
    assert "move_must_not_have_ended" in platform.run("moves", "cancel", started["move_id"], exit_code=1).stderr
    is_problem(post(platform, path), 409, "move_must_not_have_ended")


def a_hot_wallet_moves_alone(platform: LocalPlatform) -> None:
    wallet_id, cell = opened_wallet(platform)
    isolated = platform.run_json("wallets", "isolate", wallet_id)
    assert (isolated["state"], isolated["cell"], isolated["unit"] >= 65_536) == ("isolated", cell, True)
    table = platform.run("wallets", "isolate", wallet_id).stdout
    assert columns(table) == ["wallet", "state", "unit", "cell", "epoch"]
    assert str(isolated["unit"]) in table, "the same order again changes nothing"
    other = AWAY if cell == HOME else HOME
    move = platform.run_json("moves", "start", "--wallet", wallet_id, "--to", other)
    assert (move["state"], move["wallet_id"], move["units_with_wallets_moved"]) == ("done", wallet_id, 1)
    refused = platform.run("wallets", "rejoin", wallet_id, exit_code=1)
    assert "unit_must_be_in_the_cell_of_its_slot" in refused.stderr
    is_problem(post(platform, f"/v1/wallets/{wallet_id}/rejoin"), 409, "unit_must_be_in_the_cell_of_its_slot")
    shown = platform.run_json("directory", "show")
    assert shown["isolated"] == {wallet_id: isolated["unit"]}
    platform.run("moves", "start", "--wallet", wallet_id, "--to", cell)
    assert "rejoined" in platform.run("wallets", "rejoin", wallet_id).stdout
    again = platform.run_json("wallets", "rejoin", wallet_id)
    assert (again["state"], again["unit"] < 16_384) == ("rejoined", True)


def a_full_cell(platform: LocalPlatform) -> None:
    """One that carries more than it may: a command in the last minute, and next to no capacity."""
    _, cell = opened_wallet(platform)
    unit = 1_000 if cell != HOME else 0
    with operator(platform) as client:
        path = f"/v1/cells/{cell}/capacity"
        assert client.put(path, json={"capacity_per_s": 0.001}).status_code == 200
        move_is_refused(platform, {"units": [unit]}, cell, status=409, reason="target_cell_must_have_room")
        assert client.put(path, json={"capacity_per_s": None}).status_code == 200


def the_directory(platform: LocalPlatform) -> None:
    table = platform.run("directory", "show").stdout
    assert columns(table) == ["cell", "state", "slots", "stretches", "isolated wallets", "processes"]
    assert "0 units are on their way" in table
    before = platform.run_json("directory", "show")
    assert "16,384 units of cell-1, cell-2, cell-3 would be taken over" in " ".join(
        platform.run("directory", "rebuild", "--dry-run").stdout.split()
    )
    rebuilt = platform.run_json("directory", "rebuild")
    assert (rebuilt["changed"], rebuilt["units"]) == (0, 16_384)
    with claimed_twice(platform, 5_000, AWAY):
        refused = platform.run("directory", "rebuild", exit_code=1)
        assert "claims_must_agree" in refused.stderr
        assert f"{HOME} and {AWAY} both own it" in " ".join(refused.stderr.split())
        answer = post(platform, "/v1/directory/rebuild", {"dry_run": False})
        assert is_problem(answer, 409, "claims_must_agree")["disagreements"][0]["units"] == [5_000]
    after = platform.run_json("directory", "show")
    assert (after["slots"], after["version"] >= before["version"]) == (before["slots"], True)
    plan = platform.run("rebalance", "--dry-run")
    assert "does not move" in plan.stdout
    assert platform.run_json("rebalance", "--dry-run")["rebalance_id"] is None


def a_draining_cell(platform: LocalPlatform) -> None:
    """Last, for its units are on their way afterwards; the mover is stopped, so that it stays what it is."""
    mover = platform.stack.mover.pids[0]
    os.kill(mover, signal.SIGSTOP)
    try:
        drained = platform.run_json("cells", "drain", THIRD, "--no-wait")
        assert (drained["state"], drained["units"]) == ("draining", 5_462)
        move_is_refused(platform, {"units": [1_000]}, THIRD, status=409, reason="target_cell_must_be_active")
        order_is_refused(platform, "retire", THIRD, status=409, reason="cell_must_be_empty")
        assert "draining" in platform.run("cells", "list").stdout
        assert f"{THIRD} is active" in platform.run("cells", "activate", THIRD, "--no-wait").stdout
        shares = {cell["id"]: cell["share"] for cell in platform.run_json("cells", "list")["cells"]}
        assert sum(shares.values()) == pytest.approx(1)
    finally:
        os.kill(mover, signal.SIGCONT)


# What a refusal must be, both ways.


def move_is_refused(platform: LocalPlatform, what: dict[str, Any], to_cell: str, *, status: int, reason: str) -> None:
    before = moves_by_order(platform)
    named = ("--wallet", what["wallet_id"]) if "wallet_id" in what else ("--units", ",".join(map(str, what["units"])))
    assert reason in platform.run("moves", "start", *named, "--to", to_cell, exit_code=1).stderr
    is_problem(post(platform, "/v1/moves", {**what, "to_cell": to_cell}), status, reason)
    assert moves_by_order(platform) == before


def moves_by_order(platform: LocalPlatform) -> list[str]:
    """All that somebody ordered as such; for a cell that drains the control plane adds moves whenever it likes."""
    return [one["move_id"] for one in platform.run_json("moves", "list", "--all")["moves"] if one["purpose"] == "order"]


def order_is_refused(platform: LocalPlatform, verb: str, cell: str, *, status: int, reason: str) -> None:
    before = platform.run_json("cells", "list")
    assert reason in platform.run("cells", verb, cell, exit_code=1).stderr
    is_problem(post(platform, f"/v1/cells/{cell}/{verb}"), status, reason)
    states = [[(cell["id"], cell["state"]) for cell in told["cells"]] for told in (before, cells_of(platform))]
    assert states[0] == states[1]


def is_problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["status"], told["reason"]) == (status, status, reason)
    assert told["detail"]
    return told


def cells_of(platform: LocalPlatform) -> dict[str, Any]:
    return platform.run_json("cells", "list")


def post(platform: LocalPlatform, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    with operator(platform) as client:
        return client.post(path, json=body)


@contextmanager
def operator(platform: LocalPlatform) -> Iterator[httpx.Client]:
    stack = platform.stack
    headers = {"Authorization": f"Bearer {stack.tokens.operator}"}
    with httpx.Client(base_url=stack.control_plane_url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def opened_wallet(platform: LocalPlatform) -> tuple[str, str]:
    """A new one, and its cell."""
    stack = platform.stack
    headers = {"Authorization": f"Bearer {stack.tokens.vendor}"}
    body = {"owner": {"type": "person", "ref": str(uuid.uuid4())}, "currency": "EUR"}
    answer = httpx.post(f"{stack.router_url}/v1/wallets", json=body, headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 201, answer.text
    return answer.json()["wallet_id"], answer.headers["X-Cell"]


@contextmanager
def claimed_twice(platform: LocalPlatform, unit: int, cell: str) -> Iterator[None]:
    """As after a disaster: the cell's database says that the unit of another cell is its own."""
    cluster = Cluster(DataFolder(platform.data).postgres(cell))
    with cluster.superuser("cell") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO unit_state (unit, state, epoch) VALUES (%s, 'active', 1)", [unit])
        try:
            yield
        finally:
            connection.execute("DELETE FROM unit_state WHERE unit = %s", [unit])


@contextmanager
def held(crash_file: Path, point: str) -> Iterator[None]:
    arm(crash_file, f"{point} hold")
    try:
        yield
    finally:
        held_file(crash_file).unlink(missing_ok=True)


def held_file(crash_file: Path) -> Path:
    return crash_file.with_name(f"{crash_file.name}.held")


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    ends_at_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < ends_at_s, f"waited {DEADLINE_S:.0f} s until {what}"
        time.sleep(0.02)


def columns(table: str) -> list[str]:
    """The head of the first table."""
    head = next(line for line in table.splitlines() if line.startswith("┃"))
    return [name.strip() for name in head.strip("┃").split("┃")]
