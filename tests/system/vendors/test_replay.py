"""`cellwallet replay` on the real platform: exact, repeatable, honest about a difference, and stopped in order."""

import gzip
import os
import signal
import time
import uuid
from itertools import islice
from pathlib import Path

import pytest
from bank_file import REAL_FILE, bank_rows, write_bank_file
from local_platform import POLL_S, LocalPlatform

from cellwallet.client import Client, Refused, Wallet, wallet_id_of

APPEARS_WITHIN_S = 30.0
REAL_MOVEMENTS = 600
"""A part of the real file, little enough for every run of the tests."""


@pytest.fixture
def name() -> str:
    """Accounts of this test alone."""
    return f"bank-{uuid.uuid4().hex[:8]}"


def _wallet(client: Client, account: str) -> Wallet | Refused:
    return client.wallet(wallet_id_of(owner_type="bank_account", owner_ref=account, kind="main", currency="CZK"))


def test_every_balance_is_the_files_and_a_second_run_changes_nothing(
    platform: LocalPlatform, name: str, tmp_path: Path
) -> None:
    rows = bank_rows(name, accounts=10, movements=20)
    assert any(int(row[6]) < 0 for row in rows)
    path = str(write_bank_file(tmp_path / "bank.csv", rows))
    first = platform.run_json("replay", path, "--connections", "2")
    assert (first["accounts"], first["movements"], first["posted"], first["exact"]) == (10, 200, 200, True)
    second = platform.run_json("replay", path, "--connections", "2")
    assert (second["posted"], second["already_there"], second["changed_nothing"]) == (0, 200, True)
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        for account in range(10):
            wallet = _wallet(client, f"{name}-{account}")
            assert isinstance(wallet, Wallet)
            assert wallet.seq == 21
            assert wallet.balance == int(next(row[6] for row in reversed(rows) if row[1] == f"{name}-{account}"))
            entry = next(client.entries(wallet.wallet_id))
            assert entry.reference == f"{name}-{account}-19"


def test_differences_are_named_by_line_and_spoil_the_run(platform: LocalPlatform, name: str, tmp_path: Path) -> None:
    rows = bank_rows(name, accounts=2, movements=5)
    rows[3][6] = str(int(rows[3][6]) + 1)
    rows[-1][6] = str(int(rows[-1][6]) - 5)
    path = str(write_bank_file(tmp_path / "bank.csv", rows))
    report = platform.run_json("replay", path, "--connections", "1", exit_code=1)
    assert [(one["line"], one["what"]) for one in report["differences"]] == [
        (5, "balance"),
        (11, "balance"),
        (11, "closing balance"),
    ]
    first = report["differences"][0]
    assert first["movement_id"] == rows[3][3]
    assert int(first["expected"]) == int(first["found"]) + 1


def test_a_longer_file_goes_on_and_raises_overdrafts(platform: LocalPlatform, name: str, tmp_path: Path) -> None:
    first = ["1993-01-01", f"{name}-0", "0", f"{name}-0-0", "debit", "100", "-100", "", "", "", ""]
    second = ["1993-01-02", f"{name}-0", "1", f"{name}-0-1", "debit", "900", "-1000", "", "", "", ""]
    short = str(write_bank_file(tmp_path / "short.csv", [first]))
    longer = str(write_bank_file(tmp_path / "long.csv", [first, second]))
    assert platform.run_json("replay", short, "--connections", "1")["exact"]
    report = platform.run_json("replay", longer, "--connections", "1")
    assert (report["posted"], report["already_there"], report["exact"]) == (1, 1, True)


def test_an_interrupted_run_ends_in_order_and_can_be_continued(
    platform: LocalPlatform, name: str, tmp_path: Path
) -> None:
    rows = bank_rows(name, accounts=40, movements=15)
    path = str(write_bank_file(tmp_path / "bank.csv", rows))
    with platform.start("replay", path, "--connections", "2") as run:
        _wait_for_a_wallet_of(platform, [f"{name}-{account}" for account in range(40)])
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "run it again" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    report = platform.run_json("replay", path, "--connections", "2")
    assert report["exact"]
    assert report["posted"] > 0
    assert report["already_there"] > 0


def test_a_replay_needs_no_control_plane(platform: LocalPlatform, name: str, tmp_path: Path) -> None:
    path = str(write_bank_file(tmp_path / "bank.csv", bank_rows(name, accounts=2, movements=5)))
    pids = platform.stack.control_plane.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert platform.run_json("replay", path, "--connections", "1")["posted"] == 10
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"the bank's file is not at {REAL_FILE}")
def test_a_real_banks_movements_are_exact(platform: LocalPlatform, tmp_path: Path) -> None:
    path = tmp_path / "part.csv.gz"
    with gzip.open(REAL_FILE) as lines:
        path.write_bytes(gzip.compress(b"".join(islice(lines, REAL_MOVEMENTS + 1))))
    report = platform.run_json("replay", str(path), "--connections", "2")
    assert (report["movements"], report["difference_count"], report["exact"]) == (REAL_MOVEMENTS, 0, True)


def _wait_for_a_wallet_of(platform: LocalPlatform, accounts: list[str]) -> None:
    ends_at_s = time.monotonic() + APPEARS_WITHIN_S
    with Client(platform.stack.router_url, platform.stack.tokens.vendor) as client:
        while not any(isinstance(_wallet(client, account), Wallet) for account in accounts):
            assert time.monotonic() < ends_at_s, "no wallet appeared"
            time.sleep(POLL_S)
