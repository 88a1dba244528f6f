"""Every acknowledged command is in the ledger exactly once; refused ones without effect; nothing unasked is there."""

from collections import Counter
from collections.abc import Iterator

from history.model import Attempt, Finding, History, Key, Ledger, StoredEntry

IN_TRANSIT = "in_transit"


def find_uncounted(history: History, ledger: Ledger) -> Iterator[Finding]:
    written = _written(ledger)
    asked = history.by_key()
    for key, entries in written.items():
        if key not in asked:
            yield _finding("never_asked", key, f"entry {entries[0].seq} is under an id that no client sent")
        if len(entries) > 1:
            numbers = [entry.seq for entry in entries]
            yield _finding("applied_twice", key, f"entries {numbers} are under one id")
    for key, attempts in asked.items():
        yield from _judge_command(key, attempts, written.get(key, []))
    yield from _find_halves_of_transfers(ledger)


def _judge_command(key: Key, attempts: list[Attempt], entries: list[StoredEntry]) -> Iterator[Finding]:
    decisions = [attempt.decision for attempt in attempts if attempt.decision is not None]
    if decisions and not entries:
        said = "accepted" if decisions[0].is_accepted else f"refused ({decisions[0].document.get('reason')})"
        yield _finding("lost", key, f"it was {said} and no entry tells of it")
    refusals = [decision for decision in decisions if decision.is_refusal]
    if refusals and any(entry.kind != "refused" or entry.delta != 0 for entry in entries):
        effects = [(entry.seq, entry.kind, entry.delta) for entry in entries]
        yield _finding("refused_with_effect", key, f"it was refused, and its entries are {effects}")


def _find_halves_of_transfers(ledger: Ledger) -> Iterator[Finding]:
    """Each transfer has left one wallet and reached the other, as often and with the same amount.

    Between two cells (wallets that moved apart) the money passes through `in_transit`, and only the amount tells.
    """
    sent: Counter[tuple[str, str, int]] = Counter()
    received: Counter[tuple[str, str, int]] = Counter()
    for entries in ledger.entries.values():
        for entry in entries:
            other = entry.counter_account.removeprefix("wallet:")
            wallet = IN_TRANSIT if other == IN_TRANSIT else entry.wallet_id
            if entry.kind == "transfer_out":
                sent[wallet, other, -entry.delta] += 1
            elif entry.kind == "transfer_in":
                received[other, wallet, entry.delta] += 1
    for source, target, amount in sent.keys() | received.keys():
        out, into = sent[source, target, amount], received[source, target, amount]
        if out != into:
            detail = f"{amount} left for {target} {out} times and arrived {into} times"
            yield Finding(check="half_a_transfer", wallet_id=source, detail=detail)


def _written(ledger: Ledger) -> dict[Key, list[StoredEntry]]:
    grouped: dict[Key, list[StoredEntry]] = {}
    for entries in ledger.entries.values():
        for entry in entries:
            if entry.is_own:
                grouped.setdefault(entry.key, []).append(entry)
    return grouped


def _finding(check: str, key: Key, detail: str) -> Finding:
    return Finding(check=check, wallet_id=key.wallet_id, transaction_id=key.transaction_id, detail=detail)
