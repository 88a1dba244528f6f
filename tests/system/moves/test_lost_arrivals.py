"""A cell is backed up, takes in a unit and a transfer, and is restored: the unit goes back to its giver, the transfer
is asked again, and the books of the fleet close.

Real processes and the command line.
"""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_platform import LocalPlatform, local_platform

from contract.ids import WalletId
from contract.slots import slot_of

pytestmark = pytest.mark.timeout(900)

PATIENCE_S = 180.0


class Vendor:
    """Through the router, as any vendor."""

    def __init__(self, platform: LocalPlatform) -> None:
        self._platform = platform

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        stack = self._platform.stack
        headers = {"Authorization": f"Bearer {stack.tokens.vendor}"}
        with httpx.Client(base_url=stack.router_url, headers=headers, timeout=30, trust_env=False) as client:
            return client.request(method, path, json=body)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.ask("POST", path, {"transaction_id": str(uuid.uuid4()), "currency": "EUR", **body})

    def balance(self, wallet: str) -> int | None:
        """None where nobody tells it."""
        answer = self.ask("GET", f"/v1/wallets/{wallet}/balance")
        return int(answer.json()["balance"]) if answer.status_code == 200 else None

    def wallets_of(self, cell: str, count: int) -> list[str]:
        """With 100 each."""
        found: list[str] = []
        while len(found) < count:
            owner = {"type": "person", "ref": str(uuid.uuid4())}
            opened = self.ask("POST", "/v1/wallets", {"owner": owner, "currency": "EUR"})
            assert opened.status_code == 201, opened.text
            wallet = opened.json()["wallet_id"]
            if opened.headers["x-cell"] == cell:
                assert self.post(f"/v1/wallets/{wallet}/credit", amount=100).status_code == 201
                found.append(wallet)
        return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


def test_what_came_after_the_backup_is_served_by_its_giver_and_what_was_sent_arrives_again(tmp_path: Path) -> None:
    with local_platform(tmp_path / "data", cells=2) as platform:
        vendor = Vendor(platform)
        (moved, payer), (payee,) = vendor.wallets_of("cell-1", 2), vendor.wallets_of("cell-2", 1)
        unit = slot_of(WalletId(moved))
        platform.run_json("backup", "cell-2", "--to", str(tmp_path / "backup"))
        platform.run("moves", "start", "--units", str(unit), "--to", "cell-2")
        until(lambda: vendor.post(f"/v1/wallets/{moved}/credit", amount=1).headers.get("x-cell") == "cell-2")
        sent = vendor.post(f"/v1/wallets/{payer}/transfers", to_wallet_id=payee, amount=40)
        assert sent.status_code in {201, 202}, sent.text
        until(lambda: (vendor.balance(payer), vendor.balance(payee)) == (60, 140))

        cell = next(one for one in platform.stack.cells if one.id == "cell-2")
        os.kill(cell.pids.postgres, signal.SIGKILL)
        platform.run_json("restore", "cell-2", "--from", str(tmp_path / "backup"))
        until(lambda: closed(platform) == ["cell-2"])
        told = platform.run_json("cells", "adjudicate", "cell-2")
        assert [(one["unit"], one["verdict"], one["cell"]) for one in told["units"]] == [(unit, "missing", "cell-1")]
        refused = platform.run("cells", "open", "cell-2", exit_code=1)
        assert "units_must_not_be_missing" in refused.stderr
        early = platform.run("cells", "resend", "cell-2", exit_code=1)
        assert "cell_must_not_be_quarantined" in early.stderr

        revived = platform.run_json("cells", "revive", "cell-2")
        assert [(one["unit"], one["cell"]) for one in revived["revived"]] == [(unit, "cell-1")]
        assert revived["left"] == []
        until(lambda: vendor.balance(moved) is not None)
        assert vendor.post(f"/v1/wallets/{moved}/debit", amount=10).headers["x-cell"] == "cell-1"
        assert platform.run_json("cells", "open", "cell-2")["missing"] == 0
        assert closed(platform) == []
        until(lambda: vendor.balance(payee) is not None)
        assert vendor.balance(payee) == 100

        resent = platform.run_json("cells", "resend", "cell-2")
        assert (resent["asked"], resent["taken"], resent["refused"]) == (1, 1, [])
        assert (vendor.balance(payer), vendor.balance(payee)) == (60, 140)
        again = platform.run_json("cells", "resend", "cell-2")
        assert (again["asked"], again["taken"]) == (1, 1)
        assert vendor.balance(payee) == 140
        assert platform.run_json("cells", "revive", "cell-2") == {"revived": [], "left": []}
        platform.run("audit", "--full")


def closed(platform: LocalPlatform) -> list[str]:
    return [one["id"] for one in platform.run_json("cells", "list")["cells"] if one["is_quarantined"]]
