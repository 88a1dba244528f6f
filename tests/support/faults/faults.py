"""The faults that scenarios inject in the middle of their load, each until the site has got over it.

What a fault alone can see (somebody was locked out while a process was paused) it adds to the stage's findings.
"""

import asyncio
import uuid
from collections.abc import Sequence

from faults.scenario import DECISIONS, Fault, Stage
from faults.site import kill, kill_now, stopped, stopped_with_locks
from faults.vendors import CURRENCY, ask_again, impatient, patient
from history.model import Asked, Finding

PROBE_DEADLINE_S = 3.0
"""For requests to a process that is known to be stopped."""
DEADLINE_S = 10.0
PRESSURE = 40
"""Requests that hang at a stopped cell: more than a small bulkhead holds."""
AGAIN_S = 0.05
MOMENT_S = 0.1


async def nothing(stage: Stage) -> None:
    """Concurrency alone is enough for some mistakes."""
    await stage.load.wait_for_decisions(DECISIONS, deadline_s=stage.patience_s)


def killing(*parts: str) -> Fault:
    """SIGKILL to one part after the other, each time in the middle of the load, for as long as they come back.

    At any moment of a batch: right after a decision all vendors are between two commands.
    """

    async def fault(stage: Stage) -> None:
        for part in parts:
            await asyncio.sleep(stage.dice.uniform(0, MOMENT_S))
            if not await kill(stage.site, part, deadline_s=stage.patience_s):
                return
            await stage.load.wait_for_decisions(DECISIONS // 2, deadline_s=stage.patience_s)

    return fault


def havoc(*parts: str, blows: int) -> Fault:
    """SIGKILL to one part after the other, as the dice will, often before the last one is back."""

    async def fault(stage: Stage) -> None:
        victims = [stage.dice.choice(parts) for _ in range(blows)]
        for part in victims:
            kill_now(stage.site, part)
            decisions = stage.dice.randint(1, DECISIONS // 2)
            await stage.load.wait_for_decisions(decisions, deadline_s=stage.dice.uniform(0.2, 2.0))

    return fault


def pausing(part: str, *, cell: str) -> Fault:
    """SIGSTOP to a process that holds locks, until every wallet of its cell was written by another process."""

    async def fault(stage: Stage) -> None:
        retries = patient(PROBE_DEADLINE_S, deadline_s=stage.patience_s)
        wallet_ids = stage.wallet_ids(cell)

        async def knock() -> None:
            commands, door = _probes(wallet_ids), [stage.site.url_of(part)]
            await ask_again(
                stage.site, stage.recorder, commands, impatient(DEADLINE_S), workers=len(commands), entrances=door
            )

        async with stopped_with_locks(stage.site, part, cell=cell, wallet_ids=wallet_ids, knock=knock):
            probes = _probes(wallet_ids)
            locked_out = await ask_again(stage.site, stage.recorder, probes, retries, workers=len(probes))
        stage.findings += [_finding("locked_out", asked) for asked in locked_out]

    return fault


def crowding(part: str, *, cell: str, bystander: str) -> Fault:
    """SIGSTOP to the only process of a cell, and always more requests to it than one cell may have under way."""

    async def fault(stage: Stage) -> None:
        wallet_ids = stage.wallet_ids(cell)
        probes = _probes([wallet_ids[number % len(wallet_ids)] for number in range(PRESSURE)])
        is_over = asyncio.Event()

        async def press(probe: Asked) -> None:
            while not is_over.is_set():
                await ask_again(stage.site, stage.recorder, [probe], impatient(PROBE_DEADLINE_S), workers=1)
                await asyncio.sleep(AGAIN_S)

        async with stopped(stage.site, part):
            crowd = [asyncio.create_task(press(probe)) for probe in probes]
            await asyncio.sleep(PROBE_DEADLINE_S)
            await stage.load.wait_for_decisions(DECISIONS, deadline_s=stage.patience_s, cells=[bystander])
            is_over.set()
            await asyncio.gather(*crowd)

    return fault


def _probes(wallet_ids: Sequence[str]) -> list[Asked]:
    return [
        Asked(
            wallet_id=wallet_id,
            transaction_id=str(uuid.uuid4()),
            kind="credit",
            amount=1,
            currency=CURRENCY,
        )
        for wallet_id in wallet_ids
    ]


def _finding(check: str, asked: Asked) -> Finding:
    detail = "it could not be written while a process was paused"
    return Finding(check=check, wallet_id=asked.wallet_id, transaction_id=asked.transaction_id, detail=detail)
