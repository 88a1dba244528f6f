"""`cellwallet headroom`: how many cells, pods and nodes a demand takes, and what each loss would do."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import AsJson, err, fail, print_json
from cellwallet.headroom.cells import CellMargins, Outlook
from cellwallet.headroom.fleet import FleetPlan, Sizes, Wanted, plan_fleet
from cellwallet.headroom.picture import draw
from cellwallet.headroom.sound import HeadroomMustBeSoundError
from cellwallet.headroom.tier import utilisation_ceiling
from cellwallet.plots import PlotsMustBeInstalledError
from contract.certificate import CapacityCertificate, CertificateMustBeValidError, certificate_of

app = typer.Typer(add_completion=False)

LIMIT_ASSUMED_PER_S = 1_000.0
ROUTER_ASSUMED_PER_S = 3_000.0

ProcessLimitOption = Annotated[
    float | None, typer.Option(help="c: safe rate of an API process. [the limit by its processes]")
]
RouterLimitOption = Annotated[
    float | None, typer.Option(help="c: safe rate of a router process. [measured; else 3,000]")
]


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(",")) if text else ()
    except ValueError as error:
        raise typer.BadParameter("shares are numbers with commas between them: 0.5,0.3,0.2") from error


@app.command()
def headroom(
    *,
    tps: Annotated[float, typer.Option("--tps", help="Λ: commands per second of the whole fleet.")],
    zones: Annotated[int, typer.Option(help="N: zones, of which any one may go.")] = 3,
    zone_shares: Annotated[
        str, typer.Option(metavar="S,S,...", help="Share of each zone, when traffic stays in its zone.")
    ] = "",
    certificate: Annotated[Path | None, typer.Option(help="A cell's capacity certificate (JSON).")] = None,
    limit: Annotated[float | None, typer.Option(help="L: a cell's limit per second, without a certificate.")] = None,
    degraded_loss: Annotated[float | None, typer.Option(help="δ: share lost with a zone gone. [0.1]")] = None,
    moves_loss: Annotated[float | None, typer.Option(help="m: share lost to two concurrent moves. [0.05]")] = None,
    failover: Annotated[float | None, typer.Option(help="F: seconds until a standby writes. [30]")] = None,
    returning: Annotated[float, typer.Option(help="ρ: share that comes again after a failover.")] = 0.6,
    drain: Annotated[float, typer.Option(help="D: seconds in which it must be worked off.")] = 300.0,
    spread: Annotated[float, typer.Option(help="v: the busiest cell over the mean.")] = 0.15,
    growth: Annotated[float, typer.Option(help="g: growth per day; 0.01 = 1 %.")] = 0.01,
    lead_days: Annotated[float, typer.Option(help="T: days until new capacity is there.")] = 7.0,
    spare_cells: Annotated[int, typer.Option(help="S: cells that stay empty.")] = 1,
    process_limit: ProcessLimitOption = None,
    router_limit: RouterLimitOption = None,
    utilisation: Annotated[float, typer.Option(help="u: target utilisation with a zone gone.")] = 0.8,
    missing: Annotated[int, typer.Option(help="p: pods per zone that may be missing as well.")] = 1,
    node_cores: Annotated[float, typer.Option(help="Cores of a node that pods may have.")] = 8.0,
    process_cores: Annotated[float, typer.Option(help="Cores of an API or router pod.")] = 1.0,
    database_cores: Annotated[float, typer.Option(help="Cores of a PostgreSQL instance, standbys alike.")] = 2.0,
    picture: Annotated[Path | None, typer.Option("--out", metavar="PNG", help="Draw it into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a fleet for a demand: cells, pods per zone, nodes, and what each loss does."""
    measured = _measured(certificate, limit)
    try:
        margins = CellMargins(
            limit_per_s=_first(limit, measured.limit_per_s if measured else None, LIMIT_ASSUMED_PER_S),
            degraded_loss=_first(degraded_loss, measured.degraded_loss if measured else None, 0.10),
            moves_loss=_first(moves_loss, measured.moves_loss if measured else None, 0.05),
            failover_s=_first(failover, measured.failover_s if measured else None, 30.0),
            returning_share=returning,
            drain_s=drain,
        )
        plan = plan_fleet(
            Wanted(
                demand_per_s=tps,
                margins=margins,
                outlook=Outlook(spread=spread, growth_per_day=growth, lead_days=lead_days),
                api_process_per_s=_first(process_limit, None, margins.limit_per_s / _processes(measured)),
                router_process_per_s=_first(router_limit, _router_per_s(measured), ROUTER_ASSUMED_PER_S),
                zones=zones,
                shares=_shares(zone_shares),
                utilisation=utilisation,
                missing=missing,
                spare_cells=spare_cells,
                sizes=Sizes(process_cores=process_cores, database_cores=database_cores, node_cores=node_cores),
            )
        )
    except HeadroomMustBeSoundError as error:
        raise typer.BadParameter(str(error)) from error
    given = {"degraded_loss": degraded_loss, "moves_loss": moves_loss, "failover_s": failover}
    assumed = [] if measured is None else [name for name, one in given.items() if _is_assumed(measured, name, one)]
    _tell(plan, assumed, is_assumed=measured is None and limit is None, as_json=as_json)
    _draw(plan, picture)


def _measured(certificate: Path | None, limit: float | None) -> CapacityCertificate | None:
    if certificate is not None and limit is not None:
        raise typer.BadParameter("give --certificate or --limit, not both")
    return None if certificate is None else _read(certificate)


def _is_assumed(measured: CapacityCertificate, name: str, given: float | None) -> bool:
    """Nobody gave it, and the certificate does not have it from a measurement."""
    return given is None and (getattr(measured, name) is None or name in measured.assumed)


def _processes(measured: CapacityCertificate | None) -> int:
    return measured.topology.api_processes if measured else 1


def _router_per_s(measured: CapacityCertificate | None) -> float | None:
    return measured.router_limit_per_s() if measured else None


def _first(given: float | None, measured: float | None, otherwise: float) -> float:
    return given if given is not None else measured if measured is not None else otherwise


def _read(file: Path) -> CapacityCertificate:
    try:
        certificate = certificate_of(file.read_bytes())
    except (OSError, CertificateMustBeValidError) as error:
        fail(f"{file}: {error}")
    if certificate.subject.kind != "cell":
        fail(f"{file} certifies a {certificate.subject.kind}; a cell's certificate is needed")
    return certificate


def _tell(plan: FleetPlan, assumed: list[str], *, is_assumed: bool, as_json: bool) -> None:
    if is_assumed:
        note = f"a cell's limit of {LIMIT_ASSUMED_PER_S:,.0f}/s is assumed: give --certificate or --limit"
        err().print(note, style="yellow", highlight=False)
    if assumed:
        told = ", ".join(f"{name} = {getattr(plan.wanted.margins, name):g}" for name in assumed)
        err().print(f"not measured by the certificate, so assumed: {told}", style="yellow", highlight=False)
    if as_json:
        print_json({**plan.document(), "limit_is_assumed": is_assumed, "assumed": assumed})
        return
    print_table(_parts(plan))
    print_table(_losses(plan))


def _parts(plan: FleetPlan) -> Table:
    table = Table("what", title=f"{plan.wanted.demand_per_s:,.0f} commands/s in {plan.wanted.zones} zones")
    table.add_column("how many", justify="right")
    table.add_column("why")
    margins, zones = plan.wanted.margins, plan.wanted.zones
    table.add_row(
        "cells",
        str(plan.cells),
        f"{plan.cells_in_use} at up to {plan.placed_per_s:,.0f}/s each (carry {margins.carried_per_s:,.0f}/s, "
        f"certified {margins.limit_per_s:,.0f}/s), {plan.wanted.spare_cells} empty",
    )
    ceiling = utilisation_ceiling(zones) * plan.wanted.utilisation
    for name, count, tier in (
        ("API pods of a cell, per zone", plan.api.processes_per_zone, plan.api),
        ("router pods, per zone", plan.routers.processes_per_zone, plan.routers),
    ):
        why = f"{tier.demand_per_s:,.0f}/s at {tier.process_per_s:,.0f}/s each"
        busy = f"{tier.everyday_share:.0%} busy every day (ceiling {ceiling:.0%})"
        table.add_row(name, str(count), f"{why}; {busy}")
    table.add_row("PostgreSQL instances, per zone", str(plan.databases_per_zone), "standbys have the primary's CPU")
    nodes = f"{plan.nodes_per_zone * zones} in all; {plan.wanted.sizes.missing_nodes} per zone may be missing"
    table.add_row("nodes, per zone", str(plan.nodes_per_zone), nodes)
    return table


def _losses(plan: FleetPlan) -> Table:
    table = Table("loss of", "does")
    for loss in plan.losses:
        table.add_row(loss.what, loss.effect)
    return table


def _draw(plan: FleetPlan, file: Path | None) -> None:
    if file is None:
        return
    try:
        draw(plan, file)
    except (PlotsMustBeInstalledError, OSError) as error:
        fail(str(error))
    err().print(f"written: {file}", highlight=False)
