"""`cellwallet up` as people use it: real processes, and what happens when one of them or all are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from cellwallet.local.folder import DataFolder
from cellwallet.local.processes import identity_of
from cellwallet.local.stack import Stack, read_stack

REPOSITORY = Path(__file__).parents[2]
UP_TIMEOUT_S = 150.0
REPAIR_TIMEOUT_S = 60.0
KINDS = ("router", "control plane", "control plane's PostgreSQL", "API process", "cell's PostgreSQL")


def cellwallet(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cellwallet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=UP_TIMEOUT_S)


def up(data: Path, *arguments: str) -> Stack:
    answer = cellwallet("up", "--data", str(data), "--port", "0", "--detach", "--json", *arguments)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["router_url"] == read_stack(data).router_url
    return read_stack(data)


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Of a platform with two cells; whatever a test does to it, it is running again afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="cellwallet-test-"))
    try:
        up(folder, "--cells", "2", "--api-processes", "1", "--shared-buffers-mb", "32")
        yield folder
    finally:
        down = cellwallet("down", "--data", str(folder))
        shutil.rmtree(folder)
        assert down.returncode == 0, down.stderr


def pids(stack: Stack) -> dict[str, int]:
    first = stack.cells[0]
    assert stack.control_plane.postgres is not None
    return {
        "router": stack.router.pids[0],
        "control plane": stack.control_plane.pids[0],
        "control plane's PostgreSQL": stack.control_plane.postgres,
        "API process": first.pids.api[0],
        "cell's PostgreSQL": first.pids.postgres,
        **{f"{cell.id}'s API": cell.pids.api[0] for cell in stack.cells[1:]},
        **{f"{cell.id}'s PostgreSQL": cell.pids.postgres for cell in stack.cells[1:]},
    }


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + REPAIR_TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {REPAIR_TIMEOUT_S} s until {what}"
        time.sleep(0.02)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def everything_is_ready(stack: Stack) -> bool:
    urls = [stack.router_url, stack.control_plane_url, *(api.url for cell in stack.cells for api in cell.api)]
    return all(is_ready(url) for url in urls)


class Shop:
    """A vendor that opens a wallet of its own and pays into it."""

    def __init__(self, stack: Stack) -> None:
        self._client = httpx.Client(
            base_url=stack.router_url,
            headers={"Authorization": f"Bearer {stack.tokens.vendor}"},
            timeout=10,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def open_wallet(self) -> str:
        owner = {"type": "customer", "ref": str(uuid.uuid4())}
        answer = self._client.post("/v1/wallets", json={"owner": owner, "currency": "EUR"})
        assert answer.status_code == 201, answer.text
        wallet_id: str = answer.json()["wallet_id"]
        return wallet_id

    def credit(self, wallet_id: str, amount: int) -> dict[str, Any]:
        body = {"transaction_id": str(uuid.uuid4()), "amount": amount, "currency": "EUR"}
        answer = self._client.post(f"/v1/wallets/{wallet_id}/credit", json=body)
        assert answer.status_code == 201, answer.text
        posting: dict[str, Any] = answer.json()
        return posting

    def balance(self, wallet_id: str) -> int:
        """A 503 may be asked again: a process finds out that its connections died when it uses them."""
        deadline = time.monotonic() + REPAIR_TIMEOUT_S
        while (answer := self._client.get(f"/v1/wallets/{wallet_id}/balance")).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)
        assert answer.status_code == 200, answer.text
        balance: int = answer.json()["balance"]
        return balance


def open_wallets_with_money(stack: Stack, count: int) -> list[str]:
    """Enough of them to have some in every cell."""
    with Shop(stack) as shop:
        wallet_ids = [shop.open_wallet() for _ in range(count)]
        for wallet_id in wallet_ids:
            shop.credit(wallet_id, 100)
    return wallet_ids


def test_a_platform_is_what_its_stack_file_says(data: Path) -> None:
    stack = read_stack(data)
    assert [(cell.id, cell.home_zone) for cell in stack.cells][:2] == [("cell-1", "a"), ("cell-2", "b")]
    assert everything_is_ready(stack)
    assert (data / "stack.json").stat().st_mode & 0o777 == 0o600
    for name, pid in pids(stack).items():
        assert identity_of(pid), name
    operator = {"Authorization": f"Bearer {stack.tokens.operator}"}
    directory = httpx.get(f"{stack.control_plane_url}/v1/directory", headers=operator, trust_env=False).json()
    assert sum(count for count, _ in directory["slots"]) == 16_384


def test_money_moves(data: Path) -> None:
    stack = read_stack(data)
    wallet_ids = open_wallets_with_money(stack, 8)
    with Shop(stack) as shop:
        assert [shop.balance(wallet_id) for wallet_id in wallet_ids] == [100] * 8


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_killed_is_replaced_alone_and_the_stack_file_tells(data: Path, kind: str) -> None:
    before = read_stack(data)
    wallet_ids = open_wallets_with_money(before, 4)
    os.kill(pids(before)[kind], signal.SIGKILL)
    wait_until(lambda: pids(read_stack(data))[kind] != pids(before)[kind], f"the stack file names a new {kind}")
    wait_until(lambda: everything_is_ready(before), "everything is ready again, at the same places")
    after = read_stack(data)
    assert {name for name, pid in pids(after).items() if pid != pids(before)[name]} == {kind}
    with Shop(after) as shop:
        assert [shop.balance(wallet_id) for wallet_id in wallet_ids] == [100] * 4


def test_status_shows_every_process_and_the_cells_health(data: Path) -> None:
    stack = read_stack(data)
    wait_until(lambda: everything_is_ready(stack), "everything is ready")
    answer = cellwallet("status", "--data", str(data), "--json")
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    shown = {process["name"]: process["pid"] for process in document["processes"]}
    assert shown["router"] == stack.router.pids[0]
    assert shown["cell-2-postgres"] == stack.cells[1].pids.postgres
    assert [(cell["id"], cell["ready"]) for cell in document["cells"]] == [(cell.id, 1) for cell in stack.cells]
    assert cellwallet("status", "--data", str(data)).returncode == 0


def test_a_cell_may_be_added_to_a_running_platform(data: Path) -> None:
    """As a spare it joins without units: the slots stay where they were."""
    before = read_stack(data)
    answer = cellwallet("cells", "add", "--empty", "--data", str(data), "--json")
    assert answer.returncode == 0, answer.stderr
    added = json.loads(answer.stdout)["cell"]
    after = read_stack(data)
    assert [cell.id for cell in after.cells] == [*(cell.id for cell in before.cells), added]
    assert [cell.pids for cell in after.cells][:-1] == [cell.pids for cell in before.cells]
    wait_until(lambda: is_ready(after.cells[-1].api[0].url), "the new cell is ready")
    operator = {"Authorization": f"Bearer {after.tokens.operator}"}
    known = httpx.get(f"{after.control_plane_url}/v1/cells", headers=operator, trust_env=False).json()["cells"]
    assert {cell["id"]: cell["units"] for cell in known}[added] == 0


def test_a_second_platform_in_the_same_folder_is_refused(data: Path) -> None:
    stack = read_stack(data)
    answer = cellwallet("up", "--data", str(data), "--detach")
    assert answer.returncode == 1
    assert f"pid {stack.supervisor_pid}" in answer.stderr
    assert answer.stdout == ""
    assert everything_is_ready(stack)


def test_the_same_data_continues_after_everything_was_killed(data: Path) -> None:
    before = read_stack(data)
    wallet_ids = open_wallets_with_money(before, 8)
    for pid in (before.supervisor_pid, *pids(before).values()):
        os.kill(pid, signal.SIGKILL)
    after = up(data, "--api-processes", "1")
    assert after.router_url == before.router_url
    assert [cell.api[0].url for cell in after.cells] == [cell.api[0].url for cell in before.cells]
    with Shop(after) as shop:
        assert [shop.balance(wallet_id) for wallet_id in wallet_ids] == [100] * 8


def test_nothing_is_left_after_an_orderly_end_and_a_later_start_finds_everything(data: Path) -> None:
    before = read_stack(data)
    wallet_ids = open_wallets_with_money(before, 8)
    answer = cellwallet("down", "--data", str(data))
    assert answer.returncode == 0, answer.stderr
    assert [name for name, pid in pids(before).items() if identity_of(pid)] == []
    assert not (data / "stack.json").exists()
    assert DataFolder(data).holder() is None
    assert "shut down" in (data / "logs" / "cell-1-postgres.log").read_text().splitlines()[-1]
    assert cellwallet("status", "--data", str(data)).returncode == 1
    after = up(data, "--api-processes", "1")
    with Shop(after) as shop:
        assert [shop.balance(wallet_id) for wallet_id in wallet_ids] == [100] * 8


def test_a_platform_that_cannot_start_says_why_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELL_LOG_LEVEL", "nonsense")
    answer = cellwallet("up", "--data", str(tmp_path), "--port", "0", "--cells", "1", "--detach")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "cell-1-migrate ended with exit code 2" in answer.stderr
    assert "CELL_LOG_LEVEL" in answer.stderr
    assert DataFolder(tmp_path).holder() is None
    assert DataFolder(tmp_path).recorded_and_running() == []
    assert not (tmp_path / "stack.json").exists()


def test_in_the_foreground_it_ends_in_order_with_the_first_interrupt(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path), "--port", "0", "--cells", "1", "--api-processes", "1", "--json"]
    command = [sys.executable, "-m", "cellwallet", "up", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY, text=True
    ) as running:
        wait_until(lambda: (tmp_path / "stack.json").exists() or running.poll() is not None, "it is ready")
        running.send_signal(signal.SIGINT)
        shown, told = running.communicate(timeout=REPAIR_TIMEOUT_S)
    assert running.returncode == 0, told
    assert json.loads(shown)["supervisor_pid"] == running.pid
    stopped = [line.split()[2] for line in told.splitlines() if line.endswith(" stopped")]
    assert stopped[:4] == ["mover", "router", "cell-1-api-1", "control-plane"]
    assert set(stopped[4:]) == {"cell-1-postgres", "control-plane-postgres", "platform"}
