"""HAProxy's files on disk: what it reads at every start, whoever else is alive by then.

Each is replaced by rename, so that a start or reload at any instant reads whole files. Blocking.
"""

import os
from collections.abc import Mapping
from pathlib import Path

CONFIGURATION = "haproxy.cfg"


def write_changed(folder: Path, texts: Mapping[str, str]) -> None:
    """Maps before the configuration that refers to them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(texts.items(), key=lambda pair: pair[0] == CONFIGURATION):
        path = folder / name
        if not path.exists() or path.read_text() != text:
            _replace(path, text)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
