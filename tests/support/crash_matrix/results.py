"""What a run has found, case by case: one JSON line each, kept as soon as it is known."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from crash_matrix.pairs import CASES, Case, name_of
from history.model import Finding, History

from contract.values import value


@value
class Result:
    name: str
    """Of the case."""
    ended: str
    """The state in which the move ended, or "-"."""
    recovered_by: tuple[str, ...]
    recovery_s: float
    seed: int
    began_s: float
    ended_s: float
    """On the monotonic clock of the run."""
    at: str
    """The day."""
    findings: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not self.findings


def attributed(results: Sequence[Result], findings: Iterable[Finding], history: History) -> list[Result]:
    """Each finding of a whole session at the case under which its command was last sent; or, where none was, at all."""
    spans: dict[str | None, list[float]] = {}
    for attempt in history.attempts:
        spans.setdefault(attempt.asked.transaction_id, []).append(attempt.began_s)
    told: dict[str, list[str]] = {result.name: [*result.findings] for result in results}
    for finding in findings:
        sent = spans.get(finding.transaction_id, []) if finding.transaction_id else []
        hit = [one.name for one in results if any(one.began_s <= at <= one.ended_s for at in sent)]
        text = f"{finding.check}: wallet {finding.wallet_id} id {finding.transaction_id}: {finding.detail}"
        for name in hit[-1:] or [one.name for one in results]:
            told[name].append(text if hit else f"in this case or another of its session: {text}")
    return [replace(result, findings=tuple(told[result.name])) for result in results]


def keep(file: Path, results: Iterable[Result]) -> None:
    with file.open("a") as lines:
        for result in results:
            lines.write(json.dumps(asdict(result)) + "\n")


def kept(file: Path) -> dict[str, Result]:
    """The last result of each case; none without the file."""
    if not file.exists():
        return {}
    found = (_result_of(json.loads(line)) for line in file.read_text().splitlines())
    return {result.name: result for result in found}


def missing(results: Iterable[str], cases: Sequence[Case] = CASES) -> list[Case]:
    done = set(results)
    return [case for case in cases if name_of(case) not in done]


def _result_of(document: dict[str, Any]) -> Result:
    lists = {"recovered_by", "findings"}
    return Result(**{name: tuple(member) if name in lists else member for name, member in document.items()})
