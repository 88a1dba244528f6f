"""What the days of a simulated fleet come down to."""

from collections.abc import Sequence

from cellwallet.fleet_simulation.run import Look
from contract.values import value

RUN_BYTES = 16
"""Of a stretch of slots in the directory's JSON: `[164,"cell-001"],`."""


@value
class Summary:
    looks: int
    cells_first: int
    cells_last: int
    looks_to_balance: int | None
    """Until the first plan had nothing left to move."""
    moves_per_day: float
    units_per_day: float
    units_per_day_max: int
    entries_per_day: float
    looks_above_ceiling: int
    busiest_last: float
    """Over the mean, at the last look."""
    stretches_max: int
    map_bytes_max: int


def summary_of(looks: Sequence[Look]) -> Summary:
    days = max(one.day for one in looks) + 1
    per_day = [sum(one.moved_units for one in looks if one.day == day) for day in range(days)]
    calm = next((number for number, one in enumerate(looks) if not one.moves and not one.waiting_units), None)
    stretches = max(one.stretches for one in looks)
    return Summary(
        looks=len(looks),
        cells_first=looks[0].cells,
        cells_last=looks[-1].cells,
        looks_to_balance=calm,
        moves_per_day=sum(one.moves for one in looks) / days,
        units_per_day=sum(per_day) / days,
        units_per_day_max=max(per_day),
        entries_per_day=sum(one.moved_entries for one in looks) / days,
        looks_above_ceiling=sum(1 for one in looks if one.busiest > one.ceiling),
        busiest_last=looks[-1].busiest / looks[-1].mean,
        stretches_max=stretches,
        map_bytes_max=stretches * RUN_BYTES,
    )
