"""Limits as commands meet them: which sums each command counts towards, what is given back (nothing), and midnight."""

from collections.abc import Callable

import pytest
from ledger_book import Book

from cell.ledger.commands import Command
from cell.ledger.limits import DAY_US, Caps
from cell.ledger.outcomes import Accepted
from contract.ids import VendorId, WalletId

DAY = Caps(wallet_day_max=50)
MINE = Caps(vendor_day_max=50)
OTHER = VendorId("other")

Make = Callable[[Book, WalletId, WalletId, int, Caps], Command]


def _group(book: Book, wallet: WalletId, other: WalletId, amount: int, caps: Caps) -> Command:
    return book.group([(wallet, -amount), (other, amount)], caps_of={wallet: caps})


def _leg(book: Book, wallet: WalletId, other: WalletId, amount: int, caps: Caps) -> Command:
    return book.prepare(book.group([(other, amount), (wallet, -amount)]), wallet, caps=caps)


TAKES: dict[str, Make] = {
    "debit": lambda book, wallet, _, amount, caps: book.debit(wallet, amount, caps=caps),
    "hold": lambda book, wallet, _, amount, caps: book.hold(wallet, amount, caps=caps),
    "transfer": lambda book, wallet, other, amount, caps: book.transfer(wallet, other, amount, caps=caps),
    "group": _group,
    "leg": _leg,
}


@pytest.fixture
def wallets(book: Book) -> tuple[WalletId, WalletId]:
    return book.wallet(balance=1_000), book.wallet("bob")


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("caps", [Caps(amount_max=50), DAY, MINE], ids=["single", "wallet", "vendor"])
def test_the_most_of_each_limit(book: Book, wallets: tuple[WalletId, WalletId], take: str, caps: Caps) -> None:
    wallet, other = wallets
    assert book.reason(TAKES[take](book, wallet, other, 51, caps)) == "amount_must_not_exceed_limit"
    assert book.reason(TAKES[take](book, wallet, other, 50, caps)) == "accepted"
    second = book.reason(TAKES[take](book, wallet, other, 1, caps))
    assert second == ("accepted" if caps.amount_max else "amount_must_not_exceed_limit")


@pytest.mark.parametrize("take", TAKES)
def test_every_taking_counts_towards_the_same_sum(book: Book, wallets: tuple[WalletId, WalletId], take: str) -> None:
    wallet, other = wallets
    book.decide(book.debit(wallet, 20, caps=DAY))
    assert book.reason(TAKES[take](book, wallet, other, 31, DAY)) == "amount_must_not_exceed_limit"
    assert book.reason(TAKES[take](book, wallet, other, 30, DAY)) == "accepted"
    assert book.reason(book.debit(wallet, 1, caps=DAY)) == "amount_must_not_exceed_limit"


@pytest.mark.parametrize("take", TAKES)
def test_a_transfer_that_leaves_counts_once(book: Book, take: str) -> None:
    wallet, far = book.wallet(balance=100), WalletId("00000000-0000-5000-8000-00000000abcd")
    book.lose_unit(far)
    assert book.reason(TAKES[take](book, wallet, far, 50, DAY)) == "accepted"
    assert book.loaded.spent == {((wallet, ""), book.loaded.now_us // DAY_US): 50}


def test_a_refused_command_counts_nothing(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    wallet, other = wallets
    for command in (
        book.debit(wallet, 51, caps=DAY),
        book.hold(wallet, 51, caps=DAY),
        book.transfer(wallet, WalletId("00000000-0000-5000-8000-00000000abcd"), 50, caps=DAY),
        _group(book, wallet, WalletId("00000000-0000-5000-8000-00000000abcd"), 50, DAY),
        _group(book, wallet, other, 51, DAY),
    ):
        assert book.reason(command) not in {"accepted", "replayed"}
    assert book.loaded.spent == {}


def test_a_replay_counts_nothing(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    wallet, _ = wallets
    command = book.debit(wallet, 50, caps=DAY)
    assert [book.reason(command), book.reason(command)] == ["accepted", "replayed"]
    assert list(book.loaded.spent.values()) == [50]


def test_what_comes_back_is_not_given_back_to_the_day(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    """Nor is a capture counted again: the hold was, at its full amount."""
    wallet, _ = wallets
    spent, hold = book.debit(wallet, 20, caps=DAY), book.hold(wallet, 30, caps=DAY)
    for command in (spent, hold, book.reverse(wallet, spent), book.capture(hold, 10, caps=DAY)):
        assert book.reason(command) == "accepted"
    assert list(book.loaded.spent.values()) == [50]
    assert book.reason(book.debit(wallet, 1, caps=DAY)) == "amount_must_not_exceed_limit"


def test_credits_meet_no_limit(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    wallet, other = wallets
    assert (
        book.reason(book.credit(wallet, 500, caps=Caps(amount_max=1, wallet_day_max=1, vendor_day_max=1))) == "accepted"
    )
    into = book.group([(wallet, -500), (other, 500)], caps_of={other: Caps(amount_max=1, wallet_day_max=1)})
    assert book.reason(into) == "accepted"
    assert book.loaded.spent == {}


def test_a_day_ends_at_midnight_utc(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    wallet, _ = wallets
    midnight_us = (book.loaded.now_us // DAY_US + 1) * DAY_US
    assert isinstance(book.decide(book.debit(wallet, 50, caps=DAY), now_us=midnight_us - 1), Accepted)
    assert not isinstance(book.decide(book.debit(wallet, 1, caps=DAY), now_us=midnight_us - 1), Accepted)
    assert isinstance(book.decide(book.debit(wallet, 50, caps=DAY), now_us=midnight_us), Accepted)
    assert not isinstance(book.decide(book.debit(wallet, 1, caps=DAY), now_us=midnight_us), Accepted)


def test_vendors_have_their_own_sums_and_share_the_wallets(book: Book, wallets: tuple[WalletId, WalletId]) -> None:
    wallet, _ = wallets
    both = Caps(vendor_day_max=30, wallet_day_max=50)
    assert book.reason(book.debit(wallet, 30, caps=both)) == "accepted"
    assert book.reason(book.debit(wallet, 1, caps=both)) == "amount_must_not_exceed_limit"
    assert book.reason(book.debit(wallet, 21, caps=both, vendor_id=OTHER)) == "amount_must_not_exceed_limit"
    assert book.reason(book.debit(wallet, 20, caps=both, vendor_id=OTHER)) == "accepted"


def test_a_limit_goes_before_the_balance_and_after_the_target(book: Book) -> None:
    wallet = book.wallet(balance=10)
    nobody = WalletId("00000000-0000-5000-8000-00000000abcd")
    low = Caps(amount_max=5)
    assert book.reason(book.transfer(wallet, nobody, 11, caps=low)) == "target_wallet_must_accept"
    assert book.reason(book.debit(wallet, 11, caps=low)) == "amount_must_not_exceed_limit"
    assert book.reason(book.debit(wallet, 11, caps=Caps(amount_max=11))) == "available_balance_must_cover_amount"
