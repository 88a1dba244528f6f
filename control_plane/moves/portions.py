"""Which units of a move go next, together: many empty ones, or one with wallets. And may a move still be cancelled?"""

from collections.abc import Mapping, Sequence

from control_plane.moves.model import MoveRecord, UnitSeen
from control_plane.moves.states import PAST_THE_GRANT


def candidates_of(move: MoveRecord, *, portion_max: int) -> tuple[int, ...]:
    """The units to ask the source about before the next portion is chosen."""
    return tuple(unit.unit for unit in move.waiting[:portion_max])


def next_portion(candidates: Sequence[int], seen: Mapping[int, UnitSeen]) -> tuple[int, ...]:
    """All empty candidates; without any, the first one that holds wallets."""
    empty = tuple(unit for unit in candidates if not seen[unit].wallets)
    return empty or tuple(candidates[:1])


def is_beyond_cancelling(move: MoveRecord) -> bool:
    """The source may have granted the last units of the move: they belong to the target, whatever anybody wishes."""
    return move.state in PAST_THE_GRANT and not move.waiting
