"""Where and with what a run was made: the machine, the versions, the revision, PostgreSQL's settings."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[1]
POSTGRES_SETTINGS = (
    *("synchronous_commit", "fsync", "full_page_writes", "shared_buffers", "max_connections", "wal_level"),
    *("max_wal_size", "checkpoint_timeout", "wal_compression", "io_method", "autovacuum", "data_checksums"),
)


def memory_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2


def describe_machine() -> dict[str, Any]:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory_mb(),
        "kernel": platform.release(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def describe_versions(database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return {
        "python": platform.python_version(),
        "python_build": _python_build(),
        "postgresql": str(row[0]).split()[0] if row else None,
        "packages": {name: importlib.metadata.version(name) for name in _runtime_packages()},
    }


def describe_postgres(database_url: str) -> dict[str, str]:
    """The settings that decide what a commit costs, as they are in force."""
    statement = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(statement, [list(POSTGRES_SETTINGS)]).fetchall())


def describe_revision() -> dict[str, Any]:
    """Of the sources that were measured; None where they are no git work tree."""
    revision = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "cell", "contract")
    return {"revision": revision, "has_local_changes": bool(changed)}


def _python_build() -> str:
    """The speed of one version depends on it: within a shared library an interpreter calls itself the long way."""
    is_shared = "/libpython" in Path("/proc/self/maps").read_text()
    return f"{'in a shared library' if is_shared else 'linked statically'}, {platform.python_compiler()}"


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 - our own words
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607 - the git of whoever runs it
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _runtime_packages() -> list[str]:
    """What the project depends on and is installed; none where the project itself is not."""
    if not _is_installed("cellwallet"):
        return []
    found = []
    for text in importlib.metadata.requires("cellwallet") or ():
        name = re.split(r"[^A-Za-z0-9_-]", text, maxsplit=1)[0]
        if "extra ==" not in text and _is_installed(name):
            found.append(name)
    return sorted(found)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
