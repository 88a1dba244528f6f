"""The movements file: a good one is grouped as it stands, a malformed one is refused by line before anything else."""

import gzip
from pathlib import Path

import pytest

from cellwallet.replaying.file import read_file
from cellwallet.replaying.movements import COLUMNS, FileMustBeWellFormedError, read_accounts

HEADER = ",".join(COLUMNS)
GOOD = "1993-01-01,704,0,207264,credit,100000,100000,cash_deposit,,,"


def _lines(*rows: str) -> list[bytes]:
    return [f"{row}\n".encode() for row in (HEADER, *rows)]


def test_movements_are_grouped_by_account_in_file_order() -> None:
    accounts = read_accounts(
        _lines(
            GOOD,
            "1993-01-01,2378,0,695247,credit,70000,70000,cash_deposit,,,",
            "1993-01-02,704,1,207265,debit,1000,99000,transfer_to_bank,household,AB,123",
        )
    )
    assert [account.ref for account in accounts] == ["704", "2378"]
    first = accounts[0]
    assert [(movement.id, movement.line) for movement in first.movements] == [("207264", 2), ("207265", 4)]
    assert (first.movements[1].purpose, first.movements[1].partner_account) == ("household", "123")


def test_an_account_needs_the_overdraft_of_its_deepest_point() -> None:
    accounts = read_accounts(
        _lines(
            "1993-01-01,7,0,1,credit,100,100,,,,",
            "1993-01-01,7,1,2,debit,350,-250,,,,",
            "1993-01-01,7,2,3,credit,900,650,,,,",
            "1993-01-01,8,0,4,credit,900,900,,,,",
        )
    )
    assert [account.overdraft_limit for account in accounts] == [250, 0]


def test_a_wrong_balance_is_no_malformed_line() -> None:
    (account,) = read_accounts(_lines("1993-01-01,7,0,1,credit,100,999,,,,"))
    assert (account.movements[0].balance, account.overdraft_limit) == (999, 0)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("1993-01-01,704,1,2,credit,1,1,cash_deposit,,", "11 fields"),
        ("1993-13-01,704,1,2,credit,1,1,cash_deposit,,,", "date"),
        ("1993-01-01,,1,2,credit,1,1,cash_deposit,,,", "account"),
        ("1993-01-01,7 04,1,2,credit,1,1,cash_deposit,,,", "account"),
        ("1993-01-01,704,x,2,credit,1,1,cash_deposit,,,", "order"),
        ("1993-01-01,704,1,,credit,1,1,cash_deposit,,,", "id"),
        ("1993-01-01,704,1,2,fee,1,1,cash_deposit,,,", "kind"),
        ("1993-01-01,704,1,2,credit,0,1,cash_deposit,,,", "amount_minor"),
        ("1993-01-01,704,1,2,credit,-5,1,cash_deposit,,,", "amount_minor"),
        ("1993-01-01,704,1,2,credit,1.5,1,cash_deposit,,,", "amount_minor"),
        ("1993-01-01,704,1,2,credit,9007199254740992,1,cash_deposit,,,", "amount_minor"),
        ("1993-01-01,704,1,2,credit,1,,cash_deposit,,,", "balance_minor"),
        ("1993-01-01,704,1,207264,credit,1,1,cash_deposit,,,", "line 2"),
        ('1993-01-01,704,1,2,credit,1,1,"cash"x,,,', "expected"),
        ("", "fields"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(row: str, told: str) -> None:
    with pytest.raises(FileMustBeWellFormedError) as refusal:
        read_accounts(_lines(GOOD, row))
    assert refusal.value.line == 3
    assert told in str(refusal.value)


@pytest.mark.parametrize("lines", [[], [b"a,b,c\n"], [GOOD.encode()]])
def test_other_columns_are_refused(lines: list[bytes]) -> None:
    with pytest.raises(FileMustBeWellFormedError) as refusal:
        read_accounts(lines)
    assert refusal.value.line == 1


def test_text_must_be_utf8() -> None:
    with pytest.raises(FileMustBeWellFormedError) as refusal:
        read_accounts([*_lines(GOOD), b"1993-01-01,704,1,2,credit,1,1,\xff,,,\n"])
    assert refusal.value.line == 3


@pytest.mark.parametrize("name", ["bank.csv", "bank.csv.gz"])
def test_files_are_read_plain_and_packed(tmp_path: Path, name: str) -> None:
    content = b"".join(_lines(GOOD))
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert len(read_file(path)) == 1


def test_a_damaged_packed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.csv.gz"
    path.write_bytes(gzip.compress(b"".join(_lines(GOOD)))[:-12])
    with pytest.raises(FileMustBeWellFormedError, match="damaged"):
        read_file(path)
