"""One order explains each wallet: its log has no gaps, its figures run on, and nobody saw things the other way round.

With `rules.py`, which re-enacts the log, this is linearizability per wallet: seq is the order, a command that was
answered before another was asked stands before it, and a balance that was read is the balance at its seq.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf

from history.model import Finding, History, Ledger, Read, StoredEntry, StoredWallet

from contract.values import value


def find_broken_logs(ledger: Ledger) -> Iterator[Finding]:
    for wallet in ledger.wallets.values():
        yield from _find_breaks(wallet, ledger.entries.get(wallet.wallet_id, ()))


def find_time_travel(history: History, ledger: Ledger) -> Iterator[Finding]:
    """Contradictions between the order of the log and the order in which clients lived through it."""
    spans = _spans(history)
    reads: dict[str, list[Read]] = {}
    for read in history.reads:
        reads.setdefault(read.wallet_id, []).append(read)
    for wallet_id, entries in ledger.entries.items():
        lived = [
            _Lived(entry=entry, began_s=spans[entry.key][0], decided_s=spans[entry.key][1])
            for entry in entries
            if entry.is_own and entry.key in spans
        ]
        yield from _find_swapped(lived)
        for read in reads.get(wallet_id, []):
            yield from _judge_read(read, entries, lived)


@value
class _Lived:
    """An entry, from when its command was first sent to when its decision was first known (inf = never)."""

    entry: StoredEntry
    began_s: float
    decided_s: float


def _find_breaks(wallet: StoredWallet, entries: Sequence[StoredEntry]) -> Iterator[Finding]:
    balance, posted_at = 0, ""
    for number, entry in enumerate(entries, start=1):
        if entry.seq != number:
            yield _finding("seq_gap", entry, f"entry {entry.seq} stands where {number} must")
            return
        if entry.balance_after != balance + entry.delta:
            yield _finding("broken_sum", entry, f"{balance} and {entry.delta:+} became {entry.balance_after}")
        if entry.posted_at < posted_at:
            yield _finding("time_fell", entry, f"{entry.posted_at} follows {posted_at}")
        balance, posted_at = entry.balance_after, entry.posted_at
    last = entries[-1] if entries else None
    end = (0, 0, "") if last is None else (last.seq, last.balance_after, last.hash)
    if (wallet.seq, wallet.balance, wallet.head_hash) != end:
        detail = f"the wallet stands at seq {wallet.seq} with {wallet.balance}, its log ends at {end[:2]}"
        yield Finding(check="row_is_no_fold", wallet_id=wallet.wallet_id, detail=detail)


def _find_swapped(lived: Sequence[_Lived]) -> Iterator[Finding]:
    """From the end: no entry may have been decided before one with a lower seq was even asked for."""
    earliest: _Lived | None = None
    for one in reversed(lived):
        if earliest is not None and earliest.decided_s < one.began_s:
            detail = f"it was asked after entry {earliest.entry.seq} was answered, and stands before it"
            yield _finding("swapped", one.entry, detail)
        if earliest is None or one.decided_s < earliest.decided_s:
            earliest = one


def _judge_read(read: Read, entries: Sequence[StoredEntry], lived: Sequence[_Lived]) -> Iterator[Finding]:
    at = bisect_left(entries, read.seq, key=lambda entry: entry.seq)
    if at == len(entries) or entries[at].seq != read.seq:
        detail = f"a balance was told of seq {read.seq}, which the log does not have"
        yield Finding(check="phantom_read", wallet_id=read.wallet_id, detail=detail)
        return
    entry = entries[at]
    if entry.balance_after != read.balance:
        yield _finding("phantom_read", entry, f"{read.balance} was told where the log has {entry.balance_after}")
    for one in lived:
        if one.decided_s < read.began_s and one.entry.seq > read.seq:
            yield _finding("stale_read", one.entry, f"a later read knew only of seq {read.seq}")
        if one.began_s > read.ended_s and one.entry.seq <= read.seq:
            yield _finding("phantom_read", one.entry, f"an earlier read knew of seq {read.seq} already")


def _spans(history: History) -> dict[tuple[str, str], tuple[float, float]]:
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for attempt in history.attempts:
        began_s, decided_s = spans.get(attempt.asked.key, (inf, inf))
        known_s = inf if attempt.decision is None else attempt.ended_s
        spans[attempt.asked.key] = (min(began_s, attempt.began_s), min(decided_s, known_s))
    return spans


def _finding(check: str, entry: StoredEntry, detail: str) -> Finding:
    return Finding(check=check, wallet_id=entry.wallet_id, transaction_id=entry.transaction_id, detail=detail)
