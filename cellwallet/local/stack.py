"""`DATA/stack.json`: where everything of a running platform is, for people, tests and the other verbs.

Written by rename, so that a reader sees all of an old one or all of a new one; its fields are part of the contract.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class StackMustExistError(Exception):
    """No platform is ready with this data folder."""


class _Part(BaseModel):
    # A newer version may have written more than this one knows.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Pids(_Part):
    pids: tuple[int, ...] = ()


class RouterEntry(Pids):
    admin_url: str | None = None


class ApiEntry(_Part):
    zone: str
    url: str
    pid: int


class CellPids(_Part):
    api: tuple[int, ...]
    postgres: int


class CellEntry(_Part):
    id: str
    home_zone: str
    api: tuple[ApiEntry, ...]
    admin_url: str
    """Of the first API process."""
    database_url: str
    """As role cell_app, which the cell's own processes use."""
    pids: CellPids


class Tokens(_Part):
    vendor: str
    """Every vendor scope."""
    operator: str
    """fleet:read and fleet:manage."""


class ControlPlaneEntry(Pids):
    database_url: str | None = None
    postgres: int | None = None
    """Pid of its PostgreSQL."""


class Stack(_Part):
    router_url: str
    control_plane_url: str
    console_url: str
    router: RouterEntry
    control_plane: ControlPlaneEntry
    mover: Pids = Pids()
    cells: tuple[CellEntry, ...]
    tokens: Tokens
    data: str
    supervisor_pid: int


def stack_path(data: Path) -> Path:
    return data / "stack.json"


def read_stack(data: Path) -> Stack:
    """The platform that runs with this data; after a kill -9 of it, the one that ran last.

    Raises:
        StackMustExistError: there is none.

    """
    try:
        text = stack_path(data).read_text()
    except FileNotFoundError as error:
        raise StackMustExistError(
            f"no platform is up with data folder {data}: start one with `cellwallet up --data {data}`"
        ) from error
    return Stack.model_validate_json(text)


def write_stack(data: Path, stack: Stack) -> None:
    """Replace it at once; only its owner may read it, for it holds tokens."""
    draft = data / "stack.json.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(stack.model_dump_json(indent=2) + "\n")
    draft.rename(stack_path(data))
