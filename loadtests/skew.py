"""Which wallets a load touches: all alike, or a few much more than the others (Zipf). Pure.

With skew s the k-th most popular of n wallets is touched with a weight of 1 / k^s: 0 is uniform, 1 is what is
usually meant by Zipf. Popularity is shuffled over the wallets, so that hot wallets are no neighbours.
"""

import itertools
import random
from array import array


def picks(count: int, *, population: int, skew: float, seed: int) -> "array[int]":
    """`count` indices below `population`, the same for the same seed."""
    chance = random.Random(seed)
    if skew == 0:
        return array("I", (int(chance.random() * population) for _ in range(count)))
    by_popularity = list(range(population))
    chance.shuffle(by_popularity)
    weights = list(itertools.accumulate(weights_of(population, skew)))
    return array("I", chance.choices(by_popularity, cum_weights=weights, k=count))


def weights_of(population: int, skew: float) -> list[float]:
    """From the most popular to the least."""
    return [rank**-skew for rank in range(1, population + 1)]
