"""The sum of a replay: what was posted, what was there already, where wallet and file disagree. Pure."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from cellwallet.replaying.posting import AccountOutcome, Difference
from contract.values import value


@value
class ReplayReport:
    file: str
    accounts: int
    movements: int
    posted: int
    already_there: int
    differences: tuple[Difference, ...]
    duration_s: float

    @property
    def is_exact(self) -> bool:
        return not self.differences

    @property
    def changed_nothing(self) -> bool:
        return self.already_there == self.movements

    @property
    def rate_per_s(self) -> float:
        return self.movements / self.duration_s if self.duration_s > 0 else 0.0

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            **dataclasses.asdict(self),
            "duration_s": round(self.duration_s, 3),
            "rate_per_s": round(self.rate_per_s, 1),
            "difference_count": len(self.differences),
            "changed_nothing": self.changed_nothing,
            "exact": self.is_exact,
        }


def summed_up(outcomes: Iterable[AccountOutcome], *, file: str, duration_s: float) -> ReplayReport:
    """The report over the outcomes of all accounts; differences in the order of the file."""
    accounts = list(outcomes)
    return ReplayReport(
        file=file,
        accounts=len(accounts),
        movements=sum(outcome.movements for outcome in accounts),
        posted=sum(outcome.posted for outcome in accounts),
        already_there=sum(outcome.already_there for outcome in accounts),
        differences=tuple(
            sorted(
                (difference for outcome in accounts for difference in outcome.differences),
                key=lambda difference: (difference.line, difference.movement_id is None),
            )
        ),
        duration_s=duration_s,
    )
