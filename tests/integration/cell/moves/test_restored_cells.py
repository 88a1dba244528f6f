"""A cell that was restored to before a grant serves nobody, gives way to the new owner, and is opened again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cell_databases import CellDatabase, CellDatabases
from ledger_book import Book
from moving_cells import KEYS, MovingCell, mover, moving_cell, two_cells

from cell.cell_tokens import CellTokens
from cell.ledger.restored import Era, Seen
from cell.peer_grants import PeerGrants, Quarantined, Silence
from cell.ports import StoreLostError
from cell.quarantine import DatabaseWatch
from cell.seen_file import SeenFileBrokenError, read_seen, write_seen
from cell.store.duty_lock import DutyLock
from cell.store.moves.sessions import MoveRefusedError
from cell.store.restored import InQuarantineError, must_be_open
from cell.store.units import UnitStore
from contract.ids import WalletId, wallet_id_of
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

ALICE, BOB, CAROL = (
    wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob", "carol")
)
UNIT = slot_of(ALICE)
Directory = dict[int, tuple[str, int]]


class World:
    """A backup of cell-a is taken, then alice moves to cell-b and goes on there; `restored` is that backup again."""

    def __init__(self, original: CellDatabase, backup: CellDatabase, other: CellDatabase) -> None:
        self.original = original
        self.restored = backup
        self.other = other
        self.grants: list[dict[str, Any]] = []

    def mark(self) -> None:
        """What `cellwallet restore` does before anybody can connect."""
        self.restored.sql("SELECT begin_quarantine('restored', 'a test')")

    async def evidence(self, *, isolated: Sequence[tuple[WalletId, int]] = (), **directory: Any) -> dict[str, Any]:
        there = await UnitStore(self.other.app_url, cell_id="cell-b").read()
        runs = directory.get("directory") or [
            {"first": 0, "last": UNIT - 1, "cell": "cell-a", "epoch": 1},
            {"first": UNIT, "last": UNIT, "cell": "cell-b", "epoch": 2},
            {"first": UNIT + 1, "last": 16_383, "cell": "cell-a", "epoch": 1},
        ]
        return {
            "directory": runs,
            "peers": [there.model_dump(mode="json")],
            "grants": self.grants,
            "isolated": [list(one) for one in isolated],
        }


@pytest.fixture
async def world(databases: CellDatabases, database: CellDatabase, book: Book) -> AsyncIterator[World]:
    async with moving_cell("cell-a", database) as a:
        await a.running.open(book, ["alice", "bob", "carol"], balance=100)
    backup, second = database.backup(), databases.copy(has_units=False)
    world = World(database, backup, second)
    async with two_cells(database, second) as (a, b), mover(a, b, [UNIT]) as moving:
        await moving.whole()
        world.grants = moving.grants["grants"]
        assert await b.running.codes(book.debit(ALICE, 60)) == ["accepted"]
    yield world
    for one in (backup, second):
        databases.drop(one)


@asynccontextmanager
async def both(world: World) -> AsyncIterator[tuple[MovingCell, MovingCell]]:
    async with (
        moving_cell("cell-a", world.restored, must_connect=False, patience_s=0.1) as a,
        moving_cell("cell-b", world.other) as b,
    ):
        yield a, b


async def post(cell: MovingCell, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with cell.client() as client:
        answer = await client.post(f"/admin/quarantine{path}", json=body)
    return answer.status_code, answer.json()


async def codes(cell: MovingCell, *commands: Any) -> list[str]:
    return await cell.running.codes(*commands, deadline_s=1.0)


def second_owners(world: World) -> list[int]:
    """Units that both databases would write: what must never be."""
    owned = "SELECT unit FROM unit_state WHERE state IN ('active', 'fenced')"
    if world.restored.sql("SELECT FROM quarantines WHERE opened_at IS NULL"):
        return []
    here, there = ({unit for (unit,) in one.sql(owned)} for one in (world.restored, world.other))
    return sorted(here & there)


async def test_a_restored_cell_serves_nobody_and_does_nothing(world: World, book: Book) -> None:
    world.mark()
    entries = world.restored.count("entries")
    async with both(world) as (a, _):
        assert (
            await codes(a, book.debit(ALICE, 1), book.debit(BOB, 1), book.opening("dora"))
            == ["cell_must_be_reachable"] * 3
        )
        for name in ("expiry", "relay", "move-watchdog", "move-puller", "transfers"):
            lock = DutyLock(world.restored.app_url, name=name)
            assert not await lock.hold()
            await lock.let_go()
        async with mover(a, _, [slot_of(BOB)]) as moving:
            for refused in (await moving.outgoing("survey"), await moving.fence()):
                assert (refused.status_code, refused.json()["reason"]) == (409, "cell_must_not_be_quarantined")
        with pytest.raises(MoveRefusedError, match="cell_must_not_be_quarantined"):
            await a.moves.source.standing()
        async with a.client() as client:
            answer = await client.get(f"/admin/grants/{UNIT}")
            assert answer.json()["reason"] == "cell_must_not_be_quarantined"
            answer = await client.post("/admin/checkpoints")
            assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")
            assert (await client.get("/admin/units")).status_code == 200
    assert world.restored.count("entries") == entries


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE unit_state SET epoch = epoch + 1 WHERE unit = 1",
        "INSERT INTO api_processes (process_id, written_at) VALUES ('p', now())",
        "INSERT INTO relay_marks SELECT * FROM relay_marks",
        "INSERT INTO entries SELECT * FROM entries LIMIT 1",
        "UPDATE transfers SET state = 'settled'",
        "SELECT cell_must_be_open()",
    ],
)
def test_the_database_itself_refuses_who_was_connected_before(database: CellDatabase, statement: str) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        database.sql("SELECT begin_quarantine('ordered', 'a test')")
        with pytest.raises(InQuarantineError):
            connection.execute(statement.encode())


async def test_what_was_given_away_is_moved_there_and_the_rest_is_served_again(world: World, book: Book) -> None:
    world.mark()
    async with both(world) as (a, b):
        status, refused = await post(a, "/open", {})
        assert (status, refused["reason"]) == (409, "units_must_be_adjudicated")
        status, told = await post(a, "/adjudicate", await world.evidence())
        assert status == 200
        assert told["units"] == [
            {"unit": UNIT, "verdict": "superseded", "cell": "cell-b", "epoch": 2, "detail": ""},
        ]
        assert told["kept"] == 16_383
        again = await post(a, "/adjudicate", await world.evidence())
        assert (again[1]["kept"], again[1]["units"]) == (16_383, [])
        assert await codes(a, book.debit(BOB, 1)) == ["cell_must_be_reachable"]
        assert second_owners(world) == []
        status, opened = await post(a, "/open", {})
        assert status == 200, opened
        assert opened["kept"] == 16_383
        await asyncio.wait_for(connected(a), 30)
        assert await codes(a, book.debit(ALICE, 1)) == ["wallet_must_be_owned_by_this_cell"]
        assert await codes(a, book.debit(BOB, 1)) == ["accepted"]
        assert await codes(b, book.debit(ALICE, 1)) == ["accepted"]
        assert a.state(UNIT) == ("moved", 2)
        assert second_owners(world) == []
        for cell in (a, b):
            await cell.assert_clean()
        async with a.client() as client:  # its own word, which it had forgotten
            assert (await client.get(f"/admin/grants/{UNIT}")).json() == world.grants[0]


async def test_without_detection_there_are_two_owners(world: World, book: Book) -> None:
    """The mutant: nobody marked the database and nobody remembers. The check above sees it."""
    async with both(world) as (a, b):
        await asyncio.wait_for(connected(a), 30)
        assert await codes(a, book.debit(ALICE, 1)) == ["accepted"]
        assert await codes(b, book.debit(ALICE, 1)) == ["accepted"]
        assert second_owners(world) != []


async def test_a_unit_that_came_since_is_missing_and_keeps_the_cell_closed(world: World, book: Book) -> None:
    """cell-b is restored to before alice came, where cell-a has given her away."""
    del book
    world.other.sql("DELETE FROM unit_state WHERE unit = %s", UNIT + 1)
    empty = world.other
    empty.sql("UPDATE wallets SET frozen_by = gen_random_uuid()")
    empty.sql("DELETE FROM unit_state")
    empty.sql("SELECT begin_quarantine('restored', 'a test')")
    there = await UnitStore(world.original.app_url, cell_id="cell-a").read()
    evidence = await world.evidence() | {"peers": [there.model_dump(mode="json")]}
    async with moving_cell("cell-b", empty, must_connect=False, patience_s=0.1) as b:
        status, told = await post(b, "/adjudicate", evidence)
        assert status == 200
        assert told["units"] == [{"unit": UNIT, "verdict": "missing", "cell": "cell-a", "epoch": 2, "detail": ""}]
        status, refused = await post(b, "/open", {})
        assert (status, refused["reason"], refused["units"]) == (409, "units_must_not_be_missing", [UNIT])


async def test_a_missing_unit_is_revived_where_it_came_from_and_then_the_cell_opens(world: World, book: Book) -> None:
    """What alice did at cell-b is lost with the restore; what she had when she left cell-a is not."""
    empty = world.other
    empty.sql("UPDATE wallets SET frozen_by = gen_random_uuid()")
    empty.sql("DELETE FROM unit_state")
    empty.sql("DELETE FROM account_deltas")
    empty.sql("SELECT begin_quarantine('restored', 'a test')")
    async with (
        moving_cell("cell-a", world.original) as a,
        moving_cell("cell-b", empty, must_connect=False, patience_s=0.1) as b,
    ):
        async with a.client() as client:
            order = {"lost_by": "cell-b", "units": [[UNIT, 2]]}
            revived = await client.post("/admin/revive", json=order)
        assert (revived.status_code, revived.json()["cell"]) == (200, "cell-a"), revived.text
        assert await codes(a, book.debit(ALICE, 100), book.debit(ALICE, 1)) == [
            "accepted",
            "available_balance_must_cover_amount",
        ]
        there = await UnitStore(world.original.app_url, cell_id="cell-a").read()
        owned = [{"first": 0, "last": 16_383, "cell": "cell-a", "epoch": 1}]
        evidence = await world.evidence() | {"peers": [there.model_dump(mode="json")], "directory": owned}
        status, told = await post(b, "/adjudicate", evidence)
        assert status == 200
        assert [one for one in told["units"] if one["verdict"] in {"missing", "contradicted"}] == []
        assert b.state(UNIT) in {None, ("moved", 3)}
        assert a.migrated() == 0
        await a.assert_clean()


async def test_what_cannot_be_decided_keeps_the_cell_closed(world: World) -> None:
    world.mark()
    nonsense = [{"first": 0, "last": 16_383, "cell": "cell-c", "epoch": 5}]
    async with both(world) as (a, _):
        status, told = await post(a, "/adjudicate", await world.evidence(directory=nonsense))
        assert status == 200
        assert {one["verdict"] for one in told["units"]} == {"contradicted", "superseded"}
        status, refused = await post(a, "/open", {"without_missing": True})
        assert (status, refused["reason"]) == (409, "claims_must_agree")


async def test_a_broken_ledger_is_not_opened(world: World) -> None:
    world.mark()
    with world.restored.unprotected() as connection:
        connection.execute("UPDATE wallets SET balance = balance + 1 WHERE wallet_id = %s", [BOB])
    async with both(world) as (a, _):
        assert (await post(a, "/adjudicate", await world.evidence()))[0] == 200
        status, refused = await post(a, "/open", {})
        assert (status, refused["reason"]) == (409, "ledger_must_be_whole")


async def test_a_wallet_that_was_isolated_since_and_moved_is_not_here_twice(world: World, book: Book) -> None:
    """Its slot is still here, and the restored row says that it stands in it."""
    world.mark()
    unit = ISOLATED_UNIT_FIRST
    evidence = await world.evidence(isolated=[(BOB, unit)])
    evidence["directory"].append({"first": unit, "last": unit, "cell": "cell-b", "epoch": 2})
    evidence["peers"][0]["units"].append({"first": unit, "last": unit, "state": "active", "epoch": 2})
    async with both(world) as (a, _):
        status, told = await post(a, "/adjudicate", evidence)
        assert status == 200, told
        assert {"unit": unit, "verdict": "isolated", "cell": "cell-b", "epoch": 2, "detail": ""} in told["units"]
        assert (await post(a, "/open", {}))[0] == 200
        await asyncio.wait_for(connected(a), 30)
        assert await codes(a, book.debit(BOB, 1)) == ["wallet_must_be_owned_by_this_cell"]
        assert await codes(a, book.debit(CAROL, 1)) == ["accepted"]
        await a.assert_clean()


async def test_an_open_cell_is_not_adjudicated(world: World) -> None:
    async with both(world) as (a, _):
        status, refused = await post(a, "/adjudicate", await world.evidence())
        assert (status, refused["reason"]) == (409, "cell_must_be_quarantined")


async def test_a_source_in_quarantine_neither_confirms_nor_denies_a_grant_and_is_not_taken_for_silent(
    databases: CellDatabases, database: CellDatabase
) -> None:
    second = databases.copy(has_units=False)
    async with two_cells(database, second) as (a, b):
        database.sql("SELECT begin_quarantine('ordered', 'a test')")
        peers = PeerGrants(CellTokens(b.name, KEYS[b.name]))
        told: object = Silence()
        while isinstance(told, Silence):  # a slow machine
            told = await peers.ask([a.url], UNIT)
        assert isinstance(told, Quarantined)
        await peers.close()
    databases.drop(second)


# What a process remembers.


def watch(database: CellDatabase, folder: Path) -> DatabaseWatch:
    return DatabaseWatch(database.app_url, state_dir=folder)


async def test_a_database_that_counts_less_than_was_seen_is_put_into_quarantine(
    database: CellDatabase, tmp_path: Path
) -> None:
    first, second = watch(database, tmp_path / "1"), watch(database, tmp_path / "2")
    for _ in range(3):
        await first.remember()
    await second.remember()
    await first.close()
    database.sql("UPDATE database_ticks SET ticks = ticks - 2")  # as a copy of the files of a second ago says
    again = watch(database, tmp_path / "1")
    await again.remember()
    assert again.is_quarantined
    with pytest.raises((InQuarantineError, psycopg.OperationalError)):
        await asyncio.to_thread(database.sql, "SELECT cell_must_be_open()", role="cell_app")
    with pytest.raises(StoreLostError):  # whoever was connected is not any more
        await second.remember()
    await second.remember()
    assert second.is_quarantined
    assert database.sql("SELECT cause FROM quarantines") == [("history_must_not_go_back",)]
    for one in (again, second):
        await one.close()


async def test_a_memory_from_before_the_opening_is_answered_by_it(database: CellDatabase, tmp_path: Path) -> None:
    one = watch(database, tmp_path)
    await one.remember()
    database.sql("UPDATE database_ticks SET ticks = 0")
    database.sql("SELECT begin_quarantine('restored', '')")
    database.sql("SELECT record_adjudication('{}')")
    database.sql("SELECT end_quarantine('me')")
    await one.remember()
    assert not one.is_quarantined
    seen = read_seen(tmp_path)
    assert seen is not None
    assert seen.ticks == 1
    await one.close()


async def test_a_timeline_that_nobody_recorded_is_refused_by_every_connection(
    database: CellDatabase, tmp_path: Path
) -> None:
    database.sql("UPDATE database_eras SET timeline = timeline + 1")
    async with await psycopg.AsyncConnection.connect(database.app_url) as connection:
        with pytest.raises(InQuarantineError):
            await must_be_open(connection)
    one = watch(database, tmp_path)
    await one.remember()
    assert one.is_quarantined
    assert database.sql("SELECT cause FROM quarantines") == [("timeline_must_be_recorded",)]
    await one.close()


def test_what_was_seen_survives_the_process_and_a_broken_file_is_no_new_beginning(tmp_path: Path) -> None:
    seen = Seen(era=Era(system_identifier="7", timeline=2), ticks=9, seen_at_us=1)  # type: ignore[arg-type]
    assert read_seen(tmp_path) is None
    write_seen(tmp_path, seen)
    assert read_seen(tmp_path) == seen
    (tmp_path / "database_seen.json").write_text('{"ticks": 9')
    with pytest.raises(SeenFileBrokenError):
        read_seen(tmp_path)


async def connected(cell: MovingCell) -> None:
    while not cell.running.lanes.are_connected:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.02)
