"""What must hold after every run, asked of the database and of the cell itself: a figure without it is none.

Conservation, each acknowledged command exactly once in the ledger, duplicates without effect, sums as the clients saw
them, chains that verify with nothing but the contract's own words.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, LiteralString

import psycopg

from cellwallet.local.databases import CELL_DATABASE
from cellwallet.local.standby import Standby
from contract.chain import ZERO_HASH, CanonicalEntry, entry_hash
from contract.values import value
from loadtests.figures import Check
from loadtests.load import Tally

CHAINS = 20
"""Wallets whose chains are computed again after a run; the audit at the end does it for all."""
CHAIN_ENTRIES_MAX = 2_000
REPLAY_PATIENCE_S = 60.0
"""A commit waits for the standby's disk; that it can also be read there comes later."""
POLL_S = 0.05

TRIAL_BALANCE: LiteralString = """
SELECT currency, sum(amount)::bigint FROM (
    SELECT currency, balance AS amount FROM wallets UNION ALL SELECT currency, delta FROM account_deltas
) AS everything GROUP BY currency HAVING sum(amount) <> 0
"""

RECORDED: LiteralString = """
SELECT count(*), count(*) FILTER (WHERE reason IS NULL), coalesce(sum(delta), 0)::bigint
FROM transactions WHERE vendor_id = %s
"""

ENTERED: LiteralString = """
SELECT count(*), coalesce(sum(amount), 0)::bigint FROM entries WHERE vendor_id = %s
"""

BUSY_WALLETS: LiteralString = """
SELECT wallet_id::text FROM wallets WHERE seq > 1 ORDER BY posted_at DESC LIMIT %s
"""

CHAIN: LiteralString = """
SELECT e.wallet_id::text, e.seq, (extract(epoch FROM e.posted_at) * 1000000)::bigint, e.kind, w.currency, e.amount,
       e.held_delta, e.balance_after, e.held_after, e.overdraft_limit_after, e.status_after, e.transaction_id::text,
       e.vendor_id, e.counter_account, e.subject_id::text, e.subject_vendor_id,
       (extract(epoch FROM e.expires_at) * 1000000)::bigint, e.requested_kind, e.requested_amount, e.reason,
       encode(e.sealed, 'hex'), e.hash, w.seq, w.head_hash, w.balance
FROM entries e JOIN wallets w USING (wallet_id)
WHERE e.wallet_id = %s ORDER BY e.posted_at DESC, e.seq DESC LIMIT %s
"""


@value
class Posted:
    """What a ledger, or all that a fleet has, holds of one vendor's commands."""

    recorded: int
    """Outcomes, refusals included."""
    accepted: int
    delta: int
    """Sum of the outcomes."""
    entered: int
    entered_delta: int
    """Sum of the entries."""


def check_conservation(database_url: str) -> Check:
    """Wallets and system accounts add up to nothing, in one snapshot."""
    with psycopg.connect(database_url) as connection:
        broken = connection.execute(TRIAL_BALANCE).fetchall()
    return Check(
        name="conservation", has_passed=not broken, detail=", ".join(f"{row[0]} off by {row[1]}" for row in broken)
    )


def check_postings(database_url: str, *, vendor: str, tally: Tally) -> tuple[Check, ...]:
    """All that a vendor ever posted, which is this run, against what the senders saw."""
    with psycopg.connect(database_url) as connection:
        recorded, accepted, delta = connection.execute(RECORDED, [vendor]).fetchone() or (0, 0, 0)
        entered, entered_delta = connection.execute(ENTERED, [vendor]).fetchone() or (0, 0)
    ledger = Posted(recorded=recorded, accepted=accepted, delta=delta, entered=entered, entered_delta=entered_delta)
    return compared_with(ledger, tally)


def compared_with(ledger: Posted, tally: Tally) -> tuple[Check, ...]:
    """What one vendor's senders saw, and what of it there is."""
    recorded, delta, entered, entered_delta = ledger.recorded, ledger.delta, ledger.entered, ledger.entered_delta
    unknown = tally.unanswered + tally.unexpected
    is_exact = unknown == 0
    return (
        Check(
            name="acknowledged is in the ledger",
            has_passed=tally.acknowledged <= recorded <= tally.acknowledged + unknown
            and (not is_exact or ledger.accepted == tally.accepted),
            detail=f"{tally.acknowledged} acknowledged, {unknown} unknown, {recorded} recorded",
        ),
        Check(
            name="applied once",
            has_passed=(entered, entered_delta) == (recorded, delta),
            detail=f"{recorded} outcomes with {delta}, {entered} entries with {entered_delta}",
        ),
        Check(
            name="sums are as answered",
            has_passed=not is_exact or delta == tally.delta,
            detail=f"answered {tally.delta}, recorded {delta}",
        ),
        Check(
            name="duplicates got the original's answer",
            has_passed=tally.replays_wrong == 0,
            detail=f"{tally.replayed} of {tally.replayed + tally.replays_wrong}",
        ),
    )


def check_answers(tally: Tally) -> Check:
    """Every request was answered, and with a status that the load expects."""
    detail = f"{dict(sorted(tally.statuses.items()))}, {tally.unanswered} unanswered"
    has_passed = tally.unanswered == 0 and tally.unexpected == 0
    return Check(name="answers", has_passed=has_passed, detail=" ".join([detail, *tally.samples]))


def check_standby(standby: Standby, *, vendor: str, tally: Tally) -> tuple[Check, ...]:
    """Commits wait for it, and what was acknowledged is in its ledger too, as it would be after the primary's death."""
    seen = standby.replication()
    with psycopg.connect(standby.primary.url()) as primary, psycopg.connect(standby.url()) as connection:
        row = primary.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        has_replayed = row is not None and _has_replayed(connection, row[0])
    postings = check_postings(standby.url(database=CELL_DATABASE), vendor=vendor, tally=tally)
    return (
        Check(name="the standby is synchronous", has_passed=seen.is_synchronous, detail=str(seen)),
        Check(name="the standby has replayed everything", has_passed=has_replayed),
        *(replace(one, name=f"{one.name}, on the standby") for one in postings),
    )


def check_chains(database_url: str, *, wallets: Iterable[str] | None = None) -> Check:
    """The latest wallets' logs (their newest entries) hash as the contract says, gap-free, up to the wallet's head."""
    with psycopg.connect(database_url) as connection:
        busy = [row[0] for row in connection.execute(BUSY_WALLETS, [CHAINS])] if wallets is None else list(wallets)
        logs = {wallet: connection.execute(CHAIN, [wallet, CHAIN_ENTRIES_MAX]).fetchall()[::-1] for wallet in busy}
    broken = [f"{wallet} {why}" for wallet, log in logs.items() if (why := _why_broken(log))]
    entries = sum(map(len, logs.values()))
    return Check(
        name="chains", has_passed=not broken, detail="; ".join(broken) or f"{entries} entries of {len(logs)} wallets"
    )


def check_audit(report: dict[str, Any], *, is_full: bool) -> Check:
    """The cell's own audit."""
    findings = report["findings"]
    checked = ", ".join(f"{count:,} {name}" for name, count in report["checked"].items())
    detail = f"{checked} in {report['duration_s']} s" + "".join(f"; {one}" for one in findings[:3])
    return Check(name="full audit" if is_full else "audit", has_passed=bool(report["clean"]), detail=detail)


def check_access_log(*, lines: int, answered: int) -> Check:
    """The cell rather loses a line than money, so nearly all is enough; none would mean that it is off."""
    return Check(name="access log", has_passed=lines >= answered * 0.99, detail=f"{lines} lines of {answered} answers")


def _has_replayed(standby: psycopg.Connection[Any], position: str) -> bool:
    deadline = time.monotonic() + REPLAY_PATIENCE_S
    while time.monotonic() < deadline:
        row = standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]).fetchone()
        if row is not None and row[0]:
            return True
        time.sleep(POLL_S)
    return False


def _why_broken(log: list[tuple[Any, ...]]) -> str:
    if not log:
        return "has no entries"
    previous = ZERO_HASH if log[0][1] == 1 else None
    for row in log:
        canonical, stored = CanonicalEntry(**dict(zip(_FIELDS, row[:21], strict=True))), bytes(row[21])
        if previous is not None and entry_hash(previous, canonical) != stored:
            return f"entry {canonical.seq} does not follow from the one before"
        previous = stored
    last = log[-1]
    if [row[1] for row in log] != list(range(log[0][1], last[22] + 1)):
        return "has a gap"
    if (bytes(last[23]), last[24]) != (previous, last[7]):
        return "does not end in the wallet's row"
    return ""


_FIELDS = tuple(CanonicalEntry.__dataclass_fields__)
