"""`cellwallet up`: the whole platform on this machine, in the foreground or, with `--detach`, in the background."""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

import typer

from cellwallet.commands.progress import telling
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json
from cellwallet.local.app import Event, Options, Platform, Tell
from cellwallet.local.folder import FolderMustBeFreeError
from cellwallet.local.haproxy import HaproxyMustBeInstalledError, haproxy_program
from cellwallet.local.identity import leashed
from cellwallet.local.launch import PLATFORM, PlatformMustStartError, launch, reporter
from cellwallet.local.pair_file import PairFileBrokenError
from cellwallet.local.ports import PortMustBeFreeError
from cellwallet.local.programs import module_command, our_code
from cellwallet.local.stack import Stack, read_stack
from cellwallet.local.supervisor import PartMustStartError

app = typer.Typer(add_completion=False)

WHY_IT_CANNOT_START = (
    FolderMustBeFreeError,
    HaproxyMustBeInstalledError,
    PairFileBrokenError,
    PartMustStartError,
    PlatformMustStartError,
    PortMustBeFreeError,
    OSError,
)


DEMO_END_S = 3.0
"""How long the platform waits for its demo before it stops."""


class RouterKind(StrEnum):
    PYTHON = "python"
    HAPROXY = "haproxy"


@app.command()
def up(
    *,
    cells: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Cells; later starts may add some.", show_default="3, or as many as there are"
        ),
    ] = None,
    data: DataFolder = DATA_DEFAULT,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the router; another one when it is taken, or for 0.")
    ] = 8080,
    detach: Annotated[bool, typer.Option("--detach", help="Return when ready, and leave it running.")] = False,
    router: Annotated[
        RouterKind, typer.Option(help="Who serves vendors: the router itself, or a HAProxy that it keeps in step.")
    ] = RouterKind.PYTHON,
    api_processes: Annotated[int, typer.Option(min=1, max=64, help="API processes per cell.")] = 2,
    shared_buffers_mb: Annotated[int, typer.Option(min=16, help="Cache of each PostgreSQL, in MB.")] = 256,
    standbys: Annotated[
        bool | None,
        typer.Option(
            "--standbys/--no-standbys",
            help="A second PostgreSQL for each cell, which commits wait for and which takes over.",
            show_default="as it was; none at first",
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Play a vendor's day when ready.")] = False,
    as_json: AsJson = False,
    report_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the platform: router, control plane, cells, and a PostgreSQL for each. Everything is on 127.0.0.1.

    The same data folder continues where it stopped. Ctrl-C stops in order; a second one at once.
    """
    try:
        options = Options(
            data=data.resolve(),
            cells=cells,
            router_port=port or None,
            api_processes=api_processes,
            shared_buffers_mb=shared_buffers_mb,
            haproxy=haproxy_program() if router is RouterKind.HAPROXY else None,
            standbys=standbys,
        )
        if detach:
            _run_detached(options, as_json=as_json)
            if demo:
                _wait_for(_start_demo(options))
        else:
            _run_attached(options, as_json=as_json, demo=demo, report_fd=report_fd)
    except WHY_IT_CANNOT_START as error:
        _report_failure(error, report_fd)
        fail(str(error))


def _run_detached(options: Options, *, as_json: bool) -> None:
    arguments = [
        *("--data", str(options.data)),
        *("--port", str(options.router_port or 0)),
        *("--api-processes", str(options.api_processes)),
        *("--shared-buffers-mb", str(options.shared_buffers_mb)),
        *(("--router", RouterKind.HAPROXY.value) if options.haproxy is not None else ()),
        *(("--cells", str(options.cells)) if options.cells is not None else ()),
        *(() if options.standbys is None else ("--standbys" if options.standbys else "--no-standbys",)),
    ]
    with telling() as tell:
        launch(arguments, data=options.data, tell=tell)
    _show(options, as_json=as_json, how_to_end=f"cellwallet down --data {options.data}")


def _run_attached(options: Options, *, as_json: bool, demo: bool, report_fd: int | None) -> None:
    demos: list[subprocess.Popen[bytes]] = []
    with telling() as told_here:
        report = reporter(report_fd) if report_fd is not None else None

        def tell(event: Event) -> None:
            told_here(event)
            if report is not None:
                report(event)
            elif event.name == PLATFORM and event.state == "ready":
                _show(options, as_json=as_json, how_to_end="Ctrl-C")
                demos.extend([_start_demo(options)] if demo else [])
            elif event.name == PLATFORM and event.state == "stopping":
                _end(demos)

        was_ready = asyncio.run(_run(options, tell))
    for started in demos:
        started.terminate()
        started.wait()
    if not was_ready:
        fail("stopped before it was ready")


def _start_demo(options: Options) -> subprocess.Popen[bytes]:
    """Next to the platform, which must keep watching its parts meanwhile."""
    command = leashed(
        list(module_command("cellwallet", "demo", "--data", str(options.data))), parent_signal=signal.SIGTERM
    )
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **our_code()})  # noqa: S603 - ourselves


def _end(demos: list[subprocess.Popen[bytes]]) -> None:
    """While there still is a platform from which a day can take back its webhook and its limit."""
    for started in demos:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(DEMO_END_S)


def _wait_for(demo: subprocess.Popen[bytes]) -> None:
    if demo.wait() != 0:
        raise typer.Exit(1)


async def _run(options: Options, tell: Tell) -> bool:
    return await Platform(options, tell).run()


def _report_failure(error: BaseException, report_fd: int | None) -> None:
    if report_fd is not None:
        reporter(report_fd)(Event(name=PLATFORM, state="failed", elapsed_s=0.0, detail=str(error)))
        os.close(report_fd)


def _show(options: Options, *, as_json: bool, how_to_end: str) -> None:
    stack = read_stack(options.data)
    if as_json:
        print_json(stack.model_dump(mode="json"))
        return
    for name, text in _facts(stack, how_to_end):
        out().print(f"  {name:<14} {text}", highlight=False, markup=False)
    if options.router_port is not None and not stack.router_url.endswith(f":{options.router_port}"):
        err().print(f"port {options.router_port} is taken: the router listens on another one", style="yellow")


def _facts(stack: Stack, how_to_end: str) -> list[tuple[str, str]]:
    cells = ", ".join(f"{cell.id} (zone {cell.home_zone}, {len(cell.api)} API processes)" for cell in stack.cells)
    return [
        ("router", f"{stack.router_url}   API description: {stack.router_url}/docs"),
        ("control plane", stack.control_plane_url),
        ("console", stack.console_url),
        ("cells", cells),
        ("tokens", f"in {stack.data}/stack.json, or `cellwallet tokens issue`"),
        ("to end it", how_to_end),
    ]
