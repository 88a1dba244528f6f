"""Statements as text: what spreadsheets and JSON clients get."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from cell.api.statement_text import CSV_COLUMNS, CsvStatement, JsonStatement, wants_csv
from cell.ledger.posting import InvariantBrokenError
from cell.statement import Statement, must_add_up
from contract.ids import WalletId
from contract.money import decimal_text

WALLET = WalletId("0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f")
STATEMENT = Statement(
    wallet_id=WALLET,
    currency="EUR",
    from_at=datetime(2027, 1, 1, tzinfo=UTC),
    to_at=datetime(2027, 2, 1, tzinfo=UTC),
    opening_balance=100,
    closing_balance=-23,
)


class Row:
    """As much of a row of entries as an answer shows."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(
            {
                "wallet_id": WALLET,
                "posted_at": datetime(2027, 1, 2, tzinfo=UTC),
                "seq": 2,
                "kind": "debit",
                "amount": -123,
                "held_delta": 0,
                "balance_after": -23,
                "held_after": 0,
                "overdraft_limit_after": 50,
                "status_after": "active",
                "transaction_id": WALLET,
                "vendor_id": "acme",
                "counter_account": "clearing:acme",
                "subject_id": None,
                "subject_vendor_id": None,
                "expires_at": None,
                "requested_kind": None,
                "requested_amount": None,
                "reason": None,
                "sealed": b"",
                "hash": b"",
                "details": "{}",
                "context": None,
                "currency": "EUR",
                **fields,
            }
        )


def as_csv(*rows: Row, shows: bool = True) -> list[dict[str, str]]:
    text = CsvStatement(lambda _: shows)
    raw = text.begin(STATEMENT) + text.lines(rows[:1]) + text.lines(rows[1:]) + text.end(STATEMENT)  # type: ignore[arg-type]
    assert raw.count(b"\r\n") == raw.count(b"\n")
    return list(csv.DictReader(io.StringIO(raw.decode(), newline="")))


def test_a_csv_has_both_balances_and_amounts_for_both_kinds_of_reader() -> None:
    opening, line, closing = as_csv(Row())
    assert tuple(line) == CSV_COLUMNS
    assert (opening["kind"], opening["posted_at"], opening["balance_after"]) == (
        "opening_balance",
        "2027-01-01T00:00:00.000000Z",
        "100",
    )
    assert (line["delta"], line["delta_decimal"], line["balance_after_decimal"]) == ("-123", "-1.23", "-0.23")
    assert (closing["kind"], closing["balance_after"], closing["balance_after_decimal"]) == (
        "closing_balance",
        "-23",
        "-0.23",
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    details = orjson.dumps({"description": text, "reference": text}).decode()
    line = as_csv(Row(details=details, vendor_id="@transfer"))[1]
    assert (line["description"], line["reference"], line["vendor_id"]) == (f"'{text}", f"'{text}", "'@transfer")


@pytest.mark.parametrize("text", ['say "hi", twice', "two\r\nlines", "späße 日本", "a;b", "plain"])
def test_every_text_comes_back_as_it_was(text: str) -> None:
    assert as_csv(Row(details=orjson.dumps({"description": text}).decode()))[1]["description"] == text


def test_what_may_not_be_seen_is_not_there() -> None:
    details = orjson.dumps({"description": "private", "reference": "R"}).decode()
    line = as_csv(Row(details=details), shows=False)[1]
    assert (line["description"], line["reference"], line["delta"]) == ("", "", "-123")


@pytest.mark.parametrize("pages", [[], [[]], [[2]], [[2, 3], [], [4]], [[], [2]]])
def test_json_is_one_document_however_many_pages(pages: list[list[int]]) -> None:
    text = JsonStatement(lambda _: True)
    raw = text.begin(STATEMENT)
    for page in pages:
        raw += text.lines([Row(seq=seq) for seq in page])  # type: ignore[misc]
    document = orjson.loads(raw + text.end(STATEMENT))
    assert [line["seq"] for line in document.pop("lines")] == [seq for page in pages for seq in page]
    assert document == {
        "wallet_id": WALLET,
        "currency": "EUR",
        "from": "2027-01-01T00:00:00.000000Z",
        "to": "2027-02-01T00:00:00.000000Z",
        "opening_balance": 100,
        "closing_balance": -23,
    }


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/csv", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("application/json, text/csv", True),
        ("application/json, text/csv;q=0.5", False),
        ("application/json;q=0.1, text/csv;q=0.5", True),
        ("text/csv;q=0", False),
        ("text/csv;q=nan", False),
        ("text/csv;q=²", False),
        ("text/html", False),
        (",;,=;q", False),
    ],
)
def test_csv_is_for_who_asks_for_it(accept: str, *, expected: bool) -> None:
    assert wants_csv(accept) is expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [(0, "EUR", "0.00"), (-5, "EUR", "-0.05"), (123456, "EUR", "1234.56"), (-7, "JPY", "-7"), (1, "KWD", "0.001")],
)
def test_decimals(amount: int, currency: str, expected: str) -> None:
    assert decimal_text(amount, currency) == expected


def test_lines_that_do_not_add_up_are_a_bug() -> None:
    must_add_up(STATEMENT, -123)
    with pytest.raises(InvariantBrokenError):
        must_add_up(STATEMENT, -122)
