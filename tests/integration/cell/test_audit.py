"""The audit finds and names whatever a thief with the superuser's rights changes, and nothing where nothing is."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from cell_databases import CELL_KEY, CellDatabase, CellDatabases
from cell_stores import postgres_ledger
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from event_log import event_metrics
from ledger_book import Book
from platform_keys import bearer, token

from cell.api.admin import admin_application
from cell.api.responses import Responder
from cell.api.tokens import admin_tokens, usable_keys
from cell.background.checkpoints import Checkpoints
from cell.cell_tokens import CellTokens, CellTokenVerifier
from cell.commit import commit
from cell.crash_points import CrashPoints
from cell.event_order import EventOrder
from cell.ledger.commands import Command
from cell.ledger.outcomes import Accepted, Refused
from cell.moves import Moves
from cell.peer_events import PeerEvents
from cell.peer_grants import PeerGrants
from cell.store.audit import AuditReport
from cell.store.duty_lock import DutyLock
from cell.store.event_waits import EventWaits
from cell.store.moves.sessions import Sessions
from cell.store.moves.store import PostgresMoves
from cell.store.unit_load import UnitLoads
from cell.store.units import UnitStore
from contract.ids import wallet_id_of
from contract.money import AMOUNT_MAX
from contract.signing import public_jwk

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))
DOLLARS = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="USD")

Place = tuple[str, str | None, int | None]
"""(invariant, wallet, seq)."""


TABLES = ("wallets", "entries", "transactions", "reversals", "account_deltas")


@pytest.fixture
async def ledger(database: CellDatabase) -> CellDatabase:
    await fill(database)
    return database


@pytest.fixture(scope="module")
def saved_ledger(databases: CellDatabases) -> CellDatabase:
    """One for many thefts: what is stolen is put back from a copy."""
    database = databases.copy()
    asyncio.run(fill(database))
    for table in TABLES:
        database.sql(f"CREATE TABLE saved_{table} AS TABLE {table}")
    return database


@pytest.fixture
def robbed(saved_ledger: CellDatabase) -> CellDatabase:
    with saved_ledger.unprotected() as connection:
        for table in TABLES:
            overriding = "OVERRIDING SYSTEM VALUE" if table == "account_deltas" else ""
            connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - our own names
            connection.execute(f"INSERT INTO {table} {overriding} TABLE saved_{table}".encode())
    return saved_ledger


async def fill(database: CellDatabase) -> None:
    """Something of everything; alice's log: opened, credit, credit, reversal, transfer_out, refused, changed."""
    book = Book()
    session = postgres_ledger(database.app_url).session("fill")
    await session.connect()
    gift = book.credit(
        ALICE, 100, details='{"description":"gift"}', context='{"client_ip":"::1"}', salt=bytes(range(16))
    )
    batches: list[list[Command]] = [
        [book.opening("alice"), book.opening("bob", overdraft_limit=50), book.opening("alice", currency="USD")],
        [gift],
        [book.credit(ALICE, 40), book.credit(DOLLARS, 7, currency="USD")],
        [book.reverse(ALICE, gift, 30), book.debit(BOB, 20)],
        [book.transfer(ALICE, BOB, 10), book.debit(ALICE, 999)],
        [book.change(ALICE, metadata='{"tier":"gold"}', details='{"change":{"metadata":{"tier":"gold"}}}')],
    ]
    for batch in batches:
        assert all(isinstance(outcome, Accepted | Refused) for outcome in await commit(session, batch))
    await session.close()


def places(report: AuditReport) -> set[Place]:
    return {(finding.invariant, finding.wallet_id, finding.seq) for finding in report.findings}


async def test_a_clean_ledger_is_clean(ledger: CellDatabase) -> None:
    report = await ledger.assert_clean()
    assert report.checked == {
        "wallets": 3,
        "entries": 12,
        "holds": 0,
        "transfers": 0,
        "groups": 0,
        "checkpoints": 0,
        "accounts": 2,
    }
    assert {currency: total["wallets"] for currency, total in report.totals.items()} == {"EUR": 90, "USD": 7}
    assert report.totals["EUR"]["accounts"] == {"clearing:acme": -90}


async def test_an_empty_cell_is_clean(database: CellDatabase) -> None:
    assert set((await database.assert_clean()).checked.values()) == {0}


async def test_a_folded_ledger_is_clean(ledger: CellDatabase) -> None:
    ledger.sql("SELECT fold_account_deltas(1000)")
    await ledger.assert_clean()


ENTRY = "UPDATE entries SET {change} WHERE wallet_id = '{alice}' AND seq = {seq}"
WALLET = "UPDATE wallets SET {change} WHERE wallet_id = '{alice}'"
RECORD = "UPDATE transactions SET {change} WHERE wallet_id = '{alice}' AND seq = {seq}"


def entry(change: str, seq: int = 2) -> str:
    return ENTRY.format(change=change, alice=ALICE, seq=seq)


def wallet(change: str) -> str:
    return WALLET.format(change=change, alice=ALICE)


def record(change: str, seq: int = 2) -> str:
    return RECORD.format(change=change, alice=ALICE, seq=seq)


SWAP = entry("seq = -4", 3) + "; " + entry("seq = 3", 4) + "; " + entry("seq = 4", -4)
EXTRA_ENTRY = (
    "INSERT INTO entries SELECT (jsonb_populate_record(e, '{\"seq\": 8}')).* FROM entries e "  # noqa: S608
    f"WHERE wallet_id = '{ALICE}' AND seq = 7"
)
EXTRA_RECORD = (
    "INSERT INTO transactions SELECT (jsonb_populate_record(t, jsonb_build_object('transaction_id', gen_random_uuid(), "  # noqa: S608
    f"'seq', 9))).* FROM transactions t WHERE wallet_id = '{ALICE}' AND seq = 2"
)

BY_FULL = {
    "one byte of details": (entry("details = replace(details, 'gift', 'Gift')"), ("L6", ALICE, 2)),
    "one byte of context": (entry("context = replace(context, '1', '2')"), ("L6", ALICE, 2)),
    "the salt": (entry("salt = set_byte(salt, 0, 255)"), ("L6", ALICE, 2)),
    "details put back after an erasure": (entry("details = '{}'"), ("L6", ALICE, 2)),
    "the seal": (entry("sealed = set_byte(sealed, 0, 255 - get_byte(sealed, 0))"), ("L6", ALICE, 2)),
    "the vendor of an entry": (entry("vendor_id = 'other'"), ("L6", ALICE, 2)),
    "the counter account": (entry("counter_account = 'clearing:other'"), ("L6", ALICE, 2)),
    "no counter account": (entry("counter_account = ''"), ("L5", ALICE, 2)),
    "an instant, within its order": (entry("posted_at = posted_at + interval '1 microsecond'"), ("L6", ALICE, 2)),
    "an instant, out of order": (entry("posted_at = posted_at - interval '1 hour'", seq=5), ("L4", ALICE, 5)),
    "two entries swapped": (SWAP, ("L4", ALICE, 4)),
    "the wallet's metadata": (wallet('metadata = \'{"tier":"lead"}\''), ("L9", ALICE, None)),
    "the wallet's owner": (wallet("owner_ref = 'mallory'"), ("L9", ALICE, None)),
    "the wallet's currency": (wallet("currency = 'CHF'"), ("L6", ALICE, 1)),
    "a hash": (entry("hash = set_byte(hash, 0, 255 - get_byte(hash, 0))"), ("L6", ALICE, 2)),
    "an original that was more": (entry("amount = 20, balance_after = 20"), ("L9", ALICE, None)),
}

BY_BOTH = {
    "one amount": (entry("amount = amount + 1"), ("L1", ALICE, 2), ("L1", ALICE, 7)),
    "an amount and its sum": (entry("amount = 99, balance_after = 99"), ("L6", ALICE, 2), ("L8", ALICE, 2)),
    "a held sum": (entry("held_delta = 1"), ("L2", ALICE, 2), ("L2", ALICE, 7)),
    "one entry deleted": (
        f"DELETE FROM entries WHERE wallet_id = '{ALICE}' AND seq = 3",  # noqa: S608
        ("L4", ALICE, 4),
        ("L4", ALICE, 7),
    ),
    "the last entry deleted": (
        f"DELETE FROM entries WHERE wallet_id = '{ALICE}' AND seq = 7",  # noqa: S608
        ("L4", ALICE, None),
        ("L4", ALICE, 7),
    ),
    "an entry more": (EXTRA_ENTRY, ("L6", ALICE, 8), ("L4", ALICE, 7)),
    "the wallet's balance": (wallet("balance = balance + 1"), ("L1", ALICE, None), ("L1", ALICE, 7)),
    "the wallet's held sum": (wallet("held = 1"), ("L2", ALICE, None), ("L2", ALICE, 7)),
    "the wallet's status": (wallet("status = 'suspended'"), ("L9", ALICE, None), ("L9", ALICE, 7)),
    "the wallet's overdraft": (wallet("overdraft_limit = 5"), ("L9", ALICE, None), ("L9", ALICE, 7)),
    "the wallet's seq": (wallet("seq = 6"), ("L4", ALICE, None), ("L4", ALICE, 6)),
    "the wallet's head": (wallet("head_hash = '\\x00'"), ("L6", ALICE, None), ("L9", ALICE, 7)),
    "the wallet's instant": (
        wallet("posted_at = posted_at + interval '1 second'"),
        ("L4", ALICE, None),
        ("L9", ALICE, 7),
    ),
    "the whole wallet row": (
        f"DELETE FROM wallets WHERE wallet_id = '{ALICE}'",  # noqa: S608
        ("L9", ALICE, 2),
        ("L9", ALICE, 2),
    ),
    "a recorded outcome deleted": (
        f"DELETE FROM transactions WHERE wallet_id = '{ALICE}' AND seq = 5",  # noqa: S608
        ("L8", ALICE, 5),
        ("L8", ALICE, 5),
    ),
    "a recorded outcome more": (EXTRA_RECORD, ("L8", ALICE, 9), ("L8", ALICE, 9)),
    "a refusal made a yes": (record("reason = NULL", seq=6), ("L8", ALICE, 6), ("L8", ALICE, 6)),
    "what was asked": (record("kind = 'debit'"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "the amount of an outcome": (record("amount = 1"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "the amount that was asked": (record("requested_amount = 1"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "whose outcome it is": (record("vendor_id = 'other'"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "the currency of an outcome": (record("currency = 'USD'"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "the delta of an outcome": (record("delta = 1"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "the hash of an outcome": (record("hash = '\\x00'"), ("L8", ALICE, 2), ("L8", ALICE, 2)),
    "a reversal forgotten": ("DELETE FROM reversals", ("L9", ALICE, 4), ("L9", ALICE, 4)),
    "a reversal made smaller": ("UPDATE reversals SET amount = 1", ("L9", ALICE, 4), ("L9", ALICE, 4)),
    "a reversal of something else": (
        "UPDATE reversals SET original = gen_random_uuid()",
        ("L9", ALICE, 4),
        ("L9", ALICE, 4),
    ),
    "money from nowhere": (
        "INSERT INTO account_deltas (account, currency, delta, cause) VALUES ('clearing:acme', 'EUR', 1, 'x')",
        ("L5", None, None),
        ("L5", None, None),
    ),
    "a delta lost": (
        "DELETE FROM account_deltas WHERE id = (SELECT min(id) FROM account_deltas)",
        ("L5", None, None),
        ("L5", None, None),
    ),
    "money in a currency of its own": (
        "INSERT INTO account_deltas (account, currency, delta, cause) VALUES ('clearing:acme', 'CHF', 1, 'x')",
        ("L5", None, None),
        ("L5", None, None),
    ),
}


async def test_what_was_put_back_is_clean(robbed: CellDatabase) -> None:
    await robbed.assert_clean()


@pytest.mark.parametrize("theft", BY_FULL)
async def test_the_full_audit_finds(robbed: CellDatabase, theft: str) -> None:
    statement, place = BY_FULL[theft]
    with robbed.unprotected() as thief:
        assert thief.execute(statement.encode()).rowcount > 0
    assert place in places(await robbed.audit())


@pytest.mark.parametrize("theft", BY_BOTH)
async def test_both_audits_find(robbed: CellDatabase, theft: str) -> None:
    statement, place, quick_place = BY_BOTH[theft]
    with robbed.unprotected() as thief:
        assert thief.execute(statement.encode()).rowcount > 0
    assert place in places(await robbed.audit())
    assert quick_place in places(await robbed.audit(is_full=False))


async def test_money_moved_between_accounts_is_found(robbed: CellDatabase) -> None:
    """The trial balance is still zero; what the entries say is another thing."""
    with robbed.unprotected() as thief:
        thief.execute("UPDATE account_deltas SET account = 'clearing:mallory' WHERE currency = 'USD'")
    report = await robbed.audit()
    assert places(report) == {("L5", None, None)}
    assert {finding.field for finding in report.findings} == {
        "account clearing:acme USD",
        "account clearing:mallory USD",
    }


PROTECTIONS = {
    "a trigger asleep": "ALTER TABLE entries DISABLE TRIGGER entries_are_append_only",
    "a trigger of one partition asleep": "ALTER TABLE entries_default DISABLE TRIGGER entries_are_append_only",
    "every trigger of one partition asleep": "ALTER TABLE entries_default DISABLE TRIGGER ALL",
    "a truncate trigger gone": "DROP TRIGGER entries_are_not_truncated ON entries_default",
    "a trigger of the outcomes asleep": "ALTER TABLE transactions DISABLE TRIGGER transactions_are_append_only",
    "a truncate trigger of the outcomes gone": "DROP TRIGGER transactions_are_not_truncated ON transactions",
    "a trigger of the reversals asleep": "ALTER TABLE reversals DISABLE TRIGGER reversals_are_append_only",
    "a trigger that wakes for replicas only": "ALTER TABLE entries ENABLE REPLICA TRIGGER entries_are_append_only",
    "update granted": "GRANT UPDATE ON entries TO cell_app",
    "delete granted": "GRANT DELETE ON transactions TO cell_app",
    "truncate granted": "GRANT TRUNCATE ON reversals TO cell_app",
    "update of one column granted": "GRANT UPDATE (amount) ON entries TO cell_app",
    "update of one partition granted": "GRANT UPDATE ON entries_default TO cell_app",
    "update granted to everybody": "GRANT UPDATE ON transactions TO PUBLIC",
    "more granted to the eraser": "GRANT UPDATE ON entries TO cell_eraser",
    "something granted to the auditor": "GRANT DELETE ON entries TO cell_auditor",
}


@pytest.mark.parametrize("weakness", PROTECTIONS)
async def test_a_missing_protection_is_found(ledger: CellDatabase, weakness: str) -> None:
    ledger.sql(PROTECTIONS[weakness])
    for is_full in (False, True):
        assert {invariant for invariant, *_ in places(await ledger.audit(is_full=is_full))} == {"L7"}


async def test_an_audit_of_a_moving_ledger_is_one_snapshot(ledger: CellDatabase, book: Book) -> None:
    """Money that arrives while it reads is not seen by half."""
    session = postgres_ledger(ledger.app_url).session("meanwhile")
    await session.connect()
    for number in range(3):
        await commit(session, [book.credit(BOB, 1, transaction_id=f"00000000-0000-7000-8000-9999999900{number:02d}")])
        await ledger.assert_clean()
    await session.close()


async def test_sums_beyond_any_wallet_are_still_audited(database: CellDatabase, book: Book) -> None:
    """A thousand full wallets are more than a bigint holds; what a vendor may post must not blind the audit."""
    session = postgres_ledger(database.app_url).session("fill")
    await session.connect()
    openings = [book.opening(f"ref-{number}") for number in range(1_100)]
    for start in range(0, 1_100, 100):
        batch = openings[start : start + 100]
        await commit(session, batch)
        await commit(session, [book.credit(opening.wallet_id, AMOUNT_MAX) for opening in batch])
    await session.close()
    database.sql("SELECT fold_account_deltas(100000)", role="cell_app")
    await database.assert_clean()
    answer = await asked_of_the_admin_api(database)
    assert answer["clean"]
    assert answer["totals"]["EUR"]["wallets"] == 1_100 * AMOUNT_MAX
    assert answer["totals"]["EUR"]["accounts"] == {"clearing:acme": -1_100 * AMOUNT_MAX}


async def test_the_admin_api_tells_what_was_found(ledger: CellDatabase) -> None:
    with ledger.unprotected() as thief:
        thief.execute(wallet("head_hash = '\\x00'").encode())
    answer = await asked_of_the_admin_api(ledger)
    assert not answer["clean"]
    assert {(one["invariant"], one["wallet_id"], one["field"]) for one in answer["findings"]} == {
        ("L6", ALICE, "head_hash"),
        ("L9", ALICE, "row"),
    }


async def test_one_audit_at_a_time(ledger: CellDatabase) -> None:
    """In the whole cell: another process of it holds the place."""
    other = DutyLock(ledger.app_url, name="audit")
    assert await other.hold()
    refused = await ask_for_an_audit(ledger)
    assert (refused.status_code, refused.json()["reason"]) == (429, "cell_must_have_capacity")
    assert refused.headers["retry-after"] == "5"
    await other.let_go()
    assert (await asked_of_the_admin_api(ledger))["clean"]
    assert (await asked_of_the_admin_api(ledger))["clean"]


async def test_an_audit_that_the_database_ends_says_why(ledger: CellDatabase) -> None:
    with ledger.unprotected() as thief:
        thief.execute("REVOKE SELECT ON reversals FROM cell_app")
    refused = await ask_for_an_audit(ledger)
    assert (refused.status_code, refused.json()["reason"]) == (503, "cell_must_be_reachable")
    assert "permission denied for table reversals" in refused.json()["detail"]


async def asked_of_the_admin_api(database: CellDatabase) -> dict[str, Any]:
    response = await ask_for_an_audit(database)
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


async def ask_for_an_audit(database: CellDatabase) -> httpx.Response:
    control_plane = Ed25519PrivateKey.generate()
    jwks = {"keys": [public_jwk(control_plane.public_key(), key_id="cp-1")]}
    app = admin_application(
        cell_id="cell-a",
        database_url=database.app_url,
        tokens=admin_tokens(audience="cellwallet", control_plane_keys=usable_keys(jwks)),
        units=UnitStore(database.app_url, cell_id="cell-a"),
        loads=UnitLoads(database.app_url, cell_id="cell-a"),
        checkpoints=Checkpoints(database.app_url, cell="cell-a", key=CELL_KEY, kept=2),
        checkpoint_keys={"cell:cell-a": CELL_KEY.public_key()},
        responder=Responder(cell_id="cell-a"),
        status=dict,
        metrics_text=bytes,
        moves=Moves(
            PostgresMoves(database.app_url, cell_id="cell-a", crash_points=CrashPoints(None)),
            peers=PeerGrants(CellTokens("cell-a", CELL_KEY)),
            crash_points=CrashPoints(None),
        ),
        event_order=EventOrder(
            EventWaits(Sessions(database.app_url)),
            cell_id="cell-a",
            peers=PeerEvents(CellTokens("cell-a", CELL_KEY)),
            configuration=lambda: None,
            metrics=event_metrics(),
        ),
        cells=CellTokenVerifier(),
    )
    operator = bearer(token(control_plane, "cp-1", subject="control-plane", scope="fleet:read"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=operator) as client:
        return await client.post("/admin/audit", json={"full": True})


async def test_who_cannot_be_reached_is_no_clean_cell(database: CellDatabase) -> None:
    ghost = CellDatabase(database.scratch, "nowhere")
    with pytest.raises(psycopg.OperationalError):
        await ghost.audit()
