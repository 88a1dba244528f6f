"""Commands set aside because somebody holds their wallets: the lane goes on without them.

A stranger's lock, a stopped process, later a fence: whatever holds a wallet must hold up its own commands and nobody
else's. A wallet's commands keep their order. Knows no store: who asks whether wallets are free again is the lane.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from contract.ids import WalletId

PROBE_PERIOD_S: Final = 0.1
"""Between looks whether parked wallets are free again."""

W = TypeVar("W")


class Parking(Generic[W]):
    """`touches` tells the wallets of what is parked."""

    def __init__(self, touches: Callable[[W], Iterable[WalletId]]) -> None:
        self._touches = touches
        self._held: frozenset[WalletId] = frozenset()
        self.aside: deque[W] = deque()
        self.look_again_at_s = 0.0

    @property
    def held(self) -> frozenset[WalletId]:
        """Wallets that were locked by somebody else at the last look."""
        return self._held

    def close(self, wallets: frozenset[WalletId], now_s: float) -> None:
        self._held |= wallets
        self.look_again_at_s = now_s + PROBE_PERIOD_S

    def takes(self, one: W) -> bool:
        """Set it aside if one of its wallets is held."""
        if not self._held or self._held.isdisjoint(self._touches(one)):
            return False
        self.aside.append(one)
        return True

    def reopen(self, still_held: frozenset[WalletId], now_s: float) -> list[W]:
        """What may try again, in order of arrival."""
        self._held = still_held
        self.look_again_at_s = now_s + PROBE_PERIOD_S
        waiting, self.aside = self.aside, deque()
        return [one for one in waiting if not self.takes(one)]

    def is_due(self, now_s: float) -> bool:
        return bool(self._held) and now_s >= self.look_again_at_s
