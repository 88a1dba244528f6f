"""What the configuration of a cell says next: the issuer's keys, the vendors' policies, the cell's limits.

Published anew only when something in it changed; its version never decreases.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from contract.configuration import CellConfiguration, PublicKey, VendorPolicy
from contract.ids import CellId
from contract.values import value
from control_plane.fleet.instants import instant_text
from control_plane.fleet.liveness import api_processes
from control_plane.fleet.model import Cell, Fleet, Observation, Policy
from control_plane.fleet.publish import next_version

PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "kid", "alg", "use"})
"""Members of a public JWK (EdDSA, ES256); anything else, a private `d` above all, never leaves."""


@value
class ConfigurationPublication:
    """A configuration to be signed and published right after version `after`."""

    document: CellConfiguration
    after: int | None


def next_configuration(
    cell: Cell, fleet: Fleet, observation: Observation, policy: Policy, now: datetime
) -> ConfigurationPublication | None:
    """None when the published one still says what holds."""
    previous = fleet.configurations.get(cell.id)
    document = CellConfiguration(
        cell=cell.id,
        version=next_version(previous.version if previous else None, now),
        issued_at=instant_text(now),
        jwks=public_jwks(observation.jwks),
        vendors=_restricted(fleet.vendors),
        capacity_per_s=cell.capacity_per_s,
        api_processes=api_processes(cell, observation, policy, now),
        peers=peers(fleet),
        limits=fleet.limits,
        webhooks=fleet.webhooks,
    )
    if previous is not None and _says_the_same(previous, document):
        return None
    return ConfigurationPublication(document=document, after=previous.version if previous else None)


def public_jwks(jwks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "keys": [
            {name: member for name, member in jwk.items() if name in PUBLIC_MEMBERS} for jwk in jwks.get("keys", [])
        ]
    }


def peers(fleet: Fleet) -> dict[CellId, PublicKey]:
    """Of every cell that may still speak; a retired one has nothing more to say."""
    return {cell.id: cell.public_key for cell in fleet.cells if cell.public_key is not None and cell.state != "retired"}


def _restricted(vendors: Mapping[str, VendorPolicy]) -> dict[str, VendorPolicy]:
    """A vendor without an entry has no restriction, so only the others need one."""
    return {vendor: policy for vendor, policy in sorted(vendors.items()) if policy != VendorPolicy()}


def _says_the_same(one: CellConfiguration, other: CellConfiguration) -> bool:
    return one == other.model_copy(update={"version": one.version, "issued_at": one.issued_at})
