"""The movements file on disk, plain or gzip: opened, read whole and checked before anything is sent."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from cellwallet.replaying.movements import Account, FileMustBeWellFormedError, read_accounts

GZIP_MAGIC = b"\x1f\x8b"


def read_file(path: Path) -> list[Account]:
    """All accounts of the file.

    Raises:
        FileMustBeWellFormedError: by line number.
        OSError: it cannot be read.

    """
    with path.open("rb") as raw:
        packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        lines = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
        return read_accounts(_unpacked(lines))


def _unpacked(lines: BinaryIO) -> Iterator[bytes]:
    read = 0
    try:
        for line in lines:
            read += 1
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileMustBeWellFormedError(read + 1, f"the compressed file is damaged: {error}") from error
