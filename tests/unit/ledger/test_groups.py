"""Groups: all legs or none, whether they are in one cell or in several, and whatever comes late, twice or never."""

from dataclasses import replace

import pytest
from ledger_book import Book

from cell.ledger.commands import LegAsked, StartGroup
from cell.ledger.grouping import GROUP_TRANSITIONS, TOO_LATE
from cell.ledger.model import GroupState
from cell.ledger.outcomes import NOTHING, Accepted, Marked, Refused, Rejected, Replayed
from cell.ledger.posting import InvariantBrokenError
from cell.ledger.view import LockMustBeHeldError
from contract.ids import VendorId, WalletId, wallet_id_of
from contract.money import AMOUNT_MAX

FAR = wallet_id_of(owner_type="person", owner_ref="far", kind="main", currency="EUR")
FARTHER = wallet_id_of(owner_type="person", owner_ref="farther", kind="main", currency="EUR")


@pytest.fixture
def there() -> Book:
    """The cell of the other legs."""
    return Book()


@pytest.fixture
def anchor(book: Book) -> WalletId:
    """Alice's, with 100; FAR and FARTHER are another cell's."""
    book.lose_unit(FAR)
    book.lose_unit(FARTHER)
    return book.wallet(balance=100)


def started(book: Book, *legs: tuple[WalletId, int], **more: object) -> StartGroup:
    command = book.group(legs, **more)  # type: ignore[arg-type]
    assert book.reason(command) == "accepted"
    return command


def in_transit(*books: Book) -> int:
    return sum(delta for book in books for account, _, delta in book.account_deltas if account == "in_transit")


def figures(book: Book, wallet: WalletId) -> tuple[int, int, int]:
    row = book.loaded.wallets[wallet]
    return row.balance, row.held, row.pinned


def states(book: Book, group: StartGroup) -> list[str]:
    return [leg.state for leg in book.group_of(group).legs]


# Whole in one cell: one transaction.


def test_a_group_of_one_cell_is_one_transaction(book: Book) -> None:
    alice, bob, carol = book.wallet(balance=100), book.wallet("bob"), book.wallet("carol")
    command = book.group([(alice, -70), (bob, 60), (carol, 10)])
    before = len(book.entries)
    outcome = book.decide(command)
    assert isinstance(outcome, Accepted)
    assert [book.balance(one) for one in (alice, bob, carol)] == [30, 60, 10]
    assert [(entry.kind, entry.delta, entry.counter_account) for entry in book.entries[before:]] == [
        ("transfer_out", -70, "in_transit"),
        ("transfer_in", 60, "in_transit"),
        ("transfer_in", 10, "in_transit"),
    ]
    assert (outcome.recorded.kind, outcome.recorded.delta, outcome.recorded.key.wallet_id) == ("group", -70, alice)
    assert in_transit(book) == 0
    group = book.group_of(command)
    assert (group.state, group.is_finished, group.details) == ("confirmed", True, None)
    assert states(book, command) == ["confirmed"] * 3
    assert book.loaded.holds == {}


def test_the_anchor_may_be_any_leg(book: Book) -> None:
    alice, bob = book.wallet(balance=100), book.wallet("bob")
    outcome = book.decide(book.group([(bob, 10), (alice, -10)]))
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.key.wallet_id, outcome.recorded.delta) == (bob, 10)
    assert (book.balance(alice), book.balance(bob)) == (90, 10)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("currency of the anchor", "currency_must_match_wallet"),
        ("suspended debtor", "wallet_must_be_active"),
        ("closed creditor", "wallet_must_not_be_closed"),
        ("blocked creditor", "wallet_must_be_active"),
        ("poor debtor", "available_balance_must_cover_amount"),
        ("full creditor", "balance_must_stay_within_bounds"),
        ("no creditor", "target_wallet_must_accept"),
        ("no debtor", "target_wallet_must_accept"),
    ],
)
def test_one_refused_leg_refuses_all(book: Book, wrong: str, reason: str) -> None:
    alice, bob, carol = book.wallet(balance=100), book.wallet("bob", balance=5), book.wallet("carol")
    nobody, legs, currency = FAR, [(alice, -20), (bob, -5), (carol, 25)], "EUR"
    match wrong:
        case "currency of the anchor":
            currency = "USD"
        case "suspended debtor":
            book.decide(book.change(bob, status="suspended"))
        case "closed creditor":
            book.decide(book.change(carol, status="closed"))
        case "blocked creditor":
            book.loaded.wallets[carol].blocked_by = "an audit"
        case "poor debtor":
            legs = [(alice, -20), (bob, -6), (carol, 26)]
        case "full creditor":
            book.decide(book.credit(carol, AMOUNT_MAX))
        case "no creditor":
            legs = [(alice, -20), (bob, -5), (nobody, 25)]
        case "no debtor":
            legs = [(alice, -20), (nobody, -5), (carol, 25)]
    before = {one: figures(book, one) for one in (alice, bob, carol)}
    command = book.group(legs, currency=currency)
    outcome = book.decide(command)
    assert isinstance(outcome, Refused)
    assert (outcome.recorded.reason, outcome.recorded.kind) == (reason, "group")
    assert {one: figures(book, one) for one in (alice, bob, carol)} == before
    assert {entry.wallet_id for entry in outcome.changes.entries} == {alice}
    group = book.group_of(command)
    assert (group.state, group.is_finished) == ("cancelled", True)
    assert [leg.reason for leg in group.legs if leg.state == "refused"] == [reason]
    assert (book.loaded.holds, in_transit(book)) == ({}, 0)
    assert isinstance(book.decide(command), Replayed)


@pytest.mark.parametrize("field", ["kind", "currency", "legs"])
def test_the_same_id_once(book: Book, field: str) -> None:
    alice, bob = book.wallet(balance=100), book.wallet("bob")
    command = started(book, (alice, -10), (bob, 10))
    same = {"transaction_id": command.transaction_id}
    other = {
        "kind": book.debit(alice, 10, **same),
        "currency": book.group([(alice, -10), (bob, 10)], currency="USD", **same),
        "legs": book.group([(alice, -11), (bob, 11)], **same),
    }[field]
    assert book.reason(command) == "replayed"
    assert book.reason(other) == f"transaction_exists_with_different_{field}"
    assert book.balance(alice) == 90


# Over several cells: prepare, decide, follow.


def test_legs_of_this_cell_are_prepared_at_the_start(book: Book, anchor: WalletId) -> None:
    bob = book.wallet("bob")
    command = started(book, (anchor, -70), (bob, 30), (FAR, 40))
    assert (figures(book, anchor), figures(book, bob)) == ((100, 70, 0), (0, 0, 30))
    assert states(book, command) == ["prepared", "prepared", "asked"]
    group = book.group_of(command)
    assert (group.state, group.is_finished) == ("preparing", False)
    debit, credit = book.leg_of(anchor, command), book.leg_of(bob, command)
    assert debit is not None
    assert credit is not None
    assert (debit.kind, debit.remaining, debit.expires_at_us) == ("group", 70, None)
    assert (credit.kind, credit.remaining, credit.expires_at_us) == ("pin", 30, None)
    assert debit.terms == credit.terms == book.prepare(command, FAR).coordinator
    assert in_transit(book) == 0


def test_a_group_that_cannot_leave_decides_nothing(book: Book, anchor: WalletId) -> None:
    command = book.group([(anchor, -70), (FAR, 70)], may_leave=False)
    assert book.reason(command) == "cell_must_be_reachable"
    assert (figures(book, anchor), book.loaded.groups) == ((100, 0, 0), {})


def test_confirmed(book: Book, anchor: WalletId, there: Book) -> None:
    far, bob = there.wallet("far"), book.wallet("bob")
    command = started(book, (anchor, -70), (bob, 30), (far, 40))
    assert there.reason(there.prepare(command, far)) == "accepted"
    assert figures(there, far) == (0, 0, 40)
    assert isinstance(book.decide(book.decide_group(command, prepared=[far])), Marked)
    assert (figures(book, anchor), figures(book, bob)) == ((30, 0, 0), (30, 0, 0))
    assert book.group_of(command).state == "confirmed"
    assert states(book, command) == ["confirmed", "confirmed", "prepared"]
    assert not book.group_of(command).is_finished
    assert in_transit(book) == 40
    assert isinstance(there.decide(there.confirm(command, far)), Accepted)
    assert (figures(there, far), in_transit(book, there)) == ((40, 0, 0), 0)
    book.decide(book.mark(command, far))
    assert (book.group_of(command).is_finished, states(book, command)) == (True, ["confirmed"] * 3)
    assert [entry.kind for entry in there.log(far)] == ["opened", "hold", "transfer_in"]
    assert [entry.kind for entry in book.log(anchor)] == ["opened", "credit", "hold", "capture"]


def test_cancelled_by_a_refusal(book: Book, anchor: WalletId, there: Book) -> None:
    far = there.wallet("far")
    command = started(book, (far_anchor := anchor, -70), (FAR, 30), (FARTHER, 40))
    assert there.reason(there.prepare(command, far)) == "accepted"
    assert there.reason(there.prepare(command, FARTHER)) == "target_wallet_must_accept"
    refused = [(FARTHER, "target_wallet_must_accept")]
    book.decide(book.decide_group(command, prepared=[far], refused=refused))
    assert (figures(book, far_anchor), book.group_of(command).state) == ((100, 0, 0), "cancelled")
    assert states(book, command) == ["cancelled", "prepared", "cancelled"]
    assert [leg.reason for leg in book.group_of(command).legs] == [None, None, "target_wallet_must_accept"]
    assert isinstance(there.decide(there.cancel(command, far)), Accepted)
    assert (figures(there, far), in_transit(book, there)) == ((0, 0, 0), 0)
    book.decide(book.mark(command, far))
    assert book.group_of(command).is_finished


def test_the_instant_of_the_deadline(book: Book, anchor: WalletId) -> None:
    command = started(book, (anchor, -70), (FAR, 70), within_us=500)
    end_us = book.loaded.now_us + 500
    book.decide(book.decide_group(command), now_us=end_us)
    assert book.group_of(command).state == "preparing"
    book.decide(book.decide_group(command), now_us=end_us + 1)
    assert book.group_of(command).state == "cancelled"
    assert figures(book, anchor) == (100, 0, 0)
    assert book.group_of(command).legs[1].reason == TOO_LATE
    assert states(book, command) == ["cancelled", "asked"]
    assert not book.group_of(command).is_finished  # the leg that never answered must still be told


def test_answers_are_kept_while_others_are_missing(book: Book, anchor: WalletId) -> None:
    command = started(book, (anchor, -70), (FAR, 30), (FARTHER, 40))
    book.decide(book.decide_group(command, prepared=[FAR]))
    assert (book.group_of(command).state, states(book, command)) == ("preparing", ["prepared", "prepared", "asked"])
    book.decide(book.decide_group(command, prepared=[FARTHER]))
    assert book.group_of(command).state == "confirmed"


@pytest.mark.parametrize("state", ["confirmed", "cancelled"])
def test_a_decision_is_the_truth(book: Book, anchor: WalletId, state: str) -> None:
    """Whatever is told afterwards changes neither it nor any wallet."""
    command = started(book, (anchor, -70), (FAR, 70))
    confirming = book.decide_group(command, prepared=[FAR])
    cancelling = book.decide_group(command, refused=[(FAR, "wallet_must_be_active")])
    book.decide(confirming if state == "confirmed" else cancelling)
    before = (book.group_of(command), figures(book, anchor), len(book.entries))
    for again in (confirming, cancelling, book.decide_group(command)):
        outcome = book.decide(again, now_us=book.loaded.now_us + 10**9)
        assert isinstance(outcome, Marked)
        assert outcome.changes is NOTHING
    assert (book.group_of(command), figures(book, anchor), len(book.entries)) == before
    assert before[0].state == state


def test_every_state_but_the_first_is_an_end() -> None:
    expected: dict[GroupState, frozenset[GroupState]] = {
        "preparing": frozenset({"confirmed", "cancelled"}),
        "confirmed": frozenset(),
        "cancelled": frozenset(),
    }
    assert expected == GROUP_TRANSITIONS


def test_a_refusal_told_for_a_leg_that_is_prepared_changes_nothing(book: Book, anchor: WalletId) -> None:
    """The legs of this cell are what its own rows say; the first answer of a leg stands."""
    command = started(book, (anchor, -70), (FAR, 70))
    book.decide(book.decide_group(command, prepared=[FAR], refused=[(anchor, "wallet_must_be_active")]))
    assert book.group_of(command).state == "confirmed"


# A leg in its own cell.


def test_ladder_of_a_leg(book: Book, anchor: WalletId, there: Book) -> None:
    """The rungs of a debit, or of a credit; every no is recorded under the group's id."""
    far = there.wallet("far", balance=50)
    seen = []
    for more in ({"currency": "USD"}, {}):
        command = started(book, (anchor, 10), (FAR, -60), (FARTHER, 50))
        outcome = there.decide(there.prepare(command, far, **more))
        assert isinstance(outcome, Refused)
        assert (outcome.recorded.key.vendor_id, outcome.recorded.key.transaction_id) == ("@group", command.group_id)
        seen.append(outcome.recorded.reason)
    there.decide(there.change(far, status="suspended"))
    seen.append(there.reason(there.prepare(started(book, (anchor, 10), (FAR, -10)), far)))
    assert seen == ["currency_must_match_wallet", "available_balance_must_cover_amount", "wallet_must_be_active"]
    assert figures(there, far) == (50, 0, 0)
    assert there.reason(there.prepare(started(book, (anchor, -1), (FAR, 1)), far)) == "accepted"


@pytest.mark.parametrize("amount", [-10, 10])
def test_a_leg_is_prepared_once(book: Book, anchor: WalletId, there: Book, amount: int) -> None:
    far = there.wallet("far", balance=50)
    command = started(book, (anchor, -amount), (far, amount))
    asked = there.prepare(command, far)
    assert [there.reason(asked), there.reason(asked)] == ["accepted", "replayed"]
    assert figures(there, far) == (50, max(-amount, 0), max(amount, 0))
    for field, more in (
        ("amount", {"amount": 2 * amount}),
        ("leg", {"amount": -amount}),
        ("currency", {"currency": "USD"}),
        ("coordinator", {"coordinator": '{"anchor":"another"}'}),
    ):
        conflict = there.decide(there.prepare(command, far, **more))
        assert isinstance(conflict, Rejected)
        assert conflict.problem.code == f"transaction_exists_with_different_{field}"


@pytest.mark.parametrize("amount", [-10, 10])
@pytest.mark.parametrize("end", ["confirm", "cancel"])
def test_a_leg_ends_once(book: Book, anchor: WalletId, there: Book, amount: int, end: str) -> None:
    """Told twice it is the same yes; told the contrary it is no outcome at all."""
    far = there.wallet("far", balance=50)
    command = started(book, (anchor, -amount), (far, amount))
    there.decide(there.prepare(command, far))
    assert isinstance(there.decide(getattr(there, end)(command, far)), Accepted)
    before = (len(there.entries), figures(there, far))
    assert isinstance(there.decide(getattr(there, end)(command, far)), Replayed)
    contrary = there.decide(getattr(there, "cancel" if end == "confirm" else "confirm")(command, far))
    assert isinstance(contrary, Rejected)
    assert contrary.problem.code == "hold_must_be_open"
    assert isinstance(there.decide(there.prepare(command, far)), Replayed)  # a late duplicate
    assert (len(there.entries), figures(there, far)) == before
    assert before[1] == (50 + (amount if end == "confirm" else 0), 0, 0)


@pytest.mark.parametrize("state", ["suspended", "blocked"])
@pytest.mark.parametrize("end", ["confirm", "cancel"])
@pytest.mark.parametrize("amount", [-10, 10])
def test_the_end_of_a_leg_has_no_ladder(
    book: Book, anchor: WalletId, there: Book, state: str, end: str, amount: int
) -> None:
    far = there.wallet("far", balance=50)
    command = started(book, (anchor, -amount), (far, amount))
    there.decide(there.prepare(command, far))
    if state == "blocked":
        there.loaded.wallets[far].blocked_by = "an audit"
    else:
        there.decide(there.change(far, status="suspended"))
    assert isinstance(there.decide(getattr(there, end)(command, far)), Accepted)
    assert figures(there, far)[1:] == (0, 0)


def test_a_prepared_credit_keeps_room_and_its_wallet_open(book: Book, anchor: WalletId, there: Book) -> None:
    far = there.wallet("far")
    command = started(book, (anchor, -100), (far, 100))
    there.decide(there.prepare(command, far))
    assert there.reason(there.change(far, status="closed")) == "wallet_must_be_idle_to_close"
    assert there.reason(there.credit(far, AMOUNT_MAX - 99)) == "balance_must_stay_within_bounds"
    assert there.reason(there.credit(far, AMOUNT_MAX - 100)) == "accepted"
    other = started(book, (book.wallet("bob", balance=1), -1), (FAR, 1))
    assert there.reason(there.prepare(other, far)) == "balance_must_stay_within_bounds"
    assert there.reason(there.confirm(command, far)) == "accepted"
    assert figures(there, far) == (AMOUNT_MAX, 0, 0)


def test_a_prepared_debit_is_nobodys_hold(book: Book, anchor: WalletId, there: Book) -> None:
    """No vendor can name it, nothing expires it, and nothing but the decision gives it back."""
    far = there.wallet("far", balance=10)
    command = started(book, (anchor, 10), (far, -10))
    there.decide(there.prepare(command, far))
    hold = there.hold(far, 10, transaction_id=command.group_id)
    for asked in (there.capture(hold), there.release(hold), there.extend(hold)):
        assert there.reason(asked) == "hold_must_exist"
    as_group = there.hold(far, 10, transaction_id=command.group_id, vendor_id=VendorId("@group"))
    assert isinstance(there.decide(there.expire(as_group), now_us=2**52), Rejected)
    assert there.reason(there.change(far, status="closed")) == "wallet_must_be_empty_to_close"
    assert there.reason(there.debit(far, 1)) == "available_balance_must_cover_amount"


@pytest.mark.parametrize("vendor", ["@cell", "@group", "acme"])
def test_no_leg_can_be_reversed(book: Book, anchor: WalletId, there: Book, vendor: str) -> None:
    """The capture of a debit leg is one side of a transfer: undone alone it would mint money."""
    far = there.wallet("far", balance=50)
    command = started(book, (anchor, 10), (far, -10))
    prepared, confirmed = there.prepare(command, far), there.confirm(command, far)
    there.decide(prepared)
    there.decide(confirmed)
    for original in (prepared, confirmed):
        reversal = there.reverse(far, original, original_vendor_id=VendorId(vendor))
        assert there.reason(reversal) in {"original_must_exist", "original_must_be_reversible"}
    book.decide(book.decide_group(command, prepared=[far]))
    assert book.reason(book.reverse(anchor, command)) == "original_must_be_reversible"
    assert (there.balance(far), book.balance(anchor)) == (40, 110)


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "unopened"])
def test_a_preparation_after_its_cancellation_is_refused(
    book: Book, anchor: WalletId, there: Book, *, opened: bool
) -> None:
    if opened:
        there.wallet("far", balance=50)
    command = started(book, (anchor, 10), (FAR, -10))
    assert there.reason(there.cancel(command, FAR)) == "accepted"
    assert there.reason(there.cancel(command, FAR)) == "replayed"
    late = there.decide(there.prepare(command, FAR))
    assert isinstance(late, Refused)
    assert late.recorded.reason == ("hold_must_be_open" if opened else "target_wallet_must_accept")
    assert isinstance(there.decide(there.prepare(command, FAR)), Replayed)
    assert isinstance(there.decide(there.confirm(command, FAR)), Rejected)
    row = there.loaded.wallets[FAR]
    assert (row.held, row.pinned, row.status) == (0, 0, "active" if opened else "unopened")
    leg = there.leg_of(FAR, command)
    assert leg is not None
    assert (leg.state, leg.amount, leg.remaining) == ("released", 0, 0)


def test_a_wallet_opened_after_the_cancellation_of_its_leg_stays_out_of_it(
    book: Book, anchor: WalletId, there: Book
) -> None:
    command = started(book, (anchor, -10), (FAR, 10))
    there.decide(there.cancel(command, FAR))
    assert there.reason(there.opening("far")) == "accepted"
    assert there.reason(there.prepare(command, FAR)) == "hold_must_be_open"
    assert [(entry.seq, entry.kind, entry.currency) for entry in there.log(FAR)] == [
        (1, "release", "XXX"),
        (2, "opened", "EUR"),
        (3, "refused", "EUR"),
    ]


def test_a_refused_leg_is_cancelled_without_harm(book: Book, anchor: WalletId, there: Book) -> None:
    """Its answer was lost, so the coordinator cancels it like any other."""
    far = there.wallet("far")
    command = started(book, (anchor, 10), (far, -10))
    assert there.reason(there.prepare(command, far)) == "available_balance_must_cover_amount"
    assert there.reason(there.cancel(command, far)) == "accepted"
    assert figures(there, far) == (0, 0, 0)


def test_a_closed_wallet_can_be_told_of_a_cancellation(book: Book, anchor: WalletId, there: Book) -> None:
    far = there.wallet("far")
    there.decide(there.change(far, status="closed"))
    command = started(book, (anchor, -10), (far, 10))
    assert there.reason(there.prepare(command, far)) == "wallet_must_not_be_closed"
    assert there.reason(there.cancel(command, far)) == "accepted"
    assert there.loaded.wallets[far].status == "closed"


def test_a_confirmation_of_nothing_is_no_outcome(book: Book, anchor: WalletId, there: Book) -> None:
    command = started(book, (anchor, -10), (FAR, 10))
    assert there.reason(there.confirm(command, FAR)) == "wallet_must_exist"
    there.wallet("far")
    assert there.reason(there.confirm(command, FAR)) == "hold_must_be_open"
    assert there.balance(FAR) == 0


# Moves between the steps.


def test_a_leg_that_moved_away_is_told_where_it_went(book: Book, anchor: WalletId) -> None:
    """Prepared here, decided while its unit is fenced: the decision does not touch it and it must still be told."""
    bob = book.wallet("bob", balance=20)
    command = started(book, (anchor, -70), (bob, -10), (FAR, 80))
    book.loaded.wallets[bob].frozen_by = "00000000-0000-7000-8000-000000000001"
    book.decide(book.decide_group(command, prepared=[FAR]))
    assert (figures(book, anchor), figures(book, bob)) == ((30, 0, 0), (20, 10, 0))
    assert states(book, command) == ["confirmed", "prepared", "prepared"]
    assert book.reason(book.confirm(command, bob)) == "wallet_is_moving"
    book.loaded.wallets[bob].frozen_by = None
    assert book.reason(book.confirm(command, bob)) == "accepted"
    assert figures(book, bob) == (10, 0, 0)


@pytest.mark.parametrize("told", [True, False], ids=["answered", "answer lost"])
def test_a_leg_that_moved_here_ends_with_the_decision(book: Book, anchor: WalletId, there: Book, *, told: bool) -> None:
    far = there.wallet("far", balance=50)
    command = started(book, (anchor, 10), (far, -10), within_us=5)
    there.decide(there.prepare(command, far))
    book.loaded.wallets[far] = there.loaded.wallets[far]
    book.loaded.holds |= there.loaded.holds
    book.loaded.recorded |= there.loaded.recorded
    book.decide(book.decide_group(command, prepared=[far] if told else []), now_us=book.loaded.now_us + 6)
    assert book.group_of(command).state == ("confirmed" if told else "cancelled")
    assert book.group_of(command).is_finished
    assert figures(book, far) == ((40, 0, 0) if told else (50, 0, 0))
    end = book.confirm(command, far) if told else book.cancel(command, far)
    assert isinstance(book.decide(end), Replayed)
    assert figures(book, anchor)[0] == (110 if told else 100)


def test_a_coordinator_that_moves_decides_nothing(book: Book, anchor: WalletId) -> None:
    command = started(book, (anchor, -70), (FAR, 70))
    book.loaded.wallets[anchor].frozen_by = "00000000-0000-7000-8000-000000000001"
    assert book.reason(book.decide_group(command, prepared=[FAR])) == "wallet_is_moving"
    assert book.reason(book.mark(command, FAR)) == "wallet_is_moving"
    assert book.group_of(command).state == "preparing"


# What the coordinator keeps.


def test_nothing_is_known_of_a_group_that_was_not_started(book: Book, anchor: WalletId) -> None:
    never = book.group([(anchor, -70), (FAR, 70)])
    assert book.reason(book.decide_group(never, prepared=[FAR])) == "transaction_must_exist"
    assert book.reason(book.mark(never, FAR)) == "transaction_must_exist"
    assert book.loaded.groups == {}


def test_marks_before_the_decision_count_for_nothing(book: Book, anchor: WalletId) -> None:
    command = started(book, (anchor, -70), (FAR, 70))
    outcome = book.decide(book.mark(command, FAR))
    assert isinstance(outcome, Marked)
    assert outcome.changes is NOTHING
    assert states(book, command) == ["prepared", "asked"]


def test_a_group_is_over_when_every_leg_has_followed(book: Book, anchor: WalletId) -> None:
    command = started(book, (anchor, -70), (FAR, 30), (FARTHER, 40))
    book.decide(book.decide_group(command, prepared=[FAR, FARTHER]))
    for follower, is_finished in ((FAR, False), (FAR, False), (FARTHER, True), (FAR, True)):
        book.decide(book.mark(command, follower))
        assert book.group_of(command).is_finished is is_finished
    assert book.group_of(command).state == "confirmed"
    assert book.reason(command) == "replayed"


# What a group may never be.


def test_a_narrowed_token_takes_from_no_wallet_but_the_anchor(book: Book) -> None:
    """Whose the others are, another cell may have to say; so a narrowed token gives them money and takes none."""
    person, shop = book.wallet(balance=100), book.opening("shop", owner_type="merchant")
    book.decide(shop)
    book.decide(book.credit(shop.wallet_id, 50))
    book.lose_unit(FAR)
    narrow = frozenset({"merchant"})
    for thief in ([(shop.wallet_id, 10), (person, -10)], [(shop.wallet_id, 10), (FAR, -10)]):
        theft = book.group(thief, owner_types=narrow)
        outcome = book.decide(theft)
        assert isinstance(outcome, Rejected)
        assert outcome.problem.code == "scope_must_allow_transfer"
    assert (figures(book, person), figures(book, shop.wallet_id), book.loaded.groups) == ((100, 0, 0), (50, 0, 0), {})
    assert book.reason(book.group([(person, -10), (shop.wallet_id, 10)], owner_types=narrow)) == (
        "scope_must_allow_transfer"
    )
    assert book.reason(book.group([(shop.wallet_id, -10), (person, 10)], owner_types=narrow)) == "accepted"


@pytest.mark.parametrize(
    "amounts", [(-10, 11), (-10, 5, 6), (10, -9)], ids=["money from nowhere", "too much for all", "money to nowhere"]
)
def test_legs_that_do_not_add_up_are_a_bug(book: Book, amounts: tuple[int, ...]) -> None:
    """Requests are refused long before; whoever asks otherwise would mint money."""
    wallets = [book.wallet(ref, balance=100) for ref in ("alice", "bob", "carol")]
    with pytest.raises(InvariantBrokenError):
        book.decide(book.group(list(zip(wallets, amounts, strict=False))))


def test_a_wallet_with_two_legs_is_a_bug(book: Book) -> None:
    alice, bob = book.wallet(balance=100), book.wallet("bob")
    for legs in ([(alice, -10), (bob, 5), (bob, 5)], [(alice, -10), (alice, 10)]):
        with pytest.raises(InvariantBrokenError):
            book.decide(book.group(legs))


def test_a_group_without_its_anchor_is_a_bug(book: Book) -> None:
    alice, bob, carol = book.wallet(balance=100), book.wallet("bob", balance=10), book.wallet("carol")
    without = (LegAsked(wallet_id=bob, amount=-10), LegAsked(wallet_id=carol, amount=10))
    command = replace(book.group([(alice, -10), (bob, 10)]), legs=without)
    # The footprint is that of the legs: a look at the anchor is refused before anything is decided.
    with pytest.raises(LockMustBeHeldError):
        book.decide(command)
