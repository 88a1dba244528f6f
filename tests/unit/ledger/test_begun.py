"""What an entry has begun, held against what is told of it."""

from dataclasses import replace

import pytest
from ledger_book import Book

from cell.ledger.begun import Saga, saga_begun_by
from cell.ledger.footprint import key_of
from cell.ledger.model import Entry, TransactionKey
from cell.ledger.posting import InvariantBrokenError
from contract.ids import WalletId, wallet_id_of

FAR = wallet_id_of(owner_type="person", owner_ref="far", kind="main", currency="EUR")


def sender(book: Book) -> WalletId:
    alice = book.wallet("alice", balance=100)
    book.lose_unit(FAR)
    return alice


def begun(book: Book, entry: Entry, key: TransactionKey, told: Saga | None) -> Saga | None:
    return saga_begun_by(entry, key, book.loaded.recorded[key].terms, told)


def test_a_transfer_that_left_is_what_its_entry_says() -> None:
    book = Book()
    command = book.transfer(sender(book), FAR, 25)
    assert book.reason(command) == "accepted"
    entry, told = book.entries[-1], book.transfer_of(command)
    assert begun(book, entry, key_of(command), told) == told
    settled = replace(told, state="settled", details=None)
    assert begun(book, entry, key_of(command), settled) == settled


@pytest.mark.parametrize(
    "changed", [{"amount": 26}, {"currency": "USD"}, {"to_wallet_id": "x"}, {"transfer_id": "x"}, None]
)
def test_a_transfer_told_otherwise_is_refused(changed: dict[str, object] | None) -> None:
    book = Book()
    command = book.transfer(sender(book), FAR, 25)
    assert book.reason(command) == "accepted"
    told = None if changed is None else replace(book.transfer_of(command), **changed)  # type: ignore[arg-type]
    with pytest.raises(InvariantBrokenError, match="P7"):
        begun(book, book.entries[-1], key_of(command), told)


@pytest.mark.parametrize("amount", [15, 500])
def test_a_group_is_what_its_anchor_asked_also_when_it_was_refused(amount: int) -> None:
    book = Book()
    command = book.group([(sender(book), -amount), (FAR, amount)])
    book.decide(command)
    entry, told = book.entries[-1], book.group_of(command)
    assert begun(book, entry, key_of(command), told) == told
    for other in (None, replace(told, group_id=FAR), replace(told, legs=told.legs[:1])):  # type: ignore[arg-type]
        with pytest.raises(InvariantBrokenError, match="P7"):
            begun(book, entry, key_of(command), other)


def test_other_entries_begin_nothing() -> None:
    book = Book()
    alice, bob = sender(book), book.wallet("bob")
    transfer = book.transfer(alice, bob, 5)
    whole = book.group([(alice, -5), (bob, 5)])
    for command in (transfer, book.transfer(alice, FAR, 500), book.debit(alice, 1), book.hold(alice, 1)):
        book.decide(command)
        assert begun(book, book.entries[-1], key_of(command), None) is None
    assert book.reason(whole) == "accepted"
    leg = next(key for key in book.loaded.recorded if key.vendor_id == "@group")
    assert begun(book, book.entries[-1], leg, None) is None
    with pytest.raises(InvariantBrokenError, match="P7"):
        begun(book, book.entries[-1], leg, book.group_of(whole))
