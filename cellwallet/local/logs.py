"""Keeps the processes' logs bounded: a log that grew too long is copied aside and emptied, under its writers."""

import shutil
from pathlib import Path

LOG_MAX_BYTES = 64 * 1024 * 1024
"""Per process, and once more for the copy aside; a day of a busy development machine."""


def bound_logs(folder: Path, *, max_bytes: int = LOG_MAX_BYTES) -> list[Path]:
    """The logs that were emptied. Lines written between copying and emptying are lost, which no reader depends on."""
    emptied = [log for log in folder.glob("*.log") if log.stat().st_size > max_bytes]
    for log in emptied:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        with log.open("r+b") as file:
            file.truncate(0)
    return emptied
