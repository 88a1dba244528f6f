"""How every verb speaks: results on stdout, everything else on stderr, exit codes 0 (done),
1 (refused or failed) and 2 (usage).

Holds the options that verbs share. Knows no verb.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
"""The `--json` option of every verb."""

DATA_DEFAULT = Path(".data")
DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="CELLWALLET_DATA",
        help="Folder of the platform's data: databases, keys, logs, stack.json.",
    ),
]
"""The `--data` option of every verb that works with the platform on this machine; its default is `DATA_DEFAULT`."""


def out() -> Console:
    """For results: tables on a terminal, plain and unwrapped text in a pipe."""
    return Console(soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """For progress, notes and errors."""
    return Console(stderr=True, soft_wrap=not sys.stderr.isatty())


def print_json(document: Any) -> None:
    """Exactly the document, for machines: no colours, no wrapping."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def fail(message: str) -> NoReturn:
    """Refused or failed: one message on stderr, exit code 1."""
    err().print(f"[bold red]error:[/] {_plain(message)}", highlight=False)
    raise typer.Exit(1)


def write_file(file: Path, content: bytes) -> None:
    """What the user asked to have in a file; ends the program if it cannot be written there."""
    try:
        file.write_bytes(content)
    except OSError as error:
        fail(str(error))


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
