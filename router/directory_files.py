"""The maps on disk: the newest signed directory, the two before it, and what was learned since.

Written so that a crash at any instant leaves a whole file behind (temporary file, fsync, rename, fsync of the
folder). A file is believed for its signature alone; one that cannot be believed is put aside and the one before it
taken. Blocking: callers on an event loop use a thread.
"""

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from contract.directory import DirectoryDocument
from contract.signing import PublicKeys, SignatureMustBeValidError, verify
from router.routing.learning import Hint, hint_of

NEWEST = "directory.json"
BEFORE = ("directory.1.json", "directory.2.json")
LEARNED = "learned.json"
CORRUPT_SUFFIX = ".corrupt"

_log = structlog.get_logger("router")
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class DocumentMustBeGoodError(Exception):
    """The bytes are no directory, or not one that a trusted key signed. `cause` is a word for metrics."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


def read_document(raw: bytes, keys: PublicKeys) -> DirectoryDocument:
    """The directory in these bytes.

    Raises:
        DocumentMustBeGoodError: not JSON, not signed by a trusted key, or not a directory.

    """
    try:
        # A control plane that is newer than this router may say more than this router can know.
        signed = verify(_OBJECT.validate_json(raw), keys)
        return DirectoryDocument.model_validate(signed, strict=False, extra="ignore")
    except SignatureMustBeValidError as error:
        raise DocumentMustBeGoodError("signature_must_be_valid", str(error)) from error
    except ValidationError as error:
        raise DocumentMustBeGoodError("document_must_be_well_formed", f"{error.error_count()} errors") from error


class DirectoryFiles:
    def __init__(self, state_dir: Path, keys: PublicKeys) -> None:
        self._dir = state_dir
        self._keys = keys

    def load(self) -> DirectoryDocument | None:
        """The newest good directory; files that are not good are put aside."""
        for name in (NEWEST, *BEFORE):
            path = self._dir / name
            try:
                return read_document(path.read_bytes(), self._keys)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.error("directory_file_not_read", file=name, detail=str(error))
            except DocumentMustBeGoodError as error:
                _log.error("directory_file_refused", file=name, cause=error.cause, detail=str(error))
                with contextlib.suppress(OSError):
                    path.replace(path.with_name(name + CORRUPT_SUFFIX))
        return None

    def save(self, raw: bytes) -> None:
        """Make these bytes the newest; the newest becomes the one before."""
        self._dir.mkdir(parents=True, exist_ok=True)
        temporary = self._write_aside(NEWEST, raw)
        names = (NEWEST, *BEFORE)
        for younger, older in reversed(list(itertools.pairwise(names))):
            if (self._dir / younger).exists():
                (self._dir / younger).replace(self._dir / older)
        temporary.replace(self._dir / NEWEST)
        self._sync_dir()

    def load_learned(self) -> tuple[Hint, ...]:
        """What was learned beyond the directory; only accelerates, so a file that cannot be read is none."""
        try:
            facts = orjson.loads((self._dir / LEARNED).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return ()
        members = facts if isinstance(facts, list) else []
        hints = (hint_of(member) for member in members if isinstance(member, dict))
        return tuple(hint for hint in hints if hint is not None)

    def save_learned(self, hints: tuple[Hint, ...]) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        facts = [
            {"unit": hint.unit, "cell": hint.cell, "epoch": hint.epoch, "wallet_id": hint.wallet_id} for hint in hints
        ]
        self._write_aside(LEARNED, orjson.dumps(facts)).replace(self._dir / LEARNED)
        self._sync_dir()

    def _write_aside(self, name: str, raw: bytes) -> Path:
        temporary = self._dir / f"{name}.tmp"
        with temporary.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def _sync_dir(self) -> None:
        descriptor = os.open(self._dir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
