"""Checkpoints on a real database: what is taken, what is proven, and that every change of the past is found."""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from cell_databases import CELL_KEY, CellDatabase, CellDatabases
from cell_process import RunningCell, Vendor, new_id, running_cell
from cell_stores import postgres_ledger
from cell_waiting import until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_book import Book

from cell.background.checkpoints import Checkpoints
from cell.commit import commit
from cell.ports import StoreLostError
from cell.store.checkpoint_pages import PAGE, LeafMustBeWholeError
from cell.store.checkpoints import take_checkpoint
from cell.telemetry import Metrics
from contract.checkpoints import (
    Checkpoint,
    CheckpointMustHoldError,
    checkpoint_hash,
    signed_checkpoint,
    verify_checkpoint,
    verify_link,
    verify_proof,
)
from contract.ids import wallet_id_of
from contract.merkle import EMPTY_ROOT
from contract.slots import slot_of

CELL = "cell-a"
KEYS = {f"cell:{CELL}": CELL_KEY.public_key()}
ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))


async def take(database: CellDatabase, *, kept: int = 3, key: Ed25519PrivateKey = CELL_KEY) -> Checkpoint:
    return await take_checkpoint(database.app_url, cell=CELL, key=key, kept=kept)


async def fill(database: CellDatabase, book: Book) -> None:
    """The log of alice: opened, credit, credit, debit."""
    session = postgres_ledger(database.app_url).session("fill")
    await session.connect()
    await commit(session, [book.opening("alice"), book.opening("bob"), book.opening("carol", currency="USD")])
    await commit(session, [book.credit(ALICE, 100), book.credit(BOB, 7)])
    await commit(session, [book.credit(ALICE, 50), book.debit(ALICE, 30)])
    await session.close()


async def places(database: CellDatabase) -> set[tuple[str, str | None, int | None]]:
    report = await database.audit()
    return {(finding.invariant, finding.wallet_id, finding.seq) for finding in report.findings}


@pytest.fixture
async def ledger(database: CellDatabase, book: Book) -> CellDatabase:
    """Three wallets, and two checkpoints of them."""
    await fill(database, book)
    await take(database)
    await take(database)
    return database


async def test_checkpoints_are_signed_and_each_names_the_one_before(database: CellDatabase, book: Book) -> None:
    empty = await take(database)
    await fill(database, book)
    filled = await take(database)
    for checkpoint, previous in ((empty, None), (filled, empty)):
        assert verify_checkpoint(checkpoint.document, KEYS) == checkpoint
        verify_link(previous, checkpoint)
    assert (empty.number, empty.wallets, empty.totals, empty.merkle_root) == (1, 0, {}, EMPTY_ROOT.hex())
    assert (filled.number, filled.wallets, filled.previous_hash) == (2, 3, checkpoint_hash(empty.document))
    assert filled.totals == {
        "EUR": {"wallets": "2", "balance": "127", "held": "0"},
        "USD": {"wallets": "1", "balance": "0", "held": "0"},
    }
    assert (await database.assert_clean()).checked["checkpoints"] == 2


async def test_the_trees_of_the_newest_are_kept_and_the_checkpoints_for_ever(ledger: CellDatabase) -> None:
    for _ in range(3):
        await take(ledger, kept=2)
    assert ledger.sql("SELECT DISTINCT number FROM checkpoint_pages ORDER BY 1") == [(4,), (5,)]
    assert ledger.one("SELECT count(*) FROM checkpoints") == 5
    await ledger.assert_clean()


async def test_many_at_once_take_turns(database: CellDatabase, book: Book) -> None:
    await fill(database, book)
    taken = await asyncio.gather(*(take(database) for _ in range(5)))
    assert sorted(checkpoint.number for checkpoint in taken) == [1, 2, 3, 4, 5]
    await database.assert_clean()


async def test_what_a_crash_left_is_replaced(ledger: CellDatabase) -> None:
    ledger.sql(
        "INSERT INTO checkpoint_pages "
        "SELECT 3, page, first_wallet_id, root, leaves FROM checkpoint_pages WHERE number = 2"
    )
    ledger.sql("UPDATE checkpoint_pages SET leaves = '\\x00' WHERE number = 3")
    await ledger.assert_clean()
    assert (await take(ledger)).number == 3
    await ledger.assert_clean()


async def test_the_database_refuses_to_change_a_checkpoint(ledger: CellDatabase) -> None:
    for statement in ("UPDATE checkpoints SET wallets = 1", "DELETE FROM checkpoints", "TRUNCATE checkpoints"):
        for role in ("cell_app", "cell_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ledger.sql(statement, role=role)


async def test_a_lost_database_is_told(database: CellDatabase) -> None:
    with pytest.raises(StoreLostError):
        await take(CellDatabase(database.scratch, "nowhere"))


async def test_nothing_is_signed_on_top_of_what_does_not_hold(ledger: CellDatabase) -> None:
    with ledger.unprotected() as thief:
        thief.execute("UPDATE wallets SET head_hash = '\\x00'")
    with pytest.raises(LeafMustBeWholeError):
        await take(ledger)
    with ledger.unprotected() as thief:
        thief.execute("UPDATE checkpoints SET document = replace(document, '\"wallets\":3', '\"wallets\":4')")
    with pytest.raises(CheckpointMustHoldError, match="signature"):
        await take(ledger)


async def test_the_duty_takes_them_and_is_nudged(database: CellDatabase, metrics: Metrics) -> None:
    checkpoints = Checkpoints(database.app_url, cell=CELL, key=CELL_KEY, kept=1)
    duty = checkpoints.duty(period_s=3_600, metrics=metrics)
    running = asyncio.create_task(duty.run())
    await until(lambda: database.one("SELECT count(*) FROM checkpoints") == 1)
    duty.nudge()
    await until(lambda: database.one("SELECT count(*) FROM checkpoints") == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_new_key_goes_on_with_the_chain(ledger: CellDatabase) -> None:
    """What was signed before is vouched for by the hash in what is signed now."""
    following = Ed25519PrivateKey.generate()
    await take(ledger, key=following)
    assert await places(ledger) == {("P5", None, None)}, "the newest must be signed by the trusted key"
    await take(ledger)
    await ledger.assert_clean()


# What a thief with the superuser's rights does.

# (what is done to the log of the wallet, the entry that must be named)
THEFTS: dict[str, tuple[str, int]] = {
    "one byte of a hash": (
        "UPDATE entries SET hash = set_byte(hash, 5, get_byte(hash, 5) # 1) WHERE wallet_id = '{alice}' AND seq = 4",
        4,
    ),
    "one balance after": (
        "UPDATE entries SET balance_after = balance_after + 1 WHERE wallet_id = '{alice}' AND seq = 4",
        4,
    ),
    "an entry gone": ("DELETE FROM entries WHERE wallet_id = '{alice}' AND seq = 4", 4),
    "two entries swapped": (
        """
        UPDATE entries SET seq = 107 - seq WHERE wallet_id = '{alice}' AND seq IN (3, 4);
        UPDATE entries SET seq = seq - 100 WHERE wallet_id = '{alice}' AND seq > 100
        """,
        4,
    ),
    "a log cut off with its wallet": (
        """
        DELETE FROM entries WHERE wallet_id = '{alice}' AND seq > 2;
        DELETE FROM transactions WHERE wallet_id = '{alice}' AND seq > 2;
        UPDATE wallets w SET seq = e.seq, balance = e.balance_after, held = e.held_after, head_hash = e.hash,
            posted_at = e.posted_at
        FROM entries e WHERE e.wallet_id = w.wallet_id AND w.wallet_id = '{alice}' AND e.seq = 2
        """,
        4,
    ),
    "a whole wallet gone": (
        """
        DELETE FROM entries WHERE wallet_id = '{alice}';
        DELETE FROM transactions WHERE wallet_id = '{alice}';
        DELETE FROM wallets WHERE wallet_id = '{alice}'
        """,
        4,
    ),
}


def theft_of(name: str) -> bytes:
    return THEFTS[name][0].format(alice=ALICE).encode()


@pytest.mark.parametrize("theft", THEFTS)
async def test_a_log_that_does_not_pass_through_its_checkpoint_is_found(ledger: CellDatabase, theft: str) -> None:
    with ledger.unprotected() as thief:
        thief.execute(theft_of(theft))
    assert ("P5", ALICE, THEFTS[theft][1]) in await places(ledger)


async def test_a_wallet_that_left_in_good_order_is_not_missed(ledger: CellDatabase) -> None:
    with ledger.unprotected() as mover:
        mover.execute(theft_of("a whole wallet gone"))
        mover.execute("UPDATE unit_state SET state = 'moved' WHERE unit = %s", (slot_of(ALICE),))
    assert "P5" not in {invariant for invariant, *_ in await places(ledger)}


ROW, PAGES = "UPDATE checkpoints SET {change}", "UPDATE checkpoint_pages SET {change}"
OTHER_WALLETS = "document = replace(document, '\"wallets\":3', '\"wallets\":4')"
FORGERIES = {
    "another number of wallets": ROW.format(change=f"{OTHER_WALLETS} WHERE number = 1"),
    "another column": ROW.format(change="wallets = 4 WHERE number = 1"),
    "another root in its column": ROW.format(change="merkle_root = '\\x00' WHERE number = 2"),
    "one dropped": "DELETE FROM checkpoints WHERE number = 1",
    "two swapped": ROW.format(
        change="document = (SELECT document FROM checkpoints o WHERE o.number = 3 - checkpoints.number)"
    ),
    "no JSON": ROW.format(change="document = 'nothing' WHERE number = 2"),
    "another leaf": PAGES.format(change="leaves = set_byte(leaves, 20, get_byte(leaves, 20) # 1) WHERE number = 2"),
    "another leaf of an older tree": PAGES.format(change="leaves = set_byte(leaves, 20, 9) WHERE number = 1"),
    "another root of a page": PAGES.format(change="root = set_byte(root, 1, get_byte(root, 1) # 1) WHERE number = 2"),
    "a page gone": "DELETE FROM checkpoint_pages WHERE number = 2",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_checkpoint_is_found(ledger: CellDatabase, forgery: str) -> None:
    with ledger.unprotected() as thief:
        thief.execute(FORGERIES[forgery].encode())
    assert {invariant for invariant, *_ in await places(ledger)} == {"P5"}


async def test_a_whole_chain_signed_by_a_stranger_is_found(ledger: CellDatabase) -> None:
    stranger, previous = Ed25519PrivateKey.generate(), "00" * 32
    with ledger.unprotected() as thief:
        for number, text in thief.execute("SELECT number, document FROM checkpoints ORDER BY number").fetchall():
            old = json.loads(text)
            forged = signed_checkpoint(
                cell=CELL,
                number=number,
                taken_at=old["taken_at"],
                wallets=old["wallets"],
                totals=old["totals"],
                merkle_root=bytes.fromhex(old["merkle_root"]),
                previous_hash=previous,
                key=stranger,
            )
            previous = checkpoint_hash(json.loads(forged))
            thief.execute(
                "UPDATE checkpoints SET document = %s, previous_hash = decode(%s, 'hex'), signature = %s "
                "WHERE number = %s",
                (forged, json.loads(forged)["previous_hash"], json.loads(forged)["signature"]["value"], number),
            )
    report = await ledger.audit()
    assert [(finding.invariant, finding.field) for finding in report.findings] == [("P5", "key of checkpoint 2")]


# What vendors ask.


@pytest.fixture(scope="module")
def own_cell(databases: CellDatabases) -> Any:
    """Nobody else takes checkpoints of it."""
    with running_cell(databases.copy()) as cell:
        yield cell


@pytest.fixture(scope="module")
def customer(own_cell: RunningCell) -> Any:
    with own_cell.client() as client:
        yield Vendor(client, own_cell)


def proof_of(customer: Vendor, wallet_id: str, **query: Any) -> dict[str, Any]:
    answer = customer.get(f"/v1/wallets/{wallet_id}/proof", **query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_every_wallet_of_many_pages_has_its_proof(own_cell: RunningCell, customer: Vendor) -> None:
    session = postgres_ledger(own_cell.database.app_url).session("fill")
    await session.connect()
    book = Book()
    openings = [book.opening(new_id()) for _ in range(2 * PAGE + 7)]
    for at in range(0, len(openings), 200):
        await commit(session, openings[at : at + 200])
    await session.close()
    taken = await take(own_cell.database)
    ids = sorted(opening.wallet_id for opening in openings)
    for wallet_id in (ids[0], ids[PAGE - 1], ids[PAGE], ids[-2], ids[-1]):
        proof = verify_proof(proof_of(customer, wallet_id), KEYS)
        assert (proof.leaf.wallet_id, proof.leaf.seq, proof.checkpoint) == (wallet_id, 1, taken)


async def test_a_proof_says_how_the_wallet_stood_then(own_cell: RunningCell, customer: Vendor) -> None:
    wallet_id = customer.open(balance=500)
    first = await take(own_cell.database)
    customer.debit(wallet_id, 200)
    second = await take(own_cell.database)
    stood = {
        number: verify_proof(proof_of(customer, wallet_id, checkpoint=number), KEYS).leaf.balance
        for number in (str(first.number), str(second.number), "latest")
    }
    assert stood == {str(first.number): 500, str(second.number): 300, "latest": 300}
    assert proof_of(customer, wallet_id)["checkpoint"]["number"] == second.number
    entry = customer.get(f"/v1/wallets/{wallet_id}/entries").json()["entries"][0]
    assert proof_of(customer, wallet_id)["leaf"]["head_hash"] == entry["entry_hash"]


async def test_what_cannot_be_proven_is_told(own_cell: RunningCell, customer: Vendor) -> None:
    old = customer.open()
    for _ in range(4):
        newest = await take(own_cell.database)
    young = customer.open()
    cases = {
        (young, "latest"): (404, "checkpoint_must_exist"),
        (old, "999999"): (404, "checkpoint_must_exist"),
        (old, str(newest.number - 3)): (404, "checkpoint_must_exist"),
        (new_id(), "latest"): (404, "wallet_must_exist"),
        (old, "0"): (400, "request_must_be_well_formed"),
        (old, "first"): (400, "request_must_be_well_formed"),
        ("nobody", "latest"): (400, "path_must_be_well_formed"),
    }
    for (wallet_id, checkpoint), expected in cases.items():
        answer = customer.get(f"/v1/wallets/{wallet_id}/proof", checkpoint=checkpoint)
        assert (answer.status_code, answer.json()["reason"]) == expected, (wallet_id, checkpoint)


async def test_checkpoints_are_listed_by_pages_in_both_orders(own_cell: RunningCell, customer: Vendor) -> None:
    for _ in range(3):
        await take(own_cell.database)
    for order in ("asc", "desc"):
        documents: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while cursor is not None:
            page = customer.get("/v1/checkpoints", limit=2, order=order, cell=CELL, **cursor).json()
            documents += page["checkpoints"]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
        assert page["cell"] == CELL
        previous = None
        for document in documents if order == "asc" else reversed(documents):
            checkpoint = verify_checkpoint(document, KEYS)
            verify_link(previous, checkpoint)
            previous = checkpoint


@pytest.mark.parametrize(
    "query", [{"cell": "cell-b"}, {"cell": "Cell"}, {"limit": 0}, {"limit": 501}, {"cursor": "!"}, {"cursor": "YQ"}]
)
def test_a_wrong_question_is_refused(customer: Vendor, query: dict[str, Any]) -> None:
    answer = customer.get("/v1/checkpoints", **query)
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")


def test_the_keys_of_the_fleet_are_published(own_cell: RunningCell, customer: Vendor) -> None:
    keys = customer.get("/v1/keys").json()["keys"]
    assert [key["kid"] for key in keys] == ["cell:cell-a", "issuer-1"]
    assert not any("d" in key for key in keys)


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/checkpoints", f"/v1/wallets/{ALICE}/proof"])
def test_the_routes_need_wallet_read(own_cell: RunningCell, path: str) -> None:
    with own_cell.client("money:debit") as client:
        assert client.get(path).json()["reason"] == "scope_must_allow_read"
    with own_cell.client(expires=None) as client:
        client.headers.pop("Authorization")
        assert client.get(path).status_code == 401
