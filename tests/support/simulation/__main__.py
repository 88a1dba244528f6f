"""`make simulate`: seed after seed, each a whole life of a fleet; says what was found, and how to see it again."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing import get_context

from rich.console import Console
from rich.progress import Progress, TextColumn

from simulation.mutants import MUTANTS, found_by
from simulation.run import Result, run


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    if options.mutants:
        return _tell_mutants(is_json=options.json)
    seeds = [options.seed] if options.seed is not None else list(range(options.first, options.first + options.seeds))
    results, failed = [], []
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[seed]}"), console=console) as progress:
        bar = progress.add_task(f"seeds {seeds[0]}..{seeds[-1]}", total=len(seeds), seed="")
        for result in _results(seeds, options.jobs):
            progress.update(bar, advance=1, seed=f"seed {result.seed}")
            results.append(result)
            if result.findings:
                failed.append(result)
                progress.console.print(_told(result), markup=False, highlight=False, soft_wrap=True)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))  # noqa: T201 - what was asked for
    commands, moves = sum(one.commands for one in results), sum(sum(one.moves.values()) for one in results)
    console.print(f"{len(results)} seeds, {commands} commands, {moves} moves: {len(failed)} seeds found something")
    return 1 if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, once more")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds at the same time")
    parser.add_argument("--json", action="store_true", help="every result as one JSON document on standard output")
    parser.add_argument("--mutants", action="store_true", help="how many seeds it takes to find each mutant")
    return parser.parse_args(arguments)


def _results(seeds: Sequence[int], jobs: int) -> Iterator[Result]:
    if jobs == 1 or len(seeds) == 1:
        yield from map(run, seeds)
        return
    with get_context("fork").Pool(jobs, initializer=_leave_interrupts_to_the_parent) as pool:
        yield from pool.imap(run, seeds)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told(result: Result) -> str:
    lines = [f"seed {result.seed} found:", *(f"  {finding}" for finding in result.findings[:12])]
    lines += ["the last of what happened:", *result.last, f"to repeat: make simulate SEED={result.seed}"]
    return "\n".join(lines)


def _tell_mutants(*, is_json: bool) -> int:
    """The table of docs/simulation.md."""
    rows = [(name, *found_by(name), MUTANTS[name][1]) for name in MUTANTS]
    if is_json:
        print(json.dumps(rows))  # noqa: T201 - what was asked for
    else:
        for name, seed, finding, seeds_max in rows:
            print(f"| {name} | {seed or '-'} | {seeds_max} | {finding[:90]} |")  # noqa: T201 - the same
    return 0 if all(row[1] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - the last word
        sys.exit(130)
