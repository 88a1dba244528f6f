"""In which order a round measures. Pure."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from loadtests.scale import Scale
from loadtests.stage import Measurement


def turns_of(number: int, measurements: Sequence[Measurement], scale: Scale) -> list[Measurement]:
    """Of that round: neighbours of the same setting that have several turns take them in turn."""
    laps = {"brief": scale.laps, "long": scale.long_laps}
    due = [one for one in measurements if one.turns != "last" or number == scale.rounds]
    return [
        one
        for (turns, _), neighbours in groupby(due, key=attrgetter("turns", "setting"))
        for one in there_and_back(list(neighbours), laps.get(turns, 1))
    ]


def there_and_back(measurements: Sequence[Measurement], laps: int) -> list[Measurement]:
    """Every second lap backwards: a machine that becomes slower does so to the first of a pair and to the second."""
    return [one for lap in range(laps) for one in (reversed(measurements) if lap % 2 else measurements)]
