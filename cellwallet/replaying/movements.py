"""The file of a bank's movements: reading it, refusing what is malformed by line number, grouping by account.

Pure: lines come in as arguments. A balance that does not follow from the amounts is no malformed line: the file is the
oracle, and the comparison with the wallet will name it. Knows nothing of wallets but the overdraft that they will need.
"""

import csv
import datetime as dt
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from contract.money import AMOUNT_MAX
from contract.values import value

COLUMNS = (
    "date",
    "account",
    "order",
    "id",
    "kind",
    "amount_minor",
    "balance_minor",
    "operation",
    "purpose",
    "partner_bank",
    "partner_account",
)
CURRENCY = "CZK"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})", re.ASCII)
_NAME = re.compile(r"[!-~]{1,64}", re.ASCII)
"""Ids and account numbers: printable and without blanks, so that they fit into owners and ids as they are."""


class FileMustBeWellFormedError(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line


@value
class Movement:
    line: int
    date: str
    account: str
    id: str
    kind: Literal["credit", "debit"]
    amount: int
    """Minor units, positive."""
    balance: int
    """Minor units, after the movement, as the bank had it."""
    operation: str
    purpose: str
    partner_bank: str
    partner_account: str


@value
class Account:
    """One account's movements in file order."""

    ref: str
    overdraft_limit: int
    """The deepest that the movements themselves take it below zero."""
    movements: tuple[Movement, ...]


def read_accounts(lines: Iterable[bytes]) -> list[Account]:
    """All accounts of the file, in the order of their first movement.

    Raises:
        FileMustBeWellFormedError: by the number of the first line that is not.

    """
    by_account: dict[str, list[Movement]] = {}
    line_of_id: dict[str, int] = {}
    for movement in _read_movements(lines):
        first = line_of_id.setdefault(movement.id, movement.line)
        if first != movement.line:
            raise FileMustBeWellFormedError(movement.line, f"id {movement.id} stands already in line {first}")
        by_account.setdefault(movement.account, []).append(movement)
    return [_account(ref, movements) for ref, movements in by_account.items()]


def _account(ref: str, movements: list[Movement]) -> Account:
    deltas = (_signed(movement) for movement in movements)
    lowest = min(itertools.accumulate(deltas))
    return Account(ref=ref, overdraft_limit=max(0, -lowest), movements=tuple(movements))


def _signed(movement: Movement) -> int:
    return movement.amount if movement.kind == "credit" else -movement.amount


def _read_movements(lines: Iterable[bytes]) -> Iterator[Movement]:
    rows = csv.reader(_decoded(lines), strict=True)
    try:
        header = next(rows, None)
        if header is None or tuple(header) != COLUMNS:
            raise FileMustBeWellFormedError(1, f"the columns must be {','.join(COLUMNS)}")
        for row in rows:
            yield _movement(row, rows.line_num)
    except csv.Error as error:
        raise FileMustBeWellFormedError(rows.line_num, str(error)) from error


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise FileMustBeWellFormedError(number, "the text is not UTF-8") from error


def _movement(row: list[str], line: int) -> Movement:
    if len(row) != len(COLUMNS):
        raise FileMustBeWellFormedError(line, f"{len(COLUMNS)} fields are needed, {len(row)} found")
    fields = dict(zip(COLUMNS, row, strict=True))
    kind = fields["kind"]
    if kind not in ("credit", "debit"):
        raise FileMustBeWellFormedError(line, f"kind must be credit or debit, not {kind!r}")
    _integer(fields, "order", line)
    amount = _integer(fields, "amount_minor", line)
    if amount < 1:
        raise FileMustBeWellFormedError(line, f"amount_minor must be at least 1, not {amount}")
    return Movement(
        line=line,
        date=_date(fields["date"], line),
        account=_name(fields, "account", line),
        id=_name(fields, "id", line),
        kind="credit" if kind == "credit" else "debit",
        amount=amount,
        balance=_integer(fields, "balance_minor", line),
        operation=fields["operation"],
        purpose=fields["purpose"],
        partner_bank=fields["partner_bank"],
        partner_account=fields["partner_account"],
    )


def _integer(fields: dict[str, str], name: str, line: int) -> int:
    text = fields[name]
    if _INTEGER.fullmatch(text) is None or abs(int(text)) > AMOUNT_MAX:
        raise FileMustBeWellFormedError(line, f"{name} must be an integer within 2^53-1, not {text!r}")
    return int(text)


def _name(fields: dict[str, str], name: str, line: int) -> str:
    text = fields[name]
    if _NAME.fullmatch(text) is None:
        raise FileMustBeWellFormedError(line, f"{name} must be 1 to 64 printable characters, not {text!r}")
    return text


def _date(text: str, line: int) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise FileMustBeWellFormedError(line, f"date must be YYYY-MM-DD, not {text!r}") from None
