"""Bodies that vendors send. Unknown fields are refused; numbers are integers; nothing is coerced."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contract.ids import NAME_PATTERN, OWNER_REF_PATTERN, UUID_PATTERN, VENDOR_PATTERN
from contract.money import AMOUNT_MAX, MINOR_UNIT_DIGITS, is_currency
from contract.signing import canonical_json

METADATA_DEPTH_MAX = 3
METADATA_MAX_BYTES = 4_096
DESCRIPTION_MAX = 500
REFERENCE_MAX = 140
LEGS_MAX = 50
HOLD_DEFAULT_S = 604_800
"""A week."""
HOLD_MAX_S = 7_776_000
"""Ninety days."""


def _must_be_known(code: str) -> str:
    if not is_currency(code):
        raise ValueError("must be an ISO 4217 currency code")
    return code


def _must_be_plain(metadata: dict[str, Any]) -> dict[str, Any]:
    _check_depth(metadata, depth=1)
    if len(canonical_json(metadata).encode()) > METADATA_MAX_BYTES:
        raise ValueError(f"must be at most {METADATA_MAX_BYTES} bytes as canonical JSON")
    return metadata


def _check_depth(member: Any, *, depth: int) -> None:
    if isinstance(member, dict):
        if depth > METADATA_DEPTH_MAX:
            raise ValueError(f"must be at most {METADATA_DEPTH_MAX} levels deep")
        for name, inner in member.items():
            _must_hold_no_nul(name)
            _check_depth(inner, depth=depth + 1)
    elif isinstance(member, str):
        _must_hold_no_nul(member)
    elif not isinstance(member, int):
        raise ValueError("must hold strings, integers, booleans and objects of them only")  # noqa: TRY004 - pydantic reads ValueError
    elif abs(member) > AMOUNT_MAX:
        raise ValueError("integers must stay within 2^53-1")


def _must_hold_no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must hold no NUL character")
    return text


def _must_not_be_zero(amount: int) -> int:
    if amount == 0:
        raise ValueError("must not be zero")
    return amount


Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX, description="Minor units of the currency.")]
Limit = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
CurrencyCode = Annotated[
    str,
    Field(pattern="^[A-Z]{3}$", json_schema_extra={"enum": sorted(MINOR_UNIT_DIGITS)}),
    AfterValidator(_must_be_known),
]
Uuid = Annotated[
    str, Field(pattern=UUID_PATTERN, description="Canonical lower-case UUID of any version; v7 recommended.")
]
Description = Annotated[str, Field(max_length=DESCRIPTION_MAX), AfterValidator(_must_hold_no_nul)]
Reference = Annotated[str, Field(max_length=REFERENCE_MAX), AfterValidator(_must_hold_no_nul)]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_must_be_plain),
    Field(
        description=f"Strings, integers, booleans and objects of them; at most {METADATA_DEPTH_MAX} levels "
        f"and {METADATA_MAX_BYTES} bytes."
    ),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OwnerBody(Body):
    type: Annotated[str, Field(pattern=NAME_PATTERN)]
    ref: Annotated[str, Field(pattern=OWNER_REF_PATTERN, min_length=1, max_length=128)]


class OpenWalletBody(Body):
    owner: OwnerBody
    currency: CurrencyCode
    kind: Annotated[str, Field(pattern=NAME_PATTERN)] = "main"
    overdraft_limit: Limit = 0
    metadata: Metadata = {}


class ChangeWalletBody(Body):
    transaction_id: Uuid
    status: Literal["active", "suspended", "closed"] | None = None
    overdraft_limit: Limit | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _must_change_something(self) -> "ChangeWalletBody":
        if self.status is None and self.overdraft_limit is None and self.metadata is None:
            raise ValueError("must hold status, overdraft_limit or metadata")
        return self


class PostingBody(Body):
    """A debit or a credit."""

    transaction_id: Uuid
    amount: Amount
    currency: CurrencyCode
    description: Description | None = None
    reference: Reference | None = None
    metadata: Metadata | None = None


class ReverseBody(Body):
    transaction_id: Uuid
    original_transaction_id: Uuid
    amount: Amount | None = None
    """None = all that is left."""
    original_vendor: Annotated[str, Field(pattern=VENDOR_PATTERN)] | None = None
    """The vendor of the original, if it is another one; needs `money:reverse_any`."""
    description: Description | None = None
    metadata: Metadata | None = None


class TransferBody(Body):
    transaction_id: Uuid
    to_wallet_id: Uuid
    amount: Amount
    currency: CurrencyCode
    description: Description | None = None
    metadata: Metadata | None = None


HoldSeconds = Annotated[
    int, Field(ge=1, le=HOLD_MAX_S, description=f"Seconds from now until the hold expires, at most {HOLD_MAX_S:,}.")
]


class PlaceHoldBody(Body):
    """The hold's id is the transaction's."""

    transaction_id: Uuid
    amount: Amount
    currency: CurrencyCode
    expires_in_s: HoldSeconds = HOLD_DEFAULT_S
    description: Description | None = None
    metadata: Metadata | None = None


class CaptureBody(Body):
    transaction_id: Uuid
    amount: Amount | None = None
    """None = all that remains."""
    final: bool = True
    """Whether what remains afterwards is released."""


class TransactionBody(Body):
    """What needs nothing but an id of its own."""

    transaction_id: Uuid


class ExtendBody(Body):
    transaction_id: Uuid
    expires_in_s: HoldSeconds


class LegBody(Body):
    wallet_id: Uuid
    amount: Annotated[
        int,
        Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX, description="What the balance changes by; minor units, never zero."),
        AfterValidator(_must_not_be_zero),
    ]


class GroupBody(Body):
    """Legs over several wallets, all or none; their amounts add up to zero."""

    transaction_id: Uuid
    currency: CurrencyCode
    legs: Annotated[list[LegBody], Field(min_length=2, max_length=LEGS_MAX)]
    description: Description | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _must_balance(self) -> "GroupBody":
        if sum(leg.amount for leg in self.legs) != 0:
            raise ValueError("the amounts of the legs must add up to zero")
        if len({leg.wallet_id for leg in self.legs}) < len(self.legs):
            raise ValueError("no wallet may have two legs")
        return self
