"""One document of several runs: whoever measures for hours does it in parts. Pure.

A target is of one run with all that it compares, because only figures of one run compare. Where a figure was measured
twice, that of the first run has its name; a target of a later run keeps its own verdict and its own numbers, and the
figure that it was judged by is shown as of that target.
"""

from collections.abc import Iterable
from typing import Any

from loadtests.gallery import as_of, needed

_LAST = 1_000


def joined(*documents: dict[str, Any]) -> dict[str, Any]:
    """The first, and of each that follows the targets that were not measured before, in the order of their names."""
    first, *others = documents
    found = {**first, "targets": dict(first["targets"]), "figures": dict(first["figures"])}
    found["absent"] = list(first.get("absent", ()))
    found["cutovers"] = dict(first.get("cutovers", {}))
    for document in others:
        new = {name: target for name, target in document["targets"].items() if name not in found["targets"]}
        found["targets"] |= new
        again = {
            as_of(name, target): figure
            for target in new
            for name, figure in document["figures"].items()
            if name in found["figures"] and name in needed(target)
        }
        found["figures"] = {**document["figures"], **found["figures"], **again}
        found["absent"] += [line for line in document.get("absent", ()) if line not in found["absent"]]
        found["cutovers"] = {**document.get("cutovers", {}), **found["cutovers"]}
    found["targets"] = {name: found["targets"][name] for name in sorted(found["targets"], key=_number)}
    found["absent"] = [line for line in found["absent"] if not _is_told_of(line, found["targets"])]
    return found


def _number(target: str) -> tuple[int, str]:
    digits = "".join(character for character in target if character.isdigit())
    return int(digits) if digits else _LAST, target


def _is_told_of(line: str, targets: Iterable[str]) -> bool:
    """`P6 was not measured: …`, and then another run did."""
    return line.partition(" ")[0] in targets
