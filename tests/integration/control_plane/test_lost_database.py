"""The control plane's database is lost, and two real cells tell an empty one what they own, isolated wallets too."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cell_databases import CellDatabases
from cell_lanes import code
from control_plane_databases import copied
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ledger_book import Book
from moving_cells import CONTROL_PLANE, MovingCell, done, mover, two_cells
from platform_keys import PlatformKeys, bearer
from running_platform import RunningPlatform, running_platform, until

from cellwallet.local.scratch import ScratchCluster, ScratchDatabase
from contract.ids import WalletId, wallet_id_of
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from control_plane.fleet.model import Policy
from control_plane.store.database import Database, open_database
from control_plane.store.isolations import exiled_slots

Cells = tuple[MovingCell, MovingCell]
NAMES = ("alice", "bob", "carol", "dave", "erin")
ALICE, BOB, CAROL, DAVE, ERIN = (
    wallet_id_of(owner_type="person", owner_ref=name, kind="main", currency="EUR") for name in NAMES
)
FIRST = ISOLATED_UNIT_FIRST
ATTEMPTS = 5


@pytest.fixture(scope="session")
def cell_databases(postgres_cluster: ScratchCluster) -> CellDatabases:
    return CellDatabases(postgres_cluster)


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    """The control plane's key is the one that the cells believe."""
    keys = PlatformKeys(tmp_path)
    keys.own = CONTROL_PLANE
    pem = CONTROL_PLANE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys.signing_key_file.write_bytes(pem)
    return keys


@pytest.fixture
async def cells(cell_databases: CellDatabases) -> AsyncIterator[Cells]:
    """cell-a owns every slot, cell-b none."""
    first, second = cell_databases.copy(), cell_databases.copy(has_units=False)
    async with two_cells(first, second) as both:
        yield both
    for database in (first, second):
        cell_databases.drop(database)


@pytest.fixture
def another_url(postgres_cluster: ScratchCluster, migrated_template: ScratchDatabase) -> Iterator[str]:
    """A database for the control plane that knows nothing."""
    with copied(postgres_cluster, migrated_template) as url:
        yield url


async def ask(platform: RunningPlatform, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """Again, where a cell did not answer in time: the machine is shared."""
    for _ in range(ATTEMPTS):
        answer = await platform.client.post(path, json=body or None, headers=bearer(platform.keys.operator()))
        if "ReadTimeout" not in answer.text:
            break
    return answer.status_code, answer.json()


async def placed(platform: RunningPlatform, wallet_id: str, verb: str) -> dict[str, Any]:
    status, told = await ask(platform, f"/v1/wallets/{wallet_id}/{verb}")
    assert status == 200, told
    return told


async def rebuilt(platform: RunningPlatform, cells: Cells) -> dict[str, Any]:
    """The cells register, and their word becomes the directory; the document that is published then."""
    for cell in cells:
        assert (await platform.register(cell.name, cell.url)).status_code == 200
    status, told = await ask(platform, "/v1/directory/rebuild", dry_run=False)
    assert status == 200, told
    document: dict[str, Any] = await until(platform.directory)
    return document


async def located(platform: RunningPlatform, wallet_id: str) -> tuple[int, str, int]:
    told = (await platform.get(f"/v1/locate/{wallet_id}")).json()
    return told["unit"], told["cell"], told["epoch"]


async def first_life(platform: RunningPlatform, cells: Cells, book: Book) -> None:
    """Alice is isolated and away; bob was isolated and is back; carol's slot is away without her; dave is isolated."""
    a, b = cells
    await a.running.open(book, list(NAMES), balance=100)
    await rebuilt(platform, cells)
    for number, wallet_id in enumerate((ALICE, CAROL, DAVE, BOB)):
        assert (await placed(platform, wallet_id, "isolate"))["unit"] == FIRST + number
    assert (await placed(platform, BOB, "rejoin"))["unit"] == slot_of(BOB)
    async with mover(a, b, [FIRST]) as move:
        await move.whole()
    await move_empty_slot(a, b, slot_of(CAROL))


async def move_empty_slot(source: MovingCell, target: MovingCell, slot: int) -> None:
    """No wallet is in it; the rows that say who has left it go along."""
    async with mover(source, target, [slot]) as move:
        done(await move.stage())
        page = await move.outgoing("rows", {"unit": slot, "part": "state"})
        done(await move.put(slot, "state", page.content))
        done(await move.fence())
        done(await move.seal())
        await move.granted()
        done(await move.activate())
        done(await move.outgoing("tombstone"))


async def test_isolated_wallets_and_their_numbers_come_back_with_the_directory(
    cells: Cells, book: Book, keys: PlatformKeys, database_url: str, another_url: str
) -> None:
    a, _ = cells
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as platform:
        await first_life(platform, cells, book)
    async with running_platform(another_url, keys, policy=Policy(first_cells=2)) as platform:
        document = await rebuilt(platform, cells)
        assert document["isolated"] == {ALICE: FIRST, CAROL: FIRST + 1, DAVE: FIRST + 2}
        assert document["unit_cells"] == {str(FIRST): "cell-b", str(FIRST + 1): "cell-a", str(FIRST + 2): "cell-a"}
        assert await located(platform, ALICE) == (FIRST, "cell-b", 2)
        assert await located(platform, BOB) == (slot_of(BOB), "cell-a", 1)
        assert await located(platform, CAROL) == (FIRST + 1, "cell-a", 1)
        database = open_database(another_url)
        assert await slots_with_exiles(database) == {slot_of(WalletId(one)) for one in (ALICE, CAROL, DAVE)}
        await database.close()

        # Numbers: the isolated ones keep theirs, the one that bob left is not given out again.
        assert (await placed(platform, ALICE, "isolate"))["unit"] == FIRST
        assert (await placed(platform, ERIN, "isolate"))["unit"] == FIRST + 4

        # Rejoining: as far as the cells can.
        for wallet_id in (ALICE, CAROL):
            status, told = await ask(platform, f"/v1/wallets/{wallet_id}/rejoin")
            assert (status, told["reason"]) == (409, "unit_must_be_in_the_cell_of_its_slot")
        assert (await placed(platform, DAVE, "rejoin"))["unit"] == slot_of(DAVE)
        assert await a.running.codes(book.debit(DAVE, 1), book.debit(CAROL, 1)) == ["accepted"] * 2
        assert code(await a.running.submit(book.debit(ALICE, 1))) == "wallet_must_be_owned_by_this_cell"

        # Once more, now that there is a database: nothing changes, and what was left stays left.
        document = await rebuilt(platform, cells)
        status, told = await ask(platform, "/v1/directory/rebuild", dry_run=False)
        assert (status, told["changed"], told["isolated"]) == (200, 0, 3)
        assert (await placed(platform, DAVE, "isolate"))["unit"] == FIRST + 5
    for cell in cells:
        await cell.assert_clean()


async def test_a_cell_that_owns_only_an_isolated_unit_is_missed(
    cells: Cells, book: Book, keys: PlatformKeys, database_url: str, another_url: str
) -> None:
    """All slots have an owner without it; only the rows that say where a wallet went tell that somebody is missing."""
    a, b = cells
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as platform:
        await a.running.open(book, ["alice"], balance=100)
        await rebuilt(platform, cells)
        await placed(platform, ALICE, "isolate")
        async with mover(a, b, [FIRST]) as move:
            await move.whole()
    async with running_platform(another_url, keys, policy=Policy(first_cells=2)) as platform:
        await platform.register(a.name, a.url)
        status, told = await ask(platform, "/v1/directory/rebuild", dry_run=False)
        assert (status, told["reason"]) == (409, "claims_must_agree")
        missing = "a wallet has left its slot for it, and no cell has that wallet"
        assert told["disagreements"] == [{"fault": missing, "units": [FIRST]}]
        await platform.register(b.name, "http://127.0.0.1:1")
        status, told = await ask(platform, "/v1/directory/rebuild", dry_run=False)
        assert (status, told["reason"]) == (503, "cell_must_answer")
        assert "cell-b" in told["detail"]
        assert await platform.directory() is None, "nothing is half done"
        await platform.register(b.name, b.url)
        await platform.register(b.name, "http://127.0.0.1:1")
        document = await rebuilt(platform, cells)
        assert document["isolated"] == {ALICE: FIRST}


async def test_two_claims_rebuild_nothing(cells: Cells, keys: PlatformKeys, database_url: str) -> None:
    a, b = cells
    b.database.sql("INSERT INTO unit_state (unit, state, epoch) VALUES (7, 'active', 1)")
    async with running_platform(database_url, keys, policy=Policy(first_cells=2)) as platform:
        for cell in cells:
            await platform.register(cell.name, cell.url)
        for is_dry in (True, False):
            status, told = await ask(platform, "/v1/directory/rebuild", dry_run=is_dry)
            assert (status, told["reason"]) == (409, "claims_must_agree")
            fault = "cell-a and cell-b both own it at epoch 1"
            assert told["disagreements"] == [{"fault": fault, "units": [7]}]
        assert await platform.directory() is None
        owned = sum(cell["units"] for cell in (await platform.get("/v1/cells")).json()["cells"])
        assert owned == 0, "nothing is half done"
    assert (a.state(7), SLOTS) == (("active", 1), a.database.count("unit_state"))


async def slots_with_exiles(database: Database) -> frozenset[int]:
    async with database.transaction() as connection:
        return await exiled_slots(connection)


@pytest.fixture
def book() -> Book:
    return Book()
