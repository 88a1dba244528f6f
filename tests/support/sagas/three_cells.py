"""Three cells behind a router whose processes can be told where to die; and the questions that must come out even."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from faults.small_fleet import Plan, SmallFleet, small_fleet

from cell.crash_points import ALWAYS, POINTS
from cell.store.audit import audit
from cellwallet.local.postgres import Cluster
from contract.ids import wallet_id_of
from contract.slots import SLOTS, slot_of

CURRENCY = "EUR"
DEADLINE_S = 60.0
CELLS = 3

OPEN = """
SELECT (SELECT count(*) FROM transfers WHERE state = 'in_transit') + (SELECT count(*) FROM groups WHERE NOT is_finished)
     + (SELECT count(*) FROM holds WHERE state = 'open' AND kind <> 'vendor')
     + (SELECT count(*) FROM wallets WHERE pinned <> 0)
"""
IN_TRANSIT = "SELECT coalesce(sum(delta), 0)::bigint FROM account_deltas WHERE account = 'in_transit'"
STORED = "SELECT coalesce(sum(balance), 0)::bigint FROM wallets WHERE wallet_id = %(wallet_id)s"
BALANCES = "SELECT coalesce(sum(balance), 0)::bigint FROM wallets"


class ThreeCells:
    def __init__(self, fleet: SmallFleet, crash_file: Path) -> None:
        self.fleet = fleet
        self._crash_file = crash_file
        self._client = httpx.AsyncClient(
            base_url=fleet.entrances[0],
            headers={"Authorization": f"Bearer {fleet.token}"},
            timeout=35,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def wallet(self, cell: int, *, balance: int = 0) -> str:
        """A new wallet of this cell (0, 1, 2)."""
        ref = next(ref for ref in iter(lambda: uuid.uuid4().hex, "") if _cell_of(ref) == cell)
        body = {"owner": {"type": "person", "ref": ref}, "currency": CURRENCY}
        opened = await self.patiently("POST", "/v1/wallets", body)
        wallet_id: str = opened.json()["wallet_id"]
        if balance:
            await self.post(wallet_id, "credit", amount=balance)
        return wallet_id

    async def post(self, wallet_id: str, verb: str, **fields: Any) -> httpx.Response:
        body = {"transaction_id": str(uuid.uuid4()), **fields}
        if verb in {"credit", "debit", "transfers", "groups"}:
            body.setdefault("currency", CURRENCY)
        return await self.patiently("POST", f"/v1/wallets/{wallet_id}/{verb}", body)

    async def once(self, wallet_id: str, verb: str, *, deadline_ms: int = 1_500, **fields: Any) -> None:
        """One attempt, whatever comes of it."""
        body = {"transaction_id": str(uuid.uuid4()), "currency": CURRENCY, **fields}
        headers = {"X-Deadline-Ms": str(deadline_ms)}
        with contextlib.suppress(httpx.TransportError):
            await self._client.post(f"/v1/wallets/{wallet_id}/{verb}", json=body, headers=headers)

    async def patiently(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The same request again until it is decided for good: what is on its way is not."""
        ends_s = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self._client.request(method, path, json=body)
                if answer.status_code not in {202, 421, 429, 500, 503, 504}:
                    return answer
            assert time.monotonic() < ends_s, f"{method} {path} was not decided"
            await asyncio.sleep(0.05)

    async def balance(self, wallet_id: str) -> int:
        answer = await self.patiently("GET", f"/v1/wallets/{wallet_id}/balance")
        balance: int = answer.json()["balance"]
        return balance

    def arm(self, point: str, *, until_disarmed: bool = False) -> None:
        """One process dies there; or every process that gets there."""
        assert point in POINTS
        self._crash_file.write_text(f"{point} {ALWAYS}" if until_disarmed else point)

    @property
    def is_armed(self) -> bool:
        """Whether nobody has died of it yet."""
        return self._crash_file.exists()

    def disarm(self) -> None:
        self._crash_file.unlink(missing_ok=True)

    async def has_stored(self, wallet_id: str, *, at_least: int, deadline_s: float = DEADLINE_S) -> bool:
        """Whether the wallet has so much in its row, whoever is alive to tell it."""
        ends_s = time.monotonic() + deadline_s
        while sum(self._ask(STORED, {"wallet_id": wallet_id})) < at_least:
            if time.monotonic() > ends_s:
                return False
            await asyncio.sleep(0.05)
        return True

    async def settle(self, *, deadline_s: float = DEADLINE_S) -> bool:
        """Whether everything between the cells came to its end."""
        ends_s = time.monotonic() + deadline_s
        while sum(self._ask(OPEN)):
            if time.monotonic() > ends_s:
                return False
            await asyncio.sleep(0.05)
        return True

    async def findings(self) -> list[str]:
        """Whatever is wrong with the money of the fleet, by the full audits and by its sums."""
        found = []
        for cell, url in self.fleet.databases.items():
            report = await audit(url, cell=cell, is_full=True, checkpoint_keys=self.fleet.checkpoint_keys(cell))
            found += [str(finding) for finding in report.findings]
        if in_transit := sum(self._ask(IN_TRANSIT)):
            found.append(f"{in_transit} are in transit, and nothing is on its way")
        return found

    def total(self) -> int:
        return sum(self._ask(BALANCES))

    def _ask(self, question: Any, parameters: dict[str, str] | None = None) -> list[int]:
        answers = []
        for url in self.fleet.databases.values():
            with psycopg.connect(url) as connection:
                ((answer,),) = connection.execute(question, parameters).fetchall()
                answers.append(int(answer))
        return answers


@contextlib.asynccontextmanager
async def three_cells(
    cluster: Cluster, folder: Path, *, name: str, mutant: str | None = None, sabotage: str = "", api_processes: int = 1
) -> AsyncIterator[ThreeCells]:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
    crash_file = folder / "die-at"
    plan = Plan(
        cells=CELLS,
        api_processes=api_processes,
        has_router=True,
        cell_mutant=mutant,
        sabotage=sabotage,
        cell_environment=(("CELL_CRASH_FILE", str(crash_file)),),
    )
    async with small_fleet(plan, cluster, folder, name=name) as fleet:
        cells = ThreeCells(fleet, crash_file)
        try:
            yield cells
        finally:
            await cells.close()


def _cell_of(ref: str) -> int:
    wallet_id = wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency=CURRENCY)
    return slot_of(wallet_id) * CELLS // SLOTS
