"""`make crash-matrix`: plays every case of pairs.py and writes docs/crash_matrix.md.

What is known is kept in a file, one line for each case: a run that was interrupted goes on with --resume. The page is
written when every case has a result; the exit code is 1 if one of them has a finding.
"""

import argparse
import os
import random
import signal
import sys
from pathlib import Path

from crash_matrix.pairs import CASES, SUBSET, Case, name_of
from crash_matrix.results import keep, kept, missing
from crash_matrix.run import run_cases
from crash_matrix.table import RunFacts, complete, rendered

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "crash_matrix.md"
RESTORED_BACKUP = "tests/system/moves/test_restored_backup.py"


def main() -> int:
    _end_in_order()
    options = _options()
    results: Path = options.json
    results.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        results.unlink(missing_ok=True)
    cases = missing([name for name, one in kept(results).items() if one.is_clean], _chosen(options))
    if cases:
        run_cases(cases, seed=options.seed, say=_say, keep=lambda found: keep(results, found))
    found = kept(results)
    broken = [name for name, one in found.items() if not one.is_clean]
    _say(f"{len(found)} of {len(CASES)} cases in {results}, {len(broken)} with findings: {', '.join(broken) or 'none'}")
    if complete(found):
        PAGE.write_text(rendered(found, _facts(options.seed)))
        _say(f"{PAGE} is written")
    return 1 if broken else 0


def _end_in_order() -> None:
    """An interrupted run takes its platform down, also where a shell has told it to ignore interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _chosen(options: argparse.Namespace) -> list[Case]:
    if options.list:
        _say("\n".join(name_of(case) for case in CASES))
        raise SystemExit(0)
    cases = list(SUBSET) if options.subset else list(CASES)
    chosen = [case for case in cases if not options.only or any(word in name_of(case) for word in options.only)]
    if not chosen:
        raise SystemExit("no case has such a name: see --list")
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose name has one of these words")
    parser.add_argument("--subset", action="store_true", help="the cases that are part of every test run")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of all dice; printed")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "crash_matrix.jsonl", help="where results are kept"
    )
    parser.add_argument("--resume", action="store_true", help="play only what has no clean result there")
    return parser.parse_args()


def _facts(seed: int) -> RunFacts:
    is_there = (ROOT / RESTORED_BACKUP).exists()
    return RunFacts(seed=seed, machine=_machine(), restored_backup=RESTORED_BACKUP if is_there else None)


def _machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else os.uname().machine
    return f"{os.cpu_count()} cores ({model}), {os.uname().sysname}"


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command tells what it does


if __name__ == "__main__":
    sys.exit(main())
