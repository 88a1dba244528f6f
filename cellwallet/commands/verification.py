"""`cellwallet wallets verify|export|keys`: a wallet's history held to what its cell has signed.

Nothing that the platform says is believed but for the cell's public key, and that one only if it came from elsewhere
(`--keys`); a key that the platform itself tells is trust on first use, and said to be.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.table import Table

from cellwallet.client import Client, Refused, Wallet, accepted
from cellwallet.client.bundles import (
    BundleMustBeReadableError,
    broken_checkpoint,
    bundle_text,
    read_bundle,
    read_keys,
    verified_proof,
    verify_bundle,
)
from cellwallet.client.calls import Document
from cellwallet.client.history import Broken, Verified, verify_history
from cellwallet.commands.connection import TokenOption, UrlOption, failures_told
from cellwallet.commands.named_wallets import WalletArgument, client_of, named
from cellwallet.commands.tables import money_text, print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json, write_file
from contract.checkpoints import Checkpoint, CheckpointMustHoldError, Proof, read_checkpoint, verify_link
from contract.reasons import Reason
from contract.signing import PublicKeys

PAGE = 500
"""Checkpoints per request: two days of them."""

_VERDICTS = TypeAdapter(list[Verified | Broken])

KeysOption = Annotated[
    str | None,
    typer.Option(
        "--keys",
        envvar="CELLWALLET_KEYS",
        metavar="FILE",
        help="Public keys of the cells (JWKS or JWK, a file or the text itself) that you trust.",
        show_default="as the platform tells them, trust on first use",
    ),
]


def verify(
    wallet_id: WalletArgument = None,
    *,
    owner: Annotated[
        str | None, typer.Option("--all-of-owner", metavar="TYPE:REF", help="Every wallet of this owner.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", exists=True, dir_okay=False, help="An exported history; needs --keys."),
    ] = None,
    keys: KeysOption = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Also follow all checkpoints of the cell, from the first.")
    ] = False,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Recompute a wallet's whole history, and hold it to the newest checkpoint that its cell signed."""
    trusted = None if keys is None else _keys_of(keys)
    if from_ is not None:
        if wallet_id is not None or owner is not None or trusted is None:
            raise typer.BadParameter("a file is verified alone, and with --keys")
        verdicts = [_verified_file(from_, trusted)]
    else:
        with failures_told(), client_of(url, token, data) as client:
            wallets = named(client, wallet_id, owner)
            verdicts = [_verified(client, wallet, trusted, with_chain=chain) for wallet in wallets]
    _tell(verdicts, as_json=as_json)


def export(
    wallet_id: Annotated[str, typer.Argument(metavar="WALLET_ID")],
    *,
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write a wallet's history, its proof and the signed checkpoint to one file, for `verify --from`."""
    with failures_told(), client_of(url, token, data) as client:
        proof = _proof(client, wallet_id)
        wallet = accepted(client.wallet(wallet_id))
        entries = list(client.entries(wallet_id, order="asc"))
    write_file(out_file, bundle_text(wallet, entries, proof).encode())
    number = None if proof is None else proof["checkpoint"]["number"]
    if as_json:
        print_json({"file": str(out_file), "entries": len(entries), "checkpoint": number})
        return
    signed = "no checkpoint has it yet" if number is None else f"checkpoint {number}"
    out().print(f"wrote {len(entries)} entries and the proof ({signed}) to {out_file}", highlight=False, markup=False)


def keys(
    *,
    out_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write them there.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    data: DataFolder = DATA_DEFAULT,
) -> None:
    """Print the cells' public keys as the platform tells them; kept in a file, they are what `verify --keys` trusts."""
    with failures_told(), client_of(url, token, data) as client:
        told = accepted(client.keys())
    cells = {"keys": [jwk for jwk in told.get("keys", []) if str(jwk.get("kid", "")).startswith("cell:")]}
    if out_file is not None:
        write_file(out_file, f"{json.dumps(cells, indent=1)}\n".encode())
    print_json(cells)


def _verified(client: Client, wallet: Wallet, trusted: PublicKeys | None, *, with_chain: bool) -> Verified | Broken:
    """Proof before entries: the log may grow meanwhile, and must not seem to lack what was signed."""
    document = _proof(client, wallet.wallet_id)
    if document is None:
        if trusted is not None:
            fail(f"no checkpoint of its cell has wallet {wallet.wallet_id} yet: there is no signature to verify")
        err().print("note: no checkpoint has this wallet yet; its log is checked against itself only", markup=False)
        return verify_history(wallet, client.entries(wallet.wallet_id, order="asc"))
    proof = verified_proof(wallet.wallet_id, document, _told_keys(client) if trusted is None else trusted)
    if isinstance(proof, Broken):
        return proof
    broken = _broken_chain(client, proof, wallet) if with_chain else None
    return broken or verify_history(wallet, client.entries(wallet.wallet_id, order="asc"), proof)


def _proof(client: Client, wallet_id: str) -> Document | None:
    outcome = client.proof(wallet_id)
    if isinstance(outcome, Refused) and outcome.reason == Reason.CHECKPOINT_MUST_EXIST.value:
        return None
    return accepted(outcome)


def _broken_chain(client: Client, proof: Proof, wallet: Wallet) -> Broken | None:
    """The first link that does not hold, from the first checkpoint of the cell to the one that has the wallet."""
    previous: Checkpoint | None = None
    cursor: str | None = None
    while previous is None or previous.number < proof.checkpoint.number:
        page = accepted(client.checkpoints_page(cell=proof.checkpoint.cell, order="asc", limit=PAGE, cursor=cursor))
        for document in page["checkpoints"]:
            try:
                checkpoint = read_checkpoint(document)
                verify_link(previous, checkpoint)
            except CheckpointMustHoldError as error:
                return broken_checkpoint(wallet.wallet_id, document, error)
            previous = checkpoint
            if checkpoint.number == proof.checkpoint.number:
                break
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if previous is not None and previous.document == proof.checkpoint.document:
        return None
    found = CheckpointMustHoldError("checkpoint", "the last link of its cell's chain", "another")
    return broken_checkpoint(wallet.wallet_id, proof.checkpoint.document, found)


def _told_keys(client: Client) -> PublicKeys:
    err().print(
        "note: the cell's key is the one that the platform tells (trust on first use); "
        "keep it with `cellwallet wallets keys --out FILE` and give it with --keys",
        markup=False,
    )
    return _keys_of(json.dumps(accepted(client.keys())))


def _verified_file(file: Path, trusted: PublicKeys) -> Verified | Broken:
    try:
        bundle = read_bundle(file.read_bytes())
    except (OSError, BundleMustBeReadableError) as error:
        fail(f"{file}: {error}")
    if bundle.proof is None:
        fail(f"{file}: no checkpoint had the wallet when it was exported: there is no signature to verify")
    return verify_bundle(bundle, trusted)


def _keys_of(text: str) -> PublicKeys:
    """The text itself, or the file of that name."""
    try:
        return read_keys(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, UnicodeDecodeError, BundleMustBeReadableError) as error:
        fail(f"--keys: {error}")


def _tell(verdicts: list[Verified | Broken], *, as_json: bool) -> None:
    is_whole = all(isinstance(verdict, Verified) for verdict in verdicts)
    if as_json:
        print_json({"verified": is_whole, "wallets": _VERDICTS.dump_python(verdicts, mode="json")})
    else:
        _print(verdicts)
    if not is_whole:
        raise typer.Exit(1)


def _print(verdicts: list[Verified | Broken]) -> None:
    table = Table("wallet", "entries", "balance", "signed", "verdict")
    for verdict in verdicts:
        match verdict:
            case Verified(checkpoint=signed):
                balance = money_text(verdict.balance, verdict.currency)
                told = "" if signed is None else f"entry {signed.seq} in checkpoint {signed.number} of {signed.cell}"
                table.add_row(verdict.wallet_id, str(verdict.entries), balance, told, "[green]whole[/]")
            case Broken():
                place = f"entry {verdict.seq}" if verdict.checkpoint is None else f"checkpoint {verdict.checkpoint}"
                table.add_row(verdict.wallet_id, "", "", "", f"[bold red]broken at {place}[/]")
    print_table(table)
    for verdict in verdicts:
        if isinstance(verdict, Broken):
            out().print(f"wallet {verdict.wallet_id}, {verdict}", markup=False, highlight=False)
