"""The stack file: its fixed shape, and that it is replaced as a whole."""

import json
from pathlib import Path

import pytest

from cellwallet.local.stack import (
    ApiEntry,
    CellEntry,
    CellPids,
    ControlPlaneEntry,
    RouterEntry,
    Stack,
    StackMustExistError,
    Tokens,
    read_stack,
    write_stack,
)

STACK = Stack(
    router_url="http://127.0.0.1:8080",
    control_plane_url="http://127.0.0.1:20001",
    console_url="http://127.0.0.1:20001/console/",
    router=RouterEntry(pids=(1,), admin_url="http://127.0.0.1:20002"),
    control_plane=ControlPlaneEntry(pids=(2,)),
    cells=(
        CellEntry(
            id="cell-1",
            home_zone="a",
            api=(ApiEntry(zone="a", url="http://127.0.0.1:20003", pid=3),),
            admin_url="http://127.0.0.1:20004",
            database_url="postgresql://cell_app@/cell",
            pids=CellPids(api=(3,), postgres=4),
        ),
    ),
    tokens=Tokens(vendor="v", operator="o"),
    data="/data",
    supervisor_pid=5,
)


def test_its_shape_is_the_contracts(tmp_path: Path) -> None:
    write_stack(tmp_path, STACK)
    document = json.loads((tmp_path / "stack.json").read_text())
    assert document["router"]["pids"] == [1]
    assert document["control_plane"]["pids"] == [2]
    assert document["mover"]["pids"] == []
    assert document["cells"] == [
        {
            "id": "cell-1",
            "home_zone": "a",
            "api": [{"zone": "a", "url": "http://127.0.0.1:20003", "pid": 3}],
            "admin_url": "http://127.0.0.1:20004",
            "database_url": "postgresql://cell_app@/cell",
            "pids": {"api": [3], "postgres": 4},
        }
    ]
    assert document["tokens"] == {"vendor": "v", "operator": "o"}
    assert {"router_url", "control_plane_url", "console_url"} <= document.keys()


def test_it_is_read_as_it_was_written_and_by_its_owner_only(tmp_path: Path) -> None:
    write_stack(tmp_path, STACK)
    write_stack(tmp_path, STACK)
    assert read_stack(tmp_path) == STACK
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_what_a_newer_version_adds_is_passed_over(tmp_path: Path) -> None:
    document = STACK.model_dump(mode="json") | {"added": 1}
    (tmp_path / "stack.json").write_text(json.dumps(document))
    assert read_stack(tmp_path) == STACK


def test_without_a_platform_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StackMustExistError, match="cellwallet up"):
        read_stack(tmp_path)
