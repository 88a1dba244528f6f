"""`database_seen.json` in a process' state folder: what it has seen last of the cell's database, outside of it.

Written by rename and synced, so there is an old one or a new one. A file that cannot be read is no reason to forget:
the process does not start until a person has looked.
"""

import json
import os
from pathlib import Path
from typing import Final

from cell.ledger.model import Instant
from cell.ledger.restored import Era, Seen

FILE_NAME: Final = "database_seen.json"


class SeenFileBrokenError(Exception):
    """The file is there and says nothing; who deletes it gives up what it remembered."""


def read_seen(state_dir: Path) -> Seen | None:
    """Raises SeenFileBrokenError."""
    file = state_dir / FILE_NAME
    try:
        told = json.loads(file.read_bytes())
        return Seen(
            era=Era(system_identifier=str(told["system_identifier"]), timeline=int(told["timeline"])),
            ticks=int(told["ticks"]),
            seen_at_us=Instant(int(told["seen_at_us"])),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SeenFileBrokenError(f"{file} cannot be read: {error}") from error


def write_seen(state_dir: Path, seen: Seen) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    document = {
        "system_identifier": seen.era.system_identifier,
        "timeline": seen.era.timeline,
        "ticks": seen.ticks,
        "seen_at_us": seen.seen_at_us,
    }
    draft = state_dir / f"{FILE_NAME}.tmp"
    with draft.open("w") as stream:
        stream.write(json.dumps(document) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(state_dir / FILE_NAME)
    folder = os.open(state_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
