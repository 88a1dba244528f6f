"""All checks of a finished history at once, and their findings in words."""

from collections import Counter
from collections.abc import Sequence

from history.answers import find_changed_answers, find_misquotes, find_unexpected, find_unreplayed
from history.model import Finding, History, Ledger
from history.money import find_minted_money
from history.once import find_uncounted
from history.order import find_broken_logs, find_time_travel
from history.rules import find_unexplained

SHOWN_MAX = 12


def check(history: History, ledger: Ledger) -> list[Finding]:
    """What is wrong with a history in which, at the end, every command was asked once more.

    `ledger` is read after that. No findings = every acknowledged command happened exactly once, every answer stands
    for ever, and per wallet one order explains all of them.
    """
    return [
        *find_uncounted(history, ledger),
        *find_changed_answers(history),
        *find_unreplayed(history),
        *find_unexpected(history),
        *find_misquotes(history, ledger),
        *find_broken_logs(ledger),
        *find_time_travel(history, ledger),
        *find_unexplained(history, ledger),
        *find_minted_money(ledger),
    ]


def checks_of(findings: Sequence[Finding]) -> set[str]:
    """Which checks found something."""
    return {finding.check for finding in findings}


def told(findings: Sequence[Finding]) -> str:
    """For the message of an assertion."""
    if not findings:
        return "nothing was found"
    counts = ", ".join(f"{check} {count}" for check, count in Counter(one.check for one in findings).most_common())
    shown = [f"  {one.check}: wallet {one.wallet_id} id {one.transaction_id}: {one.detail}" for one in findings]
    more = len(shown) - SHOWN_MAX
    return "\n".join([counts, *shown[:SHOWN_MAX], *([f"  ... and {more} more"] if more > 0 else [])])
