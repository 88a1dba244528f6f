"""The audit finds and names what is done to holds, transfers, groups and unopened wallets; and tells what is stuck."""

import asyncio

import pytest
from cell_databases import CellDatabase, CellDatabases
from cell_stores import postgres_ledger
from ledger_book import Book

from cell.commit import commit
from cell.ledger.commands import Command
from cell.ledger.invariants import STUCK
from cell.ledger.outcomes import Accepted, Marked, Refused
from cell.store.audit import AuditReport, audit
from contract.ids import wallet_id_of
from contract.slots import slot_of

ALICE, BOB, CAROL, LATE, NEVER, FAR = (
    wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR")
    for ref in ("alice", "bob", "carol", "late", "never", "far")
)
TABLES = ("wallets", "entries", "transactions", "holds", "transfers", "groups", "account_deltas")
Place = tuple[str, str | None, int | None, str]
"""(invariant, wallet, seq, field)"""


@pytest.fixture(scope="module")
def saved_ledger(databases: CellDatabases) -> CellDatabase:
    database = databases.copy()
    database.sql("UPDATE unit_state SET state = 'moved', peer_cell = 'cell-b' WHERE unit = %s", slot_of(FAR))
    asyncio.run(fill(database))
    for table in TABLES:
        database.sql(f"CREATE TABLE saved_{table} AS TABLE {table}")
    return database


@pytest.fixture
def robbed(saved_ledger: CellDatabase) -> CellDatabase:
    """What was stolen before is put back."""
    with saved_ledger.unprotected() as connection:
        for table in TABLES:
            overriding = "OVERRIDING SYSTEM VALUE" if table == "account_deltas" else ""
            connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - our own names
            connection.execute(f"INSERT INTO {table} {overriding} TABLE saved_{table}".encode())
    return saved_ledger


class Names:
    """Ids of what was done, for the thefts below; the book numbers them alike in every run."""

    hold: str
    ended: str
    sent: str
    settled: str
    refunded: str
    preparing: str
    preparing_id: str
    confirmed: str
    confirmed_id: str
    refused: str


async def fill(database: CellDatabase) -> None:
    """Something of everything, at every state; alice's log is told by `seq_of`."""
    book = Book()
    session = postgres_ledger(database.app_url).session("fill")
    await session.connect()
    hold, ended = book.hold(ALICE, 10, expires_in_s=86_400), book.hold(ALICE, 20)
    sent, settled, refunded = (book.transfer(ALICE, FAR, amount) for amount in (1, 2, 3))
    preparing = book.group([(ALICE, -4), (BOB, 1), (FAR, 3)], within_us=10**12)
    confirmed = book.group([(ALICE, -5), (BOB, 2), (FAR, 3)])
    whole, refused = book.group([(BOB, -1), (CAROL, 1)]), book.group([(BOB, -10_000), (CAROL, 10_000)])
    foreign = book.group([(FAR, -7), (CAROL, 7)])
    batches: list[list[Command]] = [
        [book.opening("alice"), book.opening("bob"), book.opening("carol")],
        [book.credit(ALICE, 1_000), book.credit(BOB, 50), hold, ended],
        [book.extend(hold, 86_400), book.capture(ended, 5, is_final=False), book.release(ended)],
        [sent, settled, refunded],
        [book.settle(settled), book.refund(refunded)],
        [preparing, confirmed, whole, refused],
        [book.decide_group(confirmed, prepared=[FAR])],
        [book.receive(book.transfer(FAR, BOB, 6)), book.prepare(foreign, CAROL)],
        [book.receive(book.transfer(FAR, LATE, 6)), book.receive(book.transfer(FAR, NEVER, 6, currency="USD"))],
        [book.cancel(book.group([(FAR, -1), (NEVER, 1)]), NEVER), book.opening("late")],
        [book.transfer(ALICE, NEVER, 1, currency="USD"), book.group([(ALICE, -1), (NEVER, 1)], currency="USD")],
    ]
    for batch in batches:
        for outcome in await commit(session, batch):
            assert isinstance(outcome, Accepted | Refused | Marked), outcome
    await session.close()
    Names.hold, Names.ended = hold.transaction_id, ended.transaction_id
    Names.sent, Names.settled, Names.refunded = sent.transaction_id, settled.transaction_id, refunded.transaction_id
    Names.preparing, Names.preparing_id = preparing.transaction_id, preparing.group_id
    Names.confirmed, Names.confirmed_id = confirmed.transaction_id, confirmed.group_id
    Names.refused = refused.transaction_id


def places(report: AuditReport) -> set[Place]:
    return {(one.invariant, one.wallet_id, one.seq, one.field) for one in report.findings}


def seq_of(database: CellDatabase, transaction_id: str) -> int:
    question = "SELECT seq FROM transactions WHERE transaction_id = %s AND wallet_id = %s"
    seq: int = database.one(question, transaction_id, ALICE)
    return seq


async def test_what_nobody_touched_is_clean(robbed: CellDatabase) -> None:
    report = await robbed.assert_clean()
    assert {name: report.checked[name] for name in ("wallets", "holds", "transfers", "groups")} == {
        "wallets": 5,
        "holds": 8,
        "transfers": 3,
        "groups": 5,
    }
    assert "XXX" not in report.totals
    assert report.totals["EUR"]["on_its_way"] == 1 + 3  # what was sent, and the leg of FAR that was not told yet


HOLD = "UPDATE holds SET {change} WHERE hold_id = '{name}'"
TRANSFER = "UPDATE transfers SET {change} WHERE transaction_id = '{name}'"
GROUP = "UPDATE groups SET {change} WHERE transaction_id = '{name}'"

HOLDS = {
    "captured": "captured = 1, remaining = 9",
    "remaining": "remaining = 9",
    "state": "state = 'released'",
    "amount": "amount = 11",
    "placed_at_us": "placed_at = placed_at - interval '1 microsecond'",
    "expires_at_us": "expires_at = expires_at + interval '1 hour'",
    "kind": "kind = 'pin'",
}


@pytest.mark.parametrize("field", HOLDS)
async def test_a_hold_that_is_changed(robbed: CellDatabase, field: str) -> None:
    """The entry that is named is the last one about the hold."""
    with robbed.unprotected() as thief:
        assert thief.execute(HOLD.format(change=HOLDS[field], name=Names.hold).encode()).rowcount == 1
    last = robbed.one("SELECT max(seq) FROM entries WHERE wallet_id = %s AND subject_id = %s", ALICE, Names.hold)
    found = places(await robbed.audit())
    assert ("L9", ALICE, last, f"hold {Names.hold} of acme: {field}") in found
    by_sums = {("L2", ALICE, robbed.one("SELECT seq FROM wallets WHERE wallet_id = %s", ALICE), "open holds")}
    is_in_sums = field in {"captured", "remaining", "state", "kind"}
    quick = places(await robbed.audit(is_full=False))
    assert bool(by_sums & quick) is is_in_sums
    assert (("L2", ALICE, None, "open holds") in found) is is_in_sums


OTHERS = {
    "a hold forgotten": ("DELETE FROM holds WHERE hold_id = '{hold}'", "L9", "hold {hold} of acme"),
    "a hold more": (
        HOLD.format(change="hold_id = '00000000-0000-7000-8000-00000000ffff'", name="{ended}"),
        "L9",
        "hold 00000000-0000-7000-8000-00000000ffff of acme",
    ),
    "a pin that is gone": (
        "DELETE FROM holds WHERE wallet_id = '{bob}' AND hold_id = '{preparing_id}'",
        "L2",
        "pinned",
    ),
    "a pin of the row": ("UPDATE wallets SET pinned = pinned + 1 WHERE wallet_id = '{alice}'", "L2", "pinned"),
    "a transfer forgotten": (
        "DELETE FROM transfers WHERE transaction_id = '{settled}'",
        "P7",
        "transfer {settled} of acme",
    ),
    "a transfer more": (
        TRANSFER.format(change="transaction_id = '00000000-0000-7000-8000-00000000ffff'", name="{settled}"),
        "P7",
        "transfer 00000000-0000-7000-8000-00000000ffff of acme",
    ),
    "another amount on its way": (
        TRANSFER.format(change="amount = 9", name="{settled}"),
        "P7",
        "transfer {settled} of acme: amount",
    ),
    "another target": (
        TRANSFER.format(change="to_wallet_id = '{bob}'", name="{sent}"),
        "P7",
        "transfer {sent} of acme: to_wallet_id",
    ),
    "another name": (
        TRANSFER.format(change="transfer_id = gen_random_uuid()", name="{sent}"),
        "P7",
        "transfer {sent} of acme: transfer_id",
    ),
    "another currency": (
        TRANSFER.format(change="currency = 'USD'", name="{sent}"),
        "P7",
        "transfer {sent} of acme: currency",
    ),
    "settled and refunded": (
        TRANSFER.format(change="state = 'settled'", name="{refunded}"),
        "P7",
        "transfer {refunded} of acme: state",
    ),
    "refunded without its entry": (
        TRANSFER.format(change="state = 'refunded'", name="{settled}"),
        "P7",
        "transfer {settled} of acme: state",
    ),
    "settled in secret": (TRANSFER.format(change="state = 'settled', details = NULL", name="{sent}"), "L2", "pinned"),
    "no state at all": (
        TRANSFER.format(change="state = 'lost'", name="{settled}"),
        "P7",
        "transfer {settled} of acme: state",
    ),
    "a group forgotten": (
        "DELETE FROM groups WHERE transaction_id = '{confirmed}'",
        "P7",
        "group {confirmed} of acme",
    ),
    "a group's currency": (
        GROUP.format(change="currency = 'USD'", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: currency",
    ),
    "a group's name": (
        GROUP.format(change="group_id = gen_random_uuid()", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: group_id",
    ),
    "a leg's amount": (
        GROUP.format(change="legs = replace(legs, '-5', '-6')", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: legs",
    ),
    "legs that cannot be read": (
        GROUP.format(change="legs = 'x'", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: legs",
    ),
    "another decision": (
        GROUP.format(change="state = 'cancelled'", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: end of leg {alice}",
    ),
    "a decision that was not made": (
        GROUP.format(change="state = 'confirmed', details = NULL", name="{preparing}"),
        "P7",
        "group {preparing} of acme: leg of the anchor",
    ),
    "finished too early": (
        GROUP.format(change="is_finished = true", name="{confirmed}"),
        "P7",
        "group {confirmed} of acme: is_finished",
    ),
    "a refused group that goes on": (
        GROUP.format(change="state = 'preparing'", name="{refused}"),
        "P7",
        "group {refused} of acme: state",
    ),
    "an unopened wallet with an owner": (
        "UPDATE wallets SET owner_type = 'person' WHERE wallet_id = '{never}'",
        "L9",
        "owner",
    ),
    "an opened wallet that is not": (
        "UPDATE entries SET status_after = 'unopened' WHERE wallet_id = '{bob}' AND seq = 2",
        "L9",
        "status_after is unopened",
    ),
    "what an extension was about": (
        "UPDATE entries SET requested_amount = 9 WHERE wallet_id = '{alice}' AND kind = 'extend'",
        "L8",
        "recorded outcome",
    ),
    "what a pin was about": (
        "UPDATE transactions SET amount = 9 WHERE wallet_id = '{carol}' AND kind = 'hold'",
        "L8",
        "recorded outcome",
    ),
    "the currency of a posting": (
        "UPDATE transactions SET currency = 'USD' WHERE wallet_id = '{alice}' AND kind = 'extend'",
        "L8",
        "recorded outcome",
    ),
    "money on its way": (
        "UPDATE account_deltas SET delta = delta + 1 WHERE account = 'in_transit'",
        "L5",
        "account in_transit EUR",
    ),
}


def ids() -> dict[str, str]:
    names = {name: value for name, value in vars(Names).items() if not name.startswith("_")}
    return names | {"alice": ALICE, "bob": BOB, "carol": CAROL, "never": NEVER}


@pytest.mark.parametrize("theft", OTHERS)
async def test_the_full_audit_names(robbed: CellDatabase, theft: str) -> None:
    statement, invariant, field = OTHERS[theft]
    with robbed.unprotected() as thief:
        assert thief.execute(statement.format(**ids()).encode()).rowcount > 0
    found = {(one.invariant, one.field) for one in (await robbed.audit()).findings}
    assert (invariant, field.format(**ids())) in found


@pytest.mark.parametrize(
    ("table", "name", "field"), [("transfers", "settled", "amount = 9"), ("groups", "confirmed", "currency = 'USD'")]
)
async def test_a_finding_names_wallet_and_entry(robbed: CellDatabase, table: str, name: str, field: str) -> None:
    transaction_id = ids()[name]
    with robbed.unprotected() as thief:
        thief.execute(f"UPDATE {table} SET {field} WHERE transaction_id = '{transaction_id}'".encode())  # noqa: S608
    (found,) = (await robbed.audit()).findings
    assert (found.wallet_id, found.seq) == (ALICE, seq_of(robbed, transaction_id))


async def test_a_changed_entry_of_a_hold_is_named(robbed: CellDatabase) -> None:
    theft = f"UPDATE entries SET subject_id = '{Names.hold}' WHERE kind = 'capture' AND subject_id = '{Names.ended}'"  # noqa: S608
    with robbed.unprotected() as thief:
        thief.execute(theft.encode())
    found = places(await robbed.audit())
    seq = robbed.one("SELECT min(seq) FROM entries WHERE kind = 'capture' AND wallet_id = %s", ALICE)
    assert ("L6", ALICE, seq, "hash") in found
    assert any(one[:2] == ("L9", ALICE) and one[3].startswith(f"hold {Names.hold}") for one in found)


@pytest.mark.parametrize("table", ["holds", "transfers", "groups"])
async def test_rows_without_their_wallet(robbed: CellDatabase, table: str) -> None:
    ghost = "00000000-0000-5000-8000-00000000abcd"
    with robbed.unprotected() as thief:
        thief.execute(f"UPDATE {table} SET wallet_id = '{ghost}' WHERE wallet_id = '{ALICE}'".encode())  # noqa: S608
    for is_full in (False, True):
        report = await robbed.audit(is_full=is_full)
        assert ("L9", ghost, None, f"wallet row of a {table[:-1]}") in places(report)


async def test_what_stays_open_too_long_is_stuck_and_breaks_nothing(robbed: CellDatabase) -> None:
    for is_full in (False, True):
        report = await audit(robbed.app_url, cell="cell-a", is_full=is_full, checkpoint_keys={}, stuck_after_s=0.0)
        assert {finding.invariant for finding in report.findings} == {STUCK}
        assert report.is_clean
        told = [finding.field for finding in report.findings]
        assert {f"transfer {Names.sent}", f"group {Names.preparing}", f"group {Names.confirmed}"} <= set(told)
        assert told.count(f"leg {Names.preparing_id}") == len((ALICE, BOB))
        assert len(told) == len((Names.sent, Names.preparing, Names.confirmed)) + 3  # and the leg of a foreign group
    later = await audit(robbed.app_url, cell="cell-a", is_full=False, checkpoint_keys={}, stuck_after_s=3_600.0)
    assert later.findings == ()


async def test_a_hold_that_nobody_sweeps_is_stuck(robbed: CellDatabase) -> None:
    robbed.sql("UPDATE holds SET expires_at = clock_timestamp() - interval '2 hours' WHERE hold_id = %s", Names.hold)
    report = await robbed.audit(is_full=False)
    assert [(one.invariant, one.wallet_id, one.field) for one in report.findings] == [
        (STUCK, ALICE, f"expired hold {Names.hold}")
    ]
