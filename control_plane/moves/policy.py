"""What an operator may set about how moves are done, and the bounds that follow from the protocol."""

from datetime import timedelta

from contract.moves import FENCE_MAX_MS, UNITS_MAX
from contract.values import value


@value
class MovePolicy:
    portion_max: int = UNITS_MAX
    """Empty units that are fenced and granted together."""
    converged_ms: float = 100.0
    """A pass of the copy that takes no longer may be followed by a fence."""
    passes_max: int = 5
    """Passes after the first copy that hope to converge."""
    bearable_ms: float = 500.0
    """What one may take after that all the same; a fence stands for four times that."""
    more_passes_max: int = 15
    """Where none was bearable: nobody waits for a pass, and on a busy machine the next may find a quieter moment."""
    outpaced_ms: float = 5_000.0
    """Who then takes so long is written to faster than it can be copied, and stays where it is."""
    few_rows: int = 50
    """So few left to carry over are not the unit's haste but the machine's slowness: twice as long is bearable."""
    stands_ms: int = FENCE_MAX_MS
    lock_wait_ms: int = 300
    setbacks_max: int = 8
    """Attempts on one portion that may fail before the move is given up."""
    clock_offset_max_ms: float = 100.0
    is_synchrony_required: bool = False
    """Whether a source or target whose commits wait for no standby is refused: a lost grant could revive an owner."""
    retention: timedelta = timedelta(hours=72)
    """How long the source keeps the rows of what it has given away."""
