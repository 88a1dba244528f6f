"""Holds: every rung, every transition, the exact instant of expiry; what is set aside is neither lost nor doubled."""

from collections.abc import Callable

import pytest
from ledger_book import Book

from cell.ledger.commands import CaptureHold, Command, PlaceHold
from cell.ledger.holding import fold_hold, subject_of
from cell.ledger.model import Hold
from cell.ledger.outcomes import Accepted, Refused, Rejected, Replayed
from cell.ledger.posting import InvariantBrokenError
from contract.ids import VendorId, WalletId
from contract.money import AMOUNT_MAX
from contract.reasons import Reason

SECOND_US = 1_000_000
OTHER = VendorId("other")


def _in_order(reasons: list[str]) -> None:
    order = [reason.value for reason in Reason]
    assert [order.index(reason) for reason in reasons] == sorted(order.index(reason) for reason in reasons)


def placed(book: Book, wallet: WalletId, amount: int = 60, **more: object) -> PlaceHold:
    hold = book.hold(wallet, amount, **more)  # type: ignore[arg-type]
    assert book.reason(hold) == "accepted"
    return hold


def figures(book: Book, wallet: WalletId) -> tuple[int, int, int]:
    """balance, held, available"""
    row = book.loaded.wallets[wallet]
    return row.balance, row.held, row.available


def test_ladder_of_placing(book: Book) -> None:
    wallet = book.wallet(balance=100)
    book.decide(book.change(wallet, status="suspended"))
    seen = [book.reason(book.hold(wallet, 101, currency="USD")), book.reason(book.hold(wallet, 101))]
    book.decide(book.change(wallet, status="active"))
    seen.append(book.reason(book.hold(wallet, 101)))
    assert seen == ["currency_must_match_wallet", "wallet_must_be_active", "available_balance_must_cover_amount"]
    _in_order(seen)
    assert book.reason(book.hold(wallet, 100)) == "accepted"
    assert figures(book, wallet) == (100, 100, 0)


def test_a_hold_that_is_placed(book: Book) -> None:
    wallet = book.wallet(balance=100, overdraft_limit=10)
    hold = placed(book, wallet, 110, expires_in_s=5)
    assert figures(book, wallet) == (100, 110, 0)
    entry = book.entries[-1]
    assert (entry.kind, entry.delta, entry.held_delta) == ("hold", 0, 110)
    assert (entry.subject_id, entry.subject_vendor_id) == (hold.transaction_id, "acme")
    assert entry.expires_at_us == book.loaded.now_us + 5 * SECOND_US
    assert book.hold_of(hold) == Hold(
        key=book.hold_of(hold).key,
        kind="vendor",
        amount=110,
        captured=0,
        remaining=110,
        state="open",
        placed_at_us=book.loaded.now_us,
        expires_at_us=book.loaded.now_us + 5 * SECOND_US,
    )
    assert book.account_deltas == [("clearing:acme", "EUR", -100)]


def test_a_hold_keeps_its_money_from_everything_else(book: Book) -> None:
    wallet, other = book.wallet(balance=100), book.wallet("bob")
    got = book.credit(wallet, 5)
    book.decide(got)
    placed(book, wallet, 100)
    for command in (
        book.debit(wallet, 6),
        book.hold(wallet, 6),
        book.transfer(wallet, other, 6),
        book.group([(wallet, -6), (other, 6)]),
    ):
        assert book.reason(command) == "available_balance_must_cover_amount"
    book.decide(book.debit(wallet, 5))
    assert book.reason(book.reverse(wallet, got)) == "available_balance_must_cover_amount"


def ends(book: Book, hold: PlaceHold, **more: object) -> list[Command]:
    return [book.capture(hold, **more), book.release(hold, **more), book.extend(hold, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["capture", "release", "extend"])
def test_ladder_of_ending(book: Book, which: int) -> None:
    """Of a closed wallet, of a blocked one, of no hold, of one that is over, and of too much."""
    wallet, closed = book.wallet(balance=100), book.wallet("bob")
    hold = placed(book, wallet)
    unknown = book.hold(wallet, 1)
    book.decide(book.change(closed, status="closed"))
    seen = [book.reason(ends(book, book.hold(closed, 1))[which])]
    assert seen == ["wallet_must_not_be_closed"]
    book.loaded.wallets[wallet].blocked_by = "an audit"
    assert book.reason(ends(book, unknown)[which]) == "wallet_must_be_active"
    book.loaded.wallets[wallet].blocked_by = None
    seen.append(book.reason(ends(book, unknown)[which]))
    if which == 0:
        assert book.reason(book.capture(hold, 61)) == "capture_must_not_exceed_hold"
    assert figures(book, wallet) == (100, 60, 40)
    book.decide(book.release(hold))
    seen.append(book.reason(ends(book, hold)[which]))
    if which == 0:  # the state goes before the amount
        assert book.reason(book.capture(hold, 61)) == "hold_must_be_open"
    assert seen == ["wallet_must_not_be_closed", "hold_must_exist", "hold_must_be_open"]
    _in_order(seen)
    assert figures(book, wallet) == (100, 0, 100)


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_a_suspended_wallets_holds_may_be_ended(book: Book, status: str) -> None:
    wallet = book.wallet(balance=100)
    first, second, third = (placed(book, wallet, 20) for _ in range(3))
    book.decide(book.change(wallet, status=status))
    assert book.reason(book.capture(first)) == "accepted"
    assert book.reason(book.release(second)) == "accepted"
    assert book.reason(book.extend(third)) == "accepted"
    assert figures(book, wallet) == (80, 20, 60)


def test_a_wallet_with_a_hold_cannot_be_closed(book: Book) -> None:
    wallet = book.wallet(overdraft_limit=10)
    hold = placed(book, wallet, 10)
    assert book.reason(book.change(wallet, status="closed")) == "wallet_must_be_empty_to_close"
    assert book.reason(book.change(wallet, overdraft_limit=9)) == "overdraft_limit_must_cover_balance"
    book.decide(book.release(hold))
    assert book.reason(book.change(wallet, status="closed")) == "accepted"


def test_capture_of_all_that_remains(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    outcome = book.decide(book.capture(hold))
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.amount, outcome.recorded.delta, outcome.recorded.held_delta) == (60, -60, -60)
    assert figures(book, wallet) == (40, 0, 40)
    assert book.account_deltas[-1] == ("clearing:acme", "EUR", 60)
    after = book.hold_of(hold)
    assert (after.state, after.captured, after.remaining) == ("captured", 60, 0)


@pytest.mark.parametrize(
    ("parts", "expected", "state", "captured", "remaining"),
    [
        ([(20, False)], (80, 40, 40), "open", 20, 40),
        ([(20, True)], (80, 0, 80), "captured", 20, 0),
        ([(20, False), (15, False)], (65, 25, 40), "open", 35, 25),
        ([(20, False), (40, False)], (40, 0, 40), "captured", 60, 0),
        ([(20, False), (None, False)], (40, 0, 40), "captured", 60, 0),
        ([(None, False)], (40, 0, 40), "captured", 60, 0),
        ([(20, False), (1, True)], (79, 0, 79), "captured", 21, 0),
    ],
)
def test_captures_in_parts(
    book: Book,
    parts: list[tuple[int | None, bool]],
    expected: tuple[int, int, int],
    state: str,
    captured: int,
    remaining: int,
) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    for amount, is_final in parts:
        assert book.reason(book.capture(hold, amount, is_final=is_final)) == "accepted"
    assert figures(book, wallet) == expected
    after = book.hold_of(hold)
    assert (after.state, after.captured, after.remaining) == (state, captured, remaining)
    assert book.reason(book.capture(hold, remaining + 1)) == (
        "capture_must_not_exceed_hold" if state == "open" else "hold_must_be_open"
    )


def test_release_of_what_is_left_after_a_capture(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    book.decide(book.capture(hold, 20, is_final=False))
    outcome = book.decide(book.release(hold))
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.amount, outcome.recorded.held_delta) == (40, -40)
    after = book.hold_of(hold)
    assert (after.state, after.captured, after.remaining) == ("released", 20, 0)
    assert figures(book, wallet) == (80, 0, 80)


def test_a_hold_is_the_vendors_that_placed_it(book: Book) -> None:
    """Another vendor's hold of the same id is another hold; without one of its own there is none."""
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, 30)
    for command in ends(book, hold, vendor_id=OTHER):
        assert book.reason(command) == "hold_must_exist"
    twin = placed(book, wallet, 20, vendor_id=OTHER, transaction_id=hold.transaction_id)
    assert book.reason(book.release(twin, vendor_id=OTHER)) == "accepted"
    assert (book.hold_of(hold).state, book.hold_of(twin).state) == ("open", "released")
    assert figures(book, wallet) == (100, 30, 70)


def test_the_instant_of_expiry(book: Book) -> None:
    """At its last microsecond a hold can be captured and not expired; from its instant on the other way round."""
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, expires_in_s=5)
    end_us = book.loaded.now_us + 5 * SECOND_US
    early = book.decide(book.expire(hold), now_us=end_us - 1)
    assert isinstance(early, Rejected)
    part = book.decide(book.capture(hold, 1, is_final=False), now_us=end_us - 1)
    assert isinstance(part, Accepted)
    for command in ends(book, hold):
        late = book.decide(command, now_us=end_us)
        assert isinstance(late, Refused)
        assert late.recorded.reason == "hold_must_be_open"
    assert figures(book, wallet) == (99, 59, 40)  # past its time, not yet swept
    swept = book.decide(book.expire(hold), now_us=end_us)
    assert isinstance(swept, Accepted)
    assert (book.entries[-1].kind, book.entries[-1].vendor_id, book.entries[-1].held_delta) == ("expire", "@cell", -59)
    assert figures(book, wallet) == (99, 0, 99)
    after = book.hold_of(hold)
    assert (after.state, after.captured, after.remaining) == ("expired", 1, 0)


def test_an_expiry_happens_once_and_never_after_another_end(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold, ended = placed(book, wallet, expires_in_s=5), placed(book, wallet, 10, expires_in_s=5)
    book.decide(book.capture(ended))
    late_us = book.loaded.now_us + 5 * SECOND_US
    assert isinstance(book.decide(book.expire(hold), now_us=late_us), Accepted)
    before = len(book.entries)
    assert isinstance(book.decide(book.expire(hold), now_us=late_us + 1), Replayed)
    assert isinstance(book.decide(book.expire(ended), now_us=late_us), Rejected)
    assert isinstance(book.decide(book.expire(book.hold(wallet, 1)), now_us=late_us), Rejected)
    assert len(book.entries) == before


@pytest.mark.parametrize("state", ["suspended", "blocked"])
def test_an_expiry_has_no_ladder(book: Book, state: str) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, expires_in_s=5)
    if state == "blocked":
        book.loaded.wallets[wallet].blocked_by = "an audit"
    else:
        book.decide(book.change(wallet, status=state))
    assert isinstance(book.decide(book.expire(hold), now_us=book.loaded.now_us + 5 * SECOND_US), Accepted)
    assert book.held(wallet) == 0


def test_an_extension_counts_from_now(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, expires_in_s=5)
    now_us = book.loaded.now_us + 4 * SECOND_US
    outcome = book.decide(book.extend(hold, 5), now_us=now_us)
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.amount, outcome.recorded.delta, outcome.recorded.held_delta) == (60, 0, 0)
    assert book.hold_of(hold).expires_at_us == now_us + 5 * SECOND_US
    assert isinstance(book.decide(book.expire(hold), now_us=now_us + 5 * SECOND_US - 1), Rejected)
    assert isinstance(book.decide(book.capture(hold), now_us=now_us + 5 * SECOND_US - 1), Accepted)


def test_an_extension_may_shorten(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, expires_in_s=500)
    book.decide(book.extend(hold, 1))
    assert isinstance(book.decide(book.expire(hold), now_us=book.loaded.now_us + SECOND_US), Accepted)


def test_captures_can_be_reversed_and_only_as_captured(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    first, last = book.capture(hold, 20, is_final=False), book.capture(hold, 30)
    for command in (first, last):
        book.decide(command)
    assert book.reason(book.reverse(wallet, first, 21)) == "reversal_must_not_exceed_original"
    assert book.reason(book.reverse(wallet, first, 5)) == "accepted"
    assert book.reason(book.reverse(wallet, first)) == "accepted"
    assert book.reason(book.reverse(wallet, first)) == "reversal_must_not_exceed_original"
    assert book.reason(book.reverse(wallet, last)) == "accepted"
    assert figures(book, wallet) == (100, 0, 100)
    assert book.reason(book.capture(hold)) == "hold_must_be_open"  # a reversal does not open the hold again
    assert sum(delta for _, _, delta in book.account_deltas) == -100


@pytest.mark.parametrize("which", [0, 1, 2], ids=["hold", "release", "extend"])
def test_what_moved_no_money_cannot_be_reversed(book: Book, which: int) -> None:
    wallet = book.wallet(balance=100)
    hold = book.hold(wallet, 10)
    commands = [hold, book.release(hold), book.extend(hold)]
    for command in (hold, commands[2], commands[1]):
        assert book.reason(command) == "accepted"
    assert book.reason(book.reverse(wallet, commands[which])) == "original_must_be_reversible"


def test_capture_at_the_lower_bound(book: Book) -> None:
    wallet = book.wallet(overdraft_limit=AMOUNT_MAX)
    hold = placed(book, wallet, AMOUNT_MAX)
    assert book.reason(book.hold(wallet, 1)) == "available_balance_must_cover_amount"
    assert book.reason(book.capture(hold)) == "accepted"
    assert figures(book, wallet) == (-AMOUNT_MAX, 0, 0)


Alter = Callable[[Book, PlaceHold, PlaceHold, str], Command]
CONFLICTS: list[tuple[str, Callable[[Book, PlaceHold], Command], Alter, str]] = [
    ("hold", lambda _, hold: hold, lambda b, h, _, t: b.debit(h.wallet_id, 20, transaction_id=t), "kind"),
    ("hold", lambda _, hold: hold, lambda b, h, _, t: b.hold(h.wallet_id, 21, transaction_id=t), "amount"),
    (
        "hold",
        lambda _, hold: hold,
        lambda b, h, _, t: b.hold(h.wallet_id, 20, currency="USD", transaction_id=t),
        "currency",
    ),
    (
        "hold",
        lambda _, hold: hold,
        lambda b, h, _, t: b.hold(h.wallet_id, 20, expires_in_s=61, transaction_id=t),
        "expires_in_s",
    ),
    ("capture", lambda b, hold: b.capture(hold, 5), lambda b, h, _, t: b.release(h, transaction_id=t), "kind"),
    ("capture", lambda b, hold: b.capture(hold, 5), lambda b, h, _, t: b.capture(h, 6, transaction_id=t), "amount"),
    ("capture", lambda b, hold: b.capture(hold, 5), lambda b, h, _, t: b.capture(h, transaction_id=t), "amount"),
    (
        "capture",
        lambda b, hold: b.capture(hold, 5),
        lambda b, h, _, t: b.capture(h, 5, is_final=False, transaction_id=t),
        "final",
    ),
    ("capture", lambda b, hold: b.capture(hold, 5), lambda b, _, o, t: b.capture(o, 5, transaction_id=t), "hold"),
    ("release", lambda b, hold: b.release(hold), lambda b, h, _, t: b.capture(h, transaction_id=t), "kind"),
    ("release", lambda b, hold: b.release(hold), lambda b, _, o, t: b.release(o, transaction_id=t), "hold"),
    ("extend", lambda b, hold: b.extend(hold), lambda b, h, _, t: b.release(h, transaction_id=t), "kind"),
    ("extend", lambda b, hold: b.extend(hold), lambda b, h, _, t: b.extend(h, 601, transaction_id=t), "expires_in_s"),
    ("extend", lambda b, hold: b.extend(hold), lambda b, _, o, t: b.extend(o, transaction_id=t), "hold"),
]


@pytest.mark.parametrize(("what", "original", "alter", "field"), CONFLICTS, ids=[f"{c[0]}-{c[3]}" for c in CONFLICTS])
def test_the_same_id_once(
    book: Book, what: str, original: Callable[[Book, PlaceHold], Command], alter: Alter, field: str
) -> None:
    del what
    wallet = book.wallet(balance=100)
    hold, other = placed(book, wallet, 20), placed(book, wallet, 20)
    command = original(book, hold)
    book.decide(command)
    before = (len(book.entries), dict(book.loaded.holds))
    assert book.reason(command) == "replayed"
    assert book.reason(alter(book, hold, other, command.transaction_id)) == f"transaction_exists_with_different_{field}"
    assert (len(book.entries), book.loaded.holds) == before


def test_refused_ends_of_holds_stay_refused(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    too_much: CaptureHold = book.capture(hold, 61)
    assert book.reason(too_much) == "capture_must_not_exceed_hold"
    outcome = book.decide(too_much)
    assert isinstance(outcome, Replayed)
    assert (outcome.recorded.reason, outcome.recorded.kind) == ("capture_must_not_exceed_hold", "capture")
    assert book.hold_of(hold).state == "open"


def test_an_absent_or_unopened_wallet_has_no_holds(book: Book) -> None:
    nobody = WalletId("00000000-0000-5000-8000-00000000abcd")
    hold = book.hold(nobody, 1)
    for command in (hold, *ends(book, hold), book.expire(hold)):
        assert book.reason(command) == "wallet_must_exist"
    assert book.entries == []


def test_holds_of_a_wallet_that_is_moving_stand_still(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet, expires_in_s=1)
    book.loaded.wallets[wallet].frozen_by = "00000000-0000-7000-8000-000000000001"
    before = len(book.entries)
    for command in (book.hold(wallet, 1), *ends(book, hold), book.expire(hold)):
        outcome = book.decide(command, now_us=book.loaded.now_us + 2 * SECOND_US)
        assert isinstance(outcome, Rejected)
        assert outcome.problem.code == "wallet_is_moving"
    assert len(book.entries) == before
    assert book.hold_of(hold).state == "open"


def test_the_log_explains_every_hold(book: Book) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    for command in (
        book.extend(hold),
        book.capture(hold, 5, is_final=False),
        book.debit(wallet, 1),
        book.release(hold),
    ):
        book.decide(command)
    folded: Hold | None = None
    for entry in book.entries:
        if subject_of(entry) is not None:
            folded = fold_hold(folded, entry)
    assert folded == book.hold_of(hold)


@pytest.mark.parametrize("what", ["twice placed", "after its end", "unknown", "about nothing", "more than is left"])
def test_an_entry_that_does_not_follow_from_its_hold_is_a_bug(book: Book, what: str) -> None:
    wallet = book.wallet(balance=100)
    hold = placed(book, wallet)
    start, large = book.entries[-1], placed(book, wallet, 20)
    book.decide(book.capture(hold))
    end, other = book.entries[-1], book.hold_of(large)
    cases = {
        "twice placed": (fold_hold(None, start), start),
        "after its end": (book.hold_of(hold), end),
        "unknown": (None, end),
        "about nothing": (None, book.entries[0]),
        "more than is left": (other, end),
    }
    with pytest.raises(InvariantBrokenError):
        fold_hold(*cases[what])
