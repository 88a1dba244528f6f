"""Releases on a whole platform, by the command line: a good one goes through under light load that sees no error, a
slow one goes back and its siblings are not touched, a zone is evacuated and gets its traffic back.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_platform import LocalPlatform, local_platform

pytestmark = pytest.mark.timeout(580)

WALLETS = 18
RATE_PER_S = 25.0
BAKE = ("--window", "4", "--windows", "2", "--requests-min", "5")

SLOW_CELL = '''
"""Every commit of a cell takes a quarter of a second longer."""

import sys

if sys.orig_argv[-2:] == ["cell", "serve"]:
    import asyncio

    import cell.commit

    commit = cell.commit.commit

    async def slowly(*arguments, **named):
        await asyncio.sleep(0.25)
        return await commit(*arguments, **named)

    cell.commit.commit = slowly
'''


class LightLoad(threading.Thread):
    """A vendor with wallets in every cell that credits them one after the other, and remembers what went wrong."""

    def __init__(self, platform: LocalPlatform) -> None:
        super().__init__(name="light load")
        stack = platform.stack
        self._vendor = httpx.Client(
            base_url=stack.router_url,
            headers={"Authorization": f"Bearer {stack.tokens.vendor}"},
            timeout=10,
            trust_env=False,
        )
        self.errors: list[str] = []
        self.answered = 0
        self._is_over = threading.Event()
        self._wallets = [self._new_wallet() for _ in range(WALLETS)]

    def run(self) -> None:
        for wallet in itertools.cycle(self._wallets):
            if self._is_over.wait(1 / RATE_PER_S):
                return
            body = {"transaction_id": str(uuid.uuid4()), "amount": 1, "currency": "EUR"}
            try:
                answer = self._vendor.post(f"/v1/wallets/{wallet}/credit", json=body)
            except httpx.HTTPError as error:
                self.errors.append(repr(error))
                continue
            self.answered += 1
            if answer.status_code != 201:
                self.errors.append(f"{answer.status_code} {answer.text}")

    def end(self) -> None:
        self._is_over.set()
        self.join()
        self._vendor.close()

    def _new_wallet(self) -> str:
        owner = {"type": "person", "ref": str(uuid.uuid4())}
        answer = self._vendor.post("/v1/wallets", json={"owner": owner, "currency": "EUR"})
        assert answer.status_code == 201
        wallet_id: str = answer.json()["wallet_id"]
        return wallet_id


@contextmanager
def under_light_load(platform: LocalPlatform) -> Iterator[LightLoad]:
    load = LightLoad(platform)
    load.start()
    try:
        yield load
    finally:
        load.end()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    with local_platform(tmp_path_factory.mktemp("releases") / "data", cells=3, api_processes=2) as running:
        yield running


def pids(platform: LocalPlatform) -> dict[str, int]:
    """Of the API processes of cells."""
    processes = platform.run_json("status")["processes"]
    return {one["name"]: one["pid"] for one in processes if "-api-" in one["name"]}


def order(platform: LocalPlatform, release: dict[str, str], judged_by: dict[str, Any]) -> dict[str, Any]:
    stack = platform.stack
    answer = httpx.post(
        f"{stack.control_plane_url}/v1/rollouts",
        json={"release": release, "judged_by": judged_by},
        headers={"Authorization": f"Bearer {stack.tokens.operator}"},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    ordered: dict[str, Any] = answer.json()
    return ordered


def waves_of(rollout: dict[str, Any]) -> list[list[str]]:
    return [wave["cells"] for wave in rollout["waves"]]


def test_a_good_release_goes_through_and_light_load_sees_no_error(platform: LocalPlatform) -> None:
    before, setting = pids(platform), ("--setting", "CELL_LOG_LEVEL=warning")
    with under_light_load(platform) as load:
        planned = platform.run_json("rollouts", "start", "--label", "2.0", *setting, "--dry-run")
        assert planned["rollout_id"] is None
        # Of so few requests the p99 is the slowest, and this machine may be busy.
        judged_by = {"window_s": 4.0, "windows_good": 2, "requests_min": 5, "latency_margin_ms": 300.0}
        ordered = order(platform, {"label": "2.0", "image": planned["image"]}, judged_by)
        rollout = platform.run_json("rollouts", "watch", ordered["rollout_id"])
    assert (rollout["state"], rollout["waves_passed"]) == ("done", 3)
    assert waves_of(rollout) == waves_of(planned)
    assert load.errors == []
    assert load.answered > 100
    after = pids(platform)
    assert all(after[name] != pid for name, pid in before.items()), "every process was replaced"
    shown = platform.run_json("rollouts", "show", rollout["rollout_id"])
    assert {one["verdict"] for one in shown["windows"]} <= {"good", "inconclusive"}
    assert "2.0" in platform.run("rollouts", "list").stdout
    assert "release_must_be_another" in refusal(platform, "rollouts", "start", "--label", "2.0", *setting)
    platform.run("audit", "--full")


def test_a_slow_release_goes_back_and_its_siblings_are_not_touched(platform: LocalPlatform, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_CELL)
    before = pids(platform)
    with under_light_load(platform) as load:
        rollout = platform.run_json(
            "rollouts", "start", "--label", "3.0", "--code", str(slow), "--p99-ms-max", "150", *BAKE, exit_code=1
        )
    assert (rollout["state"], rollout["reason"], rollout["waves_passed"]) == ("failed", "windows_must_be_good", 0)
    assert "p99" in rollout["detail"]
    assert load.errors == []
    canary = rollout["waves"][0]["cells"][0]
    after = pids(platform)
    assert {name for name in before if after[name] != before[name]} == {
        name for name in before if name.startswith(f"{canary}-")
    }
    shown = platform.run_json("rollouts", "show", rollout["rollout_id"])
    assert {one["state"] for one in shown["processes"] if one["cell"] == canary} == {"restored"}
    platform.run("audit", "--full")


def test_a_zone_is_evacuated_until_its_time_is_over(platform: LocalPlatform) -> None:
    assert "zone_must_be_known" in refusal(platform, "evacuate", "z", "--for", "1h")
    evacuation = platform.run_json("evacuate", "a", "--for", "1h")
    assert evacuation["state"] == "in_force"
    states = {one["cell"]: one["state"] for one in evacuation["primaries"]}
    assert states == {"cell-1": "not_available", "cell-2": "switched", "cell-3": "switched"}, "only one is there"
    assert "not available" in evacuation["cordon"]
    assert weights(platform) == {"cell-1": {"a": 0}, "cell-2": {"a": 0}, "cell-3": {"a": 0}}
    taken = requests_by_zone(platform)
    with under_light_load(platform) as load:
        time.sleep(3)
        assert "another_evacuation_must_have_ended" in refusal(platform, "evacuate", "b")
        setting = ("--setting", "CELL_LOG_LEVEL=error")
        assert "evacuation_must_have_ended" in refusal(platform, "rollouts", "start", "--label", "4.0", *setting)
    assert load.errors == []
    after = requests_by_zone(platform)
    assert after["a"] == taken["a"], "nobody was sent there"
    assert after["b"] > taken["b"]
    ended = platform.run_json("evacuations", "end", evacuation["evacuation_id"])
    assert ended["state"] == "ended"
    assert weights(platform) == {"cell-1": {}, "cell-2": {}, "cell-3": {}}
    short = platform.run_json("evacuate", "c", "--for", "2s", "--no-wait")
    ends_at_s = time.monotonic() + 30
    while platform.run_json("evacuations", "show", short["evacuation_id"])["state"] != "ended":
        assert time.monotonic() < ends_at_s, "its time was over"
        time.sleep(0.2)
    assert weights(platform) == {"cell-1": {}, "cell-2": {}, "cell-3": {}}


def weights(platform: LocalPlatform) -> dict[str, dict[str, int]]:
    cells = platform.run_json("directory", "show")["cells"]
    return {name: cell["zone_weights"] for name, cell in cells.items()}


def requests_by_zone(platform: LocalPlatform) -> dict[str, int]:
    """Money requests that the processes of each zone have taken; their metrics count health checks of nobody."""
    zones = {api.url: api.zone for cell in platform.stack.cells for api in cell.api}
    processes = platform.run_json("status")["processes"]
    found = dict.fromkeys(set(zones.values()), 0)
    for one in processes:
        if "-api-" in one["name"]:
            text = httpx.get(f"{one['admin_url']}/metrics", trust_env=False).text
            lines = [line for line in text.splitlines() if line.startswith('cell_accepted_total{kind="credit"}')]
            found[zones[one["url"]]] += sum(int(float(line.rpartition(" ")[2])) for line in lines)
    return found


def refusal(platform: LocalPlatform, *arguments: str) -> str:
    return platform.run(*arguments, exit_code=1).stderr
