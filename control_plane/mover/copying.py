"""Carries rows from the source to the target, page by page, and never looks into them.

How far the target has come it tells itself, so a copy that was cut off anywhere goes on where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from contract.ids import CellId
from contract.moves import Part, Positions, RowsTaken, RowsWanted
from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.mover import calls
from control_plane.mover.asking import Cells, StepRefused
from control_plane.mover.calls import Call, Rows
from control_plane.moves.model import MoveRecord

WALLETS_MAX = 500
"""Wallets that one call names with their positions."""

Sleep = Callable[[float], Awaitable[None]]


@value
class CopyPace:
    rows_max: int = 5_000
    """Rows of one page."""
    share: float = 0.2
    """Of the time, that a first copy may keep the two cells busy."""


@value
class Copied:
    rows: int = 0
    bytes: int = 0
    ms: float = 0.0


@value
class CopyStuck:
    """The source has more, gives nothing, and nobody refuses."""

    detail: str


Failure = StepRefused | Unreachable | CopyStuck


class Copier:
    def __init__(self, cells: Cells, pace: CopyPace, *, sleep: Sleep = asyncio.sleep) -> None:
        self._cells = cells
        self._pace = pace
        self._sleep = sleep

    async def carry(
        self, move: MoveRecord, unit: int, *, is_throttled: bool, is_fenced: bool, may_go_on: Callable[[], bool]
    ) -> Copied | Failure:
        """Everything of the unit that the target does not have; stops early where it may not go on."""
        started = perf_counter()
        both = await self._ends(move, unit, is_fenced=is_fenced)
        if not isinstance(both, tuple):
            return both
        behind = _behind(*both)
        copied = Copied()
        while behind and may_go_on():
            page_started = perf_counter()
            page = await self._page(move, unit, behind, is_fenced=is_fenced)
            if not isinstance(page, Copied):
                return page
            copied = _sum(copied, page)
            if is_throttled and behind:
                await self._sleep((perf_counter() - page_started) * (1 / self._pace.share - 1))
        wanted = RowsWanted(unit=unit, part="state", open_sagas=both[1].open_sagas)
        state = await self._pipe(move, wanted, is_fenced=is_fenced)
        if not isinstance(state, tuple):
            return state
        copied = _sum(copied, state[0])
        return Copied(rows=copied.rows, bytes=copied.bytes, ms=(perf_counter() - started) * 1000)

    async def difference(self, move: MoveRecord, unit: int) -> dict[str, object] | Failure:
        """Wallets whose logs do not end alike, of a unit that stands still."""
        both = await self._ends(move, unit, is_fenced=False)
        if not isinstance(both, tuple):
            return both
        source, target = (dict(one.positions) for one in both)
        unequal = sorted(wallet for wallet in source.keys() | target.keys() if source.get(wallet) != target.get(wallet))
        shown = unequal[:WALLETS_MAX]
        return {
            "unit": unit,
            "wallets": {wallet: {"source": source.get(wallet), "target": target.get(wallet)} for wallet in shown},
            "wallets_unequal": len(unequal),
        }

    async def _ends(self, move: MoveRecord, unit: int, *, is_fenced: bool) -> tuple[Positions, Positions] | Failure:
        of_source, of_target = (
            calls.versions(move, unit, is_fenced=is_fenced),
            calls.positions(move, unit, is_fenced=is_fenced),
        )
        source, target = await asyncio.gather(
            self._positions(move.from_cell, of_source), self._positions(move.to_cell, of_target)
        )
        if not isinstance(source, Positions):
            return source
        if not isinstance(target, Positions):
            return target
        return source, target

    async def _positions(self, cell: CellId, call: Call[Positions]) -> Positions | StepRefused | Unreachable:
        return await self._cells.ask(cell, call)

    async def _page(
        self, move: MoveRecord, unit: int, behind: dict[str, tuple[int, int]], *, is_fenced: bool
    ) -> Copied | Failure:
        """One page; takes the wallets that have arrived out of `behind`."""
        named = tuple((wallet, behind[wallet][0]) for wallet in sorted(behind)[:WALLETS_MAX])
        wanted = RowsWanted(unit=unit, part="entries", positions=named, rows_max=self._pace.rows_max)
        piped = await self._pipe(move, wanted, is_fenced=is_fenced)
        if not isinstance(piped, tuple):
            return piped
        copied, taken = piped
        reached = {wallet: seq for wallet, seq in taken.positions if wallet in behind}
        if not any(seq > behind[wallet][0] for wallet, seq in reached.items()):
            return CopyStuck(detail=f"unit {unit}: {len(behind)} wallets are behind, and no row of them came")
        for wallet, seq in reached.items():
            if seq >= behind[wallet][1]:
                del behind[wallet]
            else:
                behind[wallet] = (seq, behind[wallet][1])
        return copied

    async def _pipe(
        self, move: MoveRecord, wanted: RowsWanted, *, is_fenced: bool
    ) -> tuple[Copied, RowsTaken] | Failure:
        started = perf_counter()
        rows = await self._cells.ask(move.from_cell, calls.rows(move, wanted, is_fenced=is_fenced))
        if not isinstance(rows, Rows):
            return rows
        part: Part = wanted.part
        put = calls.put_rows(move, wanted.unit, part, rows.content, is_fenced=is_fenced)
        taken = await self._cells.ask(move.to_cell, put)
        if not isinstance(taken, RowsTaken):
            return taken
        size = len(rows.content)
        return Copied(rows=rows.count, bytes=size, ms=(perf_counter() - started) * 1000), taken


def _behind(source: Positions, target: Positions) -> dict[str, tuple[int, int]]:
    """Wallets of which the source has more: where the target stands, and where the source stood just now."""
    here = dict(target.positions)
    return {wallet: (here.get(wallet, 0), seq) for wallet, seq in source.positions if here.get(wallet, 0) < seq}


def _sum(one: Copied, other: Copied) -> Copied:
    return Copied(rows=one.rows + other.rows, bytes=one.bytes + other.bytes, ms=one.ms + other.ms)
