"""What processes elsewhere need to be somebody: one folder for each part of a fleet, whose files are named as the keys
of the Secret that the part's chart mounts.

Made from the keys of one folder; running it again makes what is new, and keeps every key. Starts nothing.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cellwallet.local.keys import Keys, ensure_keys
from contract.scopes import Scope

CONTROL_PLANE, ROUTER = "control-plane", "router"
ROUTERS = "router:router-*"
"""Whom the routers' token names: all of them, because pods have names of their own and share one Secret."""
COMPOSE_VARIABLES = "compose.env"
RESERVED = frozenset({CONTROL_PLANE, ROUTER, "keys"})
"""Names of folders that no cell may have."""


def write_identities(folder: Path, cells: Iterable[str]) -> list[Path]:
    """Folders that are whole afterwards, private to their owner."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = ensure_keys(folder / "keys")
    tokens = {cell: keys.machine_token(f"cell:{cell}", (Scope.CELL_JOIN,)) for cell in cells}
    router_token = keys.machine_token(ROUTERS, (Scope.FLEET_READ,))
    written = [
        _write(folder / CONTROL_PLANE, control_plane_files(keys)),
        _write(folder / ROUTER, router_files(keys, router_token)),
        *(_write(folder / cell, cell_files(keys, cell, token)) for cell, token in tokens.items()),
    ]
    variables = {
        "CELLWALLET_IDENTITIES": str(folder.resolve()),
        "CELLWALLET_USER": f"{os.getuid()}:{os.getgid()}",
        "ROUTER_TOKEN": router_token,
    }
    variables |= {f"{cell.upper().replace('-', '_')}_TOKEN": token for cell, token in tokens.items()}
    _write_file(folder / COMPOSE_VARIABLES, "".join(f"{name}={text}\n" for name, text in variables.items()).encode())
    return written


def control_plane_files(keys: Keys) -> dict[str, bytes]:
    return {
        "signing_key.pem": keys.signing_key_file.read_bytes(),
        "issuer_jwks.json": keys.issuer_jwks_file.read_bytes(),
    }


def router_files(keys: Keys, token: str) -> dict[str, bytes]:
    return {
        "control_plane_token": token.encode(),
        "control_plane_jwks.json": keys.control_plane_jwks_file.read_bytes(),
    }


def cell_files(keys: Keys, cell: str, token: str) -> dict[str, bytes]:
    return {
        "signing_key.pem": keys.cell_key_file(cell).read_bytes(),
        "join_token": token.encode(),
        "control_plane_jwks.json": keys.control_plane_jwks_file.read_bytes(),
    }


def _write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        _write_file(folder / name, content)
    return folder


def _write_file(file: Path, content: bytes) -> None:
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    draft.replace(file)
