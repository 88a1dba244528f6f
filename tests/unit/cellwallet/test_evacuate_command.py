"""How long an evacuation lasts, as people write it, and what a script learns of it."""

from typing import Any

import pytest
import typer

from cellwallet.commands.evacuate import seconds_of
from cellwallet.commands.evacuations import SETTLED, follow


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)])
def test_a_time_is_a_number_with_its_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-1h", "1.5h", "2 h", "2w", "9999999s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds_of(text)


class Answering:
    """A control plane whose evacuation is as it is."""

    def __init__(self, **changes: object) -> None:
        self.evacuation = {
            "evacuation_id": "e-1",
            "kind": "evacuation",
            "zone": "a",
            "state": "ended",
            "is_end_ordered": False,
            "expires_at": "2026-01-01T02:00:00Z",
            "ended_at": None,
            "primaries": [],
            "cordon": "",
            "detail": None,
            **changes,
        }

    def get(self, _: str) -> dict[str, object]:
        return self.evacuation

    try_to_get = get


def followed(*, until: frozenset[str] = SETTLED, no_wait: bool = False, **changes: object) -> None:
    operator: Any = Answering(**changes)
    follow(operator, operator.evacuation, no_wait=no_wait, as_json=True, until=until)


def test_whoever_waits_is_told_whether_the_zone_was_left() -> None:
    """A drill goes on only if it was; an order that ran out of its time before is none."""
    followed(state="in_force")
    followed(state="ended", no_wait=True)
    followed(state="ended", until=frozenset({"ended"}))
    followed(state="ended", kind="fail_back")
    with pytest.raises(typer.Exit) as ended:
        followed(state="ended")
    assert ended.value.exit_code == 1
