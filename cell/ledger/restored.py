"""Whether a database is still the one that was here before: what a process remembers, held against what it finds.

A database that was restored says of itself what was true once. It betrays itself in three ways: by the mark that our
own restore command leaves, by a timeline that nobody has recorded in it, and by having counted less than somebody
outside of it has seen. Knows no file and no SQL. See docs/decisions/0019-restored-backups.md.
"""

from typing import Final, Literal

from cell.ledger.model import Instant
from contract.values import value

Cause = Literal["restored", "timeline_must_be_recorded", "history_must_not_go_back", "ordered"]
"""Why a cell is in quarantine: the mark of a restore, one of the two signs of another one, or somebody's order."""


OUTAGE_MAX_US: Final = 900 * 1_000_000
"""Between the last count that a process remembers and its first look at what was promoted. A process that serves counts
every second; a promotion that takes longer than this is a disaster, and people open the cell."""


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
    closed_by: Cause | None = None
    """Why the cell is in quarantine; None = it is not."""

    @property
    def is_quarantined(self) -> bool:
        return self.closed_by is not None


@value
class Suspicion:
    cause: Cause
    detail: str


def suspicion(found: Found, seen: Seen | None) -> Suspicion | None:
    """Why this may be another past than the one that went on here; None when nothing speaks for it.

    What is missing comes first: for a timeline somebody may vouch, for a loss nobody.
    """
    lost = None if seen is None or _was_opened_since(found, seen) else _loss(found, seen)
    if lost is not None:
        return Suspicion(cause="history_must_not_go_back", detail=lost)
    if found.era not in found.recorded:
        return Suspicion(
            cause="timeline_must_be_recorded",
            detail=f"nobody has recorded timeline {found.era.timeline} of system {found.era.system_identifier}",
        )
    return None


def is_news(suspected: Suspicion, found: Found) -> bool:
    """Whether it closes the cell, or closes it for good to whoever vouches for timelines."""
    is_open_to_vouching = found.closed_by in {None, "timeline_must_be_recorded"}
    return found.closed_by is None or (is_open_to_vouching and suspected.cause == "history_must_not_go_back")


def doubt(found: Found, seen: Seen | None, *, noticed_at_us: Instant) -> str | None:
    """Why a timeline that nobody recorded may not be what a promotion made of the one that was seen; None = it is.

    `noticed_at_us`: when the cell was found on it first. A memory that is much older says nothing: a backup from after
    it would pass. One from just before proves that the database has all that was counted until then, the record of the
    timeline that it was seen on included.
    """
    if seen is None:
        return "nobody here remembers what went on before"
    if seen.era.system_identifier != found.era.system_identifier:
        return f"system {seen.era.system_identifier} was seen, and this is another one"
    if seen.era not in found.recorded or found.era.timeline <= seen.era.timeline:
        return f"timeline {found.era.timeline} does not go on from timeline {seen.era.timeline}, which was seen"
    if found.ticks < seen.ticks:
        return f"the database has counted to {found.ticks}, and {seen.ticks} was seen: it lacks what was committed"
    if noticed_at_us - seen.seen_at_us > OUTAGE_MAX_US:
        return "what is remembered is older than any promotion takes"
    return None


def _loss(found: Found, seen: Seen) -> str | None:
    if seen.era not in found.recorded:
        return f"timeline {seen.era.timeline} of system {seen.era.system_identifier} was seen and is unknown here"
    if found.ticks < seen.ticks:
        return f"the database has counted to {found.ticks}, and {seen.ticks} was seen"
    return None


def _was_opened_since(found: Found, seen: Seen) -> bool:
    """Whoever opened the cell knew that it had been restored: what was seen before is answered by that."""
    return found.opened_at_us is not None and found.opened_at_us > seen.seen_at_us
