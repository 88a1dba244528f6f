"""Releases on one machine: with which interpreter, code and settings the processes of a cell are started.

A release is described once, by a file that is named by its digest and never changed; its image is
`local/LABEL@DIGEST`. The digest is of the description, not of what lies in the folders that it names. Which image each
zone of each cell is to run, by whose fencing number, is one more file: a platform that is started again starts what it
was told last.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cellwallet.local.folder import write_json
from cellwallet.local.programs import our_code
from contract.values import value

LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
IMAGE_VARIABLE = "CELLWALLET_IMAGE"
"""Tells a process, and whoever looks at it, which image it is of."""
_IMAGE = re.compile(r"local/[^@]{1,64}@sha256:([0-9a-f]{64})")
_DECIDED_HERE = re.compile(
    r"CELL_(ID|ZONE|HOME_ZONE|HOST|PORT|ADMIN_PORT|DATABASE_URL|OWNER_DATABASE_URL|CONTROL_PLANE_.*|JOIN_TOKEN"
    r"|SIGNING_KEY_FILE|ROUTER_URL|STATE_DIR)"
)


class ReleaseMustBeKnownError(OSError):
    """A cell is to run an image that nobody described in this data folder."""


class Launch(BaseModel):
    """How the processes of a cell are started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(pattern=LABEL_PATTERN)
    python: str = Field(min_length=1, max_length=4_096)
    """The interpreter; it brings the code that is installed with it."""
    code: tuple[str, ...] = Field(default=(), max_length=16)
    """Folders that go before what is installed."""
    settings: dict[str, str] = Field(default={}, max_length=64)
    """Of cells: `CELL_...`. Those that say who a process is are decided by the platform."""

    @field_validator("settings")
    @classmethod
    def _must_leave_what_is_decided_here(cls, settings: dict[str, str]) -> dict[str, str]:
        for name in settings:
            if not re.fullmatch(r"CELL_[A-Z0-9_]{1,60}", name):
                raise ValueError(f"{name} is no setting of a cell")
            if _DECIDED_HERE.fullmatch(name):
                raise ValueError(f"{name} is decided by the platform")
        return settings

    @property
    def image(self) -> str:
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"local/{self.label}@sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """-P, because the working folder holds data and no code."""
        return (self.python, "-P", "-m", module, *arguments)

    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join(self.code),
            "PYTHONUNBUFFERED": "1",
            IMAGE_VARIABLE: self.image,
            **self.settings,
        }


def our_launch(version: str) -> Launch:
    """What runs without any release: ourselves."""
    return Launch(label=version, python=sys.executable, code=tuple(our_code()["PYTHONPATH"].split(os.pathsep)))


@value
class Told:
    """What one zone of a cell is told to run."""

    image: str
    fence: int = 0
    generation: int = 1


class Releases:
    def __init__(self, folder: Path, own: Launch) -> None:
        self._folder = folder
        self._file = folder / "cells.json"
        self.own = own
        """What runs where nothing else was told."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # a setting of a release may be a secret, and what lies here is what cells are started with
        self._told = self._recorded()
        self.add(own)

    def add(self, launch: Launch) -> str:
        """Describe a release; its image. The same again changes nothing."""
        path = self._path_of(launch.image)
        if path is not None and not path.exists():
            write_json(path, launch.model_dump(mode="json"))
        return launch.image

    def launch_of(self, image: str) -> Launch | None:
        """None when it was never described here, or when somebody changed the description."""
        path = self._path_of(image)
        if path is None or not path.exists():
            return None
        launch = Launch.model_validate_json(path.read_text())
        return launch if launch.image == image else None

    def told(self, cell: str, zone: str) -> Told:
        return self._told.get(f"{cell}/{zone}") or Told(image=self.own.image)

    def tell(self, cell: str, zone: str, told: Told) -> None:
        self._told[f"{cell}/{zone}"] = told
        self._record()

    def prepared(self, cell: str) -> str:
        """The image whose schema the cell's database has: code of before may not know it any more."""
        prepared = self._told.get(f"{cell}/")
        return prepared.image if prepared else self.own.image

    def note_prepared(self, cell: str, image: str) -> None:
        self._told[f"{cell}/"] = Told(image=image)
        self._record()

    def launch_for(self, cell: str, zone: str) -> Launch:
        """How to start what the zone is told to run.

        Raises:
            ReleaseMustBeKnownError: its description is gone.

        """
        return self._must_know(self.told(cell, zone).image)

    def migration_for(self, cell: str) -> Launch:
        """How to start the migration of the cell's database.

        Raises:
            ReleaseMustBeKnownError: see `launch_for`.

        """
        return self._must_know(self.prepared(cell))

    def _must_know(self, image: str) -> Launch:
        launch = self.launch_of(image)
        if launch is None:
            raise ReleaseMustBeKnownError(f"{self._folder} has no description of {image}")
        return launch

    def _path_of(self, image: str) -> Path | None:
        found = _IMAGE.fullmatch(image)
        return self._folder / f"{found.group(1)}.json" if found else None

    def _recorded(self) -> dict[str, Told]:
        if not self._file.exists():
            return {}
        document: Mapping[str, Any] = json.loads(self._file.read_text())
        return {name: Told(**told) for name, told in document.items()}

    def _record(self) -> None:
        document = {
            name: {"image": told.image, "fence": told.fence, "generation": told.generation}
            for name, told in sorted(self._told.items())
        }
        write_json(self._file, document)
