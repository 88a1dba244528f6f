"""Bodies, parameters and answers of the platform API, where the contract's own forms are not narrow enough.

The contract says what things mean; here is what is accepted from the wire: bounded, printable, finite.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from contract.certificate import CapacityCertificate
from contract.configuration import CellConfiguration, LimitAmount, PublicKey, VendorLimits, VendorPolicy
from contract.directory import ApiInstance, DirectoryDocument
from contract.fleet import CellAnswer, Registration
from contract.ids import CELL_PATTERN, UUID_PATTERN, VENDOR_PATTERN
from contract.money import AMOUNT_MAX
from contract.resending import TransferName
from contract.scopes import VENDOR_SCOPES
from control_plane.fleet.instants import instant_text

WAIT_MAX_S = 55.0
"""Longest long poll; below the idle time-outs of usual proxies (60 s)."""
RATE_MAX_PER_S = 1_000_000_000.0
ROUTER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
SUBJECT_PATTERN = r"^(vendor|cell|wallet|move|rollout|evacuation):[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"

_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
URL_PATTERN = rf"^https?://({_HOST}(\.{_HOST})*|\[[0-9a-f:]{{2,39}}\])(:{_PORT})?(/[!-~]*)?$"
"""Host, port and path, and nothing that only some clients understand."""

_VENDOR_SCOPE_NAMES = tuple(scope.value for scope in VENDOR_SCOPES)


def _must_be_vendor_scope(scope: str) -> str:
    if scope not in _VENDOR_SCOPE_NAMES:
        raise ValueError(f"must be one of {', '.join(_VENDOR_SCOPE_NAMES)}")
    return scope


def _whole(number: Any) -> Any:
    """`5.0` is an integer to JSON Schema, and so to whoever follows our document."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _given(name: str) -> dict[str, Any]:
    """In a schema: this member is there, and not null."""
    return {"required": [name], "properties": {name: {"type": "string"}}}


CellPath = Annotated[str, Path(pattern=CELL_PATTERN)]
VendorPath = Annotated[str, Path(pattern=VENDOR_PATTERN)]
WalletPath = Annotated[str, Path(pattern=UUID_PATTERN)]
Wait = Annotated[
    float,
    Query(
        ge=0,
        allow_inf_nan=False,
        description=f"Seconds to wait for a version that `If-None-Match` does not name; at most {WAIT_MAX_S:.0f}.",
    ),
]
RouterName = Annotated[str | None, Query(pattern=ROUTER_PATTERN, description="Id of the acknowledging router.")]
Applied = Annotated[int | None, Query(ge=0, le=AMOUNT_MAX, description="Version that the router has applied.")]

Url = Annotated[str, Field(pattern=URL_PATTERN, max_length=500)]
Label = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
Rate = Annotated[float, Field(gt=0, le=RATE_MAX_PER_S, allow_inf_nan=False)]
VendorScope = Annotated[
    str,
    AfterValidator(_must_be_vendor_scope),
    WithJsonSchema({"type": "string", "enum": list(_VENDOR_SCOPE_NAMES)}),
]


def _normal(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("must say its offset from UTC")
    return instant_text(min(max(moment, EARLIEST), LATEST))


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
"""What is beyond means the same."""
Instant = Annotated[str, AfterValidator(_normal), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339; in UTC from here on."""
WholeAmount = Annotated[LimitAmount, BeforeValidator(_whole)]


class InstanceBody(ApiInstance):
    url: Url
    zone: Label


class RegistrationBody(Registration):
    model_config = ConfigDict(strict=True)

    home_zone: Label
    instance: InstanceBody
    admin_url: Url
    schema_revision: Label
    software_version: Label
    public_key: Annotated[PublicKey | None, Field(strict=False)] = None


class VendorLimitsBody(VendorLimits):
    model_config = ConfigDict(strict=True)

    amount_max: WholeAmount | None = None


class VendorPolicyBody(VendorPolicy):
    model_config = ConfigDict(strict=True)

    rate_per_s: Rate | None = None
    scopes_allowed: Annotated[tuple[VendorScope, ...] | None, Field(max_length=len(VENDOR_SCOPES), strict=False)] = None
    limits: VendorLimitsBody = VendorLimitsBody()


class LimitSubject(BaseModel):
    """A vendor on all wallets, a wallet over all vendors, or a vendor on a wallet."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"anyOf": [_given("vendor"), _given("wallet_id")]}
    )

    vendor: Annotated[str | None, Field(pattern=VENDOR_PATTERN)] = None
    wallet_id: Annotated[str | None, Field(pattern=UUID_PATTERN)] = None

    @model_validator(mode="after")
    def _must_name_somebody(self) -> "LimitSubject":
        if self.vendor is None and self.wallet_id is None:
            raise ValueError("a vendor or a wallet_id must be named, or both")
        return self


class LimitBody(BaseModel):
    """Replaces the limits of its subject whole; null lifts a limit."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["amount_max"], "properties": {"day_max": {"type": "null"}}},
                {"required": ["day_max"], "properties": {"day_max": {"type": "null"}}},
                {"required": ["day_max"], "properties": {"subject": _given("wallet_id")}},
            ]
        },
    )

    subject: LimitSubject
    amount_max: WholeAmount | None = None
    """Largest single amount, in minor units of the wallet's currency."""
    day_max: WholeAmount | None = None
    """Largest sum of a UTC day; not of a vendor over all wallets, which no single cell could know."""

    @model_validator(mode="after")
    def _must_say_something(self) -> "LimitBody":
        if not {"amount_max", "day_max"} & self.model_fields_set:
            raise ValueError("amount_max or day_max must be given; null lifts the limits")
        if self.day_max is not None and self.subject.wallet_id is None:
            raise ValueError("day_max needs a wallet_id in its subject")
        return self


class CapacityBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    capacity_per_s: Rate | None
    """Money commands per second; null = not certified, only queues bound the cell."""


def _form_of_capacity(body: Any) -> str:
    return "certificate" if isinstance(body, dict) and "form" in body else "capacity"


Capacity = Annotated[
    Annotated[CapacityBody, Tag("capacity")] | Annotated[CapacityCertificate, Tag("certificate")],
    Discriminator(_form_of_capacity),
]
"""A certificate, or a number for whoever knows better."""


class CapacityAnswer(BaseModel):
    capacity_per_s: float | None
    certificate: CapacityCertificate | None
    """None = the capacity was set by hand, or there is none."""
    uploaded_at: str | None


class Signature(BaseModel):
    key_id: str
    value: str


class SignedDirectory(DirectoryDocument):
    signature: Signature


class SignedConfiguration(CellConfiguration):
    signature: Signature


class LimitAnswer(BaseModel):
    subject: LimitSubject
    amount_max: int | None
    day_max: int | None


class LimitsAnswer(BaseModel):
    limits: list[LimitAnswer]
    next_cursor: str | None


class CellsAnswer(BaseModel):
    cells: list[CellAnswer]


class ChangeAnswer(BaseModel):
    """One line of the audit trail."""

    at: str
    actor: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str


class ChangesAnswer(BaseModel):
    changes: list[ChangeAnswer]
    next_cursor: str | None


class WaitingAnswer(BaseModel):
    reason: str
    subject: str
    detail: str


class PlanAnswer(BaseModel):
    """What this process last planned: what it does, and why it does not do more."""

    planned_at: str | None
    actions: list[str]
    waiting: list[WaitingAnswer]


class RebalanceBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = False
    """Only tell what would move, and why no more."""


class PlannedMoveAnswer(BaseModel):
    from_cell: str
    to_cell: str
    cause: str
    units: list[int]
    wallet_id: str | None
    """Set for a hot wallet that is to have a unit of its own first."""
    weight: float
    """Commands per second."""


class ShareAnswer(BaseModel):
    cell: str
    units: int
    slots: int
    score: float | None
    """What the cell carries of its limit; null for a cell that takes no units."""


class RebalanceAnswer(BaseModel):
    """What moves, what does not and why, and what each cell has before and after."""

    rebalance_id: str | None
    """Null for a dry run."""
    dimension: str
    moves: list[PlannedMoveAnswer]
    waiting: list[WaitingAnswer]
    before: list[ShareAnswer]
    after: list[ShareAnswer]


class QuarantineAnswer(BaseModel):
    cell: str
    is_quarantined: bool | None
    """None: the cell does not answer."""
    cause: str | None = None
    detail: str = ""
    began_at: str | None = None
    is_adjudicated: bool = False
    missing: int = 0
    """Units that came after the backup, as of the last adjudication."""
    contradicted: int = 0
    """Units that a person must look at."""


class QuarantinesAnswer(BaseModel):
    cells: list[QuarantineAnswer]


class RevivedUnit(BaseModel):
    unit: int
    cell: str
    """That serves it now."""
    epoch: int


class LeftUnitAnswer(BaseModel):
    unit: int
    epoch: int
    why: str


class ReviveAnswer(BaseModel):
    revived: list[RevivedUnit]
    left: list[LeftUnitAnswer]
    """Lost, and not to be had from another cell."""


class RebuildBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = False
    allow_large_change: bool = False
    """More than a twentieth of the recorded units may change their cell."""


class ResendBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    from_cell: Annotated[str, Field(pattern=CELL_PATTERN)]
    """That has sent the transfers."""
    since: Instant | None = None
    """Sent then or later; null = ten minutes before the last entry that the restored cell has."""
    after: Annotated[TransferName, Field(strict=False)] | None = None
    """Of the page before."""


class OpenBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    without_missing: bool = False
    """Open although units that came here since are missing: nobody serves their wallets until they come back."""


class RebuildAnswer(BaseModel):
    units: int
    changed: int
    """Units that were recorded with another cell."""
    cells: list[str]
    """That own units."""
    isolated: int
    superseded: list[str]
    """Claims of cells that gave the unit away, according to whom they gave it; at most twenty."""
