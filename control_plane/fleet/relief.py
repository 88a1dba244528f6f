"""Relieving cells that carry too much: the fewest units that bring each below its level go to the least burdened.

The level of a cell is its placement ceiling, or the mean of the fleet and half of what is tolerated above it, if that
is less. Nobody is given more than to its level and nobody below its level gives, so nothing moves back and forth.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST, ISOLATED_UNITS_MAX
from contract.values import value
from control_plane.fleet.board import SPREAD_MAX, Board, Cause, coldest
from control_plane.fleet.placing import HOT_WALLET_SHARE, Holder, HotWallet, is_certified
from control_plane.fleet.reasons import Waiting, WaitReason
from control_plane.fleet.resettling import held_back

SLACK = 1e-9
"""Sums of fractions are not exact."""


@value
class _Piece:
    """What can leave a cell: a unit, or a hot wallet of one."""

    weight: float
    unit: int
    wallet_id: str | None = None


@value
class Burden:
    """A cell that carries too much, and what of."""

    cell: CellId
    score: float
    cause: Cause
    detail: str


def burdens(board: Board) -> tuple[Burden, ...]:
    """The cells that must be relieved, the busiest first."""
    mean = board.mean
    found = []
    for holder in board.takers:
        score, ceiling = board.score(holder.cell), board.dimension.ceilings[holder.cell]
        if score > ceiling + SLACK:
            detail = f"at {score:.0%} of its limit, above its placement ceiling of {ceiling:.0%}"
            found.append(Burden(cell=holder.cell, score=score, cause=Cause.CEILING, detail=detail))
        elif mean > 0 and score > mean * (1 + SPREAD_MAX) + SLACK:
            detail = f"{score / mean - 1:.0%} above the mean of the fleet"
            found.append(Burden(cell=holder.cell, score=score, cause=Cause.SPREAD, detail=detail))
    return tuple(sorted(found, key=lambda one: (-one.score, one.cell)))


def relieve(board: Board) -> tuple[Waiting, ...]:
    level = board.mean * (1 + SPREAD_MAX / 2)
    told: list[Waiting] = []
    for burden in burdens(board):
        holder = next(one for one in board.takers if one.cell == burden.cell)
        told += _relieve(board, holder, burden, level)
    return tuple(told)


def hot_wallets(board: Board) -> tuple[Waiting, ...]:
    """Hot wallets that no move of the plan takes along, and why."""
    if not is_certified(board.picture):
        return ()
    moved = {move.wallet_id for move in board.moves}
    told = (_why_it_stays(board, wallet) for wallet in board.picture.hot_wallets if wallet.wallet_id not in moved)
    return tuple(one for one in told if one is not None)


def _why_it_stays(board: Board, wallet: HotWallet) -> Waiting | None:
    holder = next((one for one in board.takers if wallet.unit in board.units[one.cell]), None)
    if holder is None:
        return None
    largest, limit = max(board.dimension.limits.values()), board.dimension.limits[holder.cell]
    share = wallet.rate_per_s / limit
    if wallet.rate_per_s > largest:
        reason = WaitReason.WALLET_MUST_FIT_INTO_ONE_CELL
        detail = f"{wallet.rate_per_s:.0f}/s, and the largest cell carries {largest:.0f}/s: no move can help"
    elif share <= HOT_WALLET_SHARE or wallet.unit >= ISOLATED_UNIT_FIRST:
        return None
    elif board.picture.isolated >= ISOLATED_UNITS_MAX:
        reason = WaitReason.ISOLATED_WALLETS_MUST_BE_FEWER
        detail = f"{share:.0%} of the limit of {holder.cell}, and {ISOLATED_UNITS_MAX} wallets are isolated already"
    else:
        reason = WaitReason.HOT_WALLET_MUST_BURDEN_ITS_CELL
        detail = f"{share:.0%} of the limit of {holder.cell}: it may stay as long as that cell carries it"
    return Waiting(reason=reason, subject=wallet.wallet_id, detail=detail)


def _relieve(board: Board, holder: Holder, burden: Burden, level: float) -> tuple[Waiting, ...]:
    pieces = sorted(_pieces(board, holder), key=_by_weight)
    others = [one.cell for one in board.takers if one.cell != holder.cell]
    while (excess := -board.room(holder.cell, up_to=level)) > SLACK * board.dimension.limits[holder.cell]:
        room = max((board.room(cell, up_to=level) for cell in others), default=0.0)
        chosen = _chosen(pieces, excess, room)
        target = coldest(board, others, weight=chosen.weight, up_to=level) if chosen else None
        if chosen is None or target is None:
            detail = f"{burden.detail}; no unit of it fits below the level of another cell"
            stays = Waiting(reason=WaitReason.TARGET_MUST_HAVE_ROOM, subject=holder.cell, detail=detail)
            return (stays, *held_back(board, holder, and_resting=True))
        del pieces[bisect_left(pieces, _by_weight(chosen), key=_by_weight)]
        if chosen.wallet_id is None:
            board.move([chosen.unit], from_cell=holder.cell, to_cell=target, cause=burden.cause)
        else:
            board.move_wallet(
                chosen.wallet_id,
                unit=chosen.unit,
                weight=chosen.weight,
                from_cell=holder.cell,
                to_cell=target,
                cause=burden.cause,
            )
    return held_back(board, holder, and_resting=True)


def _chosen(pieces: Sequence[_Piece], excess: float, room: float) -> _Piece | None:
    """The smallest that is enough by itself; else the largest there is room for."""
    enough = bisect_left(pieces, excess, key=_weight)
    if enough < len(pieces) and pieces[enough].weight <= room:
        return pieces[enough]
    below = bisect_right(pieces, min(excess, room), key=_weight)
    return pieces[below - 1] if below and pieces[below - 1].weight > 0 else None


def _weight(piece: _Piece) -> float:
    return piece.weight


def _by_weight(piece: _Piece) -> tuple[float, int]:
    return piece.weight, -piece.unit


def _pieces(board: Board, holder: Holder) -> list[_Piece]:
    """Every movable unit; of a slot with a hot wallet, only that wallet."""
    hot = _hot_of(board, holder)
    slots = {piece.unit for piece in hot}
    units = [unit for unit in board.rested(holder) if unit not in slots]
    return [*(_Piece(unit=unit, weight=board.dimension.weight_of(unit)) for unit in units), *hot]


def _hot_of(board: Board, holder: Holder) -> list[_Piece]:
    if not is_certified(board.picture) or board.picture.isolated >= ISOLATED_UNITS_MAX:
        return []
    limit, units = board.dimension.limits[holder.cell], set(board.rested(holder))
    return [
        _Piece(unit=wallet.unit, wallet_id=wallet.wallet_id, weight=wallet.rate_per_s)
        for wallet in board.picture.hot_wallets
        if wallet.unit < ISOLATED_UNIT_FIRST and wallet.rate_per_s > HOT_WALLET_SHARE * limit and wallet.unit in units
    ]
