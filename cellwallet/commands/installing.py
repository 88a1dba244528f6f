"""`cellwallet cells install`: the processes of a cell, from the values that infra exports, brought to a cluster.

The chart is rendered here, by the program `helm`, which checks the values against the chart's closed schema; the
control plane applies what comes of it, with its own rights.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, print_json
from cellwallet.helm import ChartRefusedError, HelmMustRunError, templated

CHART = Path("helm/cell-app")
INSTALL_TIMEOUT_S = 90.0
"""The control plane reads, tries and applies each object."""

Values = Annotated[
    Path,
    typer.Option(
        "--values", metavar="FILE", help="Values of the chart without the image: `pulumi stack output cell_app_values`."
    ),
]
Image = Annotated[str, typer.Option("--image", metavar="NAME@sha256:...", help="What is to run, by its digest.")]
Chart = Annotated[Path, typer.Option("--chart", metavar="DIR", help="The chart cell-app.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would become of each object, and change nothing.")]


def install(
    *,
    values: Values,
    image: Image,
    chart: Chart = CHART,
    dry_run: DryRun = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Bring the processes of a cell to its cluster, or change all but their version. The same again changes nothing."""
    given = _values(values)
    repository, _, digest = image.partition("@")
    if "image" in given:
        fail(f"{values}: the image must be named by --image alone")
    objects = rendered(chart, {**given, "image": {"repository": repository, "digest": digest}})
    cell = given["cell"]["id"]  # the chart has taken it
    operator = Operator(data, timeout_s=INSTALL_TIMEOUT_S)
    with err().status(f"{cell}: {len(objects)} objects are {'tried' if dry_run else 'applied'}"):
        told = operator.post(f"/v1/cells/{cell}/install", {"objects": objects, "dry_run": dry_run})
    if as_json:
        print_json(told)
        return
    table = Table("object", "name", "would be" if dry_run else "is")
    for one in told["objects"]:
        table.add_row(one["kind"], one["name"], one["change"])
    print_table(table)
    if dry_run:
        err().print("nothing was changed", highlight=False)


def rendered(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """What helm makes of the chart; ends the program with helm's own words where it refuses the values."""
    try:
        import yaml  # noqa: PLC0415 - it comes with an extra that only this verb needs
    except ImportError:
        fail("pip install 'cellwallet[kubernetes]': objects of Kubernetes are read as YAML")
    try:
        text = templated("cell-app", chart, values)
    except (HelmMustRunError, ChartRefusedError) as error:
        fail(str(error))
    return [one for one in yaml.safe_load_all(text) if one]


def _values(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"{file} must hold values as JSON: {error}")
    if not isinstance(given, dict):
        fail(f"{file} must hold values as JSON, and not {type(given).__name__}")
    return given
