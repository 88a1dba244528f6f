"""Bulk requests of the client: what goes out, what is sent again, and what each call is told."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from cellwallet.client import (
    CallFailedError,
    ConflictError,
    Posting,
    Refused,
    Retries,
    TryAgainLaterError,
    calls,
    holds,
)
from cellwallet.client.bulk import BulkOutcome, bulk_exchange, operation_of
from cellwallet.client.calls import Call, Reply
from cellwallet.client.exchange import NoReply, Pause, Send
from contract import bulk
from contract.problems import Problem, problem_document
from contract.reasons import Reason

WALLET = "0190a0b0-0000-7000-8000-000000000001"
OTHER = "0190a0b0-0000-7000-8000-000000000002"

OPERATIONS: list[tuple[Call[Posting], type[BaseModel]]] = [
    (calls.debit(WALLET, amount=5, currency="EUR", reference="r"), bulk.DebitOperation),
    (calls.credit(WALLET, amount=5, currency="EUR"), bulk.CreditOperation),
    (calls.reverse(WALLET, original_transaction_id=OTHER), bulk.ReverseOperation),
    (calls.transfer(WALLET, to_wallet_id=OTHER, amount=5, currency="EUR"), bulk.TransferOperation),
    (holds.place_hold(WALLET, amount=5, currency="EUR"), bulk.HoldOperation),
    (holds.capture(WALLET, OTHER, amount=5, final=False), bulk.CaptureOperation),
    (holds.release(WALLET, OTHER), bulk.ReleaseOperation),
]

Answer = Callable[[list[dict[str, Any]]], Reply | NoReply]


@pytest.mark.parametrize(("call", "operation"), OPERATIONS, ids=lambda part: getattr(part, "path", None))
def test_a_call_is_the_operation_of_the_contract(call: Call[Posting], operation: type[BaseModel]) -> None:
    fields = operation_of(call)
    assert operation.model_validate_json(json.dumps(fields)).model_dump(exclude_unset=True) == fields
    assert fields["transaction_id"] == call.transaction_id


@pytest.mark.parametrize(
    "call",
    [
        holds.extend(WALLET, OTHER, expires_in_s=1),
        calls.change(WALLET, status="active"),
        calls.balance(WALLET),
        calls.open_wallet(owner_type="a", owner_ref="b", currency="EUR"),
        calls.keys(),
    ],
    ids=lambda call: call.path,
)
def test_other_calls_cannot_be_part_of_one(call: Call[Any]) -> None:
    with pytest.raises(ValueError, match="cannot be part"):
        operation_of(call)


def posting(operation: dict[str, Any], **more: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(("delta", "held_delta", "balance", "held", "available", "seq"), 1)
    body = {
        **numbers,
        "transaction_id": operation["transaction_id"],
        "wallet_id": WALLET,
        "kind": operation["op"],
        "amount": operation["amount"],
        "currency": "EUR",
        "posted_at": "2027-01-15T08:00:00.000000Z",
        "entry_hash": "00",
    }
    return {"status": 201, "body": body, **more}


def no(reason: Reason) -> dict[str, Any]:
    problem = Problem(reason=reason, detail="No.", qualifier="amount")
    return {"status": problem.status, "body": problem_document(problem, request_id="r-1")}


def told(*results: dict[str, Any]) -> Reply:
    return Reply(status=200, headers={}, body=json.dumps({"results": results}).encode())


class Exchange:
    """Runs a bulk request against answers, with a clock that only waiting moves."""

    def __init__(self, *answers: Answer, **retries: Any) -> None:
        self._answers = list(answers)
        self._retries = Retries(**retries)
        self.now_s = 0.0
        self.sent: list[list[dict[str, Any]]] = []

    def run(self, *asked: Call[Posting]) -> list[BulkOutcome]:
        steps = bulk_exchange(
            asked, token=lambda: "t", retries=self._retries, monotonic_s=lambda: self.now_s, jitter=lambda: 1.0
        )
        reply: Reply | NoReply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                outcomes: list[BulkOutcome] = end.value
                return outcomes
            if isinstance(step, Pause):
                self.now_s += step.seconds
                reply = None
            else:
                reply = self._attempt(step)

    def _attempt(self, step: Send) -> Reply | NoReply:
        assert (step.method, step.path) == ("POST", "/v1/bulk")
        self.sent.append(json.loads(step.body or b"")["operations"])
        return self._answers.pop(0)(self.sent[-1])


def all_done(operations: list[dict[str, Any]]) -> Reply:
    return told(*map(posting, operations))


def debits(number: int) -> list[Call[Posting]]:
    return [calls.debit(WALLET, amount=amount + 1, currency="EUR") for amount in range(number)]


def test_each_call_gets_its_outcome() -> None:
    exchange = Exchange(
        lambda sent: told(
            posting(sent[0]),
            posting(sent[1], replayed=True),
            no(Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT),
            no(Reason.TRANSACTION_EXISTS_WITH_DIFFERENT),
            no(Reason.REQUEST_MUST_BE_WELL_FORMED),
        )
    )
    asked = debits(5)
    done, replayed, refused, conflict, malformed = exchange.run(*asked)
    assert isinstance(done, Posting)
    assert isinstance(replayed, Posting)
    assert (done.amount, done.replayed, replayed.replayed) == (1, False, True)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.transaction_id) == ("available_balance_must_cover_amount", asked[2].transaction_id)
    assert isinstance(conflict, ConflictError)
    assert conflict.transaction_id == asked[3].transaction_id
    assert isinstance(malformed, CallFailedError)
    assert len(exchange.sent) == 1


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CELL_MUST_BE_REACHABLE,
        Reason.WALLET_IS_MOVING,
        Reason.DEADLINE_MUST_NOT_PASS,
        Reason.CELL_MUST_HAVE_CAPACITY,
        Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL,
    ],
)
def test_only_what_was_out_of_reach_is_sent_again_with_its_ids_and_in_order(reason: Reason) -> None:
    exchange = Exchange(
        lambda sent: told(no(reason), posting(sent[1]), no(reason), no(reason)),
        lambda sent: told(posting(sent[0]), no(reason), posting(sent[2])),
        all_done,
    )
    asked = debits(4)
    outcomes = exchange.run(*asked)
    assert [isinstance(one, Posting) and one.amount for one in outcomes] == [1, 2, 3, 4]
    ids = [[one["transaction_id"] for one in sent] for sent in exchange.sent]
    first = [call.transaction_id for call in asked]
    assert ids == [first, [first[0], first[2], first[3]], [first[2]]]


def test_what_stays_out_of_reach_is_told_in_its_place() -> None:
    exchange = Exchange(
        *(
            [
                lambda sent: told(
                    *(posting(one) if one["amount"] == 1 else no(Reason.CELL_MUST_BE_REACHABLE) for one in sent)
                )
            ]
            * 3
        ),
        attempts_max=3,
    )
    done, lost = exchange.run(*debits(2))
    assert isinstance(done, Posting)
    assert isinstance(lost, TryAgainLaterError)
    assert lost.problem is not None
    assert lost.problem.reason == "cell_must_be_reachable"
    assert len(exchange.sent) == 3


def test_what_is_known_is_kept_when_the_rest_is_never_answered() -> None:
    exchange = Exchange(
        lambda sent: told(posting(sent[0]), no(Reason.CELL_MUST_BE_REACHABLE)),
        *([lambda _: NoReply(detail="gone")] * 30),
    )
    done, lost = exchange.run(*debits(2))
    assert isinstance(done, Posting)
    assert isinstance(lost, TryAgainLaterError)
    assert exchange.now_s <= Retries().deadline_s


def test_a_whole_that_is_never_answered_is_raised() -> None:
    exchange = Exchange(*([lambda _: NoReply(detail="gone")] * 3), attempts_max=3)
    with pytest.raises(TryAgainLaterError):
        exchange.run(*debits(2))
    assert len({json.dumps(sent) for sent in exchange.sent}) == 1


def test_fewer_results_than_calls_is_no_answer_of_the_contract() -> None:
    with pytest.raises(CallFailedError, match="contract"):
        Exchange(lambda sent: told(posting(sent[0]))).run(*debits(2))
