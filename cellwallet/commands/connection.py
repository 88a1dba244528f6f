"""How verbs of vendors find the router and a token: named on the command line, else those of the platform running here.

Only stack.json and the router are asked; the control plane is on no money request's path and not on this one either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from cellwallet.client import CallFailedError, RefusedError
from cellwallet.commands.terminal import fail
from cellwallet.local.stack import StackMustExistError, read_stack
from contract.values import value

REACH_TIMEOUT_S = 3.0

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="CELLWALLET_URL", help="The router.", show_default="of the platform running here"),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="CELLWALLET_TOKEN",
        help="A vendor's bearer token; better in the environment than here, where others can see it.",
        show_default="of the platform running here",
    ),
]


@value
class Connection:
    url: str
    token: str


def connection_to(*, url: str | None, token: str | None, data: Path) -> Connection:
    """Where to send and as whom; ends the program with a message if there is nobody to talk to."""
    if url is None or token is None:
        try:
            stack = read_stack(data)
        except StackMustExistError as error:
            fail(f"{error}, or name a router with --url and --token")
        url, token = url or stack.router_url, token or stack.tokens.vendor
    connection = Connection(url=url.rstrip("/"), token=token)
    _must_be_reachable(connection.url)
    return connection


@contextmanager
def failures_told() -> Iterator[None]:
    """Ends the program with the message of a call that failed or was refused."""
    try:
        yield
    except (CallFailedError, RefusedError) as error:
        fail(str(error))


def _must_be_reachable(url: str) -> None:
    """A router that is not there is told at once, and not after all retries of a call."""
    try:
        httpx.get(f"{url}/healthz", timeout=REACH_TIMEOUT_S, trust_env=False)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        fail(f"no router answers at {url} ({error}); is the platform up? `cellwallet status` tells")
