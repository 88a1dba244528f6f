"""A cell is backed up, gives a wallet away, dies and is restored: it never becomes the wallet's second owner.

Real processes and the command line. Who owns a wallet is asked of each cell itself, by a credit past the router.
"""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from local_platform import LocalPlatform, local_platform

from cellwallet.local.stack import CellEntry
from contract.ids import WalletId
from contract.slots import slot_of

pytestmark = pytest.mark.timeout(900)

PATIENCE_S = 180.0


class Restored:
    """Wallets of cell-1 with 100 each; one of them has gone to cell-2 since the backup, and has 107 by now."""

    def __init__(self, platform: LocalPlatform, backup: Path) -> None:
        self.platform = platform
        self.wallets = self._wallets_of_first_cell()
        self.gone, self.stayed = self.wallets[0], self.wallets[1:]
        platform.run_json("backup", "cell-1", "--to", str(backup))
        again = platform.run("backup", "cell-1", "--to", str(backup), exit_code=1)
        assert "never overwritten" in again.stderr
        platform.run("moves", "start", "--units", str(slot_of(WalletId(self.gone))), "--to", "cell-2")
        until(lambda: self.showing(self.gone) == ["cell-2"])
        assert self.post("router", self.gone, 5) == 201
        wrong = platform.run("restore", "cell-2", "--from", str(backup), exit_code=1)
        assert "backup of cell-1" in wrong.stderr
        os.kill(next(one for one in platform.stack.cells if one.id == "cell-1").pids.postgres, signal.SIGKILL)
        restored = platform.run_json("restore", "cell-1", "--from", str(backup))
        assert Path(restored["replaced"]).is_dir()

    def acknowledging(self, wallet: str) -> list[str]:
        """The cells that take money for the wallet: never two."""
        return [cell for cell in ("cell-1", "cell-2") if self.post(cell, wallet, 1) == 201]

    def showing(self, wallet: str) -> list[str]:
        path = f"/v1/wallets/{wallet}/balance"
        return [cell for cell in ("cell-1", "cell-2") if self.get(cell, path).status_code == 200]

    def post(self, at: str, wallet: str, amount: int) -> int:
        body = {"transaction_id": str(uuid.uuid4()), "amount": amount, "currency": "EUR"}
        try:
            with self._client(at) as client:
                return client.post(f"/v1/wallets/{wallet}/credit", json=body).status_code
        except httpx.TransportError:
            return 0

    def get(self, at: str, path: str) -> httpx.Response:
        with self._client(at) as client:
            return client.get(path)

    def sql(self, statement: str) -> None:
        with psycopg.connect(
            self._cell("cell-1").database_url.replace("cell_app@", "postgres@"), autocommit=True
        ) as one:
            one.execute(statement.encode())

    def wait_until_it_listens(self) -> None:
        until(lambda: self._answers("/healthz"))

    def _answers(self, path: str) -> bool:
        try:
            return self.get("cell-1", path).status_code == 200
        except (httpx.TransportError, StopIteration):
            return False

    def _cell(self, cell: str) -> CellEntry:
        return next(one for one in self.platform.stack.cells if one.id == cell)

    def _client(self, at: str) -> httpx.Client:
        stack = self.platform.stack
        url = stack.router_url if at == "router" else self._cell(at).api[0].url
        headers = {"Authorization": f"Bearer {stack.tokens.vendor}"}
        return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)

    def _wallets_of_first_cell(self) -> list[str]:
        found: list[str] = []
        while len(found) < 3:
            body = {"owner": {"type": "person", "ref": str(uuid.uuid4())}, "currency": "EUR"}
            with self._client("router") as client:
                opened = client.post("/v1/wallets", json=body)
            assert opened.status_code == 201, opened.text
            wallet = opened.json()["wallet_id"]
            if opened.headers["x-cell"] == "cell-1":
                assert self.post("router", wallet, 100) == 201
                found.append(wallet)
        return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


def test_a_restored_cell_serves_nobody_until_it_is_adjudicated_and_never_what_it_gave_away(tmp_path: Path) -> None:
    with local_platform(tmp_path / "data", cells=2) as platform:
        world = Restored(platform, tmp_path / "backup")
        world.wait_until_it_listens()
        assert world.get("cell-1", "/readyz").json() == {"status": "quarantined"}
        for wallet in world.wallets:
            assert world.post("cell-1", wallet, 1) == 503
            assert world.get("cell-1", f"/v1/wallets/{wallet}/balance").status_code == 503
        assert world.post("router", world.gone, 1) == 201
        closed = platform.run("cells", "open", "cell-2", exit_code=1)
        assert "cell_must_be_quarantined" in closed.stderr
        told = platform.run_json("cells", "adjudicate", "cell-1")
        unit = slot_of(WalletId(world.gone))
        assert [(one["unit"], one["verdict"], one["cell"]) for one in told["units"]] == [(unit, "superseded", "cell-2")]
        assert world.post("cell-1", world.stayed[0], 1) == 503
        opened = platform.run_json("cells", "open", "cell-1")
        assert opened["missing"] == 0
        until(lambda: world.acknowledging(world.stayed[0]) == ["cell-1"])
        assert world.acknowledging(world.gone) == ["cell-2"]
        assert world.post("cell-1", world.gone, 1) == 421
        balance = world.get("router", f"/v1/wallets/{world.gone}/balance").json()["balance"]
        assert balance == 100 + 5 + 1 + 1
        assert world.get("router", f"/v1/wallets/{world.stayed[1]}/balance").json()["balance"] == 100


def test_without_detection_two_cells_take_money_for_one_wallet(tmp_path: Path) -> None:
    """The mutant: somebody takes the mark away and vouches for the timeline. The check above sees two owners."""
    with local_platform(tmp_path / "data", cells=2) as platform:
        world = Restored(platform, tmp_path / "backup")
        world.wait_until_it_listens()
        world.sql("SELECT record_adjudication('{}')")
        world.sql("SELECT end_quarantine('mutant')")
        until(lambda: world.acknowledging(world.stayed[0]) == ["cell-1"])
        assert world.acknowledging(world.gone) == ["cell-1", "cell-2"]
