"""What an order about the zone of a cell's primary comes to, from where the primary is now: pure, and never a toggle.

Knows places, their zones and the record of the pair; no process, clock or socket.
"""

from collections.abc import Mapping

from cellwallet.local.failover import Pair, Place
from contract.primaries import BringPrimary, BringState
from contract.values import value


@value
class Databases:
    """Of one cell, as they are now."""

    zones: Mapping[Place, str]
    pair: Pair | None
    """None = there is one database, in the first place, and never was another."""
    is_running: bool = True
    """Somebody watches over the pair."""
    is_changing: bool = False
    """The roles are about to change, by whose order ever."""


@value
class Verdict:
    """`state` None = the roles have to change, and may."""

    state: BringState | None
    detail: str


def verdict_on(order: BringPrimary, databases: Databases) -> Verdict:
    pair = databases.pair or Pair(is_wanted=False)
    zone, other = databases.zones[pair.primary], databases.zones[pair.standby]
    if not databases.is_running and not pair.is_settled:
        return Verdict(state="must_wait", detail="it was halted while its databases changed their roles")
    if databases.is_changing or not pair.is_settled:
        return Verdict(state="under_way", detail="its databases change their roles")
    if _is_as_wanted(order, zone):
        return Verdict(state="there", detail=f"its primary is in zone {zone}")
    if not pair.is_wanted:
        return Verdict(state="not_available", detail=f"its primary is in zone {zone} and has no standby to switch to")
    if not _is_as_wanted(order, other):
        return Verdict(state="not_available", detail=f"its databases are in zones {zone} and {other}")
    if not databases.is_running:
        return Verdict(state="must_wait", detail="it was halted, and must run first")
    if pair.phase != "synchronous":
        return Verdict(state="must_wait", detail=f"its standby in zone {other} must have everything first")
    return Verdict(state=None, detail=f"its primary goes from zone {zone} to zone {other}")


def _is_as_wanted(order: BringPrimary, zone: str) -> bool:
    return zone != order.zone if order.direction == "away" else zone == order.zone
