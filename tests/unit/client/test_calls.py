"""Calls: what goes onto the wire for which arguments."""

import inspect
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel

from cellwallet.client import AsyncClient, Client, calls, groups, holds
from contract import bodies
from contract.ids import is_canonical_uuid, wallet_id_of

WALLET = "0190a0b0-0000-7000-8000-000000000001"
ORIGINAL = "0190a0b0-0000-7000-8000-000000000002"

HELPERS = {"instant_text", "command_call", "wallet_path", "query_of", "read_posting"}
"""What the modules of calls share."""

COMMANDS: list[tuple[calls.Call[object], str, type[BaseModel]]] = [
    (
        calls.open_wallet(owner_type="customer", owner_ref="c-1", currency="EUR", overdraft_limit=5, metadata={"a": 1}),
        "PUT",
        bodies.OpenWalletBody,
    ),
    (calls.change(WALLET, status="suspended", overdraft_limit=0, metadata={}), "PATCH", bodies.ChangeWalletBody),
    (
        calls.debit(WALLET, amount=5, currency="EUR", description="d", reference="r", metadata={"k": "v"}),
        "POST",
        bodies.PostingBody,
    ),
    (calls.credit(WALLET, amount=5, currency="EUR"), "POST", bodies.PostingBody),
    (
        calls.reverse(WALLET, original_transaction_id=ORIGINAL, amount=3, original_vendor="shop"),
        "POST",
        bodies.ReverseBody,
    ),
    (calls.transfer(WALLET, to_wallet_id=ORIGINAL, amount=5, currency="EUR"), "POST", bodies.TransferBody),
    (groups.group(WALLET, legs={WALLET: -5, ORIGINAL: 5}, currency="EUR"), "POST", bodies.GroupBody),
    (holds.place_hold(WALLET, amount=5, currency="EUR", expires_in_s=9), "POST", bodies.PlaceHoldBody),
    (holds.capture(WALLET, ORIGINAL, amount=5, final=False), "POST", bodies.CaptureBody),
    (holds.release(WALLET, ORIGINAL), "POST", bodies.TransactionBody),
    (holds.extend(WALLET, ORIGINAL, expires_in_s=9), "POST", bodies.ExtendBody),
]


@pytest.mark.parametrize(("call", "method", "body"), COMMANDS, ids=lambda part: getattr(part, "path", None))
def test_bodies_are_those_of_the_contract(call: calls.Call[object], method: str, body: type[BaseModel]) -> None:
    assert call.method == method
    assert call.body is not None
    sent = body.model_validate_json(call.body)
    assert sent.model_dump(exclude_unset=True) == json.loads(call.body)


@pytest.mark.parametrize("call", [call for call, _, body in COMMANDS if body is not bodies.OpenWalletBody])
def test_the_default_id_is_a_uuid7_and_is_told(call: calls.Call[object]) -> None:
    sent = json.loads(call.body or b"")["transaction_id"]
    assert sent == call.transaction_id
    assert is_canonical_uuid(sent)
    assert uuid.UUID(sent).version == 7


def test_a_given_id_is_used() -> None:
    call = calls.debit(WALLET, amount=5, currency="EUR", transaction_id=ORIGINAL)
    assert json.loads(call.body or b"")["transaction_id"] == ORIGINAL


def test_a_wallet_is_opened_under_its_computed_id() -> None:
    call = calls.open_wallet(owner_type="customer", owner_ref="c/1", currency="EUR", kind="bonus")
    wallet_id = wallet_id_of(owner_type="customer", owner_ref="c/1", kind="bonus", currency="EUR")
    assert call.path == f"/v1/wallets/{wallet_id}"


def test_parts_of_a_path_are_escaped() -> None:
    assert (
        calls.wallets_of(owner_type="customer", owner_ref="a/b ?é").path
        == "/v1/owners/customer/a%2Fb%20%3F%C3%A9/wallets"
    )
    assert calls.wallets_of(owner_type="customer", owner_ref="..").path == "/v1/owners/customer/%2E%2E/wallets"
    assert calls.wallet("../../admin").path == "/v1/wallets/..%2F..%2Fadmin"


def test_absent_filters_are_not_sent() -> None:
    assert calls.entries_page(WALLET).query == (("order", "desc"),)
    assert calls.balance(WALLET).query == ()


def test_instants_are_utc_with_microseconds() -> None:
    at = datetime(2027, 1, 15, 9, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert calls.balance(WALLET, at=at).query == (("at", "2027-01-15T08:00:00.000005Z"),)
    assert calls.balance(WALLET, at=datetime(2027, 1, 15, 8, tzinfo=UTC)).query == (
        ("at", "2027-01-15T08:00:00.000000Z"),
    )


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        calls.balance(WALLET, at=datetime(2027, 1, 15))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize("metadata", [{"when": datetime.now}, {"ratio": float("nan")}])
def test_what_is_no_json_never_leaves(metadata: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        calls.debit(WALLET, amount=5, currency="EUR", metadata=metadata)


def test_both_clients_have_every_call_under_its_own_signature() -> None:
    functions = {
        name: function
        for module in (calls, groups, holds)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__ and name not in HELPERS
    }
    assert "debit" in functions
    with Client("http://127.0.0.1:1", "token") as blocking:
        for name, function in functions.items():
            assert inspect.signature(getattr(blocking, name)) == inspect.signature(function)
            assert getattr(AsyncClient, name) is getattr(Client, name)
