"""The configuration of one cell: a signed, versioned document that the control plane publishes.

Fetched like the directory, kept on the cell's disk, never expiring: a cell serves money for as long as it likes
without the control plane.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName
from contract.ids import UUID_PATTERN
from contract.money import AMOUNT_MAX

LimitAmount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
"""Minor units of the wallet's currency, whichever it is."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublicKey(_Document):
    """A cell's Ed25519 public key as a JWK (RFC 8037), named `cell:<id>`; a private member would be refused."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    x: str = Field(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")
    kid: str = Field(pattern=r"^cell:[a-z][a-z0-9-]{0,31}$")
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"


class VendorLimits(_Document):
    amount_max: LimitAmount | None = None
    """Largest single amount that the vendor may take from any wallet; none = no limit."""


class Limit(_Document):
    """Of a wallet, or of one vendor on a wallet."""

    amount_max: LimitAmount | None = None
    """Largest single amount; none = no limit."""
    day_max: LimitAmount | None = None
    """Largest sum of a UTC day; none = no limit."""


class Limits(_Document):
    wallets: dict[str, Limit] = {}
    """By wallet id: over all vendors."""
    vendor_wallets: dict[str, dict[str, Limit]] = {}
    """By wallet id, then by vendor id: of that vendor on that wallet."""


class VendorPolicy(_Document):
    blocked: bool = False
    rate_per_s: float | None = Field(default=None, gt=0)
    """Requests per second over the whole cell; none = no limit."""
    scopes_allowed: tuple[str, ...] | None = None
    """Narrows what the vendor's tokens may carry; none = as the token says."""
    limits: VendorLimits = VendorLimits()


class WebhookSecret(_Document):
    secret: str
    until: str | None = None
    """None = the present one; after a rotation the one before signs as well until then."""


class Webhook(_Document):
    """Where a vendor wants its events."""

    id: Annotated[str, Field(pattern=UUID_PATTERN)]
    vendor_id: str
    url: str
    kinds: tuple[str, ...] | None = None
    """Kinds of entries; none = all."""
    secrets: tuple[WebhookSecret, ...] = Field(min_length=1)


class CellConfiguration(_Document):
    cell: CellName
    version: int = Field(ge=1)
    issued_at: str
    jwks: dict[str, Any]
    """Public keys of the token issuer."""
    vendors: dict[str, VendorPolicy] = {}
    """Vendors without an entry have no restriction."""
    capacity_per_s: float | None = Field(default=None, gt=0)
    """The certified limit of the cell in money commands per second; none = not certified, only queues bound it."""
    api_processes: int = Field(default=1, ge=1)
    """Live API processes: each enforces its share of the rates above."""
    peers: dict[CellName, PublicKey] = {}
    """The key of every cell of the fleet, this one included: what their tokens and checkpoints are verified with."""
    limits: Limits = Limits()
    """Of wallets, wherever in the fleet they are: a wallet that moves finds its limits there."""
    webhooks: tuple[Webhook, ...] = ()
    """Every vendor's, in order of id: any wallet may hold entries of any vendor."""
