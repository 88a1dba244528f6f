"""Rounds are chosen by their noise and never by their value."""

from collections.abc import Callable

from loadtests.calm import ATTEMPTS_MAX, measured_calmly
from loadtests.figures import Round


def rounds(*noise_and_value: tuple[float, float]) -> Callable[[], Round]:
    prepared = iter(noise_and_value)

    def run() -> Round:
        others_cores, value = next(prepared)
        return Round(value=value, checks=(), others_cores=others_cores)

    return run


def test_without_patience_the_first_round_counts() -> None:
    assert measured_calmly(rounds((2.0, 7.0)), patience_s=0).value == 7.0


def test_the_first_calm_round_counts_even_if_a_noisy_one_was_faster() -> None:
    assert measured_calmly(rounds((1.0, 99.0), (0.1, 7.0), (0.0, 1.0)), patience_s=1e-9).value == 7.0


def test_after_some_attempts_the_calmest_counts() -> None:
    noisy = [(1.0 + attempt, float(attempt)) for attempt in range(ATTEMPTS_MAX)]
    assert measured_calmly(rounds(*noisy), patience_s=1e-9).value == 0.0
