"""`cellwallet loadtest certify|steady|peak`: what a cell carries, measured on this machine and on 127.0.0.1 only.

Speaks and writes files; the measuring is loadtests/certification. Nothing of a certificate is written before all of it
is there.
"""

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import AsJson, err, fail, print_json
from cellwallet.interrupts import terminated_like_interrupted
from cellwallet.local.keys import KeysMustExistError
from cellwallet.local.postgres import PostgresMustStartError
from cellwallet.local.stack import StackMustExistError, read_stack
from cellwallet.plots import PlotsMustBeInstalledError, require
from contract.certificate import CapacityCertificate, CertificateMustBeValidError, Objective, certificate_of
from contract.ids import CELL_PATTERN
from loadtests.cell_under_test import CellMustStartError
from loadtests.certification.measure import CertificateMustBeEarnedError, Certifier, Measured, Plan, Tell
from loadtests.certification.page import notes_of, page_of, rows_of
from loadtests.certification.pictures import draw_histogram, draw_latency, draw_limits
from loadtests.certification.site import Site, SiteMustBeUsableError, control_plane_of, own_cell, stack_cell
from loadtests.certification.steady import LoadShape, ShapeMustBeWholeError, apply, shape_of
from loadtests.generator import SendersMustReturnError, generator

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What a cell carries: measured, certified.")

CERTIFICATE, PAGE = "certificate.json", "README.md"
LIMITS, LATENCY, HISTOGRAM = "limits.png", "latency.png", "histogram.png"
SECONDS_MAX, WALLETS_MAX, PROCESSES_MAX = 600.0, 1_000_000, 64
OTHER_STAGES = 3
"""Besides the rounds: opening wallets, looking where to begin, checking."""
PARTS_IN_ROUNDS = 4
"""Both topologies and both routers, at most."""
WARM_UP_MAX_S = 2.0
BUFFERS_MB, QUICK_BUFFERS_MB = 1_024, 128

_FAILURES = (
    CertificateMustBeEarnedError,
    SiteMustBeUsableError,
    StackMustExistError,
    KeysMustExistError,
    CellMustStartError,
    PostgresMustStartError,
    SendersMustReturnError,
    CertificateMustBeValidError,
    PlotsMustBeInstalledError,
    OSError,
)

StackOption = Annotated[
    Path | None,
    typer.Option("--stack", metavar="DATA", help="Measure a cell of the platform that runs with this data."),
]
CellOption = Annotated[str, typer.Option("--cell", metavar="ID", help="The cell; without --stack, whom it stands for.")]
ProcessesOption = Annotated[
    int, typer.Option("--api-processes", min=1, max=PROCESSES_MAX, help="Of a cell of its own.")
]
LanesOption = Annotated[int, typer.Option("--lanes", min=1, max=PROCESSES_MAX, help="CELL_LANES of each process.")]
SendersOption = Annotated[int, typer.Option("--senders", min=1, max=16, help="Processes of the load generator.")]
WalletsOption = Annotated[int | None, typer.Option("--wallets", min=1, max=WALLETS_MAX, help="[20,000; quick: 500]")]


@app.command()
def certify(
    *,
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where certificate and pictures go.")],
    stack: StackOption = None,
    cell: CellOption = "cell-1",
    upload: Annotated[bool, typer.Option("--upload", help="Put it to the control plane of --stack.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One short round: to see that it works.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="No certificate from a busy machine.")] = False,
    noise_max: Annotated[float, typer.Option(min=0, help="Cores that others may keep busy.")] = 0.3,
    p99_ms: Annotated[float, typer.Option(min=0.1, max=60_000, help="Bound of p99 at a rate that counts.")] = 50.0,
    error_share: Annotated[float, typer.Option(min=0, max=0.99, help="Of requests that may fail.")] = 0.001,
    late_share: Annotated[float, typer.Option(min=0, max=0.99, help="Of requests that may leave late.")] = 0.05,
    rounds: Annotated[int | None, typer.Option(min=1, max=4, help="Of each topology. [3; quick: 1]")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.2, max=SECONDS_MAX, help="Of a step. [10; quick: 1]")] = None,
    wallets: WalletsOption = None,
    api_processes: ProcessesOption = 2,
    lanes: LanesOption = 2,
    senders: SendersOption = 1,
    pictures: Annotated[bool, typer.Option(help="Draw limits, latency over rate, and the histogram.")] = True,
    as_json: AsJson = False,
) -> None:
    """Find the highest rate at which a cell keeps its promises: whole, through each router, and degraded.

    Writes its certificate, which tells what was not measured, and pictures of it.
    """
    if upload and stack is None:
        raise typer.BadParameter("--upload puts the certificate to the control plane of --stack DATA")
    step_s = seconds or (1.0 if quick else 10.0)
    plan = Plan(
        objective=Objective(p99_ms_max=p99_ms, error_share_max=error_share, late_share_max=late_share),
        rounds=rounds or (1 if quick else 3),
        step_s=step_s,
        warm_up_s=0.3 if quick else min(WARM_UP_MAX_S, step_s / 5),
        tries=4 if quick else 10,
        precision=0.2 if quick else 0.05,
        wallets=wallets or (500 if quick else 20_000),
        noise_max_cores=noise_max,
        is_strict=strict,
        is_quick=quick,
    )
    buffers_mb = QUICK_BUFFERS_MB if quick else BUFFERS_MB
    with _failures_told(), _telling(stages=OTHER_STAGES + PARTS_IN_ROUNDS * plan.rounds, is_silent=as_json) as tell:
        if pictures:
            require()
        site_of = _site(stack, cell, processes=api_processes, lanes=lanes, buffers_mb=buffers_mb)
        with site_of as site, generator(senders) as load:
            measured = Certifier(site, load, plan, tell).certify()
        files = _write(measured, out_folder, with_pictures=pictures)
        if upload and stack is not None:
            _upload(measured.certificate, stack)
    _show(measured.certificate, files, as_json=as_json)


@app.command()
def steady(
    *,
    rate: Annotated[float, typer.Option(min=1, max=1_000_000, help="Commands per second, in an open loop.")],
    seconds: Annotated[float, typer.Option(min=0.2, max=SECONDS_MAX, help="For so long.")] = 10.0,
    stack: StackOption = None,
    cell: CellOption = "cell-1",
    wallets: WalletsOption = None,
    api_processes: ProcessesOption = 2,
    lanes: LanesOption = 2,
    senders: SendersOption = 1,
    as_json: AsJson = False,
) -> None:
    """Load a cell at a constant rate and tell what came back."""
    _apply(((rate, seconds),), stack, cell, wallets or 500, (api_processes, lanes, senders), as_json=as_json)


@app.command()
def peak(
    *,
    shape: Annotated[str, typer.Option(metavar="RATE:SECONDS,...", help="What is offered, one after the other.")],
    stack: StackOption = None,
    cell: CellOption = "cell-1",
    wallets: WalletsOption = None,
    api_processes: ProcessesOption = 2,
    lanes: LanesOption = 2,
    senders: SendersOption = 1,
    as_json: AsJson = False,
) -> None:
    """Load a cell with a rate that rises and falls: 200:5,600:10,200:5."""
    try:
        wanted = shape_of(shape)
    except ShapeMustBeWholeError as error:
        raise typer.BadParameter(str(error)) from error
    _apply(wanted, stack, cell, wallets or 500, (api_processes, lanes, senders), as_json=as_json)


def _apply(
    shape: LoadShape, stack: Path | None, cell: str, wallets: int, sizes: tuple[int, int, int], *, as_json: bool
) -> None:
    processes, lanes, senders = sizes
    with _failures_told(), _telling(stages=len(shape), is_silent=as_json) as tell:
        site_of = _site(stack, cell, processes=processes, lanes=lanes, buffers_mb=QUICK_BUFFERS_MB)
        with site_of as site, generator(senders) as load:
            rows = apply(site, load, shape, wallets=wallets, tell=tell)
    if as_json:
        print_json({"cell": cell, "stretches": rows})
    else:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*map(str, row.values()))
        print_table(table)


def _site(
    stack: Path | None, cell: str, *, processes: int, lanes: int, buffers_mb: int
) -> AbstractContextManager[Site]:
    if not re.fullmatch(CELL_PATTERN, cell):
        raise typer.BadParameter(f"{cell!r} is no name of a cell")
    if stack is not None:
        return stack_cell(stack, cell)
    return own_cell(cell, processes=processes, lanes=lanes, shared_buffers_mb=buffers_mb)


@contextmanager
def _failures_told() -> Iterator[None]:
    """An interrupt, by hand or by a supervisor, ends everything that was started and leaves nothing half done."""
    try:
        with terminated_like_interrupted():
            yield
    except _FAILURES as error:
        fail(str(error))
    except httpx.TransportError as error:
        fail(f"the control plane does not answer ({error})")
    except KeyboardInterrupt:
        fail("interrupted: nothing was written")


@contextmanager
def _telling(*, stages: int, is_silent: bool) -> Iterator[Tell]:
    """A line per step, and on a terminal a bar of the stages; what belongs to a stage is indented."""
    console = err()
    columns = (
        *(SpinnerColumn(), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("{task.description}")),
    )
    with Progress(*columns, console=console, refresh_per_second=1, transient=True) as progress:
        task = progress.add_task("starting", total=stages)

        def tell(what: str) -> None:
            is_stage = not what.startswith((" ", "warning"))
            progress.update(task, description=what.strip(), advance=int(is_stage))
            if not is_silent or what.startswith("warning"):
                console.print(what, highlight=False, markup=False)

        yield tell


def _write(measured: Measured, folder: Path, *, with_pictures: bool) -> list[Path]:
    """Everything is made apart from its place and moved there, the certificate last; no interrupt comes in between."""
    certificate = certificate_of(measured.certificate.text().encode())
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        names = [LIMITS, LATENCY, HISTOGRAM] if with_pictures else []
        if with_pictures:
            draw_limits(certificate, draft / LIMITS)
            draw_latency(certificate, draft / LATENCY)
            draw_histogram(measured.latencies, draft / HISTOGRAM)
        (draft / PAGE).write_text(page_of(certificate, pictures=names))
        (draft / CERTIFICATE).write_text(certificate.text())
        with _uninterrupted():
            folder.mkdir(exist_ok=True)
            for stale in {LIMITS, LATENCY, HISTOGRAM} - set(names):
                (folder / stale).unlink(missing_ok=True)
            return [(draft / name).rename(folder / name) for name in (*names, PAGE, CERTIFICATE)]
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _upload(certificate: CapacityCertificate, data: Path) -> None:
    with control_plane_of(read_stack(data)) as control_plane:
        path = f"/v1/cells/{certificate.subject.id}/capacity"
        answer = control_plane.put(path, json=json.loads(certificate.model_dump_json()))
    if not answer.is_success:
        document: dict[str, Any] = answer.json()
        fail(f"the certificate is written, but not in force: {document.get('reason')}: {document.get('detail')}")
    err().print(f"in force: {certificate.subject.id} holds itself to {certificate.limit_per_s:,.0f}/s", highlight=False)


def _show(certificate: CapacityCertificate, files: list[Path], *, as_json: bool) -> None:
    if as_json:
        print_json(certificate.model_dump(mode="json") | {"files": [str(file) for file in files]})
        return
    table = Table("what", "measured")
    for row in rows_of(certificate):
        table.add_row(*row)
    print_table(table)
    for note in notes_of(certificate):
        err().print(note, style="yellow", highlight=False)
    for file in files:
        err().print(f"written: {file}", highlight=False)
