"""Moves of a whole platform while vendors work: one scenario with a move as its fault, the verdict, the full audit."""

import asyncio
from collections.abc import Callable, Coroutine

from faults.scenario import Fault, Played, Stage, play
from faults.site import BACK_DEADLINE_S, wait_until
from faults.vendors import Shape
from faults.whole_platform import WholePlatform
from history.checker import told
from history.errors import find_errors
from moving.orders import Operator

HOME, AWAY = "cell-1", "cell-2"
EMPTY_SLOTS = range(40)
"""Some of the first cell's; it has the lowest ones, and a test wallet is rarely among them."""
PAUSE_MAX_MS = 2_000
"""Never above, as long as nobody dies; what is usual is measured elsewhere."""


async def played_with(platform: WholePlatform, fault: Fault, label: str) -> Played:
    assert await wait_until(platform.is_whole, deadline_s=BACK_DEADLINE_S)
    played = await play(platform, fault, label=label, seed=7, shape=Shape(workers_per_cell=4))
    assert not played.findings, told(played.findings)
    report = await asyncio.to_thread(platform.audit)
    assert report["clean"], report["findings"]
    return played


def nobody_noticed(played: Played) -> None:
    errors = list(find_errors(played.history, wallet_ids=played.wallet_ids()))
    assert not errors, told(errors)


def there_and_back(operator: Operator) -> Callable[[Stage], Coroutine[None, None, None]]:
    """Every slot of the first cell that has a wallet, and some that have none."""

    async def fault(stage: Stage) -> None:
        units = sorted({*await operator.units_of(stage.wallet_ids(HOME)), *EMPTY_SLOTS})
        for to_cell in (AWAY, HOME):
            move = await operator.ended(await operator.start(units=units, to_cell=to_cell))
            assert move["state"] == "done", move
            assert move["pause_ms_max"] < PAUSE_MAX_MS

    return fault


def a_hot_wallet_alone(operator: Operator) -> Callable[[Stage], Coroutine[None, None, None]]:
    """Isolated, there and back, and into its slot again."""

    async def fault(stage: Stage) -> None:
        wallet_id = stage.wallet_ids(HOME)[0]
        for to_cell in (AWAY, HOME):
            move = await operator.ended(await operator.start(wallet_id=wallet_id, to_cell=to_cell))
            assert move["state"] == "done", move
            assert (await operator.locate(wallet_id))["cell"] == to_cell
        status, placed = await operator.ask("POST", f"/v1/wallets/{wallet_id}/rejoin")
        assert (status, placed["state"]) == (200, "rejoined")

    return fault
