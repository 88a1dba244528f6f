"""The nodes that an evacuation closes: not while a primary is there, and what is left closed at the end is told, for
nobody comes back to it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from control_plane.crash_points import CrashPoints
from control_plane.evacuations.model import EvacuationRecord
from control_plane.evacuations.states import EvacuationEvent
from control_plane.fleet.model import Unreachable
from control_plane.releaser.evacuating import CLOSED, EvacuationRun
from control_plane.releaser.log import ReleaseLog
from control_plane.releaser.substrate import NoSubstrate, NotTaken, Outcome, Taken
from control_plane.releaser.switch_overs import (
    MustWait,
    NoSwitchOvers,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    SwitchOutcome,
    UnderWay,
)
from control_plane.store.database import Database, open_database
from control_plane.store.evacuations import evacuation_of
from control_plane.store.leases import Lease, hold

EVACUATION = "00000000-0000-0000-0000-000000000001"


class Nodes(NoSubstrate):
    """A cluster that answers in turn what it is given."""

    def __init__(self, *answers: Outcome) -> None:
        self._answers = list(answers)

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        del zone
        assert not is_closed
        return self._answers.pop(0)


class NodesWithPrimaries(NoSubstrate):
    """Whoever closes them makes somebody move the primaries that are there."""

    cordon_moves_primaries = True

    def __init__(self) -> None:
        self.closed = 0

    async def cordon(self, zone: str, *, is_closed: bool) -> Outcome:
        del zone
        self.closed += is_closed
        return Taken()


class Databases(NoSwitchOvers):
    """Says of each cell what it is given; begins nothing."""

    def __init__(self, **outcomes: SwitchOutcome) -> None:
        self.outcomes = outcomes

    async def switch(self, order: SwitchOrder) -> SwitchOutcome:
        assert not order.may_begin
        return self.outcomes[order.cell.id.replace("-", "_")]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()


def ending(database_url: str, *, cordon: str, state: str = "ending") -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            INSERT INTO evacuations
                (id, kind, zone, state, expires_at, is_end_ordered, cordon, ordered_by, ordered_at, changed_at)
            VALUES
                (%s, 'evacuation', 'a', %s, now() + interval '1 hour', %s, %s, 'olga', now(), now())
            """,
            [EVACUATION, state, state == "ending", cordon],
        )


async def worker(database: Database, *answers: Outcome) -> tuple[ReleaseLog, EvacuationRun, Lease]:
    records = ReleaseLog(database)
    run = EvacuationRun(
        records=records,
        substrate=Nodes(*answers),
        switch_overs=NoSwitchOvers(),
        crash_points=CrashPoints(None),
    )
    async with database.transaction() as connection:
        lease = await hold(connection, "releases", holder="one", lasts=timedelta(minutes=1))
    assert lease is not None
    return records, run, lease


async def after(database: Database, *answers: Outcome) -> EvacuationRecord:
    """As many turns as the cluster has answers, each right after traffic has returned."""
    records, run, lease = await worker(database, *answers)
    for _ in answers:
        work = await records.read()
        assert work.evacuation is not None
        await run._advance(work, work.evacuation, EvacuationEvent.TRAFFIC_RETURNED, lease)
    async with database.transaction() as connection:
        found = await evacuation_of(connection, EVACUATION)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("before", "answers", "told"),
    [
        (CLOSED, (Taken(),), "open again"),
        (CLOSED, (NotTaken(detail="403"),), "still closed, and not to be opened by us: 403"),
        (CLOSED, (Unreachable(detail="away"), Taken()), "open again"),
        ("waiting: 12 nodes", (Taken(),), "open again"),
        ("not available: a word", (NotTaken(detail="403"),), "not available: a word"),
        ("", (NotTaken(detail="403"),), ""),
    ],
    ids=str,
)
async def test_what_became_of_the_cordon_is_told_at_the_end(
    database: Database, database_url: str, before: str, answers: tuple[Outcome, ...], told: str
) -> None:
    ending(database_url, cordon=before)
    ended = await after(database, *answers)
    assert (ended.state, ended.cordon) == ("ended", told)


async def test_a_cluster_that_does_not_answer_is_asked_until_it_does(database: Database, database_url: str) -> None:
    ending(database_url, cordon=CLOSED)
    waiting = await after(database, Unreachable(detail="away"))
    assert (waiting.state, waiting.cordon) == ("ending", "to be opened: away")


async def test_while_it_is_in_force_nobody_reads_the_directory(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in force for a week, and is looked at several times a second."""
    ending(database_url, cordon=CLOSED, state="in_force")
    records, run, lease = await worker(database)
    monkeypatch.setattr(records, "evacuation_grounds", None)
    work = await records.read()
    assert work.evacuation is not None
    assert not await run.turn(work, work.evacuation, lease)


# Before the cordon.

HERE = MustWait(detail="its primary is cell-2-db-1")
AWAY = SwitchedOver(detail="its primary is in zone b")


async def cordoned(
    database: Database, database_url: str, databases: Databases, *, turns: int
) -> tuple[EvacuationRecord, int]:
    """What came of it where both primaries were switched some time ago; and how often the zone was closed."""
    ending(database_url, cordon="", state="cordoning")
    with psycopg.connect(database_url) as connection:
        for name in ("cell-1", "cell-2"):
            connection.execute("INSERT INTO cells VALUES (%s, 'active', 'a', 1, now(), now())", [name])
            values = [EVACUATION, name]
            connection.execute("INSERT INTO evacuation_primaries VALUES (%s, %s, 'switched', '')", values)
    records = ReleaseLog(database)
    nodes = NodesWithPrimaries()
    run = EvacuationRun(records=records, substrate=nodes, switch_overs=databases, crash_points=CrashPoints(None))
    async with database.transaction() as connection:
        lease = await hold(connection, "releases", holder="one", lasts=timedelta(minutes=1))
    assert lease is not None
    for _ in range(turns):
        work = await records.read()
        assert work.evacuation is not None
        await run.turn(work, work.evacuation, lease)
    async with database.transaction() as connection:
        found = await evacuation_of(connection, EVACUATION)
    assert found is not None
    return found, nodes.closed


async def test_a_zone_is_closed_when_all_primaries_are_away_still(database: Database, database_url: str) -> None:
    found, closed = await cordoned(database, database_url, Databases(cell_1=AWAY, cell_2=AWAY), turns=3)
    assert (found.state, found.cordon) == ("in_force", CLOSED)
    assert closed > 0


@pytest.mark.parametrize("outcome", [HERE, SwitchFailed(detail="its primary is cell-2-db-1, and the cell is closed")])
async def test_a_primary_that_came_back_since_it_was_switched_keeps_the_zone_open(
    database: Database, database_url: str, outcome: SwitchOutcome
) -> None:
    """A failover, while others were switched: closing its node would move it without a word to its cell."""
    found, closed = await cordoned(database, database_url, Databases(cell_1=AWAY, cell_2=outcome), turns=4)
    assert closed == 0
    assert found.state == "in_force"
    assert found.cordon.startswith("not done")
    assert [one.state for one in found.primaries] == ["switched", "failed"]
    assert "its primary is cell-2-db-1" in found.primaries[1].detail


@pytest.mark.parametrize("outcome", [Unreachable(detail="no answer"), UnderWay(detail="no answer")])
async def test_who_cannot_tell_where_its_primary_is_is_asked_again(
    database: Database, database_url: str, outcome: SwitchOutcome
) -> None:
    databases = Databases(cell_1=AWAY, cell_2=outcome)
    found, closed = await cordoned(database, database_url, databases, turns=3)
    assert (found.state, closed) == ("cordoning", 0)
    assert found.cordon == "not done yet: cell-2: no answer"
    assert [one.state for one in found.primaries] == ["switched", "switched"]
