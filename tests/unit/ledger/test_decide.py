"""The ladders of refusals, a row per rung in the order of precedence, and what an accepted command does."""

from collections.abc import Callable

import pytest
from ledger_book import Book

from cell.ledger.commands import Command
from cell.ledger.footprint import footprint
from cell.ledger.model import Exile, UnitState
from cell.ledger.outcomes import Accepted, Refused, Rejected, Replayed
from cell.ledger.view import LockMustBeHeldError, View
from contract.ids import VendorId, WalletId
from contract.money import AMOUNT_MAX
from contract.reasons import Reason
from contract.slots import slot_of
from contract.values import value


def _ladder(reasons: list[str]) -> None:
    order = [reason.value for reason in Reason]
    assert [order.index(reason) for reason in reasons] == sorted(order.index(reason) for reason in reasons)


def test_ladder_of_a_debit(book: Book) -> None:
    """Everything is wrong at first; mending one thing after the other meets the next rung."""
    wallet = book.wallet(balance=100)
    book.decide(book.change(wallet, status="suspended"))
    seen = [book.reason(book.debit(wallet, 101, currency="USD"))]
    seen.append(book.reason(book.debit(wallet, 101)))
    book.decide(book.change(wallet, status="active"))
    seen.append(book.reason(book.debit(wallet, 101)))
    assert seen == ["currency_must_match_wallet", "wallet_must_be_active", "available_balance_must_cover_amount"]
    _ladder(seen)
    assert book.reason(book.debit(wallet, 100)) == "accepted"
    assert book.balance(wallet) == 0


def test_ladder_of_a_credit(book: Book) -> None:
    wallet = book.wallet()
    book.decide(book.change(wallet, status="closed"))
    seen = [book.reason(book.credit(wallet, AMOUNT_MAX, currency="USD")), book.reason(book.credit(wallet, AMOUNT_MAX))]
    other = book.wallet("bob", balance=1)
    seen.append(book.reason(book.credit(other, AMOUNT_MAX)))
    assert seen == ["currency_must_match_wallet", "wallet_must_not_be_closed", "balance_must_stay_within_bounds"]
    _ladder(seen)
    assert book.reason(book.credit(other, AMOUNT_MAX - 1)) == "accepted"
    assert book.balance(other) == AMOUNT_MAX


def test_a_suspended_wallet_takes_credits_and_reversals_in_its_favour(book: Book) -> None:
    wallet = book.wallet(balance=100)
    spent, got = book.debit(wallet, 40), book.credit(wallet, 10)
    book.decide(spent)
    book.decide(got)
    book.decide(book.change(wallet, status="suspended"))
    assert book.reason(book.credit(wallet, 1)) == "accepted"
    assert book.reason(book.reverse(wallet, spent)) == "accepted"
    assert book.reason(book.reverse(wallet, got)) == "wallet_must_be_active"


def test_ladder_of_a_reversal(book: Book) -> None:
    wallet = book.wallet(balance=100)
    refused = book.debit(wallet, 1_000)
    book.decide(refused)
    got = book.credit(wallet, 50)
    book.decide(got)
    seen = [
        book.reason(book.reverse(wallet, book.debit(wallet, 1))),
        book.reason(book.reverse(wallet, refused)),
        book.reason(book.reverse(wallet, got, 51)),
    ]
    book.decide(book.debit(wallet, 149))
    seen.append(book.reason(book.reverse(wallet, got)))
    assert seen == [
        "original_must_exist",
        "original_must_be_reversible",
        "reversal_must_not_exceed_original",
        "available_balance_must_cover_amount",
    ]
    _ladder(seen)


def test_reversals_never_exceed_their_original(book: Book) -> None:
    wallet = book.wallet(balance=100)
    spent = book.debit(wallet, 60)
    book.decide(spent)
    assert book.reason(book.reverse(wallet, spent, 20)) == "accepted"
    assert book.reason(book.reverse(wallet, spent, 41)) == "reversal_must_not_exceed_original"
    whole = book.decide(book.reverse(wallet, spent))
    assert isinstance(whole, Accepted)
    assert (whole.recorded.amount, whole.recorded.delta, book.balance(wallet)) == (40, 40, 100)
    assert book.reason(book.reverse(wallet, spent)) == "reversal_must_not_exceed_original"
    assert book.reason(book.reverse(wallet, spent, 1)) == "reversal_must_not_exceed_original"


def test_a_reversal_and_a_transfer_cannot_be_reversed(book: Book) -> None:
    wallet, other = book.wallet(balance=100), book.wallet("bob")
    spent = book.debit(wallet, 10)
    book.decide(spent)
    undone = book.reverse(wallet, spent)
    sent = book.transfer(wallet, other, 5)
    book.decide(undone)
    book.decide(sent)
    assert book.reason(book.reverse(wallet, undone)) == "original_must_be_reversible"
    assert book.reason(book.reverse(wallet, sent)) == "original_must_be_reversible"


def test_a_reversal_of_another_vendors_original_uses_its_account(book: Book) -> None:
    wallet = book.wallet(balance=100)
    spent = book.debit(wallet, 10, vendor_id=VendorId("other"))
    book.decide(spent)
    assert book.reason(book.reverse(wallet, spent, original_vendor_id=VendorId("acme"))) == "original_must_exist"
    assert book.reason(book.reverse(wallet, spent)) == "accepted"
    assert book.account_deltas[-1] == ("clearing:other", "EUR", -10)


def test_ladder_of_a_transfer(book: Book) -> None:
    wallet, other, dollars = book.wallet(balance=100), book.wallet("bob"), book.wallet("bob", currency="USD")
    book.decide(book.change(wallet, status="suspended"))
    seen = [
        book.reason(book.transfer(wallet, wallet, 101, currency="USD")),
        book.reason(book.transfer(wallet, wallet, 101)),
    ]
    book.decide(book.change(wallet, status="active"))
    seen += [
        book.reason(book.transfer(wallet, wallet, 101)),
        book.reason(book.transfer(wallet, dollars, 101)),
        book.reason(book.transfer(wallet, other, 101)),
    ]
    assert seen == [
        "currency_must_match_wallet",
        "wallet_must_be_active",
        "wallets_must_be_different",
        "target_wallet_must_accept",
        "available_balance_must_cover_amount",
    ]
    _ladder(seen)
    assert book.reason(book.transfer(wallet, other, 100)) == "accepted"
    assert (book.balance(wallet), book.balance(other)) == (0, 100)
    assert [entry.kind for entry in book.entries[-2:]] == ["transfer_out", "transfer_in"]
    assert book.entries[-2].counter_account == f"wallet:{other}"


def test_a_transfer_to_no_wallet_is_refused_and_recorded(book: Book) -> None:
    wallet = book.wallet(balance=100)
    nobody = WalletId("00000000-0000-5000-8000-00000000abcd")
    outcome = book.decide(book.transfer(wallet, nobody, 1))
    assert isinstance(outcome, Refused)
    assert outcome.recorded.reason == "target_wallet_must_accept"


def test_a_transfer_that_cannot_leave_is_not_recorded(book: Book) -> None:
    wallet = book.wallet(balance=100)
    elsewhere = WalletId("00000000-0000-5000-8000-00000000abcd")
    del book.loaded.unit_states[slot_of(elsewhere)]
    outcome = book.decide(book.transfer(wallet, elsewhere, 1, may_leave=False))
    assert isinstance(outcome, Rejected)
    assert outcome.problem.code == "cell_must_be_reachable"
    assert book.balance(wallet) == 100


def test_ladder_of_a_change(book: Book) -> None:
    wallet = book.wallet(balance=0, overdraft_limit=50)
    book.decide(book.debit(wallet, 30))
    seen = [
        book.reason(book.change(wallet, status="closed", overdraft_limit=29)),
        book.reason(book.change(wallet, status="closed", overdraft_limit=30)),
    ]
    assert seen == ["overdraft_limit_must_cover_balance", "wallet_must_be_empty_to_close"]
    _ladder(seen)
    book.decide(book.credit(wallet, 30))
    assert book.reason(book.change(wallet, status="closed")) == "accepted"
    assert book.reason(book.change(wallet, status="active")) == "wallet_must_not_be_closed"
    assert book.reason(book.change(wallet, overdraft_limit=100)) == "wallet_must_not_be_closed"


def test_opening(book: Book) -> None:
    assert book.reason(book.opening(overdraft_limit=5)) == "accepted"
    assert book.reason(book.opening(overdraft_limit=5, metadata='{"a":1}')) == "replayed"
    assert book.reason(book.opening(overdraft_limit=6)) == "wallet_exists_with_different_overdraft_limit"
    assert [(entry.seq, entry.kind) for entry in book.entries] == [(1, "opened")]


def test_refusals_are_recorded_for_ever(book: Book) -> None:
    """A retry of a refused id is refused again, whatever the balance is by then."""
    wallet = book.wallet()
    wanted = book.debit(wallet, 10)
    first = book.decide(wanted)
    book.decide(book.credit(wallet, 100))
    again = book.decide(wanted)
    assert isinstance(first, Refused)
    assert isinstance(again, Replayed)
    assert again.recorded == first.recorded
    assert book.balance(wallet) == 100


@pytest.mark.parametrize(
    ("alter", "field"),
    [
        (lambda book, wallet, it: book.credit(wallet, 10, transaction_id=it), "kind"),
        (lambda book, wallet, it: book.debit(wallet, 11, transaction_id=it), "amount"),
        (lambda book, wallet, it: book.debit(wallet, 10, currency="USD", transaction_id=it), "currency"),
    ],
)
def test_the_same_id_with_other_content_is_a_conflict(
    book: Book, alter: Callable[[Book, WalletId, str], Command], field: str
) -> None:
    wallet = book.wallet(balance=100)
    original = book.debit(wallet, 10)
    book.decide(original)
    assert book.reason(alter(book, wallet, original.transaction_id)) == f"transaction_exists_with_different_{field}"
    assert book.reason(original) == "replayed"
    assert book.balance(wallet) == 90


def test_conflicts_name_the_differing_term(book: Book) -> None:
    wallet, bob, carol = book.wallet(balance=100), book.wallet("bob"), book.wallet("carol")
    sent, changed, spent = book.transfer(wallet, bob, 5), book.change(wallet, status="active"), book.debit(wallet, 5)
    undone = book.reverse(wallet, spent)
    for command in (sent, changed, spent, undone):
        assert book.reason(command) == "accepted"
    again = {"transaction_id": sent.transaction_id, "transfer_id": sent.transfer_id}
    assert book.reason(book.transfer(wallet, carol, 5, **again)) == "transaction_exists_with_different_target"
    other_change = book.change(wallet, status="suspended", transaction_id=changed.transaction_id)
    assert book.reason(other_change) == "transaction_exists_with_different_status"
    other_original = book.reverse(wallet, sent, transaction_id=undone.transaction_id)
    assert book.reason(other_original) == "transaction_exists_with_different_original"
    assert book.reason(book.reverse(wallet, spent, 5, transaction_id=undone.transaction_id)) == (
        "transaction_exists_with_different_amount"
    )


def test_vendors_do_not_share_ids(book: Book) -> None:
    wallet = book.wallet(balance=100)
    mine = book.debit(wallet, 10)
    book.decide(mine)
    assert (
        book.reason(book.debit(wallet, 20, transaction_id=mine.transaction_id, vendor_id=VendorId("other")))
        == "accepted"
    )


def test_an_absent_wallet_is_not_recorded(book: Book) -> None:
    nobody = WalletId("00000000-0000-5000-8000-00000000abcd")
    assert book.reason(book.debit(nobody, 1)) == "wallet_must_exist"
    assert book.entries == []


@value
class Elsewhere:
    state: str | None
    code: str


@pytest.mark.parametrize(
    "case",
    [
        Elsewhere(state=None, code="wallet_must_be_owned_by_this_cell"),
        Elsewhere(state="fenced", code="wallet_is_moving"),
        Elsewhere(state="granted", code="wallet_must_be_owned_by_this_cell"),
        Elsewhere(state="moved", code="wallet_must_be_owned_by_this_cell"),
        Elsewhere(state="staging", code="wallet_must_be_owned_by_this_cell"),
        Elsewhere(state="staged", code="wallet_is_moving"),
    ],
    ids=lambda case: str(case.state),
)
def test_units_that_are_not_active_here(book: Book, case: Elsewhere) -> None:
    """Frozen and absent wallets alike: nothing is recorded, and a wallet is never opened a second time."""
    wallet = book.wallet(balance=100)
    absent = WalletId("00000000-0000-5000-8000-00000000abcd")
    for one in (wallet, absent):
        unit = slot_of(one)
        book.loaded.unit_states.pop(unit)
        if case.state is not None:
            book.loaded.unit_states[unit] = UnitState(unit=unit, state=case.state, epoch=2, peer_cell="c2")  # type: ignore[arg-type]
    book.loaded.wallets[wallet].frozen_by = "00000000-0000-7000-8000-000000000001"
    before = len(book.entries)
    assert book.reason(book.debit(wallet, 1)) == case.code
    assert book.reason(book.debit(absent, 1)) == case.code
    assert book.reason(book.opening()) == case.code
    assert len(book.entries) == before


def test_an_exiled_wallet_is_elsewhere_and_cannot_be_opened_again(book: Book) -> None:
    opening = book.opening("zoe")
    exile = Exile(wallet_id=opening.wallet_id, unit=65_536, cell="c9", epoch=4)
    book.loaded.exiles[opening.wallet_id] = exile
    outcome = book.decide(opening)
    assert isinstance(outcome, Rejected)
    assert outcome.problem.facts == {"unit": 65_536, "cell": "c9", "epoch": 4, "wallet_id": opening.wallet_id}


def test_tokens_narrowed_to_owner_types(book: Book) -> None:
    wallet = book.wallet(balance=100)
    narrow = frozenset({"merchant"})
    assert book.reason(book.debit(wallet, 1, owner_types=narrow)) == "scope_must_allow_debit"
    assert book.reason(book.opening("new", owner_types=narrow)) == "scope_must_allow_open"
    assert book.reason(book.debit(wallet, 1, owner_types=frozenset({"person"}))) == "accepted"


def test_posted_at_never_falls(book: Book) -> None:
    wallet = book.wallet()
    book.decide(book.credit(wallet, 1), now_us=2_000_000_000_000_000)
    book.decide(book.credit(wallet, 1), now_us=1_000_000_000_000_000)
    assert [entry.posted_at_us for entry in book.entries[-2:]] == [2_000_000_000_000_000, 2_000_000_000_000_001]


def test_a_forgotten_lock_is_found(book: Book) -> None:
    """The view refuses what is not in the footprint, so no decision can read an unlocked row."""
    wallet, other = book.wallet(), book.wallet("bob")
    view = View(book.loaded, footprint(book.debit(wallet, 1)))
    with pytest.raises(LockMustBeHeldError):
        view.wallet(other)
