"""The duty that audits all the time, a little each round: what has changed since the last one, and log after log.

Rounds are short: each is a burst of work beside the money, and a snapshot that keeps the database from tidying up. A
period's share of the logs takes several, and while more is new than a round reads, they go on; and yet the audit takes
no more than a twentieth of its process: money goes first, and the audit catches up when less of it moves. It reports
and stops nothing: a finding is an error in the log and a figure to be alerted on; people decide.
"""

import asyncio
import math
from typing import Final, Protocol

import structlog

from cell.background.duty import Duty, DutyMetrics
from cell.store.recent_audit import Progress, audit_round

DUTY: Final = "recent_audit"
SHARE_MAX: Final = 1 / 20
"""Of its process's time, while rounds follow one another."""
ROUND_ENTRIES_MAX: Final = 500
"""Of what is new, and as many of whole logs: some ten milliseconds' work."""

log = structlog.get_logger()


class AuditMetrics(DutyMetrics, Protocol):
    def audited(self, wallets: int, *, findings: int, entries: int, is_behind: bool) -> None: ...
    def audit_turn_over(self) -> None: ...


class Rounds:
    """Which rounds follow one another, and where the audit rests for a period."""

    def __init__(self, *, period_entries_max: int) -> None:
        """`period_entries_max`: of whole logs."""
        self.entries_max = min(period_entries_max, ROUND_ENTRIES_MAX)
        """Of one round."""
        self._of_period = math.ceil(period_entries_max / ROUND_ENTRIES_MAX)
        self._left = 0

    def is_followed(self, *, is_behind: bool, is_turn_over: bool) -> bool:
        """Whether another one follows the round that was just done; the one after a rest begins the next period."""
        self._left = 0 if is_turn_over else (self._left or self._of_period) - 1
        return is_behind or self._left > 0


class AuditLoop:
    """Keeps its place in memory: another process that takes the duty begins a turn of its own."""

    def __init__(self, *, database_url: str, entries_max: int, metrics: AuditMetrics) -> None:
        """`entries_max`: of whole logs, in a period."""
        self._database_url = database_url
        self._rounds = Rounds(period_entries_max=entries_max)
        self._metrics = metrics
        self._progress = Progress()
        self._duty: Duty | None = None

    def duty(self, *, period_s: float) -> Duty:
        self._duty = Duty(
            database_url=self._database_url, name=DUTY, period_s=period_s, work=self.work, metrics=self._metrics
        )
        return self._duty

    async def work(self) -> None:
        """Raises psycopg.Error: the database cannot be reached; the next round begins at the same place."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        done = await audit_round(self._database_url, self._progress, entries_max=self._rounds.entries_max)
        self._progress = done.progress
        self._metrics.audited(done.wallets, findings=len(done.findings), entries=done.entries, is_behind=done.is_behind)
        is_followed = self._rounds.is_followed(is_behind=done.is_behind, is_turn_over=done.is_turn_over)
        if is_followed and self._duty is not None:
            loop.call_later((loop.time() - began_s) / SHARE_MAX, self._duty.nudge)
        for finding in done.findings:
            log.error(
                "the audit found something",
                invariant=finding.invariant,
                wallet_id=finding.wallet_id,
                seq=finding.seq,
                field=finding.field,
                expected=finding.expected,
                found=finding.found,
            )
        if done.is_turn_over:
            self._metrics.audit_turn_over()
