"""The schema as the database has it: what migrations make, what nobody may change, what the database computes."""

import asyncio
import itertools
import random
import uuid
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cell_databases import CellDatabase
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book
from sqlalchemy import CheckConstraint, Table, create_engine

from cell.background.housekeeping import housekeeping
from cell.commit import commit
from cell.store import quarantine_tables  # noqa: F401 - its tables belong to the schema
from cell.store.database_url import sqlalchemy_url
from cell.store.event_tables import Xid8, metadata
from cell.store.housekeeping import keep_house
from cell.store.migrate import migrate, schema_revision
from cell.telemetry import Metrics
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))
DEFAULT_PARTITION = "entries_default"
ANY_ROLE = "cell_bystander"
"""May log in, and was granted everything that a grant can give."""


@pytest.fixture
async def filled(database: CellDatabase, book: Book) -> CellDatabase:
    """Entries in every partition, a reversal, and so on: what is refused must be refused on rows."""
    session = postgres_ledger(database.app_url).session("fill")
    await session.connect()
    credit = book.credit(ALICE, 100, details='{"description":"gift","metadata":{"note":"x"}}', context='{"ip":"::1"}')
    await commit(session, [book.opening("alice"), book.opening("bob"), credit])
    await commit(session, [book.reverse(ALICE, credit, 20), book.transfer(ALICE, BOB, 30), book.debit(BOB, 99)])
    await session.close()
    return database


def partitions(database: CellDatabase) -> list[str]:
    rows = database.sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'entries'::regclass ORDER BY 1"
    )
    return [row[0] for row in rows]


def copy_into(database: CellDatabase, partition: str, *, seq: int) -> None:
    """An entry whose month is the partition's."""
    months_ahead = {name: number for number, name in enumerate(sorted(set(partitions(database)) - {DEFAULT_PARTITION}))}
    month = months_ahead.get(partition, 40)
    database.sql(
        "INSERT INTO entries SELECT (jsonb_populate_record(e, jsonb_build_object("  # noqa: S608 - numbers of our own
        f"'posted_at', date_trunc('month', now()) + interval '{month} months 40 hours', 'seq', {seq}))).* "
        "FROM entries e WHERE kind = 'credit' AND seq = 2"
    )


# What migrations make.


def test_migrations_give_what_the_tables_say(database: CellDatabase) -> None:
    engine = create_engine(sqlalchemy_url(database.url("cell_owner")))
    known: dict[str, Any] = engine.dialect.ischema_names  # type: ignore[attr-defined]  # of PostgreSQL's dialect
    engine.dialect.ischema_names = {**known, "xid8": Xid8}  # type: ignore[attr-defined]

    def is_compared(found: Any, name: str | None, kind: str, reflected: object, compared_to: object) -> bool:
        """Partitions are made by a function, month by month."""
        table = found if kind == "table" else getattr(found, "table", None)
        return not (isinstance(table, Table) and table.name.startswith("entries_"))

    options = {"include_object": is_compared, "compare_type": True, "compare_server_default": True}
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, metadata) == []
            Table("later", metadata)  # the comparison can fail
            try:
                assert compare_metadata(context, metadata) != []
            finally:
                metadata.remove(metadata.tables["later"])
    finally:
        engine.dispose()


def test_check_constraints_are_those_of_the_tables(database: CellDatabase) -> None:
    """Alembic does not compare them."""
    of_ours = "contype = 'c' AND connamespace = 'public'::regnamespace"
    stored = {row[0] for row in database.sql(f"SELECT conname FROM pg_constraint WHERE {of_ours}")}  # noqa: S608
    declared = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert stored == declared


def test_migrating_again_changes_nothing(database: CellDatabase) -> None:
    catalogue = (
        "SELECT relname, relfilenode, (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid) FROM pg_class c "
        "WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    )
    before = database.sql(catalogue)
    assert migrate(database.url("cell_owner")) == schema_revision()
    assert database.sql(catalogue) == before
    assert database.one("SELECT version_num FROM alembic_version") == schema_revision()


def test_services_cannot_migrate(database: CellDatabase) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.sql("CREATE TABLE mine (id int)", role="cell_app")


# Append-only.

CHANGES = {
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "UPDATE to something": "UPDATE {table} SET amount = amount + 1",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
}
COLUMNS = {"transactions": "kind", "reversals": "seq"}


@pytest.mark.parametrize("role", ["cell_app", "cell_owner", "cell_mover", "cell_auditor", "cell_eraser", ANY_ROLE])
async def test_nobody_changes_what_is_written(filled: CellDatabase, role: str) -> None:
    make_bystander(filled)
    for number, partition in enumerate(partitions(filled)):
        copy_into(filled, partition, seq=100 + number)
        assert filled.one(f"SELECT count(*) FROM {partition}") > 0  # noqa: S608 - our own name
    before = contents(filled)
    for table, change in itertools.product(["entries", *partitions(filled), "transactions", "reversals"], CHANGES):
        statement = CHANGES[change].format(table=table, column=COLUMNS.get(table, "kind"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            filled.sql(statement, role=role)
    assert contents(filled) == before


def make_bystander(database: CellDatabase) -> None:
    if not database.sql("SELECT FROM pg_roles WHERE rolname = %s", ANY_ROLE):
        database.sql(f"CREATE ROLE {ANY_ROLE} LOGIN")
    database.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ANY_ROLE}")


def contents(database: CellDatabase) -> list[Any]:
    tables = ("entries", "transactions", "reversals")
    return [database.sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]  # noqa: S608


@pytest.mark.parametrize("role", ["cell_app", "cell_mover", "cell_auditor", "cell_eraser"])
@pytest.mark.parametrize("table", ["wallets", "account_deltas", "unit_state", "isolated", "api_processes"])
async def test_no_service_deletes_a_row(filled: CellDatabase, role: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.sql(f"DELETE FROM {table}", role=role)  # noqa: S608


@pytest.mark.parametrize("table", ["wallets", "account_deltas"])
async def test_not_even_the_owner_truncates(filled: CellDatabase, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.sql(f"TRUNCATE {table}", role="cell_owner")


async def test_without_its_trigger_the_log_could_be_changed(filled: CellDatabase) -> None:
    """The mutant of the tests above."""
    filled.sql("ALTER TABLE entries DISABLE TRIGGER entries_are_append_only")
    filled.sql("DELETE FROM entries WHERE seq = 2", role="cell_owner")
    assert filled.one("SELECT count(*) FROM entries WHERE seq = 2") == 0


# Erasure.

ERASE = "UPDATE entries SET details = NULL, context = NULL, salt = NULL WHERE wallet_id = %s"


async def test_the_eraser_erases_texts_and_the_chain_still_verifies(filled: CellDatabase) -> None:
    filled.sql(ERASE, ALICE, role="cell_eraser")
    rows = filled.sql("SELECT details, context, salt, sealed IS NOT NULL FROM entries WHERE wallet_id = %s", ALICE)
    assert set(rows) == {(None, None, None, True)}
    await filled.assert_clean()
    filled.sql(ERASE, ALICE, role="cell_eraser")


@pytest.mark.parametrize(
    "change",
    [
        "SET details = '{}', context = NULL, salt = NULL",
        "SET details = NULL",
        "SET details = NULL, context = NULL",
        "SET details = NULL, context = NULL, salt = '\\x00'",
        "SET amount = 0, details = NULL, context = NULL, salt = NULL",
        "SET sealed = '\\x00', details = NULL, context = NULL, salt = NULL",
        "SET seq = seq",
    ],
)
async def test_the_eraser_does_nothing_else(filled: CellDatabase, change: str) -> None:
    before = contents(filled)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.sql(f"UPDATE entries {change}", role="cell_eraser")
    assert contents(filled) == before


async def test_nobody_else_erases(filled: CellDatabase) -> None:
    for role in ("cell_app", "cell_owner", "cell_mover", "cell_auditor"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            filled.sql(ERASE, ALICE, role=role)


# Partitions.


def test_partitions_are_ahead_from_the_start(database: CellDatabase) -> None:
    this_month, *_ = database.sql("SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date")[0]
    months = [
        database.one("SELECT to_char(%s + make_interval(months => %s), 'YYYY_MM')", this_month, ahead)
        for ahead in range(4)
    ]
    assert partitions(database) == [*(f"entries_{month}" for month in months), DEFAULT_PARTITION]


async def test_keeping_house_makes_more_months_once(database: CellDatabase) -> None:
    for _ in range(2):
        done = await keep_house(database.app_url, months_ahead=6, deltas_max=100)
        assert (done.months_ahead, done.rows_in_default_partition) == (6, 0)
        assert len(partitions(database)) == 8


async def test_a_month_without_a_partition_is_taken_and_reported(filled: CellDatabase) -> None:
    copy_into(filled, DEFAULT_PARTITION, seq=100)
    assert filled.count(DEFAULT_PARTITION) == 1
    done = await keep_house(filled.app_url, months_ahead=3, deltas_max=100)
    assert done.rows_in_default_partition == 1


async def test_strays_do_not_stop_the_house_from_being_kept(filled: CellDatabase, book: Book) -> None:
    """The month of a stray cannot get its partition any more; the other months, the deltas and the alarm go on."""
    last = max(set(partitions(filled)) - {DEFAULT_PARTITION})
    filled.sql(f"DROP TABLE {last}")
    filled.sql(
        "INSERT INTO entries SELECT (jsonb_populate_record(e, jsonb_build_object("
        "'posted_at', date_trunc('month', now()) + interval '3 months 40 hours', 'seq', 100))).* "
        "FROM entries e WHERE kind = 'credit' AND seq = 2"
    )
    done = await keep_house(filled.app_url, months_ahead=5, deltas_max=100)
    assert done.rows_in_default_partition == 1
    assert done.months_ahead == 2
    assert done.deltas_folded > 0
    assert len(partitions(filled)) == 6


async def test_a_long_read_of_the_log_and_a_new_month_do_not_stop_money(database: CellDatabase, book: Book) -> None:
    """Making a partition wants the whole log for a moment; whoever reads it long must not make all writers wait."""
    session = postgres_ledger(database.app_url).session("money")
    await session.connect()
    await commit(session, [book.opening("alice")])
    with database.transaction() as audit:
        audit.execute("SELECT count(*) FROM entries")
        done = await keep_house(database.app_url, months_ahead=6, deltas_max=100)
        assert done.months_ahead == 3
        await commit(session, [book.credit(ALICE, 1)])
    await session.close()
    assert (await keep_house(database.app_url, months_ahead=6, deltas_max=100)).months_ahead == 6


async def test_processes_that_are_gone_are_forgotten(database: CellDatabase) -> None:
    database.sql(
        "INSERT INTO api_processes VALUES ('gone', now() - interval '25 hours'), ('here', now() - interval '23 hours')"
    )
    done = await keep_house(database.app_url, months_ahead=3, deltas_max=100)
    assert done.processes_forgotten == 1
    assert database.sql("SELECT process_id FROM api_processes") == [("here",)]


async def test_housekeeping_is_a_duty(database: CellDatabase, metrics: Metrics) -> None:
    duty = housekeeping(database.app_url, months_ahead=6, period_s=3_600.0, metrics=metrics)
    running = asyncio.create_task(duty.run())
    await until(lambda: metrics.registry.get_sample_value("cell_duty_rounds_total", {"duty": "housekeeping"}) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert metrics.registry.get_sample_value("cell_partitions_ahead_months") == 6


async def test_new_partitions_are_protected_like_the_first(filled: CellDatabase) -> None:
    await keep_house(filled.app_url, months_ahead=5, deltas_max=0)
    newest = max(set(partitions(filled)) - {DEFAULT_PARTITION})
    copy_into(filled, newest, seq=100)
    for change in CHANGES.values():
        for role in ("cell_app", "cell_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                filled.sql(change.format(table=newest, column="kind"), role=role)


# System accounts.


async def test_folding_keeps_every_sum_while_others_write(database: CellDatabase) -> None:
    dice = random.Random(5)
    rows = [(f"clearing:{dice.choice('abc')}", dice.choice(["EUR", "USD"]), dice.randint(-99, 99)) for _ in range(400)]
    sums: dict[tuple[str, str], int] = {}
    connections = [await psycopg.AsyncConnection.connect(database.app_url) for _ in range(4)]
    try:
        for number, (account, currency, delta) in enumerate(rows):
            sums[account, currency] = sums.get((account, currency), 0) + delta
            connection = connections[number % 4]
            await connection.execute(
                "INSERT INTO account_deltas (account, currency, delta, cause) VALUES (%s, %s, %s, 'test')",
                (account, currency, delta),
            )
            if number % 7 == 0:
                await connection.commit()
            if number % 40 == 0:  # open transactions of others are not waited for
                database.sql("SELECT fold_account_deltas(30)", role="cell_app")
        for connection in connections:
            await connection.commit()
    finally:
        for connection in connections:
            await connection.close()
    assert stored_sums(database) == sums
    while database.one("SELECT fold_account_deltas(50)") > len(sums):
        assert stored_sums(database) == sums
    assert database.count("account_deltas") == len(sums)
    assert stored_sums(database) == sums


def stored_sums(database: CellDatabase) -> dict[tuple[str, str], int]:
    rows = database.sql("SELECT account, currency, sum(delta)::bigint FROM account_deltas GROUP BY 1, 2")
    return {(account, currency): total for account, currency, total in rows}


async def test_two_folds_at_once_fold_each_row_once(database: CellDatabase) -> None:
    for delta in range(20):
        database.sql("INSERT INTO account_deltas (account, currency, delta, cause) VALUES ('a', 'EUR', %s, 't')", delta)
    one, other = [await psycopg.AsyncConnection.connect(database.app_url) for _ in range(2)]
    async with one, other:
        first = await (await one.execute("SELECT fold_account_deltas(12)")).fetchone()
        second = await (await other.execute("SELECT fold_account_deltas(12)")).fetchone()
        assert (first, second) == ((12,), (8,))
    assert database.sql("SELECT count(*), sum(delta)::int FROM account_deltas") == [(2, 190)]


async def test_the_journal_shows_each_side_once(filled: CellDatabase) -> None:
    """Summed by account it gives every balance, and in all nothing."""
    rows = filled.sql("SELECT account, sum(amount)::int FROM journal GROUP BY account ORDER BY account")
    assert dict(rows) == {"clearing:acme": -80, f"wallet:{ALICE}": 50, f"wallet:{BOB}": 30}
    assert filled.sql("SELECT balance FROM wallets ORDER BY owner_ref") == [(50,), (30,)]


# Functions that exist twice.


def test_the_database_hashes_wallets_to_the_same_slots(database: CellDatabase) -> None:
    ids = [WalletId(str(uuid.UUID(int=random.getrandbits(128)))) for _ in range(500)]
    rows = database.sql("SELECT id, (crc32(id::bytea) %% 16384)::int FROM unnest(%s::text[]) AS id", ids)
    assert dict(rows) == {wallet_id: slot_of(wallet_id) for wallet_id in ids}


async def test_wallets_carry_their_slot(filled: CellDatabase) -> None:
    rows = filled.sql("SELECT unit, (crc32(wallet_id::text::bytea) % 16384)::int FROM wallets")
    assert len(rows) == 2
    assert all(unit == slot for unit, slot in rows)


async def test_the_row_repeats_the_rules_that_can_be_repeated(filled: CellDatabase) -> None:
    for change in (
        "balance = -1",
        "balance = 9007199254740992",
        "held = -1",
        "held = balance + 1",
        "overdraft_limit = -1",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            filled.sql(f"UPDATE wallets SET {change} WHERE wallet_id = '{ALICE}'", role="cell_app")  # noqa: S608
