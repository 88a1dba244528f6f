"""`cellwallet up --router haproxy`: two processes at the entrance, either of which may die."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from local_platform import LocalPlatform, local_platform
from running_haproxy import needs_haproxy

from cellwallet.local.processes import identity_of

REPAIR_TIMEOUT_S = 60.0
POLL_S = 0.02

pytestmark = needs_haproxy


class Vendor:
    def __init__(self, platform: LocalPlatform) -> None:
        stack = platform.stack
        self.client = httpx.Client(
            base_url=stack.router_url,
            headers={"Authorization": f"Bearer {stack.tokens.vendor}"},
            timeout=10,
            trust_env=False,
        )
        owner = {"type": "customer", "ref": str(uuid.uuid4())}
        answer = self.client.post("/v1/wallets", json={"owner": owner, "currency": "EUR"})
        assert answer.status_code == 201, answer.text
        self.wallet = answer.json()["wallet_id"]

    def close(self) -> None:
        self.client.close()

    def credit(self) -> int:
        body = {"transaction_id": str(uuid.uuid4()), "amount": 1, "currency": "EUR"}
        return self.client.post(f"/v1/wallets/{self.wallet}/credit", json=body).status_code


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + REPAIR_TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {REPAIR_TIMEOUT_S} s until {what}"
        time.sleep(POLL_S)


def test_either_may_die_and_both_end(tmp_path: Path) -> None:
    with local_platform(tmp_path / "data", router="haproxy") as platform:
        agent, haproxy = platform.stack.router.pids
        with closing(Vendor(platform)) as vendor:
            os.kill(agent, signal.SIGKILL)
            assert {vendor.credit() for _ in range(50)} == {201}, "nothing of it is seen by who only needs a lookup"
            wait_until(lambda: platform.stack.router.pids[0] != agent, "the agent is back")
            os.kill(haproxy, signal.SIGKILL)
            wait_until(lambda: is_served(vendor), "HAProxy is back")
            wait_until(lambda: platform.stack.router.pids[1] != haproxy, "the stack file tells of it")
        pids = platform.stack.router.pids
    assert [pid for pid in (agent, haproxy, *pids) if identity_of(pid) is not None] == []


def is_served(vendor: Vendor) -> bool:
    try:
        return vendor.credit() == 201
    except httpx.TransportError:
        return False
