"""Statements over real HTTP: they agree with the entries, with the balances of their ends, and with themselves."""

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from bank_file import REAL_FILE, bank_rows
from cell_answers import done, reason_of
from cell_databases import CellDatabases
from cell_process import RunningCell, Vendor, running_cell

from cell.statement import PAGE

MICROSECOND = timedelta(microseconds=1)


def statement(vendor: Vendor, wallet_id: str, **bounds: Any) -> dict[str, Any]:
    return done(vendor.get(f"/v1/wallets/{wallet_id}/statement", **bounds), 200)


def entries(vendor: Vendor, wallet_id: str, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", order="asc", limit=500, **filters, **cursor), 200)
        found += page["entries"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def later(instant: str) -> str:
    moment = datetime.fromisoformat(instant) + MICROSECOND
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.fixture
def busy(vendor: Vendor) -> str:
    """A wallet with everything that changes a balance, and some of what does not."""
    wallet_id, other = vendor.open(balance=100), vendor.open()
    debit = done(vendor.debit(wallet_id, 30))
    vendor.reverse(wallet_id, debit["transaction_id"], amount=10)
    assert vendor.debit(wallet_id, 1_000).status_code == 422
    vendor.transfer(wallet_id, other, 5)
    vendor.change(wallet_id, metadata={"n": 1})
    vendor.credit(wallet_id, 7)
    return wallet_id


def test_a_statement_is_the_entries_that_changed_the_balance(vendor: Vendor, busy: str) -> None:
    answer = statement(vendor, busy)
    everything = entries(vendor, busy)
    assert answer["lines"] == [entry for entry in everything if entry["delta"]]
    assert [line["delta"] for line in answer["lines"]] == [100, -30, 10, -5, 7]
    assert (answer["opening_balance"], answer["closing_balance"]) == (0, 82)
    assert answer["from"] == everything[0]["posted_at"]
    assert answer["to"] > everything[-1]["posted_at"]


def test_every_pair_of_bounds_leads_from_one_balance_to_the_other(vendor: Vendor, busy: str) -> None:
    everything = entries(vendor, busy)
    bounds = [entry["posted_at"] for entry in everything] + [later(everything[-1]["posted_at"])]
    for first, from_ in enumerate(bounds):
        for to in bounds[max(first, 1) :]:
            answer = statement(vendor, busy, **{"from": from_, "to": to})
            inside = entries(vendor, busy, **{"from": from_, "to": to})
            before = [entry for entry in everything if entry["posted_at"] < from_]
            assert answer["lines"] == [entry for entry in inside if entry["delta"]]
            assert answer["opening_balance"] == (before[-1]["balance_after"] if before else 0)
            assert (
                answer["opening_balance"] + sum(line["delta"] for line in answer["lines"])
                == (answer["closing_balance"])
            )
            at = (datetime.fromisoformat(to) - MICROSECOND).isoformat()
            balance = done(vendor.get(f"/v1/wallets/{busy}/balance", at=at), 200)
            assert answer["closing_balance"] == balance["balance"]


def test_a_statement_never_changes_later(vendor: Vendor, busy: str) -> None:
    before = statement(vendor, busy)
    vendor.credit(busy, 1)
    assert statement(vendor, busy, **{"from": before["from"], "to": before["to"]}) == before


def test_pages_of_entries_stay_where_they_are_while_others_arrive(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    for _ in range(6):
        vendor.credit(wallet_id, 1)
    seen, cursor = [], {}
    while True:
        page = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", limit=3, order="desc", **cursor), 200)
        seen += [entry["seq"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            break
        vendor.credit(wallet_id, 1)
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_csv(vendor: Vendor, busy: str) -> None:
    vendor.credit(busy, 5, description='=HYPERLINK("x"), "quoted"', reference="R-1")
    answer = vendor.client.get(f"/v1/wallets/{busy}/statement", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["vary"] == "accept"
    opening, *lines, closing = csv.DictReader(io.StringIO(answer.text, newline=""))
    as_json = statement(vendor, busy)
    assert [int(line["delta"]) for line in lines] == [line["delta"] for line in as_json["lines"]]
    assert (opening["balance_after"], closing["balance_after"]) == ("0", str(as_json["closing_balance"]))
    assert (lines[-1]["description"], lines[-1]["reference"]) == ('\'=HYPERLINK("x"), "quoted"', "R-1")
    unknown = vendor.client.get(f"/v1/wallets/{busy}/statement", headers={"Accept": "image/png"})
    assert unknown.headers["content-type"] == "application/json"


def test_other_vendors_see_figures_and_no_words(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id = vendor.open()
    vendor.credit(wallet_id, 5, description="private", reference="R")
    with cell.client("wallet:read", vendor="other") as client:
        [line] = done(client.get(f"/v1/wallets/{wallet_id}/statement"), 200)["lines"]
        assert (line["delta"], "description" in line, "context" in line) == (5, False, False)
        text = client.get(f"/v1/wallets/{wallet_id}/statement", headers={"Accept": "text/csv"}).text
        assert "private" not in text
    with cell.client("wallet:read wallet:manage", vendor="other") as client:
        [line] = done(client.get(f"/v1/wallets/{wallet_id}/statement"), 200)["lines"]
        assert line["description"] == "private"


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"to": "2999-01-01T00:00:00Z"}, "request_must_be_well_formed"),
        ({"from": "2999-01-01T00:00:00Z"}, "request_must_be_well_formed"),
        ({"from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z"}, "request_must_be_well_formed"),
        ({"from": "yesterday"}, "request_must_be_well_formed"),
        ({"to": "2020-02-30T00:00:00Z"}, "request_must_be_well_formed"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}, "wallet_must_exist"),
        ({"to": "0001-01-01T00:00:00Z"}, "wallet_must_exist"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(vendor: Vendor, busy: str, bounds: dict[str, str], reason: str) -> None:
    assert reason_of(vendor.get(f"/v1/wallets/{busy}/statement", **bounds)) == reason


def test_a_statement_may_begin_before_the_wallet_did(vendor: Vendor, busy: str) -> None:
    answer = statement(vendor, busy, **{"from": "0001-01-01T00:00:00Z"})
    assert (answer["opening_balance"], answer["from"], len(answer["lines"])) == (0, "0001-01-01T00:00:00.000000Z", 5)


def test_who_may_not_read_gets_none(vendor: Vendor, busy: str, cell: RunningCell) -> None:
    with cell.client("money:debit") as client:
        assert reason_of(client.get(f"/v1/wallets/{busy}/statement")) == "scope_must_allow_read"
    nobody = "00000000-0000-4000-8000-000000000000"
    assert reason_of(vendor.get(f"/v1/wallets/{nobody}/statement")) == "wallet_must_exist"


# A long history.


@pytest.fixture(scope="module")
def long_cell(databases: CellDatabases) -> Iterator[RunningCell]:
    with running_cell(databases.copy()) as running:
        yield running


@pytest.fixture(scope="module")
def long_wallet(long_cell: RunningCell) -> tuple[httpx.Client, str]:
    """Some more than three pages; its rows are those of a busy wallet, written without the API."""
    with long_cell.client() as client:
        wallet_id = Vendor(client, long_cell).open(balance=1)
    number = 3 * PAGE + 7
    with long_cell.database.unprotected() as connection:
        connection.execute(
            "INSERT INTO entries SELECT (jsonb_populate_record(e, jsonb_build_object("
            "'posted_at', e.posted_at + n * interval '1 microsecond', 'seq', e.seq + n, 'amount', 1, "
            "'balance_after', 1 + n))).* FROM entries e, generate_series(1, %s) n WHERE e.wallet_id = %s AND e.seq = 2",
            (number, wallet_id),
        )
    return long_cell.client(), wallet_id


def test_a_long_statement_is_streamed_whole(long_wallet: tuple[httpx.Client, str]) -> None:
    client, wallet_id = long_wallet
    with client, client.stream("GET", f"/v1/wallets/{wallet_id}/statement") as answer:
        assert "content-length" not in answer.headers
        answer.read()
        document = answer.json()
    assert [line["seq"] for line in document["lines"]] == list(range(2, 3 * PAGE + 7 + 3))
    assert document["closing_balance"] == 3 * PAGE + 7 + 1


def test_a_statement_that_does_not_add_up_is_broken_off(
    long_cell: RunningCell, long_wallet: tuple[httpx.Client, str]
) -> None:
    """The mutant: a forged line in the last page. The client must not take what came for a statement."""
    _, wallet_id = long_wallet
    with long_cell.database.unprotected() as connection:
        connection.execute("UPDATE entries SET amount = 2 WHERE wallet_id = %s AND seq = %s", (wallet_id, 3 * PAGE))
    with long_cell.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/v1/wallets/{wallet_id}/statement")
        short = client.get(
            f"/v1/wallets/{wallet_id}/statement", params={"from": at_of(long_cell, wallet_id, 3 * PAGE - 1)}
        )
        assert (short.status_code, short.json()["reason"]) == (500, "request_must_not_break_the_cell")
        good = client.get(
            f"/v1/wallets/{wallet_id}/statement", params={"from": at_of(long_cell, wallet_id, 3 * PAGE + 1)}
        )
        assert good.status_code == 200
    with long_cell.database.unprotected() as connection:
        connection.execute("UPDATE entries SET amount = 1 WHERE wallet_id = %s AND seq = %s", (wallet_id, 3 * PAGE))


def at_of(cell: RunningCell, wallet_id: str, seq: int) -> str:
    moment: datetime = cell.database.one(
        "SELECT posted_at FROM entries WHERE wallet_id = %s AND seq = %s", wallet_id, seq
    )
    return moment.isoformat()


# A bank's file.


def assert_same_balances(vendor: Vendor, movements: list[tuple[str, int, int]]) -> None:
    wallet_id = vendor.open(overdraft_limit=2**40)
    for kind, amount, _ in movements:
        post = vendor.credit if kind == "credit" else vendor.debit
        assert post(wallet_id, amount).status_code == 201
    answer = statement(vendor, wallet_id)
    assert [line["balance_after"] for line in answer["lines"]] == [balance for *_, balance in movements]
    assert answer["closing_balance"] == movements[-1][2]


def test_a_banks_own_balances_are_those_of_the_statement(vendor: Vendor) -> None:
    """The file is the oracle: each of its balances must be a line's."""
    rows = bank_rows("statement", accounts=2, movements=40)
    for account in {row[1] for row in rows}:
        assert_same_balances(vendor, [(row[4], int(row[5]), int(row[6])) for row in rows if row[1] == account])


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"the bank's file is not at {REAL_FILE}")
def test_the_real_banks_balances_too(vendor: Vendor) -> None:
    """Of three accounts: the file has each from its first movement on."""
    with gzip.open(REAL_FILE, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    accounts = list(dict.fromkeys(row["account"] for row in rows))[:3]
    for account in accounts:
        assert_same_balances(
            vendor,
            [
                (row["kind"], int(row["amount_minor"]), int(row["balance_minor"]))
                for row in rows
                if row["account"] == account
            ],
        )
