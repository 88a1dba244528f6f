"""`python -m infra.checking`: what can be said of a stack without touching anything.

`needs FILE` reads a stack's file alone; `policies FILE` reads what Pulumi would do, or has done, from its input:

    pulumi preview --json --stack cell-a | python -m infra.checking policies Pulumi.cell-a.yaml

Exit codes: 0 all holds, 1 refused, 2 usage.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cellwallet.headroom.sound import HeadroomMustBeSoundError
from contract.certificate import CapacityCertificate, CertificateMustBeValidError, certificate_of
from infra.headroom import NodesNeeded, cell_needs, fleet_needs
from infra.planning import stack_of
from infra.policies import violations
from infra.settings import FleetSettings, GroundSettings, SettingsMustBeSoundError, StackSettings, settings_in
from infra.stack_state import StateMustBeKnownError, declared_in

app = typer.Typer(add_completion=False, no_args_is_help=True)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

StackFile = Annotated[Path, typer.Argument(help="The stack's file, Pulumi.NAME.yaml.")]


@app.command()
def needs(file: StackFile) -> None:
    """Tell what the stack needs in each zone (JSON), or what must hold of its settings."""
    settings = _settings(file)
    try:
        told = _needs(settings, file.parent)
    except (HeadroomMustBeSoundError, CertificateMustBeValidError, OSError) as error:
        raise _refused(error) from error
    typer.echo(json.dumps(told, indent=2))


@app.command()
def policies(file: StackFile) -> None:
    """Hold the resources in a preview or an export, read from the input, against the policies."""
    stack = stack_of(_settings(file))
    try:
        resources = declared_in(json.load(sys.stdin))
    except (StateMustBeKnownError, json.JSONDecodeError) as error:
        raise _refused(error) from error
    found = violations(stack, resources)
    for told in found:
        err.print(told)
    err.print(f"{len(resources)} resources held against the policies; broken {len(found)} times")
    raise typer.Exit(1 if found else 0)


def _settings(file: Path) -> StackSettings:
    try:
        return settings_in(file.read_text())
    except (SettingsMustBeSoundError, OSError) as error:
        raise _refused(error) from error


def _needs(settings: StackSettings, folder: Path) -> dict[str, Any]:
    if isinstance(settings, GroundSettings):
        return {"system_nodes_per_zone": 1 + settings.system_nodes.spare}
    certificate = _certificate(folder / settings.capacity.certificate)
    if isinstance(settings, FleetSettings):
        fleet = fleet_needs(settings, certificate)
        return {"routers_per_zone": fleet.routers_per_zone, "nodes_per_zone": _nodes(fleet.nodes)}
    cell = cell_needs(settings, certificate)
    return {"api_per_zone": cell.api_per_zone, "nodes_per_zone": _nodes(cell.nodes)}


def _certificate(file: Path) -> CapacityCertificate:
    return certificate_of(file.read_bytes())


def _nodes(needed: NodesNeeded | None) -> dict[str, int] | None:
    return None if needed is None else {"app": needed.app, "postgres": needed.database}


def _refused(error: Exception) -> typer.Exit:
    err.print(str(error))
    return typer.Exit(1)


if __name__ == "__main__":
    app()
