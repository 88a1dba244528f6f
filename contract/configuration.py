"""The configuration of one cell: a signed, versioned document that the control plane publishes.

Fetched like the directory, kept on the cell's disk, never expiring: a cell serves money for as long as it likes
without the control plane.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from contract.directory import CellName


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VendorPolicy(_Document):
    blocked: bool = False
    rate_per_s: float | None = Field(default=None, gt=0)
    """Requests per second over the whole cell; none = no limit."""
    scopes_allowed: tuple[str, ...] | None = None
    """Narrows what the vendor's tokens may carry; none = as the token says."""


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
