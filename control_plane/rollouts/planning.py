"""Which cells are updated when: a sandbox or canary first, then one zone group after the other, never two at once.

A zone group is all cells whose primary databases live in one zone. Inside a wave the zones of API processes come one
after the other too, the home zone last: whatever a release breaks, it breaks in one zone of one group.
"""

from collections.abc import Iterable, Mapping, Sequence

from contract.certificate import CapacityCertificate
from contract.directory import CellState
from contract.ids import CellId
from contract.values import value
from control_plane.rollouts.model import BakePolicy, CellSeen, Deployment, Release, Wave
from control_plane.rollouts.reasons import RolloutRefusal

CERTIFIED_LOSS_MAX = 0.05
"""A release that carries so much less than what runs would break what placement counts on."""
UPDATED_STATES: frozenset[CellState] = frozenset({"ready", "active", "draining", "empty"})
SERVING_STATES: frozenset[CellState] = frozenset({"active", "draining"})


@value
class CellPlace:
    """A cell as the plan sees it."""

    id: CellId
    state: CellState
    home_zone: str
    units: int
    schema_revision: str = ""
    certificate: CapacityCertificate | None = None


@value
class RolloutOrder:
    rollout_id: str
    release: Release
    policy: BakePolicy
    canary: CellId | None = None
    """None = the serving cell with the fewest units."""
    sandbox: CellId | None = None
    """A cell of synthetic traffic that goes before the canary."""
    certificate: CapacityCertificate | None = None
    """What the release was measured to carry."""
    is_certificate_waived: bool = False
    actor: str
    request_id: str


@value
class RolloutPlan:
    waves: tuple[Wave, ...]
    deployments: tuple[Deployment, ...]
    idle_cells: frozenset[CellId]


@value
class RolloutRefused:
    reason: RolloutRefusal
    detail: str
    facts: Mapping[str, object] | None = None


def plan_of(
    order: RolloutOrder, cells: Sequence[CellPlace], seen: Mapping[CellId, CellSeen | str]
) -> RolloutPlan | RolloutRefused:
    """`seen`: of each cell what it runs, or why that is not known."""
    chosen = [cell for cell in cells if cell.state in UPDATED_STATES]
    refusal = _refusal_of_cells(order, chosen, seen) or _refusal_of_release(order, chosen)
    if refusal is not None:
        return refusal
    known = {cell.id: one for cell in chosen if isinstance(one := seen[cell.id], CellSeen)}
    waves = waves_of(chosen, canary=order.canary, sandbox=order.sandbox)
    deployments = tuple(_deployments(waves, known, order.release))
    if all(one.state == "left" for one in deployments):
        detail = f"every process runs {order.release.image} already"
        return RolloutRefused(reason=RolloutRefusal.RELEASE_MUST_BE_ANOTHER, detail=detail)
    return RolloutPlan(
        waves=waves,
        deployments=deployments,
        idle_cells=frozenset(cell.id for cell in chosen if not cell.units or cell.state not in SERVING_STATES),
    )


def waves_of(cells: Sequence[CellPlace], *, canary: CellId | None, sandbox: CellId | None) -> tuple[Wave, ...]:
    """Every cell once; no wave has cells of two zone groups."""
    by_id = {cell.id: cell for cell in cells}
    first = [by_id[sandbox]] if sandbox is not None else []
    rest = [cell for cell in cells if cell.id != sandbox]
    watched = by_id[canary] if canary is not None else _fewest_units(rest)
    waves = [_wave("sandbox", first)] if first else []
    if watched is not None:
        waves.append(_wave("canary", [watched]))
        rest = [cell for cell in rest if cell.id != watched.id]
    nearest = watched.home_zone if watched else ""
    groups = sorted({cell.home_zone for cell in rest}, key=lambda zone: (zone != nearest, zone))
    waves += [_wave(f"zone group {zone}", [cell for cell in rest if cell.home_zone == zone]) for zone in groups]
    return tuple(waves)


def _wave(name: str, cells: Sequence[CellPlace]) -> Wave:
    return Wave(name=name, cells=tuple(sorted(cell.id for cell in cells)), home_zone=cells[0].home_zone)


def _fewest_units(cells: Sequence[CellPlace]) -> CellPlace | None:
    """Somebody must use it, or nothing is learnt; as few as possible should."""
    serving = [cell for cell in cells if cell.units and cell.state in SERVING_STATES]
    return min(serving or cells, key=lambda cell: (cell.units, cell.id), default=None)


def _deployments(waves: Sequence[Wave], seen: Mapping[CellId, CellSeen], release: Release) -> Iterable[Deployment]:
    for number, wave in enumerate(waves):
        zones = sorted({one.zone for cell in wave.cells for one in seen[cell].zones})
        for zone in sorted(zones, key=lambda zone: (zone == wave.home_zone, zone)):
            for cell in wave.cells:
                there = seen[cell].zone(zone)
                if there is not None:
                    yield Deployment(
                        cell=cell,
                        zone=zone,
                        wave=number,
                        previous_image=there.image,
                        state="left" if there.image == release.image else "waiting",
                    )


def _refusal_of_cells(
    order: RolloutOrder, chosen: Sequence[CellPlace], seen: Mapping[CellId, CellSeen | str]
) -> RolloutRefused | None:
    if not chosen:
        detail = "there is no cell that could be updated"
        return RolloutRefused(reason=RolloutRefusal.CELLS_MUST_BE_THERE, detail=detail)
    for named in (order.sandbox, order.canary):
        if named is not None and not any(c.id == named and c.state in SERVING_STATES for c in chosen):
            detail = f"{named} is no cell that serves"
            return RolloutRefused(reason=RolloutRefusal.CANARY_MUST_BE_A_SERVING_CELL, detail=detail)
    if order.canary is not None and order.canary == order.sandbox:
        detail = f"{order.canary} cannot be both sandbox and canary"
        return RolloutRefused(reason=RolloutRefusal.CANARY_MUST_BE_A_SERVING_CELL, detail=detail)
    for cell in chosen:
        told = seen.get(cell.id, "it was not asked")
        if isinstance(told, str):
            detail = f"{cell.id} does not tell what it runs: {told}"
            return RolloutRefused(reason=RolloutRefusal.CELLS_MUST_TELL_WHAT_THEY_RUN, detail=detail)
        if not told.zones:
            detail = f"{cell.id} has no processes to update"
            return RolloutRefused(reason=RolloutRefusal.CELLS_MUST_TELL_WHAT_THEY_RUN, detail=detail)
        if not told.is_image_known:
            detail = f"nobody can run {order.release.image} where {cell.id} is"
            return RolloutRefused(reason=RolloutRefusal.RELEASE_MUST_BE_KNOWN, detail=detail)
    return None


def _refusal_of_release(order: RolloutOrder, chosen: Sequence[CellPlace]) -> RolloutRefused | None:
    return _refusal_of_schema(order.release, chosen) or _refusal_of_certificate(order, chosen)


def _refusal_of_schema(release: Release, chosen: Sequence[CellPlace]) -> RolloutRefused | None:
    """Expand and contract: what runs now must work with the schema that the release makes, or there is no way back."""
    for cell in chosen:
        if release.schema_revision is not None and cell.schema_revision > release.schema_revision:
            made_for = release.schema_revision
            detail = f"{cell.id} has schema {cell.schema_revision}, {release.label} was made for {made_for}"
            return RolloutRefused(reason=RolloutRefusal.SCHEMA_MUST_NOT_GO_BACK, detail=detail)
        if release.rolls_back_to is not None and cell.schema_revision < release.rolls_back_to:
            detail = (
                f"{cell.id} runs code of schema {cell.schema_revision}; with that of {release.label} only code from "
                f"{release.rolls_back_to} on works, so there would be no way back"
            )
            return RolloutRefused(reason=RolloutRefusal.SCHEMA_MUST_ALLOW_THE_WAY_BACK, detail=detail)
    return None


def _refusal_of_certificate(order: RolloutOrder, chosen: Sequence[CellPlace]) -> RolloutRefused | None:
    certified = {cell.id: cell.certificate for cell in chosen if cell.certificate is not None}
    if not certified or order.is_certificate_waived:
        return None
    if order.certificate is None:
        detail = f"{', '.join(sorted(certified))} are certified, and nobody knows what {order.release.label} carries"
        return RolloutRefused(reason=RolloutRefusal.RELEASE_MUST_BE_CERTIFIED, detail=detail)
    flaw = order.certificate.flaw()
    if flaw is None and order.certificate.subject.software_version != order.release.label:
        flaw = f"it is of {order.certificate.subject.software_version}, and not of {order.release.label}"
    if flaw is not None:
        return RolloutRefused(reason=RolloutRefusal.RELEASE_MUST_BE_CERTIFIED, detail=f"the certificate: {flaw}")
    for cell, certificate in sorted(certified.items()):
        least_per_s = certificate.limit_per_s * (1 - CERTIFIED_LOSS_MAX)
        if order.certificate.limit_per_s < least_per_s:
            detail = (
                f"{order.release.label} carries {order.certificate.limit_per_s:g}/s, {cell} is certified for "
                f"{certificate.limit_per_s:g}/s; at most {CERTIFIED_LOSS_MAX:.0%} may be lost"
            )
            return RolloutRefused(reason=RolloutRefusal.RELEASE_MUST_CARRY_AS_MUCH, detail=detail)
    return None
