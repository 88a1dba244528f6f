"""`python -m infra.tools [TOOL]...`: builds what is missing, or tells what there is (`make infra-tools`).

Exit codes: 0 all is there, 1 something cannot be built, 2 usage or no usable Go, 3 the time is over, 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from infra.tools.building import Failed, Outcome, OutOfTime, build
from infra.tools.cache import cache_folder, link, survey, work_folder
from infra.tools.go import GoMustBeInstalledError, find_toolchain
from infra.tools.planning import ToolMustBeKnownError, missing, named_families
from infra.tools.showing import one_line, showing, table

err = Console(stderr=True, soft_wrap=not sys.stderr.isatty())
out = Console(soft_wrap=not sys.stdout.isatty())

FAILED, USAGE, OUT_OF_TIME, INTERRUPTED = 1, 2, 3, 130


def infra_tools(
    tools: Annotated[list[str] | None, typer.Argument(help="Only these; without, all.")] = None,
    *,
    only_list: Annotated[bool, typer.Option("--list", help="Build nothing; tell what there is.")] = False,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="End after so long; go on at the next call.")] = None,
) -> None:
    """Build the programs that the tests of the infrastructure need; what is built is not built again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background takes it away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what we started ends too
    try:
        code = _list(tools or []) if only_list else _build(tools or [], minutes)
    except (GoMustBeInstalledError, ToolMustBeKnownError) as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False)
        raise typer.Exit(USAGE) from None
    except KeyboardInterrupt:
        err.print("interrupted; what is finished stays, and the same command goes on from there", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _list(names: Sequence[str]) -> int:
    toolchain = find_toolchain(os.environ)
    steps = survey(named_families(names), toolchain=toolchain, root=cache_folder(os.environ))
    out.print(table(steps))
    return FAILED if missing(steps) else 0


def _build(names: Sequence[str], minutes: float | None) -> int:
    toolchain = find_toolchain(os.environ)
    root = cache_folder(os.environ)
    wanted = named_families(names)
    outcomes: list[Outcome] = []
    with work_folder(root, tell_waiting=lambda: err.print("another build works in the cache: waiting for it")) as work:
        steps = survey(wanted, toolchain=toolchain, root=root)
        for step in steps:
            if step.is_built:
                link(step)
        with showing(err) as display:
            seconds_max = None if minutes is None else minutes * 60
            for outcome in build(
                missing(steps), work=work, environment=os.environ, display=display, seconds_max=seconds_max
            ):
                outcomes.append(outcome)
                err.print(one_line(outcome), highlight=False, markup=False)
    out.print(table(survey(wanted, toolchain=toolchain, root=root)))
    return _exit_code(outcomes)


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        return FAILED
    return OUT_OF_TIME if any(isinstance(outcome, OutOfTime) for outcome in outcomes) else 0


if __name__ == "__main__":
    typer.run(infra_tools)
