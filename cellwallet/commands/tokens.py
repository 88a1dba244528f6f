"""`cellwallet tokens issue`: the local stand-in for an OIDC issuer."""

import re
import time
from typing import Annotated

import typer

from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, fail, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.folder import DataFolder
from cellwallet.local.keys import KeysMustExistError, load_keys
from contract.ids import NAME_PATTERN, is_vendor_id
from contract.scopes import OPERATOR_SCOPES, VENDOR_SCOPES

app = typer.Typer(add_completion=False, no_args_is_help=True)

ISSUABLE = tuple(scope.value for scope in (*VENDOR_SCOPES, *OPERATOR_SCOPES))
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@app.callback()
def tokens() -> None:
    """Tokens of vendors and operators."""


@app.command()
def issue(
    more_scopes: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    *,
    vendor: Annotated[str, typer.Option(help="Whom the token is for; an operator's name with fleet scopes.")],
    scope: Annotated[
        list[str], typer.Option(help=f"May be given again; blanks and commas separate. One of: {' '.join(ISSUABLE)}")
    ],
    owner_type: Annotated[list[str] | None, typer.Option(help="Only wallets of these types of owners.")] = None,
    expires_in: Annotated[str, typer.Option(help="Such as 90s, 15m, 12h or 30d; seconds without a unit.")] = "12h",
    data: DataOption = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Print a token signed by this data folder's issuer key."""
    scopes = _scopes([*scope, *(more_scopes or [])])
    expires_in_s = _seconds(expires_in)
    if not is_vendor_id(vendor):
        raise typer.BadParameter(f"{vendor!r} must be a vendor id", param_hint="--vendor")
    for name in owner_type or []:
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise typer.BadParameter(f"{name!r} must match {NAME_PATTERN}", param_hint="--owner-type")
    try:
        keys = load_keys(DataFolder(data).keys)
    except KeysMustExistError as error:
        fail(str(error))
    token = keys.issued_token(vendor, scopes, expires_in_s=expires_in_s, owner_types=owner_type or ())
    if as_json:
        facts = {"vendor": vendor, "scope": " ".join(scopes), "expires_at_s": int(time.time()) + expires_in_s}
        print_json({"token": token, **facts, "owner_types": owner_type or None})
    else:
        typer.echo(token)


def _scopes(given: list[str]) -> list[str]:
    scopes = list(dict.fromkeys(scope for text in given for scope in re.split(r"[\s,]+", text) if scope))
    unknown = [scope for scope in scopes if scope not in ISSUABLE]
    if unknown or not scopes:
        raise typer.BadParameter(f"{' '.join(unknown)!r} must be of: {' '.join(ISSUABLE)}", param_hint="--scope")
    return scopes


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,9})([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} must be like 90s, 15m, 12h or 30d", param_hint="--expires-in")
    return int(found[1]) * UNITS_S[found[2] or "s"]
