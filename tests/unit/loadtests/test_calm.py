"""Rounds are chosen by their noise and never by their value."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import disturbance
from loadtests.calm import ATTEMPTS_MAX, measured_calmly
from loadtests.disk import STALL_S, DiskWatch
from loadtests.figures import Round
from loadtests.usage import machine_cores


def rounds(*noise_and_value: tuple[float, float]) -> Callable[[], Round]:
    prepared = iter(noise_and_value)

    def run() -> Round:
        others_cores, value = next(prepared)
        return Round(value=value, checks=(), others_cores=others_cores)

    return run


def test_without_patience_the_first_round_counts(tmp_path: Path) -> None:
    assert measured_calmly(rounds((2.0, 7.0)), patience_s=0, folder=tmp_path).value == 7.0


def test_the_first_calm_round_counts_even_if_a_noisy_one_was_faster(tmp_path: Path) -> None:
    assert measured_calmly(rounds((1.0, 99.0), (0.1, 7.0), (0.0, 1.0)), patience_s=1e-9, folder=tmp_path).value == 7.0


def test_after_some_attempts_the_calmest_counts(tmp_path: Path) -> None:
    noisy = [(1.0 + attempt, float(attempt)) for attempt in range(ATTEMPTS_MAX)]
    assert measured_calmly(rounds(*noisy), patience_s=1e-9, folder=tmp_path).value == 0.0


def test_a_round_tells_how_long_the_disk_stood_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def synced(file: int) -> None:
        time.sleep(2 * STALL_S)

    monkeypatch.setattr(os, "fdatasync", synced)

    def run() -> Round:
        time.sleep(10 * STALL_S)
        return Round(value=7.0, checks=())

    one = measured_calmly(run, patience_s=0, folder=tmp_path)
    assert 0.3 < one.disk_stalled_share <= 1.0
    assert list(tmp_path.iterdir()) == []


def test_syncs_that_are_quick_are_no_stall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    with DiskWatch(tmp_path) as disk:
        time.sleep(5 * STALL_S)
    assert disk.stalled_share == 0.0


def test_a_round_tells_what_the_host_kept_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stolen_s = iter((7.0, 7.1))
    monkeypatch.setattr(disturbance, "machine_stolen_s", lambda: next(stolen_s))

    def run() -> Round:
        time.sleep(0.1)
        return Round(value=7.0, checks=())

    one = measured_calmly(run, patience_s=0, folder=tmp_path)
    assert 0.1 / machine_cores() < one.stolen_share <= 1.0 / machine_cores()
