"""`python -m loadtests.bench`: measures, checks, writes build/bench.json, and draws it into build/bench/.

Exit codes: 0 measured (reached or not is in the document), 1 a check failed, so that a figure is none, 2 usage, or it
could not be measured; nothing is written then.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cellwallet.interrupts import terminated_like_interrupted
from cellwallet.local.binaries import PostgresMustBeInstalledError
from cellwallet.local.postgres import PostgresMustStartError
from cellwallet.local.standby import StandbyMustFollowError
from cellwallet.plots import PlotsMustBeInstalledError
from loadtests.calm import NOISE_MAX_CORES, busy_cores
from loadtests.cell_under_test import CellMustStartError
from loadtests.generator import SendersMustReturnError
from loadtests.grown_cells import DiskMustHaveRoomError, GrownCellMustBeMadeError
from loadtests.growth import PatternMustBePlainError
from loadtests.guests import GuestMustSettleError
from loadtests.machine import ROOT
from loadtests.peers import PgbenchMustRunError
from loadtests.pictures import draw_pictures
from loadtests.platform_under_test import MoveMustEndError, PlatformMustRunError
from loadtests.router_under_test import RouterMustStartError
from loadtests.run import TARGETS, Plan, run
from loadtests.scale import FULL, QUICK, shrunk
from loadtests.shown import print_summary, showing
from loadtests.stage import OpeningMustSucceedError

OUT = ROOT / "build" / "bench.json"
API_PROCESSES, LANES, SENDERS = 2, 1, 1
"""What measured best on two cores: docs/PERFORMANCE.md."""
PATIENCE_S = 30.0


class MachineMustBeFreeError(Exception):
    """Others keep its processors busy."""


_FAILURES = (
    MachineMustBeFreeError,
    PostgresMustBeInstalledError,
    PostgresMustStartError,
    CellMustStartError,
    OpeningMustSucceedError,
    PgbenchMustRunError,
    SendersMustReturnError,
    RouterMustStartError,
    PlatformMustRunError,
    MoveMustEndError,
    StandbyMustFollowError,
    GuestMustSettleError,
    DiskMustHaveRoomError,
    GrownCellMustBeMadeError,
    PatternMustBePlainError,
    OSError,
)


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    console = Console(stderr=True, soft_wrap=True)
    plan = _plan(asked)
    try:
        _machine_must_be_free(console, is_strict=asked.strict)
        with terminated_like_interrupted(), showing(console) as shown:
            document = run(plan, shown)
        write(document, asked.out)
    except _FAILURES as error:
        console.print(f"error: {error}\nnothing was written", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written", style="red", highlight=False)
        return 2
    print_summary(document, Console())
    console.print(f"written: {asked.out}", highlight=False)
    _draw(document, asked.out.with_suffix(""), console)
    return exit_code(document)


def _machine_must_be_free(console: Console, *, is_strict: bool) -> None:
    cores = busy_cores()
    if cores <= NOISE_MAX_CORES:
        return
    told = f"{cores:.1f} cores are busy before anything is measured (at most {NOISE_MAX_CORES:g} may be)"
    if is_strict:
        raise MachineMustBeFreeError(told)
    console.print(f"warning: {told}: figures will say more of others than of us", style="yellow", highlight=False)


def _draw(document: dict[str, Any], folder: Path, console: Console) -> None:
    """The figures are there without pictures too."""
    try:
        files = draw_pictures(document, folder)
    except PlotsMustBeInstalledError as error:
        console.print(f"no pictures: {error}", style="yellow", highlight=False, markup=False)
        return
    console.print(f"drawn: {', '.join(str(file) for file in files.values())}", highlight=False)


def exit_code(document: dict[str, Any]) -> int:
    return 0 if document["passed"] else 1


def write(document: dict[str, Any], path: Path) -> None:
    """By rename: nobody reads half a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    draft.rename(path)


def _plan(asked: argparse.Namespace) -> Plan:
    scale = shrunk(
        QUICK if asked.quick else FULL,
        wallets=asked.wallets,
        rounds=asked.rounds,
        seconds=asked.seconds,
        history=asked.history,
    )
    return Plan(
        targets=asked.only,
        scale=scale,
        is_quick=asked.quick,
        api_processes=asked.api_processes,
        lanes=asked.lanes,
        senders=asked.senders,
        patience_s=(0.0 if asked.quick else PATIENCE_S) if asked.patience is None else asked.patience,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument(
        "--only", type=_targets, default=TARGETS, metavar="P1,P2", help=f"some of {','.join(TARGETS)}; default all"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works, not to quote")
    parser.add_argument("--strict", action="store_true", help="nothing is measured on a busy machine")
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the document")
    parser.add_argument("--wallets", type=_positive, help="instead of 100,000 (quick: 5,000)")
    parser.add_argument("--rounds", type=_positive, help="instead of 3 (quick: 1)")
    parser.add_argument("--seconds", type=float, help="of every measurement")
    parser.add_argument("--history", type=_positive, help="entries of the long wallet")
    parser.add_argument("--api-processes", type=_positive, default=API_PROCESSES)
    parser.add_argument("--lanes", type=_positive, default=LANES, help="CELL_LANES of each process")
    parser.add_argument("--senders", type=_positive, default=SENDERS, help="processes of the load generator")
    parser.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        help=f"wait so long for a calm machine before each measurement, and make noisy rounds again; 0 = neither; "
        f"default {PATIENCE_S:.0f} (quick: 0)",
    )
    return parser


def _targets(text: str) -> tuple[str, ...]:
    wanted = tuple(text.upper().split(","))
    unknown = [name for name in wanted if name not in TARGETS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(TARGETS)}")
    return wanted


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
