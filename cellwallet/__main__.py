"""The command `cellwallet`: finds the module of a verb and hands over.

The verbs are listed in `commands/__init__.py`; nothing is done here but finding them.
"""

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from cellwallet.commands import VERBS


class Verbs(TyperGroup):
    """Imports a verb's module when the verb is used, so that no verb pays for another one's libraries."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is Typer's
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    help="A cell-based wallet platform: one router, many self-contained cells.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Makes this a group although its verbs are found later."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
