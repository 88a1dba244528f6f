"""A deployment is settled when every process runs the image and is ready; conditions of before prove nothing."""

from dataclasses import replace

import pytest

from control_plane.rollouts.model import ProcessSeen, ZoneSeen
from control_plane.rollouts.settling import has_failed, why_not_settled

NEW, OLD = "new", "old"
SETTLED = ZoneSeen(
    zone="a",
    image=NEW,
    fence=1,
    generation=4,
    observed_generation=4,
    wanted=2,
    updated=2,
    total=2,
    available=2,
    processes=(ProcessSeen(image=NEW, is_ready=True),) * 2,
)


def test_it_is_settled_when_everything_is_as_told() -> None:
    assert why_not_settled(SETTLED, NEW) is None


@pytest.mark.parametrize(
    "change",
    [
        {"image": OLD},
        {"observed_generation": 3},
        {"updated": 1},
        {"total": 3},
        {"available": 1},
        {"processes": (ProcessSeen(image=NEW, is_ready=True), ProcessSeen(image=OLD, is_ready=True))},
        {"processes": (ProcessSeen(image=NEW, is_ready=True), ProcessSeen(image=NEW, is_ready=False))},
        {"processes": (ProcessSeen(image=NEW, is_ready=True),)},
        {"processes": (ProcessSeen(image=NEW, is_ready=True),) * 3},
    ],
    ids=str,
)
def test_anything_less_is_not(change: dict[str, object]) -> None:
    assert why_not_settled(replace(SETTLED, **change), NEW)


def test_giving_up_counts_for_what_it_is_told_now_alone() -> None:
    assert has_failed(replace(SETTLED, has_given_up=True), NEW)
    assert not has_failed(replace(SETTLED, has_given_up=True), OLD)
    assert not has_failed(replace(SETTLED, has_given_up=True, observed_generation=3), NEW)
