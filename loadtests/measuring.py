"""Makes the rounds of a run, one measurement after the other, and the audits after them.

Hours of figures must not be lost with one of them: what breaks is noted, and the next is measured. Knows no figure, and
not what a run writes down.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from loadtests.calm import measured_calmly
from loadtests.figures import Check, Round
from loadtests.guests import Guest
from loadtests.stage import Measurement, Stage
from loadtests.turns import turns_of


class Watch(Protocol):
    """Whoever wants to see it happen."""

    def expect(self, steps: int) -> None: ...

    def begin(self, what: str) -> None: ...

    def went_on(self) -> None:
        """One of the expected steps is done."""

    def measured(self, measurement: Measurement, one: Round) -> None: ...


class Measuring:
    """`make_rounds`, then `audit`; what they found is in `rounds`, `audits` and `broken`."""

    def __init__(self, stage: Stage, measurements: Sequence[Measurement], *, patience_s: float, watch: Watch) -> None:
        self._stage = stage
        self._measurements = measurements
        self._patience_s = patience_s
        self._watch = watch
        self.rounds: dict[str, list[Round]] = {one.id: [] for one in measurements}
        self.audits: list[Check] = []
        """One that could not be made has failed."""
        self.broken: list[str] = []
        """Measurements that ended with an error instead of a figure."""

    def make_rounds(self) -> None:
        """The cell audits itself after each, in full after the last."""
        count = self._stage.scale.rounds
        numbers = range(1, count + 1)
        turns = {number: turns_of(number, self._measurements, self._stage.scale) for number in numbers}
        self._watch.expect(sum(map(len, turns.values())))
        for number in numbers:
            told = f"round {number} of {count}"
            self._stage.checkpoint()
            for _, neighbours in groupby(turns[number], key=attrgetter("setting")):
                self._measure_together(told, list(neighbours))
            self._watch.begin(f"{told}: auditing everything that was written")
            self._audit("the cell", partial(self._stage.audit, is_full=number == count))

    def audit(self, guests: Sequence[Guest]) -> None:
        for guest in guests:
            self._watch.begin(f"auditing {guest.name}")
            self._audit(guest.name, guest.audit)

    def _measure_together(self, told: str, turns: Sequence[Measurement]) -> None:
        setting = turns[0].setting
        with self._noting(f"{told}: what {turns[0].title} needs"), setting() if setting else nullcontext():
            for one in turns:
                self._watch.begin(f"{told}: {one.title}")
                with self._noting(f"{told}: {one.title}"):
                    self._measure(one)

    def _measure(self, measurement: Measurement) -> None:
        folder = self._stage.cell.cluster.data_folder.parent
        patience_s = 0.0 if measurement.setting else self._patience_s  # what stands meanwhile is never quite still
        one = measured_calmly(measurement.run, patience_s=patience_s, folder=folder)
        self.rounds[measurement.id].append(one)
        self._watch.measured(measurement, one)

    def _audit(self, whose: str, audit: Callable[[], tuple[Check, ...]]) -> None:
        try:
            self.audits.extend(audit())
        except Exception as error:  # noqa: BLE001 - as below
            self.audits.append(Check(name=f"audit of {whose}", has_passed=False, detail=f"it broke: {error!r}"))
            self._watch.begin(f"the audit of {whose} broke: {error!r}")

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the others can still be measured
            self.broken.append(f"{what} broke: {error!r}")
            self._watch.begin(self.broken[-1])
