"""`cellwallet version`."""

from importlib.metadata import PackageNotFoundError, version

import typer

from cellwallet.commands.terminal import AsJson, print_json

app = typer.Typer(add_completion=False)


@app.command()
def show(*, as_json: AsJson = False) -> None:
    """Print the version of the platform."""
    number = software_version()
    if as_json:
        print_json({"version": number})
    else:
        typer.echo(f"cellwallet {number}")


def software_version() -> str:
    try:
        return version("cellwallet")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"
