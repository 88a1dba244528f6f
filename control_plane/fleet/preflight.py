"""What must hold before a registered cell is called ready.

Its processes agree on a schema revision, the fleet knows that revision, and its admin API answers. In an empty
fleet the first cell in id order sets the revision that the others must have.
"""

from collections.abc import Iterator
from datetime import datetime

from control_plane.fleet.liveness import live_instances
from control_plane.fleet.model import Cell, Fleet, Observation, Policy, Unreachable
from control_plane.fleet.reasons import Waiting, WaitReason


def preflights(
    fleet: Fleet, observation: Observation, policy: Policy, now: datetime
) -> Iterator[tuple[Cell, Waiting | None]]:
    """Each registered cell, with the first thing that is not yet as it must be."""
    known = {
        instance.schema_revision
        for cell in fleet.cells
        if cell.state in {"ready", "active", "draining", "empty"}
        for instance in cell.instances
    }
    for cell in fleet.cells:
        if cell.state == "registered":
            obstacle = _obstacle(cell, observation, policy, now, known)
            if obstacle is None:
                known |= _revisions(cell, observation, policy, now)
            yield cell, obstacle


def _obstacle(cell: Cell, observation: Observation, policy: Policy, now: datetime, known: set[str]) -> Waiting | None:
    revisions = _revisions(cell, observation, policy, now)
    if not revisions:
        return silence(cell, now)
    if len(revisions) > 1:
        detail = f"its instances run {', '.join(sorted(revisions))}"
        return Waiting(reason=WaitReason.INSTANCES_MUST_AGREE_ON_SCHEMA_REVISION, subject=cell.id, detail=detail)
    if known and not revisions <= known:
        detail = f"it has {', '.join(revisions)}, the fleet has {', '.join(sorted(known))}"
        return Waiting(reason=WaitReason.SCHEMA_REVISION_MUST_BE_KNOWN, subject=cell.id, detail=detail)
    return unreachability(cell, observation)


def silence(cell: Cell, now: datetime) -> Waiting:
    seen_at = max((instance.seen_at for instance in cell.instances), default=None)
    detail = "no instance ever registered" if seen_at is None else f"silent for {(now - seen_at).total_seconds():.0f} s"
    return Waiting(reason=WaitReason.CELL_MUST_SHOW_SIGNS_OF_LIFE, subject=cell.id, detail=detail)


def unreachability(cell: Cell, observation: Observation) -> Waiting | None:
    seen = observation.units.get(cell.id, Unreachable(detail="it has not been asked yet"))
    if isinstance(seen, Unreachable):
        return Waiting(reason=WaitReason.ADMIN_MUST_BE_REACHABLE, subject=cell.id, detail=seen.detail)
    return None


def _revisions(cell: Cell, observation: Observation, policy: Policy, now: datetime) -> set[str]:
    return {instance.schema_revision for instance in live_instances(cell, observation, policy, now)}
