"""The data folder: what lies where, who holds it, and which processes were started with it.

One platform at a time holds the folder, by a lock that the kernel drops when the holder dies. Started processes are
recorded so that a later start can end what somehow outlived a killed one.
"""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellwallet.local.processes import ProcessIdentity, end, identity_of, is_running

LEFTOVER_PATIENCE_S = 10.0


class FolderMustBeFreeError(Exception):
    """Another platform runs with this data folder."""


class DataFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.keys = self.path / "keys"
        self.logs = self.path / "logs"
        self.ports = self.path / "ports.json"
        self.members = self.path / "cells.json"
        self.control_socket = self.path / "control.sock"
        self.releases = self.path / "releases"
        self._lock = self.path / "lock"
        self._processes = self.path / "processes.json"

    def postgres(self, name: str) -> Path:
        return self.path / "postgres" / name

    def pair(self, cell: str) -> Path:
        """The record of a cell that has, or had, a standby."""
        return self.path / "pairs" / f"{cell}.json"

    def state(self, process: str) -> Path:
        return self.path / "state" / process

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it.

        Raises:
            FolderMustBeFreeError: somebody else does.

        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderMustBeFreeError(
                    f"a platform runs with data folder {self.path} already (pid {_pid_in(self._lock)}): "
                    f"see `cellwallet status`, or end it with `cellwallet down`"
                ) from error
            lock.truncate(0)
            lock.write(json.dumps(asdict(_ourselves())))
            lock.flush()
            yield

    def holder(self) -> ProcessIdentity | None:
        """The process that runs the platform of this folder, if there is one."""
        try:
            holder = ProcessIdentity(**json.loads(self._lock.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return holder if is_running(holder) else None

    def record_processes(self, pids: dict[str, int]) -> None:
        processes = {name: identity_of(pid) for name, pid in pids.items()}
        write_json(self._processes, {name: asdict(one) for name, one in processes.items() if one})

    def recorded_and_running(self) -> list[str]:
        return sorted(name for name, one in self._recorded().items() if is_running(one))

    def end_leftovers(self) -> list[str]:
        """End recorded processes that still run, PostgreSQL last and gently; their names."""
        leftovers = {name: one for name, one in self._recorded().items() if is_running(one)}
        databases = {name for name in leftovers if name.endswith("postgres")}
        services = (one for name, one in leftovers.items() if name not in databases)
        end(services, signal.SIGTERM, patience_s=LEFTOVER_PATIENCE_S)
        end((leftovers[name] for name in databases), signal.SIGINT, patience_s=LEFTOVER_PATIENCE_S)
        return sorted(leftovers)

    def _recorded(self) -> dict[str, ProcessIdentity]:
        try:
            return {name: ProcessIdentity(**one) for name, one in json.loads(self._processes.read_text()).items()}
        except FileNotFoundError:
            return {}


def write_json(path: Path, document: Any) -> None:
    """By rename: there is always a whole one."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(document, indent=2) + "\n")
    draft.rename(path)


def _ourselves() -> ProcessIdentity:
    identity = identity_of(os.getpid())
    if identity is None:
        raise RuntimeError("we run, and /proc does not know us")
    return identity


def _pid_in(lock: Path) -> str:
    try:
        return str(json.loads(lock.read_text())["pid"])
    except (ValueError, KeyError):
        return "unknown"
