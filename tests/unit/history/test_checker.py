"""The history checker against hand-made histories: the honest one passes, and every lie is found by its own name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from history.checker import check, checks_of, told
from history.errors import find_errors
from history.model import (
    Answer,
    Asked,
    Attempt,
    CellTotal,
    History,
    Ledger,
    Read,
    StoredEntry,
    StoredWallet,
)

A, B = "wallet-a", "wallet-b"
CREDIT, DEBIT, REFUSED, REVERSAL, TRANSFER, MORE = "t-credit", "t-debit", "t-refused", "t-reversal", "t-transfer", "t-b"


class Told:
    """Everything that clients and cells tell of one story; tests falsify parts of it."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.reads: list[Read] = []
        self.entries: dict[str, list[StoredEntry]] = {A: [], B: []}
        self.wallets: dict[str, StoredWallet] = {}
        self.accounts = 0
        for wallet_id in self.entries:
            self.write(wallet_id, "opened", transaction_id=wallet_id)

    def write(self, wallet_id: str, kind: str, delta: int = 0, **more: Any) -> StoredEntry:
        log = self.entries[wallet_id]
        balance = (log[-1].balance_after if log else 0) + delta
        entry = StoredEntry(
            wallet_id=wallet_id,
            seq=len(log) + 1,
            kind=kind,
            delta=delta,
            balance_after=balance,
            held_after=0,
            overdraft_limit_after=0,
            vendor_id="vendor",
            posted_at=f"2027-01-15T08:00:0{len(log)}.000000Z",
            hash=f"hash-{wallet_id}-{len(log) + 1}",
            **{"counter_account": "clearing:vendor", **more},
        )
        log.append(entry)
        self.fold(wallet_id)
        if kind in {"credit", "debit", "reversal"}:
            self.accounts -= delta
        return entry

    def fold(self, wallet_id: str) -> None:
        last = self.entries[wallet_id][-1]
        self.wallets[wallet_id] = StoredWallet(
            wallet_id=wallet_id, cell="cell-1", balance=last.balance_after, seq=last.seq, head_hash=last.hash
        )

    def decide(self, asked: Asked, delta: int, *, at_s: float, reason: str | None = None) -> None:
        """Asked at `at_s`, answered a second later, and asked again at the end."""
        kind = asked.kind if reason is None else "refused"
        account = f"wallet:{asked.subject_id}" if kind == "transfer_out" else "clearing:vendor"
        entry = self.write(
            asked.wallet_id,
            kind,
            delta,
            transaction_id=asked.transaction_id,
            reason=reason,
            counter_account=account,
            subject_id=asked.subject_id,
        )
        if kind == "transfer_out":
            receipt = {"transaction_id": f"receipt-{asked.transaction_id}"}
            self.write(str(asked.subject_id), "transfer_in", -delta, counter_account=f"wallet:{A}", **receipt)
        answer = answer_of(asked, entry)
        self.attempts += [
            Attempt(asked=asked, began_s=at_s, ended_s=at_s + 1, answer=answer),
            Attempt(
                asked=asked,
                began_s=100 + at_s,
                ended_s=101 + at_s,
                answer=replace(answer, is_replay=True, document={**answer.document, "request_id": "another"}),
            ),
        ]

    def entry(self, transaction_id: str) -> StoredEntry:
        return next(one for log in self.entries.values() for one in log if one.transaction_id == transaction_id)

    def alter_entry(self, transaction_id: str, **changes: Any) -> None:
        found = self.entry(transaction_id)
        log = self.entries[found.wallet_id]
        log[log.index(found)] = replace(found, **changes)

    def alter_attempt(self, transaction_id: str, number: int, **changes: Any) -> None:
        """The first (0) or the last (1) sending of a command."""
        found = [one for one in self.attempts if one.asked.transaction_id == transaction_id][number]
        self.attempts[self.attempts.index(found)] = replace(found, **changes)

    def alter_answer(self, transaction_id: str, number: int, **members: Any) -> None:
        answer = [one for one in self.attempts if one.asked.transaction_id == transaction_id][number].answer
        assert answer is not None
        altered = replace(answer, document={**answer.document, **members})
        self.alter_attempt(transaction_id, number, answer=altered)

    def forget_entry(self, transaction_id: str) -> None:
        """As if it had never been written: what came after moves up."""
        gone = self.entry(transaction_id)
        after = [one for one in self.entries[gone.wallet_id] if one.seq > gone.seq]
        self.entries[gone.wallet_id] = self.entries[gone.wallet_id][: gone.seq - 1]
        accounts = self.accounts
        for one in after:
            self.write(**members_of(one))
        self.fold(gone.wallet_id)
        self.accounts = accounts

    def verdict(self) -> set[str]:
        return checks_of(self.findings())

    def findings(self) -> list[Any]:
        ledger = Ledger(
            wallets=self.wallets,
            entries={wallet_id: tuple(log) for wallet_id, log in self.entries.items()},
            totals=(
                CellTotal(
                    cell="cell-1",
                    currency="EUR",
                    wallets=sum(one.balance for one in self.wallets.values()),
                    accounts=self.accounts,
                ),
            ),
        )
        return check(History(self.attempts, self.reads), ledger)


def members_of(entry: StoredEntry) -> dict[str, Any]:
    names = ("wallet_id", "kind", "delta", "transaction_id", "counter_account", "subject_id", "reason")
    return {name: getattr(entry, name) for name in names}


def answer_of(asked: Asked, entry: StoredEntry) -> Answer:
    told_of_both = {
        "transaction_id": asked.transaction_id,
        "wallet_id": asked.wallet_id,
        "seq": entry.seq,
        "posted_at": entry.posted_at,
        "entry_hash": entry.hash,
        "request_id": "one",
    }
    if entry.reason is not None:
        refusal = {"status": 422, "retry": "new_id", "reason": entry.reason, "available": entry.balance_after}
        return Answer(status=422, document={**told_of_both, **refusal})
    posting = {
        "kind": entry.kind,
        "amount": abs(entry.delta),
        "delta": entry.delta,
        "balance": entry.balance_after,
        "held": 0,
        "available": entry.balance_after,
    }
    subject = {"reversal": "original_transaction_id", "transfer_out": "to_wallet_id"}.get(entry.kind)
    return Answer(status=201, document={**told_of_both, **posting, **({subject: asked.subject_id} if subject else {})})


def asked(
    transaction_id: str, kind: Any, amount: int | None, *, wallet_id: str = A, subject: str | None = None
) -> Asked:
    return Asked(
        wallet_id=wallet_id, transaction_id=transaction_id, kind=kind, amount=amount, currency="EUR", subject_id=subject
    )


@pytest.fixture
def story() -> Told:
    """Credit 100, debit 30, a refused debit of 500, the debit reversed, 60 sent to the other wallet, 10 more there."""
    story = Told()
    story.decide(asked(CREDIT, "credit", 100), 100, at_s=1)
    story.decide(asked(DEBIT, "debit", 30), -30, at_s=3)
    story.decide(asked(REFUSED, "debit", 500), 0, at_s=5, reason="available_balance_must_cover_amount")
    story.decide(asked(REVERSAL, "reversal", None, subject=DEBIT), 30, at_s=7)
    story.decide(asked(TRANSFER, "transfer_out", 60, subject=B), -60, at_s=9)
    story.decide(asked(MORE, "credit", 10, wallet_id=B), 10, at_s=11)
    story.reads.append(Read(wallet_id=A, began_s=4.5, ended_s=4.9, seq=3, balance=70))
    return story


def test_the_honest_story_passes(story: Told) -> None:
    findings = story.findings()

    assert findings == [], told(findings)


def test_an_unanswered_command_may_have_happened_or_not(story: Told) -> None:
    story.alter_attempt(DEBIT, 0, answer=None, fault="connection reset")

    assert story.verdict() == set()


def lose_an_acknowledged_write(story: Told) -> None:
    log = story.entries[B]
    story.accounts += log.pop().delta
    story.fold(B)


def lose_an_acknowledged_refusal(story: Told) -> None:
    story.forget_entry(REFUSED)


def apply_one_twice(story: Told) -> None:
    story.write(**members_of(story.entry(MORE)))


def apply_one_under_an_id_of_its_own(story: Told) -> None:
    story.write(**{**members_of(story.entry(MORE)), "transaction_id": "t-invented"})


def refuse_one_with_effect(story: Told) -> None:
    story.decide(asked("t-odd", "debit", 20, wallet_id=B), 0, at_s=20, reason="wallet_must_be_active")
    story.alter_entry("t-odd", kind="debit", delta=-20, balance_after=50, reason=None)
    story.fold(B)
    story.accounts += 20


def change_an_answer(story: Told) -> None:
    story.alter_answer(DEBIT, 1, balance=71)


def change_an_acceptance_into_a_refusal(story: Told) -> None:
    refusal = {"reason": "available_balance_must_cover_amount", "retry": "new_id"}
    story.alter_attempt(DEBIT, 1, answer=Answer(status=422, document=refusal, is_replay=True))


def replay_without_saying_so(story: Told) -> None:
    answer = story.attempts[1].answer
    assert answer is not None
    story.alter_attempt(CREDIT, 1, answer=replace(answer, is_replay=False))


def decide_after_having_replayed(story: Told) -> None:
    for number in (0, 1):
        answer = [one for one in story.attempts if one.asked.transaction_id == CREDIT][number].answer
        assert answer is not None
        story.alter_attempt(CREDIT, number, answer=replace(answer, is_replay=number == 0))


def never_answer(story: Told) -> None:
    for number in (0, 1):
        story.alter_attempt(MORE, number, answer=None)


def answer_by_a_bug(story: Told) -> None:
    story.alter_attempt(CREDIT, 0, answer=Answer(status=500, document={"reason": "request_must_not_break_the_cell"}))


def accept_two_contents_under_one_id(story: Told) -> None:
    answer = story.attempts[1].answer
    other = asked(CREDIT, "credit", 99)
    story.attempts.append(Attempt(asked=other, began_s=200, ended_s=201, answer=answer))


def refuse_the_same_content_as_a_conflict(story: Told) -> None:
    problem = {"reason": "transaction_exists_with_different_amount", "retry": "never"}
    conflict = Answer(status=409, document=problem)
    story.attempts.append(Attempt(asked=asked(CREDIT, "credit", 100), began_s=50, ended_s=51, answer=conflict))


def answer_for_somebody_else(story: Told) -> None:
    for number in (0, 1):
        story.alter_answer(DEBIT, number, wallet_id=B)


def tell_another_balance_than_the_entry(story: Told) -> None:
    for number in (0, 1):
        story.alter_answer(DEBIT, number, balance=71)


def leave_a_gap(story: Told) -> None:
    last = story.entries[A][-1]
    story.entries[A][-1] = replace(last, seq=last.seq + 1)
    story.fold(A)


def number_two_entries_alike(story: Told) -> None:
    last = story.entries[B][-1]
    story.entries[B][-1] = replace(last, seq=last.seq - 1)
    story.fold(B)


def break_the_running_sum(story: Told) -> None:
    story.alter_entry(MORE, balance_after=80)
    story.fold(B)


def let_time_fall(story: Told) -> None:
    story.alter_entry(MORE, posted_at="2026-01-15T08:00:00.000000Z")


def let_the_row_differ_from_its_log(story: Told) -> None:
    story.wallets[A] = replace(story.wallets[A], balance=71)
    story.accounts -= 1


def put_the_later_command_first(story: Told) -> None:
    """The credit that was asked at 30 stands in the log before the one that was answered at 12."""
    story.forget_entry(MORE)
    first, second = asked("t-late", "credit", 5, wallet_id=B), asked(MORE, "credit", 10, wallet_id=B)
    story.attempts = [one for one in story.attempts if one.asked.transaction_id != MORE]
    story.decide(first, 5, at_s=30)
    story.decide(second, 10, at_s=11)


def tell_an_old_balance(story: Told) -> None:
    story.reads.append(Read(wallet_id=A, began_s=50, ended_s=51, seq=3, balance=70))


def tell_a_future_balance(story: Told) -> None:
    story.reads.append(Read(wallet_id=A, began_s=4.5, ended_s=4.9, seq=5, balance=100))


def tell_a_balance_that_never_was(story: Told) -> None:
    story.reads.append(Read(wallet_id=A, began_s=4.5, ended_s=4.9, seq=3, balance=69))


def refuse_what_was_covered(story: Told) -> None:
    story.decide(asked("t-poor", "debit", 5, wallet_id=B), 0, at_s=20, reason="available_balance_must_cover_amount")


def allow_what_was_not_covered(story: Told) -> None:
    story.decide(asked("t-rich", "debit", 71, wallet_id=B), -71, at_s=20)


def reverse_more_than_there_was(story: Told) -> None:
    story.decide(asked("t-again", "reversal", 30, subject=DEBIT), 30, at_s=20)


def let_a_transfer_vanish_on_its_way(story: Told) -> None:
    story.forget_entry(f"receipt-{TRANSFER}")


def let_a_transfer_grow_on_its_way(story: Told) -> None:
    story.alter_entry(f"receipt-{TRANSFER}", delta=61)
    story.alter_entry(f"receipt-{TRANSFER}", balance_after=61)
    story.alter_entry(MORE, balance_after=71)
    story.fold(B)


def mint_money(story: Told) -> None:
    story.accounts += 1


LIES: dict[Callable[[Told], None], str] = {
    lose_an_acknowledged_write: "lost",
    lose_an_acknowledged_refusal: "lost",
    apply_one_twice: "applied_twice",
    apply_one_under_an_id_of_its_own: "never_asked",
    refuse_one_with_effect: "refused_with_effect",
    change_an_answer: "changed_answer",
    change_an_acceptance_into_a_refusal: "changed_answer",
    replay_without_saying_so: "not_replayed",
    decide_after_having_replayed: "decided_twice",
    never_answer: "undecided",
    answer_by_a_bug: "unexpected_answer",
    accept_two_contents_under_one_id: "conflict_accepted",
    refuse_the_same_content_as_a_conflict: "conflict_without_difference",
    answer_for_somebody_else: "misquoted",
    tell_another_balance_than_the_entry: "misquoted",
    leave_a_gap: "seq_gap",
    number_two_entries_alike: "seq_gap",
    break_the_running_sum: "broken_sum",
    let_time_fall: "time_fell",
    let_the_row_differ_from_its_log: "row_is_no_fold",
    put_the_later_command_first: "swapped",
    tell_an_old_balance: "stale_read",
    tell_a_future_balance: "phantom_read",
    tell_a_balance_that_never_was: "phantom_read",
    refuse_what_was_covered: "unexplained",
    allow_what_was_not_covered: "unexplained",
    reverse_more_than_there_was: "unexplained",
    let_a_transfer_vanish_on_its_way: "half_a_transfer",
    let_a_transfer_grow_on_its_way: "minted",
    mint_money: "unbalanced",
}


@pytest.mark.parametrize(("lie", "check_that_finds_it"), LIES.items(), ids=lambda one: getattr(one, "__name__", one))
def test_every_lie_is_found(story: Told, lie: Callable[[Told], None], check_that_finds_it: str) -> None:
    lie(story)

    findings = story.findings()

    assert check_that_finds_it in checks_of(findings), told(findings)


def test_every_check_has_its_lie() -> None:
    """A check that no hand-made history triggers could be one that never can."""
    names = {
        "lost applied_twice never_asked refused_with_effect half_a_transfer",
        "changed_answer not_replayed decided_twice undecided unexpected_answer conflict_accepted",
        "conflict_without_difference misquoted seq_gap broken_sum time_fell row_is_no_fold swapped stale_read",
        "phantom_read unexplained unbalanced minted",
    }

    assert {name for line in names for name in line.split()} == set(LIES.values())


def test_errors_are_what_brought_no_decision_to_the_watched(story: Told) -> None:
    story.alter_attempt(DEBIT, 0, answer=None, fault="connection reset")
    story.alter_attempt(MORE, 0, answer=Answer(status=503, document={"reason": "cell_must_be_reachable"}))
    history = History(story.attempts)

    assert [one.detail for one in find_errors(history, wallet_ids=[A])] == ["connection reset"]
    assert [one.detail for one in find_errors(history, wallet_ids=[B])] == ["503 cell_must_be_reachable"]
    assert not list(find_errors(history, wallet_ids=[]))


def test_findings_are_told_with_counts_and_not_all_of_them(story: Told) -> None:
    for attempt in story.attempts:
        story.alter_attempt(attempt.asked.transaction_id, 0, answer=None)
        story.alter_attempt(attempt.asked.transaction_id, 1, answer=None)

    text = told(story.findings() * 3)

    assert text.startswith("undecided 18")
    assert text.endswith("... and 6 more")
    assert told([]) == "nothing was found"
