"""Transfers between cells: the debit that starts one, its receipt, its two ends, and wallets that nobody has opened."""

import pytest
from ledger_book import Book

from cell.ledger.commands import SendTransfer
from cell.ledger.model import Exile
from cell.ledger.outcomes import NOTHING, Accepted, Marked, Refused, Rejected, Replayed
from cell.ledger.posting import fold, unopened
from cell.ledger.transferring import TRANSFER_TRANSITIONS
from contract.ids import VendorId, WalletId, wallet_id_of
from contract.money import AMOUNT_MAX
from contract.reasons import Reason

FAR = wallet_id_of(owner_type="person", owner_ref="far", kind="main", currency="EUR")


@pytest.fixture
def sender(book: Book) -> WalletId:
    """Alice's, with 100; the wallet FAR is another cell's."""
    book.lose_unit(FAR)
    return book.wallet(balance=100)


@pytest.fixture
def there() -> Book:
    """The receiver's cell."""
    return Book()


def sent(book: Book, sender: WalletId, amount: int = 60, **more: object) -> SendTransfer:
    command = book.transfer(sender, FAR, amount, **more)  # type: ignore[arg-type]
    assert book.reason(command) == "accepted"
    return command


def in_transit(book: Book) -> int:
    return sum(delta for account, _, delta in book.account_deltas if account == "in_transit")


def test_ladder_of_a_transfer_that_leaves(book: Book, sender: WalletId) -> None:
    """The target's state is the other cell's to judge; the sender's own rungs come first."""
    book.decide(book.change(sender, status="suspended"))
    seen = [book.reason(book.transfer(sender, FAR, 101, currency="USD")), book.reason(book.transfer(sender, FAR, 101))]
    book.decide(book.change(sender, status="active"))
    seen.append(book.reason(book.transfer(sender, FAR, 101)))
    assert seen == ["currency_must_match_wallet", "wallet_must_be_active", "available_balance_must_cover_amount"]
    order = [reason.value for reason in Reason]
    assert [order.index(reason) for reason in seen] == sorted(order.index(reason) for reason in seen)
    assert book.loaded.transfers == {}
    assert in_transit(book) == 0


def test_the_debit_comes_first(book: Book, sender: WalletId) -> None:
    command = sent(book, sender, details='{"description":"rent"}')
    row = book.loaded.wallets[sender]
    assert (row.balance, row.held, row.pinned, in_transit(book)) == (40, 0, 60, 60)
    assert (book.entries[-1].kind, book.entries[-1].counter_account) == ("transfer_out", "in_transit")
    transfer = book.transfer_of(command)
    assert (transfer.state, transfer.to_wallet_id, transfer.amount, transfer.currency) == ("in_transit", FAR, 60, "EUR")
    assert (transfer.transfer_id, transfer.details) == (command.transfer_id, '{"description":"rent"}')


def test_a_frozen_target_is_not_local(book: Book) -> None:
    """Its row is here still, but a move has stopped its writes: the saga finds it wherever it is."""
    wallet, target = book.wallet(balance=100), book.wallet("bob")
    book.loaded.wallets[target].frozen_by = "00000000-0000-7000-8000-000000000001"
    command = book.transfer(wallet, target, 10)
    assert book.reason(command) == "accepted"
    assert (book.balance(target), book.transfer_of(command).state) == (0, "in_transit")


def test_an_exiled_target_is_not_local(book: Book) -> None:
    wallet = book.wallet(balance=100)
    book.loaded.exiles[FAR] = Exile(wallet_id=FAR, unit=70_000, cell="c9", epoch=2)  # type: ignore[arg-type]
    assert book.reason(book.transfer(wallet, FAR, 10)) == "accepted"
    assert book.pinned(wallet) == 10


def test_a_transfer_that_cannot_leave_decides_nothing(book: Book, sender: WalletId) -> None:
    command = book.transfer(sender, FAR, 10, may_leave=False)
    assert book.reason(command) == "cell_must_be_reachable"
    again = book.transfer(sender, FAR, 10, transaction_id=command.transaction_id)
    assert book.reason(again) == "accepted"


def test_settled(book: Book, sender: WalletId, there: Book) -> None:
    target = there.wallet("far")
    command = sent(book, sender)
    assert there.reason(there.receive(command)) == "accepted"
    assert (there.balance(target), in_transit(there) + in_transit(book)) == (60, 0)
    before, seq = len(book.entries), book.loaded.wallets[sender].seq
    assert isinstance(book.decide(book.settle(command)), Marked)
    row = book.loaded.wallets[sender]
    assert (row.balance, row.pinned, row.seq, len(book.entries)) == (40, 0, seq, before)
    assert (book.transfer_of(command).state, book.transfer_of(command).details) == ("settled", None)


def test_refunded(book: Book, sender: WalletId, there: Book) -> None:
    target = there.wallet("far")
    there.decide(there.change(target, status="closed"))
    command = sent(book, sender)
    assert there.reason(there.receive(command)) == "wallet_must_not_be_closed"
    outcome = book.decide(book.refund(command))
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.kind, outcome.recorded.delta, outcome.recorded.key.vendor_id) == ("refund", 60, "@cell")
    row = book.loaded.wallets[sender]
    assert (row.balance, row.pinned, in_transit(book), in_transit(there)) == (100, 0, 0, 0)
    entry = book.entries[-1]
    assert (entry.subject_id, entry.subject_vendor_id) == (command.transaction_id, "acme")
    assert (book.transfer_of(command).state, book.transfer_of(command).details) == ("refunded", None)


@pytest.mark.parametrize("first", ["settle", "refund"])
@pytest.mark.parametrize("second", ["settle", "refund"])
def test_a_transfer_ends_once(book: Book, sender: WalletId, first: str, second: str) -> None:
    command = sent(book, sender)
    book.decide(getattr(book, first)(command))
    before = (len(book.entries), list(book.account_deltas), dict(book.loaded.wallets), dict(book.loaded.transfers))
    outcome = book.decide(getattr(book, second)(command))
    after = (len(book.entries), list(book.account_deltas), dict(book.loaded.wallets), dict(book.loaded.transfers))
    assert before == after
    if second == "settle":
        assert isinstance(outcome, Marked)
        assert outcome.changes is NOTHING
    else:
        assert isinstance(outcome, Replayed if first == "refund" else Rejected)


def test_every_state_but_the_first_is_an_end() -> None:
    assert [state for state, reached in TRANSFER_TRANSITIONS.items() if reached] == ["in_transit"]
    assert TRANSFER_TRANSITIONS["in_transit"] == {"settled", "refunded"}


@pytest.mark.parametrize("end", ["settle", "refund"])
def test_nothing_was_sent(book: Book, sender: WalletId, end: str) -> None:
    refused = book.transfer(sender, FAR, 101)
    book.decide(refused)
    for command in (refused, book.transfer(sender, FAR, 1)):
        assert book.reason(getattr(book, end)(command)) == "transaction_must_exist"
    assert book.balance(sender) == 100


@pytest.mark.parametrize("end", ["settle", "refund"])
def test_a_transfer_is_its_vendors(book: Book, sender: WalletId, end: str) -> None:
    """The same transaction id of another vendor is another transfer."""
    command = sent(book, sender, 10)
    other = book.transfer(sender, FAR, 20, vendor_id=VendorId("other"), transaction_id=command.transaction_id)
    assert book.reason(other) == "accepted"
    book.decide(getattr(book, end)(other))
    assert book.transfer_of(command).state == "in_transit"
    assert book.pinned(sender) == 10


@pytest.mark.parametrize("end", ["settle", "refund"])
@pytest.mark.parametrize("state", ["suspended", "blocked"])
def test_the_end_of_a_transfer_has_no_ladder(book: Book, sender: WalletId, end: str, state: str) -> None:
    command = sent(book, sender)
    if state == "blocked":
        book.loaded.wallets[sender].blocked_by = "an audit"
    else:
        book.decide(book.change(sender, status="suspended"))
    assert isinstance(book.decide(getattr(book, end)(command)), Marked | Accepted)
    assert book.pinned(sender) == 0


@pytest.mark.parametrize("end", ["settle", "refund"])
def test_the_end_of_a_transfer_waits_for_a_moving_wallet(book: Book, sender: WalletId, end: str) -> None:
    command = sent(book, sender)
    book.loaded.wallets[sender].frozen_by = "00000000-0000-7000-8000-000000000001"
    assert book.reason(getattr(book, end)(command)) == "wallet_is_moving"
    assert (book.transfer_of(command).state, book.pinned(sender)) == ("in_transit", 60)


def test_room_is_kept_for_what_may_come_back(book: Book, sender: WalletId) -> None:
    command = sent(book, sender, 100)
    assert book.reason(book.change(sender, status="closed")) == "wallet_must_be_idle_to_close"
    assert book.reason(book.credit(sender, AMOUNT_MAX - 99)) == "balance_must_stay_within_bounds"
    assert book.reason(book.credit(sender, AMOUNT_MAX - 100)) == "accepted"
    assert book.reason(book.refund(command)) == "accepted"
    assert book.balance(sender) == AMOUNT_MAX


def test_a_reversal_may_not_take_the_room_of_what_comes_back(book: Book, sender: WalletId) -> None:
    spent = book.debit(sender, 10)
    book.decide(spent)
    command = sent(book, sender, 50)
    book.decide(book.credit(sender, AMOUNT_MAX - 90))
    assert book.balance(sender) + book.pinned(sender) == AMOUNT_MAX
    assert book.reason(book.reverse(sender, spent)) == "balance_must_stay_within_bounds"
    other = book.wallet("bob", balance=1)
    assert book.reason(book.transfer(other, sender, 1)) == "target_wallet_must_accept"
    assert book.reason(book.refund(command)) == "accepted"


def test_a_settled_transfer_lets_its_wallet_close(book: Book, sender: WalletId) -> None:
    command = sent(book, sender, 100)
    book.decide(book.settle(command))
    assert book.reason(book.change(sender, status="closed")) == "accepted"


def test_neither_side_can_be_reversed(book: Book, sender: WalletId, there: Book) -> None:
    target = there.wallet("far")
    command = sent(book, sender)
    received = there.receive(command)
    there.decide(received)
    assert book.reason(book.reverse(sender, command)) == "original_must_be_reversible"
    for vendor in ("@transfer", "@cell"):
        reversal = there.reverse(target, received, original_vendor_id=VendorId(vendor))
        assert there.reason(reversal) in {"original_must_be_reversible", "original_must_exist"}
    assert there.reason(there.reverse(target, received)) == "original_must_exist"
    refund = book.refund(command)
    book.decide(refund)
    assert book.reason(book.reverse(sender, refund)) == "original_must_be_reversible"


@pytest.mark.parametrize("field", ["target", "amount", "kind"])
def test_the_same_id_once(book: Book, sender: WalletId, field: str) -> None:
    command = sent(book, sender)
    same = {"transaction_id": command.transaction_id}
    other = {
        "target": book.transfer(sender, book.wallet("bob"), 60, **same),
        "amount": book.transfer(sender, FAR, 61, **same),
        "kind": book.debit(sender, 60, **same),
    }[field]
    assert book.reason(other) == f"transaction_exists_with_different_{field}"
    for end in (None, book.settle(command)):
        if end is not None:
            book.decide(end)
        assert book.reason(command) == "replayed"
    assert (book.balance(sender), book.pinned(sender)) == (40, 0)


# The receiving wallet.


def test_ladder_of_a_receipt(book: Book, sender: WalletId, there: Book) -> None:
    """Every no is recorded under the transfer's id: only that brings the money back."""
    command = sent(book, sender)
    target = there.wallet("far", balance=AMOUNT_MAX)
    seen = []
    for number, (currency, reason) in enumerate(
        [("USD", "currency_must_match_wallet"), ("EUR", "balance_must_stay_within_bounds")]
    ):
        receipt = there.receive(
            command, currency=currency, transaction_id=f"00000000-0000-5000-8000-00000000000{number}"
        )
        outcome = there.decide(receipt)
        assert isinstance(outcome, Refused)
        seen.append(outcome.recorded.reason)
        assert seen[-1] == reason
        assert outcome.recorded.key.vendor_id == "@transfer"
        assert isinstance(there.decide(receipt), Replayed)
    there.loaded.wallets[target].blocked_by = "an audit"
    assert there.reason(there.receive(command)) == "wallet_must_be_active"
    assert there.balance(target) == AMOUNT_MAX
    assert in_transit(there) == 0


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_a_receipt(book: Book, sender: WalletId, there: Book, status: str) -> None:
    command = sent(book, sender)
    target = there.wallet("far")
    there.decide(there.change(target, status=status))
    outcome = there.decide(there.receive(command))
    assert isinstance(outcome, Accepted)
    assert (outcome.recorded.key.vendor_id, outcome.recorded.key.transaction_id) == ("@transfer", command.transfer_id)
    entry = there.entries[-1]
    assert (entry.kind, entry.delta, entry.counter_account, entry.vendor_id) == (
        "transfer_in",
        60,
        "in_transit",
        "acme",
    )
    assert there.account_deltas[-1] == ("in_transit", "EUR", -60)
    again = there.decide(there.receive(command))
    assert isinstance(again, Replayed)
    assert there.balance(target) == 60


def test_a_receipt_does_not_take_the_vendors_id(book: Book, sender: WalletId, there: Book) -> None:
    """On the receiving wallet the vendor may use the same id for something of its own, before and after."""
    target = there.wallet("far")
    command = sent(book, sender)
    assert there.reason(there.credit(target, 1, transaction_id=command.transaction_id)) == "accepted"
    assert there.reason(there.credit(target, 1, transaction_id=command.transfer_id)) == "accepted"
    assert there.reason(there.receive(command)) == "accepted"
    assert there.balance(target) == 62


@pytest.mark.parametrize(
    ("field", "more"),
    [("amount", {"amount": 61}), ("currency", {"currency": "USD"}), ("source", {"from_wallet_id": FAR})],
)
def test_a_transfer_id_is_one_transfer(
    book: Book, sender: WalletId, there: Book, field: str, more: dict[str, object]
) -> None:
    """A conflict is no recorded no: it must never bring money back."""
    there.wallet("far")
    command = sent(book, sender)
    there.decide(there.receive(command))
    outcome = there.decide(there.receive(command, **more))
    assert isinstance(outcome, Rejected)
    assert outcome.problem.code == f"transaction_exists_with_different_{field}"


def test_a_receipt_for_a_wallet_elsewhere_is_not_recorded(book: Book, sender: WalletId, there: Book) -> None:
    command = sent(book, sender)
    there.lose_unit(FAR)
    assert there.reason(there.receive(command)) == "wallet_must_be_owned_by_this_cell"
    there.wallet("bob")
    assert FAR not in there.loaded.wallets


# Wallets that nobody has opened.


def test_a_receipt_for_no_wallet_is_a_recorded_no(book: Book, sender: WalletId, there: Book) -> None:
    command = sent(book, sender)
    outcome = there.decide(there.receive(command))
    assert isinstance(outcome, Refused)
    assert outcome.recorded.reason == "target_wallet_must_accept"
    assert outcome.changes.opened is not None
    assert (outcome.changes.opened.owner_ref, outcome.changes.opened.wallet.owner_type) == (FAR, "")
    row = there.loaded.wallets[FAR]
    assert (row.status, row.currency, row.seq, row.balance) == ("unopened", "XXX", 1, 0)
    (entry,) = there.entries
    assert (entry.kind, entry.currency, entry.status_after) == ("refused", "XXX", "unopened")
    assert (entry.requested_kind, entry.requested_amount) == ("transfer_in", 60)
    assert isinstance(there.decide(there.receive(command)), Replayed)


def test_to_vendors_an_unopened_wallet_does_not_exist(book: Book, sender: WalletId, there: Book) -> None:
    there.decide(there.receive(sent(book, sender)))
    hold = there.hold(FAR, 1)
    for command in (
        there.debit(FAR, 1),
        there.credit(FAR, 1),
        there.reverse(FAR, there.debit(FAR, 1)),
        hold,
        there.capture(hold),
        there.release(hold),
        there.extend(hold),
        there.expire(hold),
        there.change(FAR, status="closed"),
        there.transfer(FAR, FAR, 1),
        there.group([(FAR, -1), (there.wallet("bob"), 1)]),
        there.settle(there.transfer(FAR, FAR, 1)),
        there.refund(there.transfer(FAR, FAR, 1)),
    ):
        assert there.reason(command) == "wallet_must_exist"
    assert len(there.log(FAR)) == 1


def test_nobody_pays_an_unopened_wallet_within_the_cell(book: Book, sender: WalletId, there: Book) -> None:
    there.decide(there.receive(sent(book, sender)))
    bob = there.wallet("bob", balance=10)
    assert there.reason(there.transfer(bob, FAR, 1)) == "target_wallet_must_accept"
    assert there.reason(there.group([(bob, -1), (FAR, 1)])) == "target_wallet_must_accept"
    assert there.balance(bob) == 10


def test_a_late_opening_continues_the_log(book: Book, sender: WalletId, there: Book) -> None:
    """The refusal stands for ever: a delayed duplicate cannot credit the wallet that was opened since."""
    first, second = sent(book, sender, 10), sent(book, sender, 20)
    there.decide(there.receive(first))
    there.decide(there.receive(second))
    opening = there.decide(there.opening("far", overdraft_limit=5, metadata='{"a":1}'))
    assert isinstance(opening, Accepted)
    assert opening.changes.opened is None
    assert opening.changes.continued is not None
    assert (opening.changes.continued.owner_ref, opening.changes.continued.metadata) == ("far", '{"a":1}')
    assert isinstance(there.decide(there.receive(first)), Replayed)
    assert there.balance(FAR) == 0
    assert there.reason(there.opening("far", overdraft_limit=5)) == "replayed"
    assert there.reason(there.opening("far", overdraft_limit=6)) == "wallet_exists_with_different_overdraft_limit"
    third = sent(book, sender, 30)
    assert there.reason(there.receive(third)) == "accepted"
    row = there.loaded.wallets[FAR]
    assert (row.status, row.currency, row.owner_type, row.balance, row.overdraft_limit) == (
        "active",
        "EUR",
        "person",
        30,
        5,
    )
    log = there.log(FAR)
    assert [(entry.seq, entry.kind, entry.currency) for entry in log] == [
        (1, "refused", "XXX"),
        (2, "refused", "XXX"),
        (3, "opened", "EUR"),
        (4, "transfer_in", "EUR"),
    ]
    folded = unopened(FAR)
    for entry in log:
        folded = fold(folded, entry)
    assert (folded.head_hash, folded.balance, folded.status) == (row.head_hash, 30, "active")


def test_a_token_narrowed_to_other_owners_opens_no_unopened_wallet(book: Book, sender: WalletId, there: Book) -> None:
    there.decide(there.receive(sent(book, sender)))
    assert there.reason(there.opening("far", owner_types=frozenset({"merchant"}))) == "scope_must_allow_open"
    assert there.loaded.wallets[FAR].status == "unopened"


def test_an_unopened_wallet_that_moves_is_opened_nowhere(book: Book, sender: WalletId, there: Book) -> None:
    command = sent(book, sender)
    there.decide(there.receive(command))
    there.loaded.wallets[FAR].frozen_by = "00000000-0000-7000-8000-000000000001"
    for asked in (there.opening("far"), there.receive(command), there.receive(sent(book, sender, 1))):
        assert there.reason(asked) == "wallet_is_moving"
    assert len(there.log(FAR)) == 1
