"""A retired cell's processes end and stay away; its data stays until somebody wants it gone; the books balance."""

import uuid
from pathlib import Path

import httpx
import pytest
from local_platform import LocalPlatform, local_platform

from cellwallet.local.processes import processes_in

pytestmark = pytest.mark.timeout(580)

WALLETS = 12


def test_a_retired_cell_leaves_the_machine_and_stays_away(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with local_platform(data) as platform:
        fill(platform)
        assert "cell_must_be_empty" in platform.run("cells", "retire", "cell-2", exit_code=1).stderr
        assert platform.run_json("cells", "drain", "cell-2")["state"] == "empty"
        assert parts_of(platform, "cell-2"), "an empty cell still runs"
        retired = platform.run_json("cells", "retire", "cell-2")
        assert (retired["state"], retired["data"]) == ("retired", str(data / "postgres" / "cell-2"))
        is_away(platform)
        platform.run("audit", "--full")
    with local_platform(data) as platform:
        is_away(platform)
        platform.run("audit", "--full")
        assert (data / "postgres" / "cell-2" / "pgdata").is_dir()
        assert "needs --yes" in platform.run("cells", "retire", "cell-2", "--delete-data", exit_code=2).stderr
        told = platform.run("cells", "retire", "cell-2", "--delete-data", "--yes").stdout
        assert "its data is deleted" in told
        assert not (data / "postgres" / "cell-2").exists()
        assert platform.run_json("cells", "retire", "cell-2")["data"] is None, "the same again changes nothing"
        assert platform.run_json("cells", "add", "--empty")["cell"] == "cell-3"


def fill(platform: LocalPlatform) -> None:
    """So that both cells have taken money in from outside."""
    stack = platform.stack
    headers = {"Authorization": f"Bearer {stack.tokens.vendor}"}
    with httpx.Client(base_url=stack.router_url, headers=headers, timeout=30, trust_env=False) as vendor:
        for _ in range(WALLETS):
            owner = {"type": "person", "ref": str(uuid.uuid4())}
            wallet = vendor.post("/v1/wallets", json={"owner": owner, "currency": "EUR"}).json()["wallet_id"]
            body = {"transaction_id": str(uuid.uuid4()), "amount": 7, "currency": "EUR"}
            assert vendor.post(f"/v1/wallets/{wallet}/credit", json=body).status_code == 201


def is_away(platform: LocalPlatform) -> None:
    assert [cell.id for cell in platform.stack.cells] == ["cell-1"]
    assert parts_of(platform, "cell-2") == []
    assert processes_in(platform.data / "postgres" / "cell-2" / "pgdata") == []


def parts_of(platform: LocalPlatform, cell: str) -> list[str]:
    processes = platform.run_json("status")["processes"]
    return [one["name"] for one in processes if one["name"].startswith(cell)]
