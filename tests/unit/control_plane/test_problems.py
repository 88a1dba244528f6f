"""Every reason has a meaning, says what must hold, and becomes a whole problem document."""

import json

import pytest

from contract.answers import ProblemAnswer
from contract.headers import PROBLEM_TYPE
from contract.reasons import Reason
from contract.scopes import Scope
from control_plane.api.problems import Refusal, problem_response, scope_must_allow
from control_plane.api.reasons import PLATFORM_MEANINGS, PlatformReason


def test_the_table_of_meanings_is_complete_and_in_order() -> None:
    assert list(PLATFORM_MEANINGS) == list(PlatformReason)


def test_the_platforms_own_reasons_are_not_the_contracts() -> None:
    assert not {reason.value for reason in PlatformReason} & {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", PlatformReason)
def test_a_reason_states_what_must_hold(reason: PlatformReason) -> None:
    assert "_must_" in reason.value
    meaning = PLATFORM_MEANINGS[reason]
    assert 400 <= meaning.status < 600
    assert (meaning.retry == "same_id") == (meaning.status in {404, 500, 503})


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Refusal(reason=PlatformReason.CELL_MUST_EXIST, detail="no"), 404, "cell_must_exist"),
        (Refusal(reason=Reason.BODY_MUST_FIT, detail="no"), 413, "body_must_fit"),
        (scope_must_allow(Scope.FLEET_MANAGE), 403, "scope_must_allow_manage"),
    ],
)
def test_a_refusal_becomes_a_problem_document(refusal: Refusal, status: int, code: str) -> None:
    response = problem_response(refusal, request_id="r-1")
    document = ProblemAnswer.model_validate(json.loads(response.body))
    assert response.media_type == PROBLEM_TYPE
    assert (response.status_code, document.status, document.reason) == (status, status, code)
    assert document.request_id == "r-1"


def test_who_should_come_again_is_told_when() -> None:
    response = problem_response(Refusal(reason=PlatformReason.DATABASE_MUST_BE_READY, detail="no"), request_id="r-1")
    assert response.headers["Retry-After"] == "1"
