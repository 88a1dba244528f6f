"""Every reason for which an order may be refused is one that goes out on the wire, with a meaning."""

from control_plane.api.release_reasons import RELEASE_MEANINGS, ReleaseProblem
from control_plane.evacuations.model import EvacuationReason
from control_plane.installations.model import InstallationRefusal
from control_plane.rollouts.reasons import RolloutRefusal

WAITS = {
    EvacuationReason.DIRECTORY_MUST_SAY_SO,
    EvacuationReason.ROUTERS_MUST_ACKNOWLEDGE,
    EvacuationReason.PRIMARIES_MUST_SWITCH,
    EvacuationReason.ZONE_MUST_BE_CORDONED,
}


def test_every_refusal_has_a_meaning() -> None:
    assert set(RELEASE_MEANINGS) == set(ReleaseProblem)
    for refusal in (*RolloutRefusal, *InstallationRefusal, *(set(EvacuationReason) - WAITS)):
        assert ReleaseProblem(refusal.value) in RELEASE_MEANINGS


def test_states_what_must_hold() -> None:
    assert all("_must_" in problem or "_exists_with_" in problem for problem in ReleaseProblem)
