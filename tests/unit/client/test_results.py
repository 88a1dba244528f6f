"""Results against the contract: the same fields, so that neither side can grow alone."""

import dataclasses
import pickle
from typing import Any

import pytest
from pydantic import BaseModel

from cellwallet.client import (
    Balance,
    ConflictError,
    Entry,
    EntryPage,
    Group,
    Hold,
    HoldPage,
    Leg,
    OwnedWallets,
    Owner,
    Posting,
    Refused,
    RefusedError,
    RefusedLeg,
    Statement,
    Wallet,
)
from cellwallet.client.results import Problem, accepted
from contract import answers

FROM_HEADERS = {"replayed", "cell"}


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (Owner, answers.OwnerAnswer),
        (Wallet, answers.WalletAnswer),
        (OwnedWallets, answers.OwnedWalletsAnswer),
        (Balance, answers.BalanceAnswer),
        (Posting, answers.PostingAnswer),
        (Entry, answers.EntryAnswer),
        (EntryPage, answers.EntriesAnswer),
        (Hold, answers.HoldAnswer),
        (HoldPage, answers.HoldsAnswer),
        (Leg, answers.LegAnswer),
        (Group, answers.GroupAnswer),
        (Statement, answers.StatementAnswer),
    ],
)
def test_fields_are_those_of_the_contract(result: Any, answer: type[BaseModel]) -> None:
    fields = {field.name for field in dataclasses.fields(result)} - FROM_HEADERS
    assert fields == set(answer.model_fields)


def _refused(**facts: Any) -> Refused:
    problem = Problem(
        status=404,
        reason="wallet_must_exist",
        title="The wallet must exist",
        detail="There is no wallet.",
        retry="same_id",
        request_id="r-1",
        facts=facts,
    )
    return Refused(reason=problem.reason, detail=problem.detail, problem=problem)


@pytest.mark.parametrize(
    "error",
    [RefusedError(_refused()), ConflictError("409", problem=_refused().problem, transaction_id="t")],
)
def test_errors_survive_the_way_from_a_worker_process(error: RefusedError | ConflictError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


def test_accepted_hands_results_through_and_raises_refusals() -> None:
    refused = _refused()
    assert accepted(7) == 7
    with pytest.raises(RefusedError) as error:
        accepted(refused)
    assert error.value.refused is refused
    assert refused.available is None


def test_a_refusal_tells_what_its_reason_is_about() -> None:
    assert _refused(available=7).available == 7
    assert _refused().leg is None
    assert _refused(leg="of another form").leg is None
    leg = {"wallet_id": "w", "reason": "wallet_must_be_active"}
    assert _refused(leg=leg).leg == RefusedLeg(wallet_id="w", reason="wallet_must_be_active")
