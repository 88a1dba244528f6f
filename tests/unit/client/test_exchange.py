"""When a call is repeated, with what, for how long; and which "no" is a value and which an exception."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwallet.client import (
    CallerMustActError,
    CallFailedError,
    ConflictError,
    OperatorMustActError,
    Posting,
    Refused,
    Retries,
    TryAgainLaterError,
    calls,
)
from cellwallet.client.calls import Reply
from cellwallet.client.exchange import NoReply, Pause, Send, exchange
from contract.problems import Problem, problem_document
from contract.reasons import MEANINGS, Reason

WALLET = "0190a0b0-0000-7000-8000-000000000001"
OTHER = "0190a0b0-0000-7000-8000-000000000003"
POSTING = {
    "transaction_id": "0190a0b0-0000-7000-8000-000000000002",
    "wallet_id": WALLET,
    "kind": "debit",
    "amount": 5,
    "currency": "EUR",
    "delta": -5,
    "held_delta": 0,
    "balance": 95,
    "held": 0,
    "available": 95,
    "seq": 3,
    "posted_at": "2027-01-15T08:00:00.123456Z",
    "entry_hash": "ab" * 32,
}
SUCCESS = Reply(status=201, headers={}, body=json.dumps(POSTING).encode())


class Conversation:
    """Plays the world for one exchange: answers its attempts from a list, and lets its clock run only while pausing."""

    def __init__(self, *answers: Reply | NoReply, retries: Retries | None = None, jitter: float = 1.0) -> None:
        self.now_s = 0.0
        self.sent: list[Send] = []
        self.pauses_s: list[float] = []
        self._answers = list(answers)
        self._retries = retries or Retries()
        self._jitter = jitter

    def hold(self, call: calls.Call[Any], *, attempt_s: float = 0.0) -> Any:
        steps = exchange(
            call,
            token=lambda: "secret",
            retries=self._retries,
            monotonic_s=lambda: self.now_s,
            jitter=lambda: self._jitter,
        )
        told: Reply | NoReply | None = None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                self.pauses_s.append(step.seconds)
                self.now_s += step.seconds
                told = None
            else:
                self.sent.append(step)
                self.now_s += attempt_s
                told = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _debit() -> calls.Call[Posting]:
    return calls.debit(WALLET, amount=5, currency="EUR")


def _problem(reason: Reason, *, headers: dict[str, str] | None = None, **facts: Any) -> Reply:
    problem = Problem(reason=reason, detail="For a test.", qualifier="amount", facts=facts)
    document = problem_document(problem, request_id="r-1")
    return Reply(status=problem.status, headers=headers or {}, body=json.dumps(document).encode())


def _expected_end(reason: Reason) -> type[Refused | CallFailedError]:
    """What a vendor meets, by who must act. The statuses and `retry` words are those of the contract."""
    meaning = MEANINGS[reason]
    is_absence = meaning.status == 404 and reason is not Reason.ROUTE_MUST_EXIST
    if is_absence or meaning.is_recorded:
        return Refused
    if meaning.status == 409:
        return ConflictError
    if meaning.status in {421, 429, 503, 504}:
        return TryAgainLaterError
    return OperatorMustActError if meaning.status >= 500 else CallerMustActError


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_ends_as_its_class_and_only_the_repeatable_are_repeated(reason: Reason) -> None:
    conversation = Conversation(_problem(reason), retries=Retries(attempts_max=3))
    expected = _expected_end(reason)
    if expected is Refused:
        outcome = conversation.hold(_debit())
        assert isinstance(outcome, Refused)
        assert outcome.reason == reason.code("amount")
    else:
        with pytest.raises(CallFailedError) as failure:
            conversation.hold(_debit())
        assert type(failure.value) is expected
        assert failure.value.problem is not None
        assert failure.value.problem.reason == reason.code("amount")
        assert failure.value.transaction_id == json.loads(conversation.sent[0].body or b"")["transaction_id"]
    assert len(conversation.sent) == (3 if expected is TryAgainLaterError else 1)


@pytest.mark.parametrize(
    "fault",
    [
        NoReply(detail="ConnectError"),
        _problem(Reason.WALLET_IS_MOVING),
        _problem(Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL),
        Reply(status=502, headers={}, body=b"<html>Bad gateway</html>"),
    ],
)
def test_a_repeated_attempt_carries_the_same_bytes(fault: Reply | NoReply) -> None:
    conversation = Conversation(fault, fault, SUCCESS)
    outcome = conversation.hold(_debit())
    assert isinstance(outcome, Posting)
    assert len(conversation.sent) == 3
    assert len({attempt.body for attempt in conversation.sent}) == 1


def test_waits_double_up_to_their_limit_with_full_jitter() -> None:
    retries = Retries(attempts_max=6, wait_first_s=0.1, wait_max_s=0.5, deadline_s=60)
    conversation = Conversation(*[NoReply(detail="reset")] * 5, SUCCESS, retries=retries, jitter=0.5)
    conversation.hold(_debit())
    assert conversation.pauses_s == pytest.approx([0.05, 0.1, 0.2, 0.25, 0.25])


def test_retry_after_is_a_lower_bound() -> None:
    busy = _problem(Reason.CELL_MUST_HAVE_CAPACITY, headers={"retry-after": "3"})
    conversation = Conversation(busy, SUCCESS, retries=Retries(wait_first_s=0.2), jitter=0.5)
    conversation.hold(_debit())
    assert conversation.pauses_s == pytest.approx([3.1])


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "", "soon", "１"])
def test_a_retry_after_that_is_no_number_of_seconds_counts_as_none(text: str) -> None:
    busy = _problem(Reason.CELL_MUST_HAVE_CAPACITY, headers={"retry-after": text})
    conversation = Conversation(busy, SUCCESS, retries=Retries(wait_first_s=0.2))
    conversation.hold(_debit())
    assert conversation.pauses_s == pytest.approx([0.2])


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    busy = _problem(Reason.REQUEST_MUST_FIT_RATE_LIMIT, headers={"retry-after": "30"})
    conversation = Conversation(busy, SUCCESS, retries=Retries(deadline_s=20))
    with pytest.raises(TryAgainLaterError) as failure:
        conversation.hold(_debit())
    assert conversation.pauses_s == []
    assert failure.value.transaction_id is not None


def test_each_attempt_sends_what_is_left_of_the_deadline() -> None:
    retries = Retries(deadline_s=6, attempt_deadline_s=5, wait_first_s=0, attempts_max=9)
    conversation = Conversation(NoReply(detail="timed out"), retries=retries)
    with pytest.raises(TryAgainLaterError):
        conversation.hold(_debit(), attempt_s=2)
    assert [attempt.headers["X-Deadline-Ms"] for attempt in conversation.sent] == ["5000", "4000", "2000"]
    assert all(attempt.timeout_s * 1000 > int(attempt.headers["X-Deadline-Ms"]) for attempt in conversation.sent)


@given(
    deadline_s=st.floats(min_value=0.01, max_value=100),
    attempt_s=st.floats(min_value=0, max_value=10),
    attempts_max=st.integers(min_value=1, max_value=20),
    jitter=st.floats(min_value=0, max_value=1),
)
def test_a_call_always_ends(deadline_s: float, attempt_s: float, attempts_max: int, jitter: float) -> None:
    retries = Retries(deadline_s=deadline_s, attempts_max=attempts_max)
    conversation = Conversation(NoReply(detail="reset"), retries=retries, jitter=jitter)
    with pytest.raises(TryAgainLaterError):
        conversation.hold(_debit(), attempt_s=attempt_s)
    assert 1 <= len(conversation.sent) <= attempts_max
    assert conversation.now_s <= deadline_s + attempt_s + 1e-6


def test_a_token_is_asked_for_before_each_attempt() -> None:
    tokens = iter(["first", "second"])
    steps = exchange(
        _debit(), token=lambda: next(tokens), retries=Retries(), monotonic_s=lambda: 0.0, jitter=lambda: 0.0
    )
    sent = [next(steps)]
    assert isinstance(steps.send(NoReply(detail="reset")), Pause)
    sent.append(steps.send(None))
    assert [step.headers["Authorization"] for step in sent if isinstance(step, Send)] == [
        "Bearer first",
        "Bearer second",
    ]


def test_a_refusal_tells_its_id_and_what_was_available() -> None:
    answer = _problem(
        Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT,
        headers={"idempotent-replayed": "true", "x-cell": "cell-2"},
        available=17,
    )
    call = _debit()
    refused = Conversation(answer).hold(call)
    assert isinstance(refused, Refused)
    assert (refused.available, refused.replayed, refused.cell) == (17, True, "cell-2")
    assert refused.transaction_id == call.transaction_id
    assert refused.problem.retry == "new_id"


def test_a_replay_is_marked() -> None:
    replay = Reply(status=201, headers={"idempotent-replayed": "true"}, body=SUCCESS.body)
    assert Conversation(replay).hold(_debit()).replayed
    assert not Conversation(SUCCESS).hold(_debit()).replayed


@pytest.mark.parametrize(
    "answer",
    [
        Reply(status=201, headers={}, body=b"{}"),
        Reply(status=201, headers={}, body=b"not JSON"),
        Reply(status=500, headers={}, body=b"Internal Server Error"),
        Reply(status=418, headers={}, body=b'{"reason": "teapot"}'),
        Reply(status=302, headers={}, body=b""),
    ],
)
def test_an_answer_outside_the_contract_is_for_the_operators(answer: Reply) -> None:
    with pytest.raises(OperatorMustActError):
        Conversation(answer).hold(_debit())


def _transfer(*, wait: bool) -> calls.Call[Posting]:
    return calls.transfer(WALLET, to_wallet_id=OTHER, amount=5, currency="EUR", wait=wait)


def _transferred(state: str) -> Reply:
    status = 201 if state == "settled" else 202
    return Reply(status=status, headers={}, body=json.dumps(POSTING | {"state": state}).encode())


def test_money_on_its_way_is_an_answer() -> None:
    talk = Conversation(_transferred("in_transit"))
    assert talk.hold(_transfer(wait=False)).state == "in_transit"
    assert len(talk.sent) == 1


def test_who_waits_for_money_on_its_way_has_the_same_sent_until_it_arrived() -> None:
    talk = Conversation(_transferred("in_transit"), NoReply(detail="cut"), _transferred("settled"))
    assert talk.hold(_transfer(wait=True)).state == "settled"
    assert len({sent.body for sent in talk.sent}) == 1
    assert talk.pauses_s == [0.05, 0.1]


def test_who_waits_is_told_the_refusal() -> None:
    refused = _problem(Reason.TARGET_WALLET_MUST_ACCEPT)
    outcome = Conversation(_transferred("in_transit"), refused).hold(_transfer(wait=True))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "target_wallet_must_accept"


@pytest.mark.parametrize("later", [_transferred("in_transit"), NoReply(detail="cut")])
def test_waiting_has_an_end_and_what_is_known_is_the_answer(later: Reply | NoReply) -> None:
    talk = Conversation(_transferred("in_transit"), later, retries=Retries(attempts_max=3))
    assert talk.hold(_transfer(wait=True)).state == "in_transit"
    assert len(talk.sent) == 3
