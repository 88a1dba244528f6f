"""The id of a wallet to open is computed from its body, or the body is told what is wrong with it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.ids import OWNER_REF_PATTERN, wallet_id_of
from contract.problems import Problem
from contract.reasons import Reason
from router.opening import ERRORS_MAX, TEXT_MAX, wallet_to_open

BODY = {"owner": {"type": "customer", "ref": "c-1"}, "currency": "EUR"}


def test_the_id_is_that_of_owner_kind_and_currency() -> None:
    expected = wallet_id_of(owner_type="customer", owner_ref="c-1", kind="main", currency="EUR")
    assert wallet_to_open(orjson.dumps(BODY)) == expected
    assert (
        wallet_to_open(orjson.dumps({**BODY, "kind": "main", "overdraft_limit": 5, "metadata": {"a": 1}})) == expected
    )
    assert wallet_to_open(orjson.dumps({**BODY, "kind": "savings"})) != expected


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"", {""}),
        (b"{", {""}),
        (b"[]", {""}),
        (b"\xff", {""}),
        (orjson.dumps({**BODY, "currency": "XXX"}), {"/currency"}),
        (orjson.dumps({**BODY, "surplus": 1}), {"/surplus"}),
        (orjson.dumps({**BODY, "a/b~c": 1}), {"/a~1b~0c"}),
        (orjson.dumps({**BODY, "owner": {"type": "Customer", "ref": ""}}), {"/owner/type", "/owner/ref"}),
        (orjson.dumps({**BODY, "overdraft_limit": 1.5}), {"/overdraft_limit"}),
        (orjson.dumps({**BODY, "overdraft_limit": True}), {"/overdraft_limit"}),
        (orjson.dumps({"currency": "EUR"}), {"/owner"}),
        (b'{"owner":{"type":"customer","ref":"\\ud800"},"currency":"EUR"}', {""}),
    ],
)
def test_a_body_that_describes_no_wallet(body: bytes, pointers: set[str]) -> None:
    problem = wallet_to_open(body)
    assert isinstance(problem, Problem)
    assert problem.reason is Reason.REQUEST_MUST_BE_WELL_FORMED
    assert problem.facts is not None
    assert {error["pointer"] for error in problem.facts["errors"]} == pointers
    assert all(error["message"] for error in problem.facts["errors"])


def test_a_hostile_body_is_not_amplified() -> None:
    problem = wallet_to_open(orjson.dumps({**BODY, **{f"{n}" * 500: n for n in range(100)}}))
    assert isinstance(problem, Problem)
    assert problem.facts is not None
    assert len(problem.facts["errors"]) == ERRORS_MAX
    assert all(len(error["pointer"]) <= TEXT_MAX for error in problem.facts["errors"])


@given(
    ref=st.from_regex(OWNER_REF_PATTERN, fullmatch=True).filter(
        lambda ref: ref.encode("utf-8", "ignore").decode() == ref
    )
)
def test_any_ref_gives_the_id_of_its_exact_bytes(ref: str) -> None:
    body = orjson.dumps({"owner": {"type": "customer", "ref": ref}, "currency": "EUR"})
    assert wallet_to_open(body) == wallet_id_of(owner_type="customer", owner_ref=ref, kind="main", currency="EUR")


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_judged(body: bytes) -> None:
    assert isinstance(wallet_to_open(body), Problem | str)
