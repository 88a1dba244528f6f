"""Whether a database is still the one that was here before: what a process remembers, held against what it finds.

A database that was restored says of itself what was true once. It betrays itself in three ways: by the mark that our
own restore command leaves, by a timeline that nobody has recorded in it, and by having counted less than somebody
outside of it has seen. Knows no file and no SQL. See docs/decisions/0019-restored-backups.md.
"""

from typing import Literal

from cell.ledger.model import Instant
from contract.values import value

Cause = Literal["restored", "timeline_must_be_recorded", "history_must_not_go_back", "ordered"]
"""Why a cell is in quarantine: the mark of a restore, one of the two signs of another one, or somebody's order."""


@value
class Era:
    """One life of the physical database: a restore from an archive, and a promotion, begin another timeline."""

    system_identifier: str
    timeline: int


@value
class Seen:
    """What a process has seen last, kept outside of the database."""

    era: Era
    ticks: int
    """The database's own count, which only grows; each number was committed before it was remembered."""
    seen_at_us: Instant
    """On the database's clock."""


@value
class Found:
    """What the database tells of itself now."""

    era: Era
    recorded: frozenset[Era]
    """The eras that somebody has vouched for, in this database."""
    ticks: int
    now_us: Instant
    opened_at_us: Instant | None = None
    """When an operator opened it last after a quarantine."""
    is_quarantined: bool = False


@value
class Suspicion:
    cause: Cause
    detail: str


def suspicion(found: Found, seen: Seen | None) -> Suspicion | None:
    """Why this may be another past than the one that went on here; None when nothing speaks for it."""
    if found.era not in found.recorded:
        return Suspicion(
            cause="timeline_must_be_recorded",
            detail=f"nobody has recorded timeline {found.era.timeline} of system {found.era.system_identifier}",
        )
    if seen is None or _was_opened_since(found, seen):
        return None
    if seen.era not in found.recorded:
        return Suspicion(
            cause="history_must_not_go_back",
            detail=f"timeline {seen.era.timeline} of system {seen.era.system_identifier} was seen and is unknown here",
        )
    if found.ticks < seen.ticks:
        return Suspicion(
            cause="history_must_not_go_back",
            detail=f"the database has counted to {found.ticks}, and {seen.ticks} was seen",
        )
    return None


def _was_opened_since(found: Found, seen: Seen) -> bool:
    """Whoever opened the cell knew that it had been restored: what was seen before is answered by that."""
    return found.opened_at_us is not None and found.opened_at_us > seen.seen_at_us
