"""Which wallets a load touches."""

from collections import Counter

import pytest

from loadtests.skew import picks, weights_of

DRAWS = 50_000


def test_no_skew_touches_all_alike() -> None:
    seen = Counter(picks(DRAWS, population=100, skew=0, seed=1))
    assert set(seen) == set(range(100))
    assert max(seen.values()) < 1.4 * DRAWS / 100


def test_skew_follows_zipf() -> None:
    seen = Counter(picks(DRAWS, population=1_000, skew=1.0, seed=1))
    weights = weights_of(1_000, 1.0)
    first, tenth = seen.most_common(10)[0][1], seen.most_common(10)[9][1]
    assert first / DRAWS == pytest.approx(weights[0] / sum(weights), rel=0.1)
    assert first / tenth == pytest.approx(10, rel=0.25)


def test_the_popular_are_no_neighbours() -> None:
    popular = [wallet for wallet, _ in Counter(picks(DRAWS, population=1_000, skew=1.0, seed=1)).most_common(5)]
    assert max(popular) - min(popular) > 50


def test_a_seed_repeats_itself_and_another_differs() -> None:
    assert picks(100, population=50, skew=0.8, seed=7) == picks(100, population=50, skew=0.8, seed=7)
    assert picks(100, population=50, skew=0.8, seed=7) != picks(100, population=50, skew=0.8, seed=8)
