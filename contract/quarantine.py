"""Bodies of quarantine: what a restored cell is told of its units, what it makes of that, and who opens it.

A cell in quarantine serves nobody. At its admin API:

| call | body | answer |
| --- | --- | --- |
| `GET /admin/quarantine` | | `QuarantineNow`, of the present or the last one |
| `POST /admin/quarantine` | `QuarantineOrder` | `QuarantineNow`: closes the cell at once |
| `POST /admin/quarantine/adjudicate` | `Evidence` | `Adjudication`: every unit is held against it; may be repeated |
| `POST /admin/quarantine/open` | `OpenOrder` | `Opened`: after a full audit without a finding |
| `POST /admin/quarantine/promotion` | | `PromotionRecorded`: by what the process that is asked remembers |

At the admin API of a cell that had given units to one that lost them by its restore:

| call | body | answer |
| --- | --- | --- |
| `POST /admin/revive` | `ReviveOrder` | `Revived`: moved -> active at the epoch after the grant; all or none |

The control plane collects the evidence (`POST /v1/cells/{id}/adjudicate` and `/open`), for it has the directory and can
ask the other cells. What is shown of each cell stays below a few hundred kilobytes: units are told in runs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.fleet import CellUnits
from contract.ids import UUID_PATTERN
from contract.moves import UNITS_MAX, Epoch, Grant, UnitNow, UnitNumber

QuarantineCause = Literal["restored", "timeline_must_be_recorded", "history_must_not_go_back", "ordered"]
UnitVerdict = Literal["superseded", "missing", "contradicted", "isolated"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DirectoryRun(_Body):
    first: UnitNumber
    last: UnitNumber
    cell: CellName
    epoch: Epoch


class Evidence(_Body):
    """All that is known of units outside of the cell."""

    directory: tuple[DirectoryRun, ...]
    peers: tuple[CellUnits, ...]
    """Every other cell that is not retired."""
    grants: tuple[Grant, ...] = ()
    """Of each unit the one with the highest epoch, from the control plane's record of moves."""
    isolated: tuple[tuple[Annotated[str, Field(pattern=UUID_PATTERN)], UnitNumber], ...] = ()
    """Wallets with a unit of their own."""


class JudgedUnit(_Body):
    unit: UnitNumber
    verdict: UnitVerdict
    cell: CellName | None = None
    """Who has it; of a missing one, who may still have the rows with which it came here."""
    epoch: Epoch | None = None
    detail: str = ""


class Adjudication(_Body):
    cell: CellName
    kept: int = Field(ge=0)
    """Units that this cell owns afterwards."""
    units: tuple[JudgedUnit, ...]
    """All others on which something was found."""
    newest_entry_at: str | None = None
    """RFC 3339: the last that the restored database knows of; what the cell did afterwards is lost."""

    def of(self, verdict: UnitVerdict) -> tuple[JudgedUnit, ...]:
        return tuple(one for one in self.units if one.verdict == verdict)


class ReviveOrder(_Body):
    """From the rows that the giver has retained; what the unit's wallets did at the lost owner is not in them."""

    lost_by: CellName
    units: tuple[tuple[UnitNumber, Epoch], ...] = Field(min_length=1, max_length=UNITS_MAX)
    """Unit, and the epoch of the grant by which it went there."""


class Revived(_Body):
    """What the giver has of them now; the same order again is answered alike."""

    cell: CellName
    units: tuple[UnitNow, ...]


class QuarantineNow(_Body):
    cell: CellName
    is_quarantined: bool
    cause: QuarantineCause | None = None
    detail: str = ""
    began_at: str | None = None
    adjudication: Adjudication | None = None
    opened_at: str | None = None
    opened_by: str | None = None


class QuarantineOrder(_Body):
    detail: str = Field(default="", max_length=500)


class OpenOrder(_Body):
    opener: str = Field(default="", max_length=200)
    """The operator, where the control plane asks for one."""
    without_missing: bool = False
    """Open although units that came here since are missing: their wallets are served by nobody until they come back."""


class PromotionRecorded(_Body):
    """The present timeline goes on from the one before, and the cell is open."""

    cell: CellName
    timeline: int
    is_new: bool
    """Else somebody had recorded it before."""


class Opened(_Body):
    cell: CellName
    kept: int
    missing: int
    audited: dict[str, int]
    """How much of what was audited."""
