"""How child processes are run: in our environment without what would quietly change them, with the code that we run."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import cellwallet

_REDIRECTING_PREFIXES = ("PG", "LC_")


def quiet_environment(additions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without libpq's variables and locales, with what a process is to be told.

    Settings of the services that nobody here decides (`CELL_LOG_LEVEL`) pass through.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_REDIRECTING_PREFIXES)}
    return {**kept, "LANG": "C.UTF-8", **(additions or {})}


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Run a module as a program; -P, because the working folder holds data and no code."""
    return (sys.executable, "-P", "-m", module, *arguments)


def our_code() -> dict[str, str]:
    """Children find the same code as we, installed or not, and what else we were told to find."""
    paths = [str(Path(cellwallet.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
