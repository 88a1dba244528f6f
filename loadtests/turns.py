"""In which order a round measures. Pure."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from loadtests.scale import Scale
from loadtests.stage import Measurement


def turns_of(number: int, measurements: Sequence[Measurement], scale: Scale) -> list[Measurement]:
    """Of that round: what is brief takes turns with its brief neighbours of the same setting, `scale.laps` times."""
    due = [one for one in measurements if one.is_repeated or number == scale.rounds]
    return [
        one
        for (is_brief, _), neighbours in groupby(due, key=attrgetter("is_brief", "setting"))
        for one in there_and_back(list(neighbours), scale.laps if is_brief else 1)
    ]


def there_and_back(measurements: Sequence[Measurement], laps: int) -> list[Measurement]:
    """Every second lap backwards: a machine that becomes slower does so to the first of a pair and to the second."""
    return [one for lap in range(laps) for one in (reversed(measurements) if lap % 2 else measurements)]
