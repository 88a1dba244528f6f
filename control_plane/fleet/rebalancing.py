"""`rebalancing`: which units should move where, and why no others. Pure; what is ordered of it is ordering.py's affair.

First what operators have ordered (cells drain, new ones are filled), then, when nothing of that is left, relief of
cells that carry too much. A plan made again after its moves were done has none left.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from contract.ids import CellId
from contract.values import value
from control_plane.fleet.board import SPREAD_MAX, Board, Cause, PlannedMove
from control_plane.fleet.placing import Picture, is_certified, scores, slots_of
from control_plane.fleet.reasons import Waiting, WaitReason
from control_plane.fleet.relief import burdens, hot_wallets, relieve
from control_plane.fleet.resettling import drain, fill, lacking

Relief = Literal["none", "ordered", "automatic"]

IMBALANCE_LASTS = timedelta(minutes=10)
"""So long a cell must carry too much before units move without an order: peaks pass by themselves."""
REST = timedelta(hours=24)
"""A unit that has moved stays so long before it moves again without an order."""
IDLE_SHARE = 0.5
"""Of its ceiling: an uneven fleet that carries less than half of what it may is left alone without an order."""


@value
class CellShare:
    """A cell before and after the moves of a plan."""

    cell: CellId
    units: int
    slots: int
    score: float | None
    """None for a cell that takes no units."""


@value
class Rebalancing:
    moves: tuple[PlannedMove, ...]
    waiting: tuple[Waiting, ...]
    dimension: str
    before: tuple[CellShare, ...]
    after: tuple[CellShare, ...]


def rebalancing(picture: Picture, *, relief: Relief) -> Rebalancing:
    board = Board(picture)
    told = [*_resettled(board)]
    is_resettling = any(one.is_filling or (one.role == "gives" and one.units) for one in picture.holders)
    if relief != "none":
        told += _placement_first() if is_resettling else _relieved(board, evens_slots=relief == "ordered")
        told += hot_wallets(board)
    if not board.moves and not told:
        detail = f"no cell is above its ceiling or more than {SPREAD_MAX:.0%} above the mean"
        told.append(Waiting(reason=WaitReason.IMBALANCE_MUST_EXCEED_TOLERANCE, subject="fleet", detail=detail))
    return Rebalancing(
        moves=board.moves,
        waiting=tuple(dict.fromkeys(told)),
        dimension=board.dimension.name,
        before=_shares(picture, scores(picture), {holder.cell: set(holder.units) for holder in picture.holders}),
        after=_shares(picture, {holder.cell: board.score(holder.cell) for holder in board.takers}, board.units),
    )


def is_burdened(picture: Picture) -> bool:
    """Whether a cell carries so much that units should move even without an order, once that has lasted."""
    return is_certified(picture) and bool(_serious(Board(picture)))


def automatic(picture: Picture, *, burdened_since: datetime | None, now: datetime) -> tuple[bool, tuple[Waiting, ...]]:
    """Whether relief is due without an order, and why it is not."""
    if not is_certified(picture):
        detail = "without a certificate for every active cell nothing moves without an order"
        return False, (Waiting(reason=WaitReason.CELLS_MUST_BE_CERTIFIED, subject="rebalancing", detail=detail),)
    serious = _serious(Board(picture))
    if not serious:
        return False, ()
    lasted = now - burdened_since if burdened_since else timedelta()
    if lasted < IMBALANCE_LASTS:
        detail = f"{serious}, for {lasted.total_seconds():.0f} of {IMBALANCE_LASTS.total_seconds():.0f} s"
        return False, (Waiting(reason=WaitReason.IMBALANCE_MUST_LAST, subject="rebalancing", detail=detail),)
    return True, ()


def _serious(board: Board) -> str:
    """The burdens that count without an order, in words; empty = none."""
    return "; ".join(
        f"{burden.cell} is {burden.detail}"
        for burden in burdens(board)
        if burden.cause is Cause.CEILING or burden.score >= IDLE_SHARE * board.dimension.ceilings[burden.cell]
    )


def _resettled(board: Board) -> list[Waiting]:
    told: list[Waiting] = []
    for holder in board.picture.holders:
        if holder.role == "gives":
            told += drain(board, holder)
    for holder in board.takers:
        if holder.is_filling:
            told += fill(board, holder)
    return told


def _placement_first() -> list[Waiting]:
    detail = "cells are being filled or drained; relief is planned when that is done"
    return [Waiting(reason=WaitReason.PLACEMENT_MUST_BE_DONE_FIRST, subject="rebalancing", detail=detail)]


def _relieved(board: Board, *, evens_slots: bool) -> list[Waiting]:
    unknown = [holder.cell for holder in board.takers if not holder.is_known]
    if unknown:
        detail = "it has not told the loads of its units; nothing is weighed without them"
        return [Waiting(reason=WaitReason.LOADS_MUST_BE_KNOWN, subject=cell, detail=detail) for cell in unknown]
    told: list[Waiting] = []
    for holder in lacking(board) if evens_slots else ():
        told += fill(board, holder, cause=Cause.SPREAD)
    return [*told, *(_placement_first() if board.moves else relieve(board))]


def _shares(
    picture: Picture, scored: Mapping[CellId, float], units: Mapping[CellId, set[int]]
) -> tuple[CellShare, ...]:
    return tuple(
        CellShare(
            cell=holder.cell,
            units=len(units[holder.cell]),
            slots=len(slots_of(units[holder.cell])),
            score=scored.get(holder.cell),
        )
        for holder in picture.holders
    )
