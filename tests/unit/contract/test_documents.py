"""Bodies refuse what is not meant; signed documents are what a trusted key signed; problems say what must hold."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.bodies import ChangeWalletBody, OpenWalletBody, PostingBody
from contract.directory import DirectoryDocument, run_lengths
from contract.problems import Problem, problem_document
from contract.reasons import Reason
from contract.signing import (
    SignatureMustBeValidError,
    canonical_json,
    public_jwk,
    public_keys_of,
    sign,
    verify,
)

ID = "0190b0f0-0000-7000-8000-000000000001"
POSTING: dict[str, Any] = {"transaction_id": ID, "amount": 1, "currency": "EUR"}


def pointers(model: Any, body: Any) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(body if isinstance(body, str) else json.dumps(body))
    return ["/".join(map(str, error["loc"])) for error in refused.value.errors()]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 0),
        ("amount", -1),
        ("amount", 1.0),
        ("amount", "1"),
        ("amount", True),
        ("amount", 2**53),
        ("amount", None),
        ("currency", "eur"),
        ("currency", "XYZ"),
        ("currency", "EURO"),
        ("currency", "XAU"),
        ("transaction_id", ID.upper()),
        ("transaction_id", f"{{{ID}}}"),
        ("transaction_id", ID.replace("-", "")),
        ("transaction_id", 7),
        ("description", "x" * 501),
        ("description", "a\x00b"),
        ("metadata", []),
        ("metadata", {"a": 1.5}),
        ("metadata", {"a": None}),
        ("metadata", {"a": [1]}),
        ("metadata", {"a": {"b": {"c": {}}}}),
        ("metadata", {"a": 2**53}),
        ("metadata", {"a\x00": 1}),
        ("metadata", {"a": "x" * 4_096}),
        ("unknown", 1),
    ],
)
def test_postings_refuse(field: str, value: Any) -> None:
    assert pointers(PostingBody, POSTING | {field: value})[0].partition("/")[0] == field


def test_postings_take_what_is_meant() -> None:
    body = POSTING | {"amount": 2**53 - 1, "metadata": {"a": {"b": {"c": True, "d": 1, "e": "ž"}}}}
    assert PostingBody.model_validate_json(json.dumps(body)).amount == 2**53 - 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"amount": NaN}', '{"description": "\\ud800"}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    assert pointers(PostingBody, text)


@pytest.mark.parametrize(
    "owner",
    [
        {"type": "Person", "ref": "a"},
        {"type": "p" * 33, "ref": "a"},
        {"type": "person", "ref": ""},
        {"type": "person", "ref": "a" * 129},
        {"type": "person", "ref": "a\nb"},
        {"type": "person", "ref": "a", "more": 1},
        {"type": "person"},
    ],
)
def test_owners_refuse(owner: Any) -> None:
    assert pointers(OpenWalletBody, {"owner": owner, "currency": "EUR"})[0].startswith("owner")


def test_a_change_must_change_something() -> None:
    assert pointers(ChangeWalletBody, {"transaction_id": ID}) == [""]


json_values = st.recursive(
    st.one_of(st.integers(), st.text(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=10,
)


@given(document=st.dictionaries(st.text(), json_values, max_size=4), other=json_values)
def test_a_signature_covers_everything(document: dict[str, Any], other: Any) -> None:
    document.pop("signature", None)
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    keys = public_keys_of({"keys": [public_jwk(key.public_key(), key_id="k")]})
    signed = sign(document, key_id="k", key=key)
    assert verify(signed, keys) == document
    changed = signed | {"field": other}
    if canonical_json(changed) != canonical_json(signed):
        with pytest.raises(SignatureMustBeValidError):
            verify(changed, keys)
    with pytest.raises(SignatureMustBeValidError):
        verify(signed, {})
    with pytest.raises(SignatureMustBeValidError):
        verify(document, keys)


def directory(**more: Any) -> dict[str, Any]:
    cell = {"api": [{"url": "http://127.0.0.1:1", "zone": "a"}], "state": "active"}
    return {"version": 1, "issued_at": "2026-01-01T00:00:00Z", "cells": {"c1": cell}, "slots": [[16_384, "c1"]]} | more


@pytest.mark.parametrize(
    "broken",
    [
        {"slots": [[16_383, "c1"]]},
        {"slots": [[16_384, "c2"]]},
        {"slots": [[0, "c1"], [16_384, "c1"]]},
        {"isolated": {ID: 65_536}},
        {"isolated": {ID: 7}, "unit_cells": {"7": "c1"}},
        {"unit_cells": {"65536": "c9"}},
        {"version": 0},
        {"more": 1},
    ],
)
def test_directories_must_be_whole(broken: dict[str, Any]) -> None:
    assert DirectoryDocument.model_validate(directory()).slot_cells() == ["c1"] * 16_384
    with pytest.raises(ValidationError):
        DirectoryDocument.model_validate(directory(**broken))


@given(st.lists(st.sampled_from(["c1", "c2", "c3"]), min_size=1, max_size=40))
def test_run_lengths_give_the_slots_back(cells: list[str]) -> None:
    slots = [cell for cell in cells for _ in range(1)]
    assert [cell for count, cell in run_lengths(slots) for _ in range(count)] == slots


def test_problem_documents_say_what_must_hold() -> None:
    problem = Problem(
        reason=Reason.TRANSACTION_EXISTS_WITH_DIFFERENT, qualifier="amount", detail="Another amount.", facts={"a": 1}
    )
    assert problem_document(problem, request_id="r") == {
        "type": "urn:cellwallet:reason:transaction_exists_with_different_amount",
        "title": "The transaction exists with a different field",
        "status": 409,
        "detail": "Another amount.",
        "reason": "transaction_exists_with_different_amount",
        "retry": "never",
        "request_id": "r",
        "a": 1,
    }


def test_templates_need_their_qualifier() -> None:
    with pytest.raises(ValueError, match="qualifier"):
        Reason.SCOPE_MUST_ALLOW.code()
