"""`cellwallet replay FILE`: posts a bank's movements and compares every balance with the bank's own."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cellwallet.commands.connection import Connection, TokenOption, UrlOption, connection_to, failures_told
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json
from cellwallet.interrupts import terminated_like_interrupted
from cellwallet.replaying.file import read_file
from cellwallet.replaying.movements import Account, FileMustBeWellFormedError
from cellwallet.replaying.posting import AccountOutcome, Difference
from cellwallet.replaying.report import ReplayReport, summed_up
from cellwallet.replaying.workers import Target, WorkerMustFinishError, post_accounts
from contract.values import value

DIFFERENCES_SHOWN_MAX = 20

app = typer.Typer(add_completion=False)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv[.gz]", exists=True, dir_okay=False, readable=True)],
    *,
    connections: Annotated[
        int, typer.Option(min=1, max=256, help="Accounts at a time, spread over a process per CPU.")
    ] = 48,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Post a bank's movements, compare every balance with the file. Safe to run again: a second run changes nothing."""
    accounts = _read(file)
    connection = connection_to(url=url, token=token, data=data)
    try:
        with failures_told():
            run = _post_all(accounts, connection, connections=connections)
    except WorkerMustFinishError as error:
        fail(f"{error}; run it again to continue")
    report = summed_up(run.outcomes, file=file.name, duration_s=run.duration_s)
    if run.is_interrupted:
        movements = sum(len(account.movements) for account in accounts)
        fail(f"stopped with {report.movements:,} of {movements:,} movements compared; run it again to continue")
    if as_json:
        print_json(report.document())
    else:
        _print(report)
    if not report.is_exact:
        raise typer.Exit(1)


@value
class _Run:
    outcomes: list[AccountOutcome]
    duration_s: float
    is_interrupted: bool


def _read(file: Path) -> list[Account]:
    try:
        accounts = read_file(file)
    except FileMustBeWellFormedError as error:
        fail(f"{file}: {error}")
    if not accounts:
        fail(f"{file}: there is no movement in it")
    return accounts


def _post_all(accounts: list[Account], connection: Connection, *, connections: int) -> _Run:
    outcomes: list[AccountOutcome] = []
    is_interrupted, differences = False, 0
    target = Target(url=connection.url, token=connection.token)
    processes = min(os.cpu_count() or 1, connections)
    began_s = time.perf_counter()
    with _progress() as progress, terminated_like_interrupted():
        bar = progress.add_task("movements", total=sum(len(account.movements) for account in accounts), differences=0)
        try:
            with closing(post_accounts(accounts, target, processes=processes, connections=connections)) as posted:
                for outcome in posted:
                    outcomes.append(outcome)
                    differences += len(outcome.differences)
                    progress.update(bar, advance=outcome.movements, differences=differences)
        except KeyboardInterrupt:
            is_interrupted = True
    return _Run(outcomes=outcomes, duration_s=time.perf_counter() - began_s, is_interrupted=is_interrupted)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[differences]} differences"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err(),
        disable=not err().is_terminal,
    )


def _print(report: ReplayReport) -> None:
    table = Table(title=f"Replay of {report.file}", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("accounts", f"{report.accounts:,}")
    table.add_row("movements", f"{report.movements:,}")
    table.add_row("posted now", f"{report.posted:,}")
    table.add_row("already there", f"{report.already_there:,}")
    table.add_row("differences", f"{len(report.differences):,}", style="bold red" if report.differences else "green")
    table.add_row("duration", f"{report.duration_s:.1f} s")
    table.add_row("rate", f"{report.rate_per_s:,.0f} movements/s")
    print_table(table)
    if report.differences:
        _print_differences(report.differences)
    elif report.changed_nothing:
        out().print(f"changed nothing: all {report.movements:,} movements were already there")
    else:
        out().print("every balance is the bank's, to the last minor unit")


def _print_differences(differences: tuple[Difference, ...]) -> None:
    table = Table("line", "account", "movement", "what", "the file says", "the wallet says")
    for one in differences[:DIFFERENCES_SHOWN_MAX]:
        table.add_row(str(one.line), one.account, one.movement_id or "the last", one.what, one.expected, one.found)
    print_table(table)
    if len(differences) > DIFFERENCES_SHOWN_MAX:
        out().print(f"and {len(differences) - DIFFERENCES_SHOWN_MAX:,} more; --json lists them all")
