"""One id has one answer for ever: equal at every retry, marked as a replay, and equal to the entry that decided."""

from collections.abc import Iterator
from typing import Any

from history.model import Answer, Asked, Attempt, Finding, History, Key, Ledger, StoredEntry

EXPECTED_STATUSES = frozenset({201, 202, 409, 422, 429, 503, 504})
"""A healthy or a broken cell answers well-formed money commands of known wallets by these and no others.
202: money is on its way to a wallet that has moved apart; asked again, it has arrived."""

CONFLICT = "transaction_exists_with_different_"


def find_changed_answers(history: History) -> Iterator[Finding]:
    """Answers of one id against each other."""
    for key, attempts in history.by_key().items():
        decided = [attempt for attempt in attempts if attempt.decision is not None]
        if not decided:
            yield _finding("undecided", key, f"after {len(attempts)} sendings: {_last_words(attempts[-1])}")
            continue
        yield from _find_differences(key, [attempt.answer for attempt in decided if attempt.answer is not None])
        yield from _find_second_decisions(key, decided)
        yield from _find_misjudged_conflicts(key, attempts, decided[0].asked)


def find_unreplayed(history: History) -> Iterator[Finding]:
    """After everything was asked once more: the last answer of each decided command must be marked as a replay."""
    for key, attempts in history.by_key().items():
        decisions = [attempt.decision for attempt in attempts if attempt.decision is not None]
        if decisions and not decisions[-1].is_replay:
            yield _finding("not_replayed", key, "its last answer is not marked as a replay")


def find_unexpected(history: History) -> Iterator[Finding]:
    """Answers that no fault excuses."""
    for attempt in history.attempts:
        answer = attempt.answer
        if answer is not None and answer.status not in EXPECTED_STATUSES:
            yield _finding("unexpected_answer", attempt.asked.key, _last_words(attempt))


def find_misquotes(history: History, ledger: Ledger) -> Iterator[Finding]:
    """Each answer against its question and against its entry."""
    entries = {entry.key: entry for log in ledger.entries.values() for entry in log if entry.is_own}
    for attempt in history.attempts:
        if attempt.decision is None:
            continue
        answer, asked = attempt.decision, attempt.asked
        told = answer.document
        wanted = _asked_members(asked) if answer.is_accepted else {}
        entry = entries.get(asked.key)
        stored = {} if entry is None else _entry_members(entry, answer)
        for name, member in {**wanted, **stored}.items():
            if told.get(name) != member:
                detail = f"{name} is {told.get(name)!r} and must be {member!r}"
                yield _finding("misquoted", asked.key, detail)


def _find_differences(key: Key, answers: list[Answer]) -> Iterator[Finding]:
    for answer in answers[1:]:
        if answer.lasting != answers[0].lasting:
            yield _finding("changed_answer", key, f"{answers[0].lasting} became {answer.lasting}")
            return


def _find_second_decisions(key: Key, decided: list[Attempt]) -> Iterator[Finding]:
    """Only one answer can be the first one, and nobody can have been told the outcome before it was asked for."""
    fresh = [attempt for attempt in decided if attempt.decision is not None and not attempt.decision.is_replay]
    if len(fresh) > 1:
        yield _finding("decided_twice", key, f"{len(fresh)} answers are not marked as replays")
    elif fresh and decided[0].ended_s < fresh[0].began_s:
        yield _finding("decided_twice", key, "it was answered before, and then decided as if new")


def _find_misjudged_conflicts(key: Key, attempts: list[Attempt], original: Asked) -> Iterator[Finding]:
    for attempt in attempts:
        if attempt.decision is not None and attempt.asked != original:
            yield _finding("conflict_accepted", key, f"{original} and {attempt.asked} were both decided")
        is_conflict = attempt.answer is not None and attempt.answer.status == 409
        if is_conflict and attempt.asked == original:
            yield _finding("conflict_without_difference", key, _last_words(attempt))


def _asked_members(asked: Asked) -> dict[str, Any]:
    members: dict[str, Any] = {
        "wallet_id": asked.wallet_id,
        "transaction_id": asked.transaction_id,
        "kind": asked.kind,
    }
    if asked.amount is not None:
        members["amount"] = asked.amount
    if asked.kind == "reversal":
        members["original_transaction_id"] = asked.subject_id
    if asked.kind == "transfer_out":
        members["to_wallet_id"] = asked.subject_id
    return members


def _entry_members(entry: StoredEntry, answer: Answer) -> dict[str, Any]:
    available = entry.balance_after - entry.held_after + entry.overdraft_limit_after
    members: dict[str, Any] = {"seq": entry.seq, "posted_at": entry.posted_at, "entry_hash": entry.hash}
    if answer.is_refusal:
        members["reason"] = entry.reason
        return members | ({"available": available} if "available" in answer.document else {})
    return members | {
        "kind": entry.kind,
        "amount": abs(entry.delta),
        "delta": entry.delta,
        "balance": entry.balance_after,
        "held": entry.held_after,
        "available": available,
    }


def _last_words(attempt: Attempt) -> str:
    if attempt.answer is None:
        return attempt.fault or "no answer"
    return f"{attempt.answer.status} {attempt.answer.document}"


def _finding(check: str, key: Key, detail: str) -> Finding:
    return Finding(check=check, wallet_id=key.wallet_id, transaction_id=key.transaction_id, detail=detail)
