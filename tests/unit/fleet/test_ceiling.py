"""How much of its limit a cell may be given, also where its certificate does not tell everything."""

import json
from typing import Any

import pytest
from certificates import certificate_document

from contract.certificate import certificate_of
from control_plane.fleet.ceiling import DEGRADED_LOSS, FAILOVER_S, MOVES_LOSS, placement_ceiling


def ceiling(**changed: Any) -> float:
    return placement_ceiling(certificate_of(json.dumps(certificate_document(assumed=[], **changed)).encode()))


def test_what_was_measured_counts() -> None:
    """The worked example: 654 of 1,000."""
    assert ceiling(degraded_loss=0.1, moves_loss=0.05, failover_s=30.0) == pytest.approx(0.654, abs=0.001)
    assert ceiling(degraded_loss=0.0, moves_loss=0.0, failover_s=0.0) == pytest.approx(0.811, abs=0.001)


@pytest.mark.parametrize(
    ("name", "assumed"), [("degraded_loss", DEGRADED_LOSS), ("moves_loss", MOVES_LOSS), ("failover_s", FAILOVER_S)]
)
def test_what_nobody_measured_is_assumed(name: str, assumed: float) -> None:
    assert ceiling(**{name: None}) == ceiling(**{name: assumed}) != ceiling(**{name: 0.0})


def test_a_cell_without_a_certificate_is_given_as_much_as_one_that_tells_nothing() -> None:
    assert placement_ceiling(None) == ceiling(degraded_loss=None, moves_loss=None, failover_s=None)
