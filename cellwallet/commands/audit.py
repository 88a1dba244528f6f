"""`cellwallet audit`: every cell audits itself, then the fleet is checked as a whole."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cellwallet.auditing.fleet import (
    CellAudit,
    ClosedCell,
    Finding,
    FleetTotal,
    UnitFaults,
    active_units,
    cell_findings,
    findings_of,
    fleet_totals,
    in_transit_findings,
    lasting,
    migrated_findings,
    totals_findings,
    unit_faults,
)
from cellwallet.auditing.questions import Fleet, Unreachable
from cellwallet.commands.tables import money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json
from cellwallet.local.stack import StackMustExistError, read_stack
from contract.directory import DirectoryDocument
from contract.fleet import CellUnits
from contract.values import value

LOOKS_MAX = 3
"""A move that finishes during a look may show a unit twice or nowhere; what is wrong is wrong in every look."""
LOOK_AGAIN_S = 0.5

T = TypeVar("T")

app = typer.Typer(add_completion=False)


@value
class _Ownership:
    units: list[CellUnits]
    directory: DirectoryDocument | None
    findings: list[Finding]


@app.command()
def audit(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Fold every log again and recompute every hash, not only sums and ends.")
    ] = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Audit every cell and the fleet as a whole; exit code 1 if anything is found."""
    try:
        stack = read_stack(data)
    except StackMustExistError as error:
        fail(str(error))
    fleet = Fleet(
        admin_urls={cell.id: cell.admin_url for cell in stack.cells},
        control_plane_url=stack.control_plane_url,
        token=stack.tokens.operator,
    )
    try:
        audits, unreachable = _audits(fleet, cells=len(stack.cells), full=full)
        ownership = _ownership(fleet)
        closed = fleet.closed_cells()
        in_transit = [] if unreachable or closed is None else _in_transit(fleet, audits, closed)
    finally:
        fleet.close()
    money = _money_findings(audits, closed, ownership.directory)
    findings = [*unreachable, *money, *in_transit, *ownership.findings]
    totals = fleet_totals([*audits, *(closed or ())])
    if as_json:
        print_json(_document(audits, totals, ownership, findings))
    else:
        _print(audits, totals, ownership, findings)
        _print_closed(closed or ())
    if findings:
        raise typer.Exit(1)


def _audits(fleet: Fleet, *, cells: int, full: bool) -> tuple[list[CellAudit], list[Finding]]:
    audits: list[CellAudit] = []
    unreachable: list[Finding] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err(), disable=not err().is_terminal, transient=True) as progress:
        waiting = progress.add_task(f"{cells} cells audit themselves", total=cells)
        for answer in fleet.audits(full=full):
            progress.update(waiting, advance=1)
            match answer:
                case CellAudit():
                    audits.append(answer)
                case Unreachable():
                    unreachable.append(_unreachable_finding(answer))
    return sorted(audits, key=lambda one: one.cell), unreachable


def _unreachable_finding(silent: Unreachable) -> Finding:
    return Finding(check="reachable", cell=silent.cell, subject="cell", expected="an answer", found=silent.detail)


def _ownership(fleet: Fleet) -> _Ownership:
    """What is wrong with a unit in every one of several looks; a whole fleet needs one."""
    faults: UnitFaults | None = None
    for look in range(LOOKS_MAX):
        if look:
            time.sleep(LOOK_AGAIN_S)
        answers = list(fleet.units())
        units = [answer for answer in answers if isinstance(answer, CellUnits)]
        silent = frozenset(answer.cell for answer in answers if isinstance(answer, Unreachable))
        directory = fleet.directory()
        seen = unit_faults(units, directory, silent_cells=silent)
        faults = seen if faults is None else lasting(faults, seen)
        if not faults:
            break
    return _Ownership(units=units, directory=directory, findings=findings_of(faults or {}))


def _in_transit(fleet: Fleet, audits: list[CellAudit], closed: list[ClosedCell]) -> list[Finding]:
    """What is between cells without being on its way, in every one of several looks."""
    findings = in_transit_findings([*audits, *closed])
    for _ in range(1, LOOKS_MAX):
        if not findings:
            break
        time.sleep(LOOK_AGAIN_S)
        answers = list(fleet.audits(full=False))
        seen = [answer for answer in answers if isinstance(answer, CellAudit)]
        if len(seen) == len(answers):
            findings = in_transit_findings([*seen, *closed])
    return findings


def _money_findings(
    audits: list[CellAudit], closed: list[ClosedCell] | None, directory: DirectoryDocument | None
) -> Iterator[Finding]:
    for one in audits:
        yield from cell_findings(one)
    yield from totals_findings(audits)
    if closed is not None and directory is not None and not directory.moving:
        yield from migrated_findings([*audits, *closed])


def _document(
    audits: list[CellAudit], totals: list[FleetTotal], ownership: _Ownership, findings: list[Finding]
) -> dict[str, Any]:
    return {
        "clean": not findings,
        "cells": [one.model_dump(mode="json") for one in audits],
        "totals": {
            total.currency: {"wallets": total.wallets, "accounts": total.accounts, "total": total.total}
            for total in totals
        },
        "directory_version": None if ownership.directory is None else ownership.directory.version,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def _print(audits: list[CellAudit], totals: list[FleetTotal], ownership: _Ownership, findings: list[Finding]) -> None:
    print_table(_cell_table(audits, ownership.units))
    print_table(_totals_table(totals))
    if ownership.directory is None:
        out().print(
            "the control plane does not answer: ownership is checked among the cells, not against the directory, "
            "and money between cells is not, for it may have been a retired cell's"
        )
    else:
        out().print(f"directory: version {ownership.directory.version}", highlight=False)
    if not findings:
        out().print("[green]clean[/]: every invariant holds, every unit has one owner, all money sums to zero")
        return
    print_table(_findings_table(findings))
    out().print(f"[bold red]{len(findings)} finding{'s' if len(findings) > 1 else ''}[/]")


def _print_closed(closed: Iterable[ClosedCell]) -> None:
    names = [one.cell for one in closed]
    if names:
        out().print(f"with the accounts at their end of the retired {', '.join(names)}", highlight=False)


def _cell_table(audits: Iterable[CellAudit], units: Iterable[CellUnits]) -> Table:
    owned = {cell.cell: active_units(cell) for cell in units}
    table = Table("cell", "verdict")
    for column in ("units", "wallets", "entries", "findings", "seconds"):
        table.add_column(column, justify="right")
    for one in audits:
        table.add_row(
            one.cell,
            "[green]clean[/]" if one.clean else "[bold red]not clean[/]",
            f"{owned.get(one.cell, 0):,}",
            f"{one.checked.get('wallets', 0):,}",
            f"{one.checked['entries']:,}" if "entries" in one.checked else "-",
            f"{len(one.findings):,}",
            f"{one.duration_s:.2f}",
        )
    return table


def _totals_table(totals: Iterable[FleetTotal]) -> Table:
    table = Table("currency")
    for column in ("in wallets", "in system accounts", "sum"):
        table.add_column(column, justify="right")
    for total in totals:
        figures = (total.wallets, total.accounts, total.total)
        table.add_row(total.currency, *(money_text(figure, total.currency) for figure in figures))
    return table


def _findings_table(findings: Iterable[Finding]) -> Table:
    table = Table("check", "cell", "about", "expected", "found")
    for finding in findings:
        table.add_row(finding.check, finding.cell or "fleet", finding.subject, finding.expected, finding.found)
    return table
