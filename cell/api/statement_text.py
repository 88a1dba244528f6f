"""A statement as JSON and as CSV (RFC 4180), in pieces: its beginning, its lines, its end. Pure."""

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import orjson

from cell.api.translate import entry_answer_of, instant_text, instant_us_of
from cell.statement import Statement
from cell.store.reads import StoredEntry
from contract.money import decimal_text

CSV_COLUMNS: Final = (
    "posted_at",
    "seq",
    "kind",
    "transaction_id",
    "vendor_id",
    "counter_account",
    "currency",
    "delta",
    "delta_decimal",
    "balance_after",
    "balance_after_decimal",
    "reference",
    "description",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula."""

ShowsDetails = Callable[[StoredEntry], bool]


class StatementText(Protocol):
    media_type: str

    def begin(self, statement: Statement) -> bytes: ...
    def lines(self, rows: Iterable[StoredEntry]) -> bytes: ...
    def end(self, statement: Statement) -> bytes: ...


class JsonStatement:
    media_type = "application/json"

    def __init__(self, shows_details: ShowsDetails) -> None:
        self._shows_details = shows_details
        self._is_empty = True

    def begin(self, statement: Statement) -> bytes:
        head = {
            "wallet_id": statement.wallet_id,
            "currency": statement.currency,
            "from": instant_text(instant_us_of(statement.from_at)),
            "to": instant_text(instant_us_of(statement.to_at)),
            "opening_balance": statement.opening_balance,
        }
        return orjson.dumps(head)[:-1] + b',"lines":['

    def lines(self, rows: Iterable[StoredEntry]) -> bytes:
        told = b",".join(orjson.dumps(entry_answer_of(row, shows_details=self._shows_details(row))) for row in rows)
        comma = b"" if self._is_empty or not told else b","
        self._is_empty = self._is_empty and not told
        return comma + told

    def end(self, statement: Statement) -> bytes:
        return b'],"closing_balance":%d}' % statement.closing_balance


class CsvStatement:
    """One row per line, between a row of the opening balance and one of the closing balance."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, shows_details: ShowsDetails) -> None:
        self._shows_details = shows_details

    def begin(self, statement: Statement) -> bytes:
        at = instant_text(instant_us_of(statement.from_at))
        return _rows([CSV_COLUMNS, _balance_row("opening_balance", at, statement.opening_balance, statement.currency)])

    def lines(self, rows: Iterable[StoredEntry]) -> bytes:
        return _rows(self._row(entry_answer_of(row, shows_details=self._shows_details(row))) for row in rows)

    def end(self, statement: Statement) -> bytes:
        at = instant_text(instant_us_of(statement.to_at))
        return _rows([_balance_row("closing_balance", at, statement.closing_balance, statement.currency)])

    def _row(self, line: dict[str, Any]) -> tuple[Any, ...]:
        currency = line["currency"]
        return (
            line["posted_at"],
            line["seq"],
            line["kind"],
            line["transaction_id"],
            _harmless(line["vendor_id"]),
            _harmless(line["counter_account"]),
            currency,
            line["delta"],
            decimal_text(line["delta"], currency),
            line["balance_after"],
            decimal_text(line["balance_after"], currency),
            _harmless(line.get("reference")),
            _harmless(line.get("description")),
        )


def wants_csv(accept: str) -> bool:
    """CSV where it is named and not liked less than JSON; what is not understood is answered with JSON."""
    liked: dict[str, float] = {}
    for one in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in one.split(";"))
        weights = [part[2:] for part in parameters if part.startswith("q=")]
        liked[media_type] = _weight(weights[0]) if weights else 1.0
    return liked.get("text/csv", 0.0) > 0 and liked["text/csv"] >= liked.get("application/json", 0.0)


def _weight(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else 0.0


def _balance_row(kind: str, at: str, balance: int, currency: str) -> tuple[Any, ...]:
    return (at, "", kind, "", "", "", currency, "", "", balance, decimal_text(balance, currency), "", "")


def _harmless(text: str | None) -> str:
    return "" if text is None else f"'{text}" if text.startswith(_FORMULA) else text


def _rows(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
