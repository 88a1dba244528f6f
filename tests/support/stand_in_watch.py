"""Two databases that are none: they change their roles when they are told to, as long as a test lets them.

In the place of cellwallet.local.pair_watch.PairWatch for whoever gives orders about primaries; tests/integration/local/
test_primaries.py holds both against the same orders.
"""

import asyncio
from dataclasses import replace

from cellwallet.local.failover import Pair
from cellwallet.local.pair_watch import SwitchOverRefusedError

SAFE = Pair(phase="synchronous")


class StandInWatch:
    def __init__(self, pair: Pair = SAFE, *, takes_s: float = 0.0) -> None:
        self.pair = pair
        self.is_running = True
        self.is_changing = False
        self.asked = 0
        self.refusal = ""
        """Why a switch-over is given up; empty when it is not."""
        self.may_go = asyncio.Event()
        self.may_go.set()
        self._takes_s = takes_s

    async def switch_over(self) -> object:
        self.asked += 1
        self.is_changing = True
        await self.may_go.wait()
        if self._takes_s:
            await asyncio.sleep(self._takes_s)
        self.is_changing = False
        if self.refusal:
            raise SwitchOverRefusedError(self.refusal)
        self.pair = replace(self.pair, primary=self.pair.standby, promotions=self.pair.promotions + 1)
        return None
