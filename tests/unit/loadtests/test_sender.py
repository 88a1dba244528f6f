"""Whom a sender talks to; everything else about it needs a real cell (tests/integration/loadtests)."""

import pytest

from loadtests.load import Load, Pace, Postings, Target
from loadtests.sender import Sender, TargetMustBeLocalError


def test_loads_are_for_this_machine_only() -> None:
    stranger = Target(port=80, host="192.0.2.1")
    asks = Postings(wallets=["a", "b"], token="none")
    with pytest.raises(TargetMustBeLocalError):
        Sender(Load(targets=(stranger,), asks=asks, pace=Pace(duration_s=1, concurrency=1)), share=0, shares=1)
