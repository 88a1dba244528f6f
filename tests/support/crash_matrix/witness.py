"""What must hold at every instant of a move: one owner per unit (I1), epochs and versions that never fall (I5).

Pure: it is told what somebody saw, one look after the other, and says what cannot be.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

from history.model import Finding

from contract.values import value

OWNING = frozenset({"active", "fenced"})
"""States in which a cell takes writes, or may again."""
LASTING = OWNING | {"granted", "moved"}
"""States whose epoch is a fact; a staging that is given up goes back to what was before it."""


@value
class UnitSeen:
    state: str | None
    epoch: int


Look = Mapping[str, Mapping[int, UnitSeen]]
"""By cell and unit; the cells were read one after the other."""


class Witness:
    def __init__(self) -> None:
        self._epochs: dict[tuple[str, int], int] = {}
        self._versions: dict[str, int] = {}
        self._last: Look = {}
        self.looks = 0

    def saw_units(self, look: Look) -> list[Finding]:
        """A cell that did not answer is left out."""
        findings = [*self._fallen_epochs(look), *two_owners(self._last, look)]
        self._last = look
        self.looks += 1
        return findings

    def saw_number(self, of: str, number: int) -> list[Finding]:
        """A version or an epoch that somebody goes by."""
        before = self._versions.get(of, number)
        self._versions[of] = max(before, number)
        return [_finding("number_fell", f"{of} was {before} and is {number}")] if number < before else []

    def _fallen_epochs(self, look: Look) -> Iterator[Finding]:
        for cell, units in look.items():
            for unit, seen in units.items():
                if seen.state not in LASTING:
                    continue
                before = self._epochs.get((cell, unit), 0)
                self._epochs[cell, unit] = max(before, seen.epoch)
                if seen.epoch < before:
                    yield _finding("epoch_fell", f"unit {unit} in {cell} was at {before} and is {_told(seen)}")


def two_owners(before: Look, now: Look) -> Iterator[Finding]:
    """Who owned a unit in two looks at one epoch owned it between them too; another owner meanwhile is one too many."""
    for one, other in combinations(sorted(before.keys() & now.keys()), 2):
        for unit in before[one].keys() & before[other].keys():
            if _owned_throughout(before, now, one, unit) and _owned_throughout(before, now, other, unit):
                told = ", ".join(f"{cell}: {_told(now[cell][unit])}" for cell in (one, other))
                yield _finding("two_owners", f"unit {unit} is owned twice: {told}")


def owner_at_rest(unit: int, look: Look) -> str | list[Finding]:
    """The cell that has the unit when no move is under way; everywhere else it is unknown or has moved."""
    states = {cell: units.get(unit, UnitSeen(state=None, epoch=0)) for cell, units in look.items()}
    owners = [cell for cell, seen in states.items() if seen.state == "active"]
    unfinished = [cell for cell, seen in states.items() if seen.state not in {None, "active", "moved"}]
    if len(owners) == 1 and not unfinished:
        return owners[0]
    told = ", ".join(f"{cell}: {_told(seen)}" for cell, seen in states.items())
    return [_finding("not_one_owner", f"after the move unit {unit} is {told}")]


def _owned_throughout(before: Look, now: Look, cell: str, unit: int) -> bool:
    then, later = before[cell].get(unit), now[cell].get(unit)
    return (
        then is not None
        and later is not None
        and then.state in OWNING
        and later.state in OWNING
        and then.epoch == later.epoch
    )


def _told(seen: UnitSeen) -> str:
    return f"{seen.state or 'unknown'} at {seen.epoch}"


def _finding(check: str, detail: str) -> Finding:
    return Finding(check=check, wallet_id="", detail=detail)
