"""docs/crash_matrix.md: written from the results of a run, read back by the test that holds it to the pure table."""

import re
from collections.abc import Iterator, Mapping, Sequence

from crash_matrix.pairs import CASES, CRASHES, PAIRS, USUAL_S, Case, Pair, Part, Special, all_points, name_of, why_not
from crash_matrix.results import Result

from contract.values import value

NOTE = "<!-- Written by `make crash-matrix` from the results of its run. -->"
BROKEN = "broken"

INTRODUCTION = """
At every point of a move that has a name, every part that has something to do with it is killed with SIGKILL, while
vendors debit, credit, reverse, transfer between the cells, hold, capture, bind groups and send everything twice. Real
processes: `cellwallet up` with two cells. After each: the move has ended as it must, one cell owns the unit, everybody
serves again; epochs and versions never fell, and at no look of the run were there two owners. After every few: each
acknowledged command is in the owner's ledger exactly once, every id keeps its first answer, one order explains each
wallet, and the full audit of the fleet is clean. [Life of a move](life_of_a_move.md) tells what happens at each point
and why.

**Where**: the `mover` comes by its points when a step is done (`control_plane/crash_points.py`); a cell, `source` or
`target`, by its own in the middle of one (`cell/crash_points.py`). **Killed**: whoever came by dies there; for another
one the step is held while that one is killed, all processes of it at once. **Carried on by**: `mover`, the one that was
there; `next mover`, one that found nothing but what the cells and the record say; `watchdog`, `puller`, `leftovers`,
the duties of the cells (a target also pulls a grant when a command waits for it). **Seconds**: from the kill until the
move has ended, every part runs and the vendors of every cell are served. In brackets what two quiet cores usually need;
a busy machine may take longer, and only what is not back after 90 s is a finding.

That this can fail is shown by `tests/system/moves/test_crash_matrix_mutants.py`.
"""


@value
class RunFacts:
    seed: int
    machine: str
    restored_backup: str | None
    """The test of a restored cell, where it exists."""


def rendered(results: Mapping[str, Result], facts: RunFacts) -> str:
    days = sorted({result.at for result in results.values()})
    run = f"{len(results)} cases, {days[0]}" + (f" to {days[-1]}" if days[1:] else "")
    lines = [
        "# Crash matrix",
        NOTE,
        INTRODUCTION,
        f"Last run: {run}, seed {facts.seed}, {facts.machine}.",
        "",
        "## Point and killed part",
        "| crash | where | point | killed | ended | carried on by | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(pair, results[pair.name]) for pair in PAIRS),
        "",
        "## What is no pair",
        "| crash | what | ended | carried on by | seconds |",
        "| --- | --- | --- | --- | --- |",
        *(_special_row(special, results[name_of(special)]) for special in Special),
        *(
            [f"| C14 | a cell restored from a backup: `{facts.restored_backup}` | | | |"]
            if facts.restored_backup
            else []
        ),
        "",
        "## Pairs that are none",
        "| where | point | killed | why not |",
        "| --- | --- | --- | --- |",
        *_left_out(),
    ]
    return "\n".join(lines) + "\n"


def cases_in(text: str) -> list[str]:
    """The names of the cases that a table tells of, in its order."""
    pairs = re.findall(
        r"^\| [C0-9, ]* \| (\w+) \| `([\w.]+)` \| ([\w ]+) \| [^|]+ \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE
    )
    named = [Pair(place=place, point=point, victim=Part(victim)).name for place, point, victim in pairs]
    titles = {special.value: name_of(special) for special in Special}
    specials = re.findall(r"^\| [C0-9, ]+ \| ([^|`]+)(?: \| [^|]+){3} \|$", text, re.MULTILINE)
    return [*named, *(titles.get(title, title) for title in specials)]


def _row(pair: Pair, result: Result) -> str:
    seconds = f"{result.recovery_s:.1f} ({USUAL_S[pair.victim]})"
    return (
        f"| {_crashes(pair)} | {pair.place} | `{pair.point}` | {pair.victim} | {_ended(result)} "
        f"| {', '.join(result.recovered_by)} | {seconds} |"
    )


def _special_row(special: Special, result: Result) -> str:
    who = ", ".join(result.recovered_by)
    return f"| {_crashes(special)} | {special} | {_ended(result)} | {who} | {result.recovery_s:.1f} |"


def _ended(result: Result) -> str:
    return result.ended if result.is_clean else f"**{BROKEN}**: {result.findings[0]}".replace("|", "/")


def _crashes(case: Case) -> str:
    return ", ".join(name for name, cases in CRASHES.items() if case in cases)


def _left_out() -> Iterator[str]:
    """Points and parts with the same reason stand together."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for place, point in all_points():
        for victim in Part:
            reason = why_not(place, point, victim)
            if reason is not None:
                reasons.setdefault((place, point, reason), []).append(victim)
    for (place, point, reason), victims in reasons.items():
        yield f"| {place} | `{point}` | {', '.join(victims)} | {reason} |"


def _restored(test: str | None) -> Iterator[str]:
    if test is not None:
        yield f"| C14 | a cell restored from a backup: `{test}` | | | |"


def complete(results: Mapping[str, Result], cases: Sequence[Case] = CASES) -> bool:
    return all(name_of(case) in results for case in cases)
