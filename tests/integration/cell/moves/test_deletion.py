"""Rows may be deleted where their unit is staging or moved, by the one function for it, and nowhere else (L7)."""

import psycopg
import pytest
from ledger_book import Book
from moving_cells import MovingCell, done, mover

from contract.ids import wallet_id_of
from contract.slots import slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
UNIT = slot_of(ALICE)
ROLES = ("cell_app", "cell_mover", "cell_owner")
DELETE = "SELECT delete_rows_of_unit(%s, 100)"


@pytest.mark.parametrize("state", ["active", "fenced", "granted", "staged", None])
@pytest.mark.parametrize("role", ROLES)
async def test_rows_stay_wherever_somebody_may_need_them(
    cells: Cells, book: Book, role: str, state: str | None
) -> None:
    a, _ = cells
    await a.running.open(book, ["alice"], balance=100)
    was = a.database.sql("SELECT state FROM unit_state WHERE unit = %s", UNIT)[0][0]
    if state is None:
        a.database.sql("DELETE FROM unit_state WHERE unit = %s", UNIT)
    else:
        a.database.sql("UPDATE unit_state SET state = %s WHERE unit = %s", state, UNIT)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        a.database.sql(DELETE, UNIT, role=role)
    assert a.database.count("entries") == 2
    a.database.sql(
        "INSERT INTO unit_state (unit, state, epoch) VALUES (%s, %s, 1) ON CONFLICT (unit) DO UPDATE "
        "SET state = excluded.state",
        UNIT,
        was,
    )


@pytest.mark.parametrize("role", ["cell_auditor", "cell_eraser"])
async def test_others_may_not_even_ask(cells: Cells, book: Book, role: str) -> None:
    a, _ = cells
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        a.database.sql(DELETE, UNIT, role=role)


@pytest.mark.parametrize("table", ["entries", "transactions"])
@pytest.mark.parametrize("role", ROLES)
async def test_rows_of_a_moved_unit_go_by_the_function_only(cells: Cells, book: Book, role: str, table: str) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        a.database.sql(f"DELETE FROM {table}", role=role)  # noqa: S608
    assert a.database.sql(DELETE, UNIT, role=role) == [(3,)]
    assert a.database.count(table) == 0


async def test_the_function_opens_no_door_for_another_unit(cells: Cells, book: Book) -> None:
    """Within the same transaction the rest of the log is as closed as ever."""
    a, b = cells
    await a.running.open(book, ["alice", "bob"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    with a.database.transaction("cell_owner") as owner:
        owner.execute(DELETE, (UNIT,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("DELETE FROM entries")
    assert a.database.count("entries") == 4


async def test_the_accounts_are_explained_when_wallets_are_gone(cells: Cells, book: Book) -> None:
    """What the deleted entries had moved is kept; the audit misses it when it is taken away."""
    a, b = cells
    await a.running.open(book, ["alice", "bob"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
        done(await move.outgoing("clean"))
    assert (await a.audit()).is_clean
    a.database.sql("CREATE TABLE kept AS TABLE departed")
    a.database.sql("DELETE FROM departed")
    findings = {(one.invariant, one.field) for one in (await a.audit()).findings}
    assert findings == {("L5", "account clearing:acme EUR")}
    a.database.sql("INSERT INTO departed (account, currency, delta) SELECT account, currency, delta FROM kept")


async def test_a_mark_that_does_not_fit_its_unit_is_found(cells: Cells, book: Book) -> None:
    a, _ = cells
    await a.running.open(book, ["alice"], balance=100)
    a.database.sql("UPDATE wallets SET frozen_by = gen_random_uuid()")
    assert {(one.invariant, one.field) for one in (await a.audit(is_full=False)).findings} == {("I1", "frozen_by")}
    a.database.sql("UPDATE wallets SET frozen_by = NULL")
    a.database.sql("UPDATE unit_state SET state = 'fenced', move_id = gen_random_uuid() WHERE unit = %s", UNIT)
    assert {(one.invariant, one.field) for one in (await a.audit(is_full=False)).findings} == {("I1", "frozen_by")}
    a.database.sql("UPDATE unit_state SET state = 'active', move_id = NULL WHERE unit = %s", UNIT)


async def test_without_its_second_side_a_grant_would_unbalance_the_books(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.whole()
    for cell in cells:
        cell.database.sql("CREATE TABLE kept AS TABLE account_deltas")
        cell.database.sql("DELETE FROM account_deltas WHERE account = 'migrated'")
        findings = {(one.invariant, one.field) for one in (await cell.audit(is_full=False)).findings}
        assert findings == {("L5", "trial balance EUR")}
        cell.database.sql(
            "INSERT INTO account_deltas (account, currency, delta, cause) "
            "SELECT account, currency, delta, cause FROM kept WHERE account = 'migrated'"
        )
