"""Whether two runs say the same: ratios compare between runs and machines, figures do not. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from contract.values import value

DIFFERENCE_MAX = 0.15


class RunsMustCompareError(Exception):
    """There is nothing in these documents that could be compared; the message says why."""


@value
class Compared:
    """One ratio, of this run and of the other."""

    name: str
    ratio: float
    other: float

    @property
    def difference(self) -> float:
        """By how much the greater is above the smaller; which of the runs came first makes none."""
        smaller, greater = sorted((self.ratio, self.other))
        if greater == smaller:
            return 0.0
        return greater / smaller - 1 if smaller > 0 else math.inf

    @property
    def apart(self) -> str:
        """The difference as it is told."""
        return "without bound" if math.isinf(self.difference) else f"{self.difference:.1%}"

    @property
    def agrees(self) -> bool:
        return self.difference <= DIFFERENCE_MAX


def compared(document: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Compared, ...]:
    """Every ratio that both runs have.

    Raises:
        RunsMustCompareError: they have none in common, a check of a run failed, or their forms differ.

    """
    if document.get("form") != other.get("form"):
        raise RunsMustCompareError(f"one run is of form {document.get('form')}, the other of form {other.get('form')}")
    if not (document["passed"] and other["passed"]):
        raise RunsMustCompareError("a check of one of the runs failed: its figures are none")
    common = [name for name in document["ratios"] if name in other["ratios"]]
    if not common:
        raise RunsMustCompareError("the runs have no ratio in common")
    return tuple(
        Compared(name=name, ratio=float(document["ratios"][name]), other=float(other["ratios"][name]))
        for name in common
    )


def only_in_one(document: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(set(document["ratios"]) ^ set(other["ratios"])))
