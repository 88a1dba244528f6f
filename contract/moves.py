"""Bodies between the mover and the admin APIs of the two cells of a move.

The mover holds nothing authoritative: every body names the move, the unit, its epoch and its fence, and a cell acts
only by compare-and-set on its own `unit_state`. Rows travel as bytes that the mover pipes and never reads.

At the source, below `/admin/outgoing/{move_id}`:

| call | body | answer |
| --- | --- | --- |
| `POST survey` | `UnitList` | `Surveys`: what is there to move; takes nothing in hand |
| `POST rows` | `RowsWanted` | the rows as `application/octet-stream`; `X-Rows` counts them |
| `POST versions` | `UnitList` of one | `Positions`: every wallet of the unit and its seq |
| `POST fence` | `FenceOrder` | `Fences`: all of the units in one transaction, or a refusal and none |
| `POST unfence` | `UnitList` | `UnitsNow`: fenced by this move -> active; anything else as it is |
| `POST grant` | `GrantOrder` | `Grants`: all or none; the point of no return |
| `POST tombstone` | `UnitList` | `UnitsNow`: granted -> moved |
| `POST clean` | `UnitList` | `Cleaned`: a bounded batch of the rows of moved units is deleted; until `left` is 0 |

`GET /admin/grants/{unit}` tells the newest `Grant` of a unit or 404; cells may ask it with their own tokens.

At the target, below `/admin/incoming/{move_id}`:

| call | body | answer |
| --- | --- | --- |
| `POST stage` | `StageOrder` | `UnitsNow`: absent or moved -> staging; the same order again changes nothing |
| `POST positions` | `UnitList` of one | `Positions`: how far each wallet is folded, and which sagas are open here |
| `PUT rows?unit=N&part=P` | what `rows` of the source gave | `RowsTaken` |
| `POST seal` | `Fences` | `StagedUnits`: staging -> staged, with the digest that this cell computed itself |
| `POST activate` | `Grants` | `UnitsNow`: staged -> active, if the grant names what was staged |
| `POST discard` | `UnitList` | `UnitsNow`: staging or staged without a grant -> as before the move |

A refusal is a problem document with status 409 and a reason of `MoveReason`; a repeated call whose effect is there
already is answered like the first.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.fleet import UnitStateName
from contract.ids import UUID_PATTERN, VENDOR_PATTERN

UNITS_MAX = 512
"""Units that one call may name; a move of more is done in portions."""
FENCE_MAX_MS = 2_000
"""How long a fence may stand before the source takes it down by itself."""

WalletName = Annotated[str, Field(pattern=UUID_PATTERN)]
MoveName = Annotated[str, Field(pattern=UUID_PATTERN)]
SagaName = tuple[WalletName, Annotated[str, Field(pattern=VENDOR_PATTERN)], Annotated[str, Field(pattern=UUID_PATTERN)]]
"""A transfer to another cell, or a group: the wallet, the vendor, the transaction that began it."""
UnitNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
Epoch = Annotated[int, Field(ge=1, le=2**53 - 1)]
FenceNo = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seq = Annotated[int, Field(ge=0, le=2**53 - 1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

Part = Literal["entries", "state"]
"""`entries`: immutable rows above known positions (entries with the outcomes recorded for them and the sagas that they
began, as these stand now).
`state`: what changes in place (names of wallets, open legs, open sagas, recent sums of days, exile rows), whole."""


class MoveReason(StrEnum):
    """Why a cell refuses a step."""

    UNIT_MUST_BE_ACTIVE = "unit_must_be_active"
    UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE = "unit_must_not_be_in_another_move"
    UNIT_MUST_BE_ABSENT = "unit_must_be_absent"
    UNIT_MUST_BE_STAGING = "unit_must_be_staging"
    UNIT_MUST_BE_STAGED = "unit_must_be_staged"
    UNIT_MUST_BE_FENCED = "unit_must_be_fenced"
    UNIT_MUST_BE_GRANTED = "unit_must_be_granted"
    UNIT_MUST_BE_MOVED = "unit_must_be_moved"
    FENCE_MUST_STAND = "fence_must_stand"
    """Its deadline has passed, or another fence has followed it."""
    LOCKS_MUST_BE_FREE = "locks_must_be_free"
    """A writer held a wallet for too long; nothing is fenced."""
    DIGESTS_MUST_MATCH = "digests_must_match"
    ROWS_MUST_FOLD = "rows_must_fold"
    """What arrived does not continue what is here, or its chain does not hold."""
    GRANT_MUST_NAME_THIS_CELL = "grant_must_name_this_cell"
    EPOCH_MUST_FOLLOW = "epoch_must_follow"
    CELL_MUST_NOT_BE_QUARANTINED = "cell_must_not_be_quarantined"
    EVENTS_MUST_BE_PUBLISHED = "events_must_be_published"
    """Events of the unit's wallets are still to be told here; its rows stay until then."""
    UNIT_MUST_HAVE_GONE_THERE = "unit_must_have_gone_there"
    """The cell that lost the unit is not the one that it was granted to."""
    ROWS_MUST_BE_RETAINED = "rows_must_be_retained"
    """What was granted is not all here any more."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UnitList(_Body):
    units: tuple[UnitNumber, ...] = Field(min_length=1, max_length=UNITS_MAX)


class UnitNow(_Body):
    """A unit as the cell has it after the call."""

    unit: UnitNumber
    state: UnitStateName | None
    """None = unknown here."""
    epoch: int | None
    move_id: MoveName | None = None
    fence_no: int = 0


class UnitsNow(_Body):
    units: tuple[UnitNow, ...]


class Survey(_Body):
    unit: UnitNumber
    state: UnitStateName | None
    epoch: int | None
    wallets: int
    entries: int
    """Sum of the wallets' seq: what a first copy has to carry."""


class Surveys(_Body):
    schema_revision: str
    database_now: str
    """RFC 3339: the cells' clocks are compared before anything is fenced."""
    is_synchronous: bool
    """Whether a commit waits for a standby."""
    units: tuple[Survey, ...]


class Positions(_Body):
    """Pairs of wallet and the last seq that is there, ascending by wallet."""

    unit: UnitNumber
    positions: tuple[tuple[WalletName, Seq], ...]
    open_sagas: tuple[SagaName, ...] = ()
    """Of a target: those whose end has not come yet, ascending."""


class RowsWanted(_Body):
    unit: UnitNumber
    part: Part
    positions: tuple[tuple[WalletName, Seq], ...] = ()
    """For `entries`: rows above these seqs, of these wallets only, in this order."""
    open_sagas: tuple[SagaName, ...] = ()
    """For `state`: those that the target has as open. They are told as they are, also when they have ended; what has
    ended and is not named here has been told before, and is not told again."""
    rows_max: int = Field(default=5_000, ge=1, le=50_000)
    """For `entries`; `state` is whole or refused."""


class RowsTaken(_Body):
    unit: UnitNumber
    rows: int
    positions: tuple[tuple[WalletName, Seq], ...]
    """Where the wallets that got rows stand now."""


class FenceOrder(_Body):
    units: tuple[UnitNumber, ...] = Field(min_length=1, max_length=UNITS_MAX)
    to_cell: CellName
    stands_ms: int = Field(default=FENCE_MAX_MS, ge=50, le=FENCE_MAX_MS)
    lock_wait_ms: int = Field(default=300, ge=10, le=FENCE_MAX_MS)


class Fence(_Body):
    unit: UnitNumber
    epoch: Epoch
    """Of the source; the target's is one more."""
    fence_no: FenceNo
    digest: Digest
    """Of the unit as it stands under the fence."""


class Fences(_Body):
    from_cell: CellName
    fences: tuple[Fence, ...] = Field(min_length=1, max_length=UNITS_MAX)


class StagedUnit(_Body):
    unit: UnitNumber
    epoch: Epoch
    """That the target will serve it at."""
    fence_no: FenceNo
    digest: Digest


class StagedUnits(_Body):
    staged: tuple[StagedUnit, ...] = Field(min_length=1, max_length=UNITS_MAX)


class GrantOrder(_Body):
    to_cell: CellName
    staged: tuple[StagedUnit, ...] = Field(min_length=1, max_length=UNITS_MAX)


class Grant(_Body):
    """The source's word, committed, that it will never write the unit again at this epoch or below."""

    move_id: MoveName
    unit: UnitNumber
    from_cell: CellName
    to_cell: CellName
    epoch: Epoch
    """The new owner's."""
    fence_no: FenceNo
    digest: Digest


class Grants(_Body):
    grants: tuple[Grant, ...] = Field(min_length=1, max_length=UNITS_MAX)


class StageOrder(_Body):
    from_cell: CellName
    source_admin_urls: tuple[str, ...] = Field(min_length=1)
    """Where the target asks for a grant that nobody brings."""
    units: tuple[tuple[UnitNumber, Epoch], ...] = Field(min_length=1, max_length=UNITS_MAX)
    """Unit and the epoch that it will have here."""


class Cleaned(_Body):
    deleted: int
    left: int


class IsolateOrder(_Body):
    """`POST /admin/isolate` at the owner: one wallet leaves its slot for a unit of its own; metadata only.

    Answer: `UnitsNow` of the new unit. The same order again changes nothing; `unit` is never used again.
    """

    wallet_id: WalletName
    unit: UnitNumber


class RejoinOrder(_Body):
    """`POST /admin/rejoin`: the reverse, if the wallet's slot is in this cell too. Answer: `UnitsNow` of the slot."""

    wallet_id: WalletName
    unit: UnitNumber
    """The isolated unit that it leaves; it stays known as moved, for ever."""
