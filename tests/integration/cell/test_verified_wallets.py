"""`cellwallet wallets verify` against a real cell whose database a thief has visited: every visit is noticed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cell_databases import CELL_KEY, CellDatabases
from cell_process import CELL, RunningCell, Vendor, running_cell
from click.testing import Result
from typer.testing import CliRunner

from cell.store.checkpoints import take_checkpoint
from cellwallet.commands import wallets
from contract.chain import entry_hash
from contract.signing import public_jwk

CELL_JWK = public_jwk(CELL_KEY.public_key(), key_id=f"cell:{CELL}")


@pytest.fixture
def robbed(databases: CellDatabases) -> Iterator[RunningCell]:
    """For one theft."""
    with running_cell(databases.copy()) as cell:
        yield cell
    databases.drop(cell.database)


@pytest.fixture
def customer(robbed: RunningCell) -> Iterator[Vendor]:
    with robbed.client() as client:
        yield Vendor(client, robbed)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [CELL_JWK]}))
    return file


def take(cell: RunningCell) -> None:
    asyncio.run(take_checkpoint(cell.database.app_url, cell=CELL, key=CELL_KEY, kept=3))


def history(customer: Vendor) -> str:
    """opened, credit, debit, refused, credit, and a checkpoint; then one credit more."""
    wallet_id = customer.open(balance=500)
    customer.debit(wallet_id, 120)
    assert customer.debit(wallet_id, 9_999).status_code == 422
    customer.credit(wallet_id, 7)
    take(customer.cell)
    customer.credit(wallet_id, 1)
    return wallet_id


def run(cell: RunningCell, *arguments: str) -> Result:
    return CliRunner().invoke(wallets.app, [*arguments, "--url", cell.url, "--token", cell.token()])


def verified(cell: RunningCell, wallet_id: str, keys: Path) -> dict[str, Any]:
    result = run(cell, "verify", wallet_id, "--keys", str(keys), "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if document["verified"] else 1)
    return document


def test_a_true_history_is_whole_up_to_what_was_signed(robbed: RunningCell, customer: Vendor, keys: Path) -> None:
    wallet_id = history(customer)
    (verdict,) = verified(robbed, wallet_id, keys)["wallets"]
    assert (verdict["entries"], verdict["balance"]) == (6, 388)
    assert (verdict["checkpoint"]["number"], verdict["checkpoint"]["seq"]) == (1, 5)
    told = run(robbed, "verify", wallet_id, "--keys", json.dumps(CELL_JWK))
    assert (told.exit_code, told.stderr) == (0, "")
    assert "entry 5 in checkpoint 1 of cell-a" in " ".join(told.stdout.split())


THEFTS = {
    "one byte of a hash": (
        "UPDATE entries SET hash = set_byte(hash, 9, get_byte(hash, 9) # 1) WHERE {it} AND seq = 3",
        3,
    ),
    "another amount": ("UPDATE entries SET amount = amount + 1 WHERE {it} AND seq = 2", 2),
    "another vendor": ("UPDATE entries SET vendor_id = 'mallory' WHERE {it} AND seq = 5", 5),
    "another reason": ("UPDATE entries SET reason = 'wallet_must_be_active' WHERE {it} AND seq = 4", 4),
    "one deleted": ("DELETE FROM entries WHERE {it} AND seq = 3", 3),
    "the newest deleted": ("DELETE FROM entries WHERE {it} AND seq = 6", 6),
    "two swapped": (
        """
        UPDATE entries SET seq = 107 - seq WHERE {it} AND seq IN (3, 4);
        UPDATE entries SET seq = seq - 100 WHERE {it} AND seq > 100
        """,
        3,
    ),
    "another balance of the wallet": ("UPDATE wallets SET balance = balance + 1 WHERE {it}", 6),
    "another status of the wallet": ("UPDATE wallets SET status = 'suspended' WHERE {it}", 6),
}


@pytest.mark.parametrize("theft", THEFTS)
def test_a_change_is_told_by_its_entry(robbed: RunningCell, customer: Vendor, keys: Path, theft: str) -> None:
    wallet_id = history(customer)
    statement, seq = THEFTS[theft]
    with robbed.database.unprotected() as thief:
        thief.execute(statement.format(it=f"wallet_id = '{wallet_id}'").encode())
    result = run(robbed, "verify", wallet_id, "--keys", str(keys))
    assert result.exit_code == 1
    assert f"entry {seq}: " in result.stdout


def test_a_past_that_was_written_again_whole_is_told(robbed: RunningCell, customer: Vendor, keys: Path) -> None:
    """Every hash fits again, and so does the wallet; only what was signed does not."""
    wallet_id = history(customer)
    assert verified(robbed, wallet_id, keys)["verified"]
    rewritten(customer, wallet_id)
    assert run(robbed, "verify", wallet_id, "--keys", str(keys)).exit_code == 1
    result = run(robbed, "verify", wallet_id, "--keys", str(keys))
    assert "entry 5: checkpoint.entry_hash must be" in result.stdout


def rewritten(customer: Vendor, wallet_id: str) -> None:
    """As a thief who knows the form would: another vendor in entry 2, and every hash from there on anew."""
    from cellwallet.client import Client  # noqa: PLC0415 - the form of the chain is public
    from cellwallet.client.history import canonical_entry  # noqa: PLC0415

    with customer.cell.database.unprotected() as thief:
        thief.execute("UPDATE entries SET vendor_id = 'mallory' WHERE wallet_id = %s AND seq = 2", (wallet_id,))
        with Client(customer.cell.url, customer.cell.token()) as client:
            entries = list(client.entries(wallet_id, order="asc"))
        previous = bytes(32)
        for entry in entries:
            previous = entry_hash(previous, canonical_entry(entry))
            for table in ("entries", "transactions"):
                thief.execute(
                    f"UPDATE {table} SET hash = %s WHERE wallet_id = %s AND seq = %s",  # noqa: S608 - our own words
                    (previous, wallet_id, entry.seq),
                )
        thief.execute("UPDATE wallets SET head_hash = %s WHERE wallet_id = %s", (previous, wallet_id))


@pytest.mark.parametrize(
    ("forgery", "told"),
    [
        (
            "UPDATE checkpoints SET document = replace(document, '\"wallets\":1', '\"wallets\":2')",
            "checkpoint 1: signature",
        ),
        ("UPDATE checkpoint_pages SET leaves = set_byte(leaves, 31, 9)", "checkpoint 1: merkle_root"),
    ],
)
def test_a_forged_checkpoint_is_told_by_its_number(
    robbed: RunningCell, customer: Vendor, keys: Path, forgery: str, told: str
) -> None:
    wallet_id = history(customer)
    with robbed.database.unprotected() as thief:
        thief.execute(forgery.encode())
    result = run(robbed, "verify", wallet_id, "--keys", str(keys))
    assert result.exit_code == 1
    assert told in result.stdout


def test_a_dropped_checkpoint_is_told_by_the_chain(robbed: RunningCell, customer: Vendor, keys: Path) -> None:
    wallet_id = history(customer)
    take(robbed)
    take(robbed)
    arguments = ("verify", wallet_id, "--keys", str(keys), "--chain")
    assert run(robbed, *arguments).exit_code == 0
    with robbed.database.unprotected() as thief:
        thief.execute("DELETE FROM checkpoints WHERE number = 2")
    result = run(robbed, *arguments)
    assert result.exit_code == 1
    assert "checkpoint 3: number must be 2, found 3" in result.stdout


def test_an_exported_history_is_verified_anywhere(
    robbed: RunningCell, customer: Vendor, keys: Path, tmp_path: Path
) -> None:
    wallet_id = history(customer)
    file = tmp_path / "history.json"
    exported = run(robbed, "export", wallet_id, "--out", str(file))
    assert exported.exit_code == 0, exported.stderr
    offline = CliRunner().invoke(wallets.app, ["verify", "--from", str(file), "--keys", str(keys), "--json"])
    (verdict,) = json.loads(offline.stdout)["wallets"]
    assert (offline.exit_code, verdict["entries"], verdict["checkpoint"]["seq"]) == (0, 6, 5)
    document = json.loads(file.read_text())
    document["entries"][2]["vendor_id"] = "mallory"
    file.write_text(json.dumps(document))
    forged = CliRunner().invoke(wallets.app, ["verify", "--from", str(file), "--keys", str(keys)])
    assert forged.exit_code == 1
    assert "entry 3: entry_hash must be" in forged.stdout


def test_without_keys_it_is_trust_on_first_use_and_said_to_be(
    robbed: RunningCell, customer: Vendor, tmp_path: Path
) -> None:
    wallet_id = history(customer)
    first = run(robbed, "verify", wallet_id)
    assert first.exit_code == 0
    assert "trust on first use" in " ".join(first.stderr.split())
    kept = tmp_path / "kept.json"
    assert run(robbed, "keys", "--out", str(kept)).exit_code == 0
    assert json.loads(kept.read_text()) == {"keys": [CELL_JWK]}
    assert run(robbed, "verify", wallet_id, "--keys", str(kept)).exit_code == 0


def test_before_the_first_checkpoint_there_is_nothing_signed(
    robbed: RunningCell, customer: Vendor, keys: Path, tmp_path: Path
) -> None:
    wallet_id, file = customer.open(), tmp_path / "history.json"
    unsigned = run(robbed, "verify", wallet_id)
    assert (unsigned.exit_code, "no checkpoint has this wallet yet" in " ".join(unsigned.stderr.split())) == (0, True)
    assert run(robbed, "verify", wallet_id, "--keys", str(keys)).exit_code == 1
    assert run(robbed, "export", wallet_id, "--out", str(file)).exit_code == 0
    assert CliRunner().invoke(wallets.app, ["verify", "--from", str(file), "--keys", str(keys)]).exit_code == 1


@pytest.mark.parametrize("arguments", [["--from", "{file}"], ["--from", "{file}", "--keys", "{file}", "some-id"]])
def test_a_file_is_verified_alone_and_with_keys(keys: Path, arguments: list[str]) -> None:
    given = [argument.format(file=keys) for argument in arguments]
    assert CliRunner().invoke(wallets.app, ["verify", *given]).exit_code == 2


@pytest.mark.parametrize("given", ["/no/such/file", "{}", '{"keys": 5}'])
def test_keys_that_are_none_are_refused(given: str) -> None:
    result = CliRunner().invoke(wallets.app, ["verify", "some-id", "--keys", given])
    assert result.exit_code == 1
    assert "--keys" in result.stderr
