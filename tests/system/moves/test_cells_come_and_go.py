"""Under load a fourth cell comes and gets its share, another one leaves, and no vendor sees anything of it.

Real processes, the command line, the router: every answer that a vendor gets is the one it asked for, and afterwards
every balance is what was acknowledged. The control plane is killed in the middle; what was ordered goes on.
"""

import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from local_platform import LocalPlatform, local_platform

pytestmark = pytest.mark.timeout(580)

WALLETS = 40
VENDORS = 3
PAUSE_S = 0.02
"""Between two requests of a vendor: a light load, and all of the machine's rest is for the moves."""
SLOTS = 16_384


class Load:
    """Vendors that credit wallets one after the other, and remember what was acknowledged."""

    def __init__(self, platform: LocalPlatform) -> None:
        stack = platform.stack
        self._url = stack.router_url
        self._headers = {"Authorization": f"Bearer {stack.tokens.vendor}"}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.balances: Counter[str] = Counter()
        self.errors: list[str] = []
        self.answers = 0
        self.wallets = [self._open() for _ in range(WALLETS)]
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(VENDORS)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def differing(self) -> list[str]:
        """Wallets whose balance is not what was acknowledged."""
        with self._client() as client:
            told = {one: client.get(f"/v1/wallets/{one}/balance").json()["balance"] for one in self.wallets}
        return [wallet for wallet, balance in told.items() if balance != self.balances[wallet]]

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self._headers, timeout=30, trust_env=False)

    def _open(self) -> str:
        body = {"owner": {"type": "person", "ref": str(uuid.uuid4())}, "currency": "EUR"}
        with self._client() as client:
            answer = client.post("/v1/wallets", json=body)
        assert answer.status_code == 201, answer.text
        wallet_id: str = answer.json()["wallet_id"]
        return wallet_id

    def _post(self, number: int) -> None:
        with self._client() as client:
            for turn in range(10**9):
                if self._stop.wait(PAUSE_S):
                    return
                wallet = self.wallets[(number + turn) % WALLETS]
                body = {"transaction_id": str(uuid.uuid4()), "amount": 1, "currency": "EUR"}
                answer = client.post(f"/v1/wallets/{wallet}/credit", json=body)
                with self._lock:
                    self.answers += 1
                    if answer.status_code == 201:
                        self.balances[wallet] += 1
                    else:
                        self.errors.append(f"{answer.status_code} {answer.text[:200]}")


def units_of(platform: LocalPlatform) -> dict[str, int]:
    return {cell["id"]: cell["units"] for cell in platform.run_json("cells", "list")["cells"]}


def kill_the_control_plane(platform: LocalPlatform) -> None:
    os.kill(platform.stack.control_plane.pids[0], signal.SIGKILL)


def test_a_cell_is_filled_and_another_drained_without_an_error_at_the_vendor(tmp_path: Path) -> None:
    with local_platform(tmp_path / "data", cells=3) as platform:
        with Load(platform).running() as load:
            added = platform.start("cells", "add", "--json")
            wait_until_some_units_came(platform, "cell-4")
            kill_the_control_plane(platform)
            told, complaints = added.communicate(timeout=280)
            assert added.returncode == 0, complaints
            assert '"state": "active"' in told
            assert units_of(platform)["cell-4"] == SLOTS // 4
            assert platform.run_json("cells", "drain", "cell-2")["state"] == "empty"
            assert units_of(platform)["cell-2"] == 0
            assert platform.run_json("cells", "retire", "cell-2")["state"] == "retired"
            seen = load.answers
            time.sleep(2)
            assert load.answers > seen, "vendors go on"
        assert load.errors == []
        assert load.differing() == []
        units = units_of(platform)
        assert sum(units.values()) == SLOTS
        assert min(units[cell] for cell in ("cell-1", "cell-3", "cell-4")) > SLOTS * 0.3, units
        platform.run("audit", "--full")
        refused(platform)
        shown(platform, tmp_path / "plan.png")


def refused(platform: LocalPlatform) -> None:
    """Each with its reason, and nothing half done."""
    for arguments, reason in (
        (("drain", "cell-9"), "cell_must_exist"),
        (("retire", "cell-1"), "cell_must_be_empty"),
        (("activate", "cell-2"), "cell_must_not_be_retired"),
    ):
        assert reason in platform.run("cells", *arguments, exit_code=1).stderr


def shown(platform: LocalPlatform, picture: Path) -> None:
    """What operators look at tells the same: the plan, the directory, what the cells own, the metrics."""
    plan = platform.run_json("rebalance", "--dry-run", "--picture", str(picture))
    assert {share["cell"]: share["units"] for share in plan["before"]} == {
        cell: count for cell, count in units_of(platform).items() if cell != "cell-2"
    }
    assert plan["waiting"], "what does not move has a reason"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "does not move" in platform.run("rebalance", "--dry-run").stdout
    directory = platform.run_json("directory", "show")
    assert {cell for _, cell in directory["slots"]} == {"cell-1", "cell-3", "cell-4"}
    assert platform.run_json("directory", "rebuild", "--dry-run")["changed"] == 0
    metrics = httpx.get(f"{platform.stack.control_plane_url}/metrics", trust_env=False).text
    assert f'control_plane_units{{cell="cell-4"}} {units_of(platform)["cell-4"]:.1f}' in metrics
    assert 'control_plane_cells{state="retired"} 1.0' in metrics
    assert 'control_plane_router_lag_publications{router="router"} 0.0' in metrics


def wait_until_some_units_came(platform: LocalPlatform, cell: str) -> None:
    ends_at_s = time.monotonic() + 200
    while not units_of(platform).get(cell):
        assert time.monotonic() < ends_at_s, f"{cell} gets no units"
        time.sleep(0.2)
