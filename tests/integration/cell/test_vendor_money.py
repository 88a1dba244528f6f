"""The routes that change a wallet, over real HTTP: answers field by field, replays, conflicts, refusals."""

from typing import Any

import pytest
from cell_answers import HASH, INSTANT, NOBODY, Like, done, reason_of
from cell_process import RunningCell, Vendor, id_of, new_id, opening, posting

from contract.money import AMOUNT_MAX


def wallet_like(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "wallet_id": id_of(body),
        "owner": body["owner"],
        "kind": body.get("kind", "main"),
        "currency": body["currency"],
        "status": "active",
        "balance": 0,
        "held": 0,
        "available": body.get("overdraft_limit", 0),
        "overdraft_limit": body.get("overdraft_limit", 0),
        "seq": 1,
        "opened_at": Like(INSTANT),
        "updated_at": Like(INSTANT),
        "metadata": body.get("metadata", {}),
        **fields,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "kind": "savings_2",
            "overdraft_limit": 500,
            "metadata": {"tier": "gold", "deep": {"er": {"n": -1, "b": True}}},
        },
        {"currency": "JPY"},
        {"ref": "späße/äöü?#%&=+ 日本語 'x'"},
        {"ref": "x" * 128},
    ],
    ids=["least", "everything", "yen", "strange owner", "long owner"],
)
def test_opening_a_wallet(vendor: Vendor, fields: dict[str, Any]) -> None:
    body = opening(**fields)
    answer = vendor.client.post("/v1/wallets", json=body)
    assert done(answer) == wallet_like(body)
    assert answer.headers["location"] == f"/v1/wallets/{id_of(body)}"
    assert "idempotent-replayed" not in answer.headers
    again = vendor.client.post("/v1/wallets", json=body)
    assert done(again, 200) == answer.json()
    assert again.headers["idempotent-replayed"] == "true"
    by_put = vendor.client.put(f"/v1/wallets/{id_of(body)}", json=body)
    assert done(by_put, 200) == answer.json()
    assert done(vendor.get(f"/v1/wallets/{id_of(body)}"), 200) == answer.json()


def test_opening_a_wallet_under_its_id(vendor: Vendor) -> None:
    body = opening()
    answer = vendor.client.put(f"/v1/wallets/{id_of(body)}", json=body)
    assert done(answer) == wallet_like(body)
    assert answer.headers["location"] == f"/v1/wallets/{id_of(body)}"


def test_an_opening_is_compared_with_the_first_one(vendor: Vendor) -> None:
    body = opening(overdraft_limit=10, metadata={"n": 1})
    wallet_id = vendor.client.post("/v1/wallets", json=body).json()["wallet_id"]
    same = vendor.client.post("/v1/wallets", json={**body, "metadata": {"n": 2}})
    assert done(same, 200)["metadata"] == {"n": 1}
    other = vendor.client.post("/v1/wallets", json={**body, "overdraft_limit": 11})
    assert reason_of(other) == "wallet_exists_with_different_overdraft_limit"
    assert done(vendor.change(wallet_id, overdraft_limit=11), 200)["overdraft_limit"] == 11
    assert done(vendor.client.post("/v1/wallets", json=body), 200)["overdraft_limit"] == 11


def test_an_opening_under_another_id_is_refused(vendor: Vendor) -> None:
    body = opening()
    other = id_of(opening())
    assert reason_of(vendor.client.put(f"/v1/wallets/{other}", json=body)) == "wallet_id_must_match_owner"
    assert reason_of(vendor.get(f"/v1/wallets/{other}")) == "wallet_must_exist"


def test_changing_a_wallet(vendor: Vendor) -> None:
    body = opening(metadata={"a": 1})
    wallet_id = vendor.client.post("/v1/wallets", json=body).json()["wallet_id"]
    change = {"transaction_id": new_id(), "status": "suspended", "overdraft_limit": 7, "metadata": {"b": "ü"}}
    answer = vendor.client.patch(f"/v1/wallets/{wallet_id}", json=change)
    expected = wallet_like(body, status="suspended", overdraft_limit=7, available=7, metadata={"b": "ü"}, seq=2)
    assert done(answer, 200) == expected
    assert done(vendor.change(wallet_id, status="active"), 200)["status"] == "active"
    replay = vendor.client.patch(f"/v1/wallets/{wallet_id}", json=change)
    assert done(replay, 200) == {**expected, "status": "active", "seq": 3, "updated_at": Like(INSTANT)}
    assert replay.headers["idempotent-replayed"] == "true"
    for field, value in {"status": "closed", "overdraft_limit": 8, "metadata": {}}.items():
        conflict = vendor.client.patch(f"/v1/wallets/{wallet_id}", json={**change, field: value})
        assert reason_of(conflict) == f"transaction_exists_with_different_{field}"


def test_the_life_of_a_wallet(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=10)
    assert reason_of(vendor.change(wallet_id, status="closed")) == "wallet_must_be_empty_to_close"
    assert done(vendor.change(wallet_id, status="suspended"), 200)["status"] == "suspended"
    assert reason_of(vendor.debit(wallet_id, 1)) == "wallet_must_be_active"
    assert done(vendor.credit(wallet_id, 1))["balance"] == 11
    assert done(vendor.change(wallet_id, status="active"), 200)["status"] == "active"
    assert done(vendor.debit(wallet_id, 11))["balance"] == 0
    assert done(vendor.change(wallet_id, status="closed"), 200)["status"] == "closed"
    for answer in (vendor.credit(wallet_id, 1), vendor.change(wallet_id, status="active")):
        assert reason_of(answer) == "wallet_must_not_be_closed"
    assert done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["status"] == "closed"


# Money.


def posting_like(wallet_id: str, body: dict[str, Any], kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "transaction_id": body["transaction_id"],
        "wallet_id": wallet_id,
        "kind": kind,
        "amount": body["amount"],
        "currency": body["currency"],
        "held_delta": 0,
        "held": 0,
        "posted_at": Like(INSTANT),
        "entry_hash": Like(HASH),
        **fields,
    }


@pytest.mark.parametrize(("verb", "sign"), [("credit", 1), ("debit", -1)])
def test_posting(vendor: Vendor, verb: str, sign: int) -> None:
    wallet_id = vendor.open(balance=100, overdraft_limit=5)
    body = posting(30, description='Ünïcode – \\ "quoted"\n', reference="INV-1", metadata={"order": 7})
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/{verb}", json=body)
    balance = 100 + sign * 30
    assert done(answer) == posting_like(
        wallet_id, body, verb, delta=sign * 30, balance=balance, available=balance + 5, seq=3
    )
    assert "idempotent-replayed" not in answer.headers
    vendor.credit(wallet_id, 1)
    replay = vendor.client.post(f"/v1/wallets/{wallet_id}/{verb}", json={**body, "description": "another"})
    assert done(replay) == answer.json()
    assert replay.headers["idempotent-replayed"] == "true"
    other_verb = {"credit": "debit", "debit": "credit"}[verb]
    conflicts = {
        "amount": vendor.client.post(f"/v1/wallets/{wallet_id}/{verb}", json={**body, "amount": 31}),
        "currency": vendor.client.post(f"/v1/wallets/{wallet_id}/{verb}", json={**body, "currency": "USD"}),
        "kind": vendor.client.post(f"/v1/wallets/{wallet_id}/{other_verb}", json=body),
    }
    for field, conflict in conflicts.items():
        assert reason_of(conflict) == f"transaction_exists_with_different_{field}"
    assert done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["seq"] == 4


def test_ids_are_the_vendors_own(vendor: Vendor, cell: RunningCell) -> None:
    """Two vendors may use the same id on the same wallet, and one vendor on two wallets."""
    one, two = vendor.open(), vendor.open()
    body = posting(5)
    with cell.client(vendor="other") as other:
        for client, wallet_id in ((vendor.client, one), (other, one), (vendor.client, two)):
            answer = client.post(f"/v1/wallets/{wallet_id}/credit", json=body)
            assert done(answer)
            assert "idempotent-replayed" not in answer.headers
    assert done(vendor.get(f"/v1/wallets/{one}/balance"), 200)["balance"] == 10


def test_the_largest_amounts_arrive_whole(vendor: Vendor) -> None:
    wallet_id = vendor.open(overdraft_limit=AMOUNT_MAX)
    assert done(vendor.credit(wallet_id, AMOUNT_MAX))["balance"] == AMOUNT_MAX
    assert reason_of(vendor.credit(wallet_id, 1)) == "balance_must_stay_within_bounds"
    assert done(vendor.debit(wallet_id, AMOUNT_MAX))["available"] == AMOUNT_MAX
    assert done(vendor.debit(wallet_id, AMOUNT_MAX))["balance"] == -AMOUNT_MAX


def test_reversing(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=10)
    original = posting(100)
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=original)
    body = {
        "transaction_id": new_id(),
        "original_transaction_id": original["transaction_id"],
        "amount": 40,
        "description": "sorry",
        "metadata": {"why": "error"},
    }
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/reverse", json=body)
    expected = posting_like(
        wallet_id, {**body, "currency": "EUR"}, "reversal", delta=-40, balance=70, available=70, seq=4
    )
    assert done(answer) == {**expected, "original_transaction_id": original["transaction_id"]}
    replay = vendor.client.post(f"/v1/wallets/{wallet_id}/reverse", json=body)
    assert (done(replay), replay.headers["idempotent-replayed"]) == (answer.json(), "true")
    changes: dict[str, dict[str, Any]] = {
        "amount": {"amount": 41},
        "original": {"original_transaction_id": new_id()},
        "original_vendor": {"original_vendor": "other"},
    }
    for change, field in changes.items():
        conflict = vendor.client.post(f"/v1/wallets/{wallet_id}/reverse", json={**body, **field})
        assert reason_of(conflict) == f"transaction_exists_with_different_{change}"
    too_much = vendor.reverse(wallet_id, original["transaction_id"], amount=61)
    assert reason_of(too_much) == "reversal_must_not_exceed_original"
    rest = done(vendor.reverse(wallet_id, original["transaction_id"]))
    assert (rest["amount"], rest["balance"]) == (60, 10)
    nothing_left = vendor.reverse(wallet_id, original["transaction_id"])
    assert reason_of(nothing_left) == "reversal_must_not_exceed_original"


def test_what_cannot_be_reversed(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id, target = vendor.open(balance=50), vendor.open()
    assert reason_of(vendor.reverse(wallet_id, new_id())) == "original_must_exist"
    refused, transfer = posting(51), {**posting(5), "to_wallet_id": target}
    vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=refused)
    vendor.client.post(f"/v1/wallets/{wallet_id}/transfers", json=transfer)
    for original in (refused, transfer):
        answer = vendor.reverse(wallet_id, original["transaction_id"])
        assert reason_of(answer) == "original_must_be_reversible"
    spent = posting(45)
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=spent)
    vendor.debit(wallet_id, 60)
    assert reason_of(vendor.reverse(wallet_id, spent["transaction_id"])) == "available_balance_must_cover_amount"


def test_reversing_for_another_vendor(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id, original = vendor.open(), posting(10)
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=original)
    with cell.client("money:reverse wallet:read", vendor="other") as client:
        other = Vendor(client, cell)
        assert reason_of(other.reverse(wallet_id, original["transaction_id"])) == "original_must_exist"
        forbidden = other.reverse(wallet_id, original["transaction_id"], original_vendor="acme")
        assert reason_of(forbidden) == "scope_must_allow_reverse_any"
    with cell.client("money:reverse money:reverse_any", vendor="other") as client:
        answer = Vendor(client, cell).reverse(wallet_id, original["transaction_id"], original_vendor="acme")
        assert done(answer)["balance"] == 0


def test_transferring(vendor: Vendor) -> None:
    sender, receiver = vendor.open(balance=100), vendor.open()
    body = {**posting(30), "to_wallet_id": receiver, "description": "rent", "metadata": {"month": 5}}
    answer = vendor.client.post(f"/v1/wallets/{sender}/transfers", json=body)
    expected = posting_like(sender, body, "transfer_out", delta=-30, balance=70, available=70, seq=3)
    assert done(answer) == {**expected, "to_wallet_id": receiver, "state": "settled"}
    replay = vendor.client.post(f"/v1/wallets/{sender}/transfers", json=body)
    assert (done(replay), replay.headers["idempotent-replayed"]) == (answer.json(), "true")
    assert done(vendor.get(f"/v1/wallets/{receiver}/balance"), 200)["balance"] == 30
    changes: dict[str, dict[str, Any]] = {"target": {"to_wallet_id": sender}, "amount": {"amount": 29}}
    for field, change in changes.items():
        conflict = vendor.client.post(f"/v1/wallets/{sender}/transfers", json={**body, **change})
        assert reason_of(conflict) == f"transaction_exists_with_different_{field}"


def test_what_cannot_be_transferred(vendor: Vendor) -> None:
    sender, receiver, dollars = vendor.open(balance=10), vendor.open(), vendor.open(currency="USD")
    full = vendor.open(balance=AMOUNT_MAX)
    closed = vendor.open()
    vendor.change(closed, status="closed")
    assert reason_of(vendor.transfer(sender, receiver, currency="USD")) == "currency_must_match_wallet"
    assert reason_of(vendor.transfer(sender, sender)) == "wallets_must_be_different"
    for target in (NOBODY, dollars, closed, full):
        assert reason_of(vendor.transfer(sender, target)) == "target_wallet_must_accept"
    assert reason_of(vendor.transfer(sender, receiver, 11)) == "available_balance_must_cover_amount"
    assert reason_of(vendor.transfer(NOBODY, receiver)) == "wallet_must_exist"
    vendor.change(sender, status="suspended")
    assert reason_of(vendor.transfer(sender, receiver)) == "wallet_must_be_active"
    assert done(vendor.get(f"/v1/wallets/{sender}/balance"), 200)["balance"] == 10


# Refusals are for ever.


def test_a_refusal_is_recorded_and_stays(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=10)
    body = posting(11)
    no = vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=body)
    assert reason_of(no) == "available_balance_must_cover_amount"
    document = no.json()
    facts = ("wallet_id", "transaction_id", "seq", "available", "posted_at", "entry_hash")
    assert {name: document[name] for name in facts} == {
        "wallet_id": wallet_id,
        "transaction_id": body["transaction_id"],
        "seq": 3,
        "available": 10,
        "posted_at": Like(INSTANT),
        "entry_hash": Like(HASH),
    }
    vendor.credit(wallet_id, 100)
    again = vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=body)
    assert again.headers["idempotent-replayed"] == "true"
    assert {**again.json(), "request_id": ""} == {**document, "request_id": ""}
    assert again.json()["request_id"] != document["request_id"]
    conflict = vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json={**body, "amount": 1})
    assert reason_of(conflict) == "transaction_exists_with_different_amount"
    assert done(vendor.get(f"/v1/wallets/{wallet_id}/balance"), 200)["balance"] == 110


def test_every_money_command_needs_its_wallet(vendor: Vendor) -> None:
    bodies = {
        "credit": posting(1),
        "debit": posting(1),
        "transfers": {**posting(1), "to_wallet_id": vendor.open()},
        "reverse": {"transaction_id": new_id(), "original_transaction_id": new_id()},
    }
    for verb, body in bodies.items():
        answer = vendor.client.post(f"/v1/wallets/{NOBODY}/{verb}", json=body)
        assert (reason_of(answer), answer.json()["retry"]) == ("wallet_must_exist", "same_id")
    assert reason_of(vendor.change(NOBODY, status="suspended")) == "wallet_must_exist"


def test_other_refusals(vendor: Vendor) -> None:
    wallet_id = vendor.open(overdraft_limit=10)
    assert reason_of(vendor.credit(wallet_id, 1, currency="USD")) == "currency_must_match_wallet"
    assert done(vendor.debit(wallet_id, 8))["balance"] == -8
    assert reason_of(vendor.change(wallet_id, overdraft_limit=7)) == "overdraft_limit_must_cover_balance"
    assert done(vendor.change(wallet_id, overdraft_limit=8), 200)["available"] == 0
