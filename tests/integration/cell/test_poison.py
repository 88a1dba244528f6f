"""One command that cannot be written fails alone; those that came with it are served, and so is what comes after."""

import asyncio
from typing import Any

import pytest
from cell_databases import CellDatabase
from cell_lanes import running_lanes
from cell_stores import StoreUnderTest, postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.commit import commit
from cell.ledger.commands import Command
from cell.ledger.outcomes import Accepted, Rejected
from contract.ids import wallet_id_of
from contract.problems import Problem
from contract.reasons import Reason

ALICE, BOB = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in ("alice", "bob"))
POISON = "request_must_not_break_the_cell"
FORBIDDEN = 666

BAD_TEXTS = [
    pytest.param({"details": '{"description":"\x00"}'}, id="nul in details"),
    pytest.param({"context": "\x00"}, id="nul in context"),
    pytest.param({"vendor_id": "ac\x00me"}, id="nul in the vendor: refused while loading already"),
    pytest.param({"details": '"\ud800"'}, id="lone surrogate: breaks before anything is sent"),
]


def forbid(database: CellDatabase) -> None:
    database.sql(f"ALTER TABLE entries ADD CONSTRAINT poison CHECK (abs(amount) <> {FORBIDDEN})")


@pytest.mark.parametrize("place", [0, 6, 12])
async def test_a_constraint_refuses_one_and_serves_the_rest(database: CellDatabase, book: Book, place: int) -> None:
    forbid(database)
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice", "bob"])
        commands: list[Command] = [book.credit(ALICE if number % 2 else BOB, 1) for number in range(12)]
        commands.insert(place, book.credit(ALICE, FORBIDDEN))
        codes = await running.codes(*commands)
        assert codes.pop(place) == POISON
        assert set(codes) == {"accepted"}
        assert running.figure("cell_poisoned_commands_total") == 1
        again = await running.codes(*commands)
        assert again.pop(place) == POISON
        assert set(again) == {"replayed"}
    assert database.sql("SELECT balance, seq FROM wallets") == [(6, 7), (6, 7)]
    assert database.one("SELECT count(*) FROM transactions WHERE requested_amount = %s", FORBIDDEN) == 0
    await database.assert_clean()


async def test_several_poisons_are_found_each(database: CellDatabase, book: Book) -> None:
    forbid(database)
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
        amounts = [FORBIDDEN if number in {0, 3, 4, 11} else 1 for number in range(12)]
        codes = await running.codes(*(book.credit(ALICE, amount) for amount in amounts))
    assert codes == [POISON if amount == FORBIDDEN else "accepted" for amount in amounts]
    await database.assert_clean()


@pytest.mark.parametrize("fields", BAD_TEXTS)
async def test_a_text_that_cannot_be_stored_fails_alone(
    database: CellDatabase, book: Book, fields: dict[str, Any]
) -> None:
    """No vendor can send such texts; if one could, it would be alone with it."""
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
        codes = await running.codes(book.credit(ALICE, 1), book.credit(ALICE, 2, **fields), book.credit(ALICE, 3))
        assert codes == ["accepted", POISON, "accepted"]
        assert await running.codes(book.credit(ALICE, 4)) == ["accepted"]
    assert database.sql("SELECT balance, seq FROM wallets") == [(8, 4)]
    await database.assert_clean()


async def test_the_first_batch_of_a_connection_may_be_the_poisoned_one(database: CellDatabase, book: Book) -> None:
    """Statements that were prepared in a batch that failed are known afterwards as they are."""
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
    forbid(database)
    async with running_lanes(database, lanes=1) as running:
        assert await running.codes(book.credit(ALICE, FORBIDDEN)) == [POISON]
        assert await running.codes(book.credit(ALICE, 1), book.debit(ALICE, 1)) == ["accepted", "accepted"]
        assert running.figure("cell_ambiguous_commands_total") == 0


async def test_what_a_constraint_refuses_only_at_the_commit_is_poison_too(database: CellDatabase, book: Book) -> None:
    database.sql(
        "CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF abs(NEW.amount) = {FORBIDDEN} THEN RAISE check_violation; END IF; RETURN NULL; END $$"
    )
    database.sql(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON transactions DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse_late()"
    )
    async with running_lanes(database, lanes=1) as running:
        await running.open(book, ["alice"])
        codes = await running.codes(book.credit(ALICE, 1), book.credit(ALICE, FORBIDDEN), book.credit(ALICE, 1))
        assert codes == ["accepted", POISON, "accepted"]
    assert database.sql("SELECT balance, seq FROM wallets") == [(2, 3)]
    await database.assert_clean()


async def test_a_poisoned_opening_spares_the_others(database: CellDatabase, book: Book) -> None:
    database.sql("ALTER TABLE wallets ADD CONSTRAINT poison CHECK (owner_ref <> 'mallory')")
    async with running_lanes(database) as running:
        codes = await running.codes(*(book.opening(ref) for ref in ("alice", "mallory", "bob")))
    assert codes == ["accepted", POISON, "accepted"]
    assert database.sql("SELECT owner_ref FROM wallets ORDER BY 1") == [("alice",), ("bob",)]


async def test_the_caller_is_told_nothing_of_the_database(database: CellDatabase, book: Book) -> None:
    forbid(database)
    async with running_lanes(database) as running:
        await running.open(book, ["alice"])
        (outcome,) = await running.do(book.credit(ALICE, FORBIDDEN))
    assert isinstance(outcome, Rejected)
    assert outcome.problem == Problem(
        reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL,
        detail="This credit could not be written, even alone; nothing was changed.",
    )
    assert "poison" in str(outcome.cause)


async def test_poison_is_one_thing_in_both_stores(store: StoreUnderTest, book: Book) -> None:
    session = store.session("1")
    await session.connect()
    await commit(session, [book.opening("alice")])
    commands = [book.credit(ALICE, 1), book.credit(ALICE, 2, details="\x00"), book.credit(ALICE, 3)]
    outcomes = await commit(session, commands)
    await session.close()
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert [amount for _, _, amount, _ in store.entries_of(ALICE)] == [0, 1, 3]


async def test_a_database_that_is_busy_is_nobodys_fault(database: CellDatabase, book: Book) -> None:
    """A lock that is not to be had in time: the same commands again, and nobody is poisoned."""
    ledger = postgres_ledger(database.app_url, lock_timeout_ms=50)
    async with running_lanes(ledger, lanes=1) as running:
        await running.open(book, ["alice"])
        with database.transaction() as blocker:
            blocker.execute("SELECT FROM wallets FOR UPDATE")
            answers = [running.submit(book.credit(ALICE, 1)) for _ in range(3)]
            await until(lambda: running.figure("cell_database_errors_total") >= 1)
            assert not any(answer.done() for answer in answers)
        assert [type(outcome) for outcome in await asyncio.gather(*answers)] == [Accepted] * 3
        assert running.figure("cell_poisoned_commands_total") == 0
    await database.assert_clean()
