"""`cellwallet demo`: a vendor's day through the router, with what to try next."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import typer
import uuid_utils
from rich.markup import escape
from rich.table import Table

from cellwallet.client import Client, Retries
from cellwallet.commands.connection import Connection, TokenOption, UrlOption, connection_to, failures_told
from cellwallet.commands.tables import money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, fail, out, print_json
from cellwallet.demo.day import Totals, VendorDay
from cellwallet.demo.operations import Operations
from cellwallet.demo.stage import CURRENCY, DayMustGoAsToldError, Scene
from cellwallet.interrupts import terminated_like_interrupted
from cellwallet.local.stack import Stack, StackMustExistError, read_stack

BRIEF = Retries(attempts_max=3, deadline_s=3.0)
"""For what is taken back at the end: Ctrl-C must not wait for a platform that ends as well."""
BANK_FILE = Path("../shared/data/bank_1993_1994.csv.gz")

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    *, url: UrlOption = None, token: TokenOption = None, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False
) -> None:
    """Play a vendor's day: money in, out, held and passed on over cells; refusals, retries, limits, events, proofs."""
    connection = connection_to(url=url, token=token, data=data)
    stack = _stack_of(connection, data)
    began_s = time.perf_counter()
    with (
        failures_told(),
        terminated_like_interrupted(),
        ExitStack() as held,
        Client(connection.url, connection.token) as client,
    ):
        operations = None if stack is None else held.enter_context(closing(Operations(stack)))
        brief = held.enter_context(Client(connection.url, connection.token, retries=BRIEF))
        run = uuid_utils.uuid7().hex[-12:]
        day = VendorDay(client, brief=brief, url=connection.url, run=run, operations=operations)
        try:
            scenes = _played(day, as_json=as_json)
        except DayMustGoAsToldError as error:
            fail(str(error))
        totals = day.totals()
    duration_s = time.perf_counter() - began_s
    if as_json:
        print_json(_document(scenes, totals, connection, stack, duration_s=duration_s))
    else:
        _print_totals(totals, duration_s=duration_s)
        _print_addresses(connection, stack)
        _print_next_steps(connection, day.a_wallet_id, data)
    if totals.held != 0:
        fail(f"at the end of the day {totals.held} are still held")
    if totals.difference != 0:
        fail(f"money in - out + given back differs from what lies in the wallets by {totals.difference}")


def _played(day: VendorDay, *, as_json: bool) -> list[Scene]:
    played: list[Scene] = []
    with closing(day.scenes()) as scenes:
        for scene in scenes:
            played.append(scene)
            if not as_json:
                _tell(len(played), scene)
    return played


def _tell(number: int, scene: Scene) -> None:
    out().print(f"[bold cyan]{number:>2}. {escape(scene.title)}[/]", highlight=False)
    for line in scene.lines:
        out().print(f"    {line}", markup=False, highlight=False)


def _stack_of(connection: Connection, data: Path) -> Stack | None:
    """The platform of this machine, if it is the one that was played on."""
    try:
        stack = read_stack(data)
    except StackMustExistError:
        return None
    return stack if stack.router_url == connection.url else None


def _addresses(connection: Connection, stack: Stack | None) -> dict[str, str]:
    addresses = {"router": connection.url, "documentation of the API": f"{connection.url}/docs"}
    if stack is not None:
        addresses["control plane"] = stack.control_plane_url
        addresses["console"] = stack.console_url
    return addresses


def _document(
    scenes: list[Scene], totals: Totals, connection: Connection, stack: Stack | None, *, duration_s: float
) -> dict[str, object]:
    return {
        "scenes": [dataclasses.asdict(scene) for scene in scenes],
        "totals": {**dataclasses.asdict(totals), "difference": totals.difference, "currency": CURRENCY},
        "addresses": _addresses(connection, stack),
        "duration_s": round(duration_s, 3),
    }


def _print_totals(totals: Totals, *, duration_s: float) -> None:
    table = Table(title=f"{totals.wallets} wallets in {totals.cells} cells, {duration_s:.1f} s", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("money in", money_text(totals.money_in, CURRENCY))
    table.add_row("money out", money_text(-totals.money_out, CURRENCY))
    table.add_row("given back", money_text(totals.given_back, CURRENCY))
    table.add_row("in the wallets", money_text(totals.in_wallets, CURRENCY))
    table.add_row("held", money_text(totals.held, CURRENCY))
    table.add_row("difference", money_text(totals.difference, CURRENCY), style="red" if totals.difference else "green")
    print_table(table)


def _print_addresses(connection: Connection, stack: Stack | None) -> None:
    for name, address in _addresses(connection, stack).items():
        out().print(f"{name:<26}{address}", highlight=False)


def _print_next_steps(connection: Connection, wallet_id: str, data: Path) -> None:
    out().print("\n[bold]To try next[/]")
    for step in _next_steps(connection, wallet_id, data):
        out().print(f"  {step}", markup=False, highlight=False, soft_wrap=True)


def _next_steps(connection: Connection, wallet_id: str, data: Path) -> Iterator[str]:
    option = "" if data == DATA_DEFAULT else f" --data {data}"
    token = f"import json; print(json.load(open('{data}/stack.json'))['tokens']['vendor'])"
    new_id = "$(python3 -c 'import uuid; print(uuid.uuid4())')"
    body = f'{{"transaction_id":"\'"{new_id}"\'","amount":1250,"currency":"{CURRENCY}"}}'
    headers = "-H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json'"
    yield f'export TOKEN=$(python3 -c "{token}")'
    yield f"curl -sS {connection.url}/v1/wallets/{wallet_id}/debit {headers} -d '{body}'"
    yield f"cellwallet wallets entries {wallet_id}{option}"
    yield f"cellwallet wallets verify {wallet_id}{option}"
    if BANK_FILE.exists():
        yield f"cellwallet replay {BANK_FILE}{option}"
    yield f"cellwallet audit --full{option}"
