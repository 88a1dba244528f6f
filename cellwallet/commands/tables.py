"""Tables of wallets and money: fitted to a terminal, never cut short in a pipe."""

import sys
from datetime import datetime

from rich.table import Table

from cellwallet.commands.terminal import out
from contract.money import amount_text

PIPE_WIDTH = 240
"""Columns where there is no terminal to fit; tables take what they need of it."""


def print_table(table: Table) -> None:
    console = out()
    if not sys.stdout.isatty():
        console.width = PIPE_WIDTH
    console.print(table)


def money_text(amount: int, currency: str) -> str:
    return f"{amount_text(amount, currency)} {currency}"


def instant_text(instant: datetime) -> str:
    """UTC, to the microsecond."""
    return instant.isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
