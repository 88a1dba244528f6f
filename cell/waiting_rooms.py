"""Commands of units on their way to another cell: set aside for a moment, unit by unit, while the lane goes on.

As a rule the move is over, one way or the other, before the vendor's patience is: whoever waits here is then decided
here, or sent to the new owner. Only the first of each unit is tried again, so that a standing fence costs the lane one
command per look. A wallet's commands keep their order. Knows no store and no clock.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from contract.ids import WalletId

LOOK_PERIOD_S: Final = 0.02
"""Between tries of a unit's first command: a fraction of the pause of a move."""
WAIT_MAX_S: Final = 1.5
"""Then the caller is told that the wallet is moving: below the router's patience, and its deadline."""

W = TypeVar("W")


class WaitingRooms(Generic[W]):
    """`wallet_of` tells whose what waits is; `is_answered` whether its caller has his answer already."""

    def __init__(self, wallet_of: Callable[[W], WalletId], is_answered: Callable[[W], bool]) -> None:
        self._wallet_of = wallet_of
        self._is_answered = is_answered
        self._rooms: dict[int, deque[W]] = {}
        self._tried: dict[int, W] = {}
        self._wallets: dict[WalletId, int] = {}
        self._look_again_at_s = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._rooms.values()))

    def __bool__(self) -> bool:
        """Whether any unit is known to move, be it that its only command is being tried."""
        return bool(self._rooms)

    @property
    def waiting(self) -> list[W]:
        return [one for room in self._rooms.values() for one in room]

    def admit(self, unit: int, one: W, now_s: float) -> None:
        """Its unit is moving: it waits, and so does all that follows it on its wallet."""
        if self._tried.get(unit) is one:
            del self._tried[unit]
            self._rooms[unit].appendleft(one)
        else:
            self._rooms.setdefault(unit, deque()).append(one)
        self._wallets[self._wallet_of(one)] = unit
        if not self._look_again_at_s:
            self._look_again_at_s = now_s + LOOK_PERIOD_S

    def takes(self, one: W) -> bool:
        """Set it aside behind those of its wallet that wait already."""
        if not self._wallets or any(tried is one for tried in self._tried.values()):
            return False
        unit = self._wallets.get(self._wallet_of(one))
        if unit is None:
            return False
        self._rooms[unit].append(one)
        return True

    def decided(self, one: W) -> list[W]:
        """It was tried and is decided: everything of its unit may try again, in order."""
        unit = next((unit for unit, tried in self._tried.items() if tried is one), None)
        return [] if unit is None else self._open(unit)

    def is_due(self, now_s: float) -> bool:
        return bool(self._rooms) and now_s >= self._look_again_at_s

    def try_again(self, now_s: float) -> list[W]:
        """The first of each unit that is not being tried; a unit for which nobody waits any more is forgotten."""
        self._look_again_at_s = now_s + LOOK_PERIOD_S
        trying: list[W] = []
        for unit in list(self._rooms):
            tried = self._tried.get(unit)
            if tried is not None and not self._is_answered(tried):
                continue
            self._tried.pop(unit, None)
            room = self._rooms[unit]
            while room and self._is_answered(room[0]):
                room.popleft()
            if room:
                self._tried[unit] = room.popleft()
                trying.append(self._tried[unit])
            else:
                self._open(unit)
        return trying

    def _open(self, unit: int) -> list[W]:
        self._tried.pop(unit, None)
        room = self._rooms.pop(unit, deque())
        self._wallets = {wallet_id: of for wallet_id, of in self._wallets.items() if of != unit}
        if not self._rooms:
            self._look_again_at_s = 0.0
        return [one for one in room if not self._is_answered(one)]
