"""How many nodes a zone needs so that every pod finds a place, in whatever order they come and are placed. Pure.

A pod finds no place if every node is blocked for it, by cores or by memory; and so many nodes can be blocked at most:

    by cores   A = ⌊(T−s)/t⌋     T cores of all pods, s of the largest one, t the least that leaves it no place:
                                 the next multiple above C−s of what all sizes are multiples of; C cores of a node
    by memory  B likewise
    nodes      A + B + 1, and those that may be missing

A sum divided by a node's size is too little: four nodes of 7.5 cores hold twelve pods of two, and not fifteen.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from cellwallet.headroom.sound import HeadroomMustBeSoundError, exactly, must_be_at_least, must_be_positive
from contract.values import value


@value
class Pods:
    """So many pods of one size."""

    count: int
    cores: float
    memory_gib: float

    def __post_init__(self) -> None:
        must_be_at_least("count of pods", self.count, 1)
        must_be_positive("cores of a pod", self.cores)
        must_be_positive("memory_gib of a pod", self.memory_gib)


@value
class Node:
    """What pods may have of it: without what the system keeps for itself."""

    cores: float
    memory_gib: float

    def __post_init__(self) -> None:
        must_be_positive("cores of a node", self.cores)
        must_be_positive("memory_gib of a node", self.memory_gib)


def nodes_per_zone(pods: Sequence[Pods], *, node: Node, missing: int) -> int:
    """Of one zone, for all pods that it may have at once, those of a roll-out included.

    Raises:
        HeadroomMustBeSoundError: there are no pods, or one that no node can hold.

    """
    must_be_at_least("kinds of pods", len(pods), 1)
    must_be_at_least("missing nodes", missing, 0)
    count = sum(kind.count for kind in pods)
    by_cores = _blocked(((kind.count, kind.cores) for kind in pods), node.cores, of="cores")
    by_memory = _blocked(((kind.count, kind.memory_gib) for kind in pods), node.memory_gib, of="GiB of memory")
    return min(by_cores + by_memory + 1, count) + missing


def _blocked(pods: Iterable[tuple[int, float]], node: float, *, of: str) -> int:
    """How many nodes the others can fill up so far that the largest pod has no place on them."""
    sizes = [(count, exactly(size)) for count, size in pods]
    largest, room = max(size for _, size in sizes), exactly(node)
    if largest > room:
        raise HeadroomMustBeSoundError(
            f"a node must have at least {float(largest):g} {of} for pods, or the largest finds no place; not {node:g}"
        )
    unit = _unit([size for _, size in sizes])
    blocking = (math.floor((room - largest) / unit) + 1) * unit
    others = sum((count * size for count, size in sizes), start=Fraction(0)) - largest
    return math.floor(others / blocking)


def _unit(sizes: Sequence[Fraction]) -> Fraction:
    """The largest number that all of them are multiples of: what is used of a node is one, too."""
    whole = math.lcm(*(size.denominator for size in sizes))
    return Fraction(math.gcd(*(int(size * whole) for size in sizes)), whole)
