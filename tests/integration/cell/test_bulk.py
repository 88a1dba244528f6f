"""Many operations in one request: each decided and answered as its single call, in order, none spoiling another."""

import asyncio
from typing import Any

import httpx
import pytest
from cell_answers import NOBODY, done, reason_of
from cell_databases import CellDatabases
from cell_process import RunningCell, Vendor, new_id, posting, running_cell

from contract.bulk import BULK_MAX_BYTES, OPERATIONS_MAX

MALFORMED = "request_must_be_well_formed"


def bulk(vendor: Vendor, *operations: Any) -> list[dict[str, Any]]:
    answer = vendor.client.post("/v1/bulk", json={"operations": list(operations)})
    results: list[dict[str, Any]] = done(answer, 200)["results"]
    assert len(results) == len(operations)
    return results


def op(name: str, wallet_id: str, amount: Any = None, /, **fields: Any) -> dict[str, Any]:
    body = {"op": name, "wallet_id": wallet_id, "transaction_id": new_id(), **fields}
    return body if amount is None else {**body, "amount": amount, "currency": "EUR", **fields}


def statuses(results: list[dict[str, Any]]) -> list[int]:
    return [result["status"] for result in results]


def reason(result: dict[str, Any]) -> str:
    document: dict[str, Any] = result["body"]
    assert document["status"] == result["status"]
    code: str = document["reason"]
    return code


def test_every_operation_does_what_its_single_call_does(vendor: Vendor) -> None:
    payer, payee = vendor.open(balance=1_000), vendor.open()
    debit, held = op("debit", payer, 100), op("hold", payer, 200, expires_in_s=60)
    results = bulk(
        vendor,
        debit,
        op("credit", payer, 10),
        op("reverse", payer, original_transaction_id=debit["transaction_id"], amount=40),
        held,
        op("capture", payer, hold_id=held["transaction_id"], amount=50, final=False),
        op("release", payer, hold_id=held["transaction_id"]),
        op("transfer", payer, 300, to_wallet_id=payee),
    )
    assert statuses(results) == [201] * 7
    kinds = [result["body"]["kind"] for result in results]
    assert kinds == ["debit", "credit", "reversal", "hold", "capture", "release", "transfer_out"]
    assert [result["body"]["balance"] for result in results] == [900, 910, 950, 950, 900, 900, 600]
    assert [result["body"]["held"] for result in results] == [0, 0, 0, 200, 150, 0, 0]
    assert results[4]["body"]["hold_id"] == results[5]["body"]["hold_id"] == held["transaction_id"]
    assert results[6]["body"]["state"] == "settled"
    assert done(vendor.get(f"/v1/wallets/{payee}/balance"), 200)["balance"] == 300


def test_an_answer_is_that_of_the_single_call(vendor: Vendor) -> None:
    """Asked again alone, the recorded outcome gives the same body, posting or problem."""
    wallet_id = vendor.open(balance=10)
    operations = [op("debit", wallet_id, 7), op("debit", wallet_id, 7)]
    results = bulk(vendor, *operations)
    assert statuses(results) == [201, 422]
    for operation, result in zip(operations, results, strict=True):
        body = {name: member for name, member in operation.items() if name not in {"op", "wallet_id"}}
        single = vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=body)
        assert single.status_code == result["status"]
        assert single.headers["idempotent-replayed"] == "true"
        assert {**single.json(), "request_id": ""} == {**result["body"], "request_id": ""} | (
            {} if "request_id" in result["body"] else {"request_id": ""}
        )


def test_operations_of_one_wallet_keep_their_order(vendor: Vendor) -> None:
    """Each could not be done before the one in front of it."""
    wallet_id = vendor.open()
    pairs = [
        one for amount in range(1, 251) for one in (op("credit", wallet_id, amount), op("debit", wallet_id, amount))
    ]
    results = bulk(vendor, *pairs)
    assert set(statuses(results)) == {201}
    assert [result["body"]["seq"] for result in results] == list(range(2, 502))
    refused = bulk(vendor, op("debit", wallet_id, 1), op("credit", wallet_id, 1))
    assert statuses(refused) == [422, 201]


def test_the_same_id_twice_is_done_once(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    credit = op("credit", wallet_id, 5)
    first, second, other = bulk(vendor, credit, credit, {**credit, "amount": 6})
    assert (first["status"], second["status"]) == (201, 201)
    assert "replayed" not in first
    assert second == {**first, "replayed": True}
    assert (other["status"], reason(other)) == (409, "transaction_exists_with_different_amount")
    again = bulk(vendor, credit)
    assert again == [second]


def test_a_refusal_that_is_repeated_says_so(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    debit = op("debit", wallet_id, 5)
    [first], [again] = bulk(vendor, debit), bulk(vendor, debit)
    assert reason(first) == reason(again) == "available_balance_must_cover_amount"
    assert "replayed" not in first
    assert again["replayed"] is True


BAD = {
    "no object": 5,
    "null": None,
    "a list": [],
    "empty": {},
    "no op": {"wallet_id": NOBODY},
    "an op that is none": {"op": "open"},
    "an op that is a list": {"op": ["debit"]},
    "an op of another case": {"op": "Debit"},
    "no wallet": {"op": "debit", **posting(1)},
    "no wallet id": op("debit", "x", 1),
    "an upper-case wallet id": op("debit", NOBODY.replace("0", "A"), 1),
    "no amount": op("debit", NOBODY),
    "amount 1.0": op("debit", NOBODY, 1.0),
    "amount true": op("debit", NOBODY) | {"amount": True, "currency": "EUR"},
    "amount text": op("debit", NOBODY, "1"),
    "amount zero": op("debit", NOBODY, 0),
    "amount beyond the bound": op("debit", NOBODY, 2**53),
    "amount far beyond": op("debit", NOBODY, 10**100),
    "an unknown field": op("debit", NOBODY, 1, colour="red"),
    "a field of another op": op("debit", NOBODY, 1, hold_id=NOBODY),
    "a list in metadata": op("debit", NOBODY, 1, metadata={"a": [1]}),
    "no hold": op("capture", NOBODY),
    "a hold id that is none": op("capture", NOBODY, hold_id="x"),
    "final that is a number": op("capture", NOBODY, hold_id=NOBODY, final=1),
    "a currency of a capture": op("capture", NOBODY, hold_id=NOBODY, amount=1, currency="EUR"),
    "a hold for ever": op("hold", NOBODY, 1, expires_in_s=7_776_001),
    "a hold for no time": op("hold", NOBODY, 1, expires_in_s=0),
    "a transfer to nowhere": op("transfer", NOBODY, 1),
    "a reversal of nothing": op("reverse", NOBODY),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_malformed_operation_spoils_no_other(vendor: Vendor, bad: Any) -> None:
    wallet_id = vendor.open()
    results = bulk(vendor, op("credit", wallet_id, 1), bad, op("credit", wallet_id, 1))
    assert statuses(results) == [201, 400, 201]
    assert reason(results[1]) == MALFORMED
    assert results[1]["body"]["errors"]


def test_all_bad_operations_at_once_are_all_answered(vendor: Vendor) -> None:
    assert {reason(result) for result in bulk(vendor, *BAD.values())} == {MALFORMED}


WHOLES = {
    "nothing": b"",
    "no JSON": b"{",
    "an array": b"[]",
    "a number": b"1",
    "no operations": b"{}",
    "null": b'{"operations":null}',
    "no list": b'{"operations":{}}',
    "none": b'{"operations":[]}',
    "one too many": b'{"operations":[%b]}' % b",".join([b"1"] * (OPERATIONS_MAX + 1)),
    "an unknown field": b'{"operations":[1],"atomic":true}',
    "a lone surrogate": b'{"operations":["\\ud800"]}',
    "a bottomless pit": b'{"operations":%b}' % (b"[" * 5_000 + b"]" * 5_000),
}


@pytest.mark.parametrize("raw", WHOLES.values(), ids=WHOLES)
def test_a_frame_that_is_none_is_refused_as_a_whole(vendor: Vendor, raw: bytes) -> None:
    answer = vendor.client.post("/v1/bulk", content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, reason_of(answer)) == (400, MALFORMED)


def test_the_body_is_bounded(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    small = {"operations": [op("credit", wallet_id, 1)]}
    assert done(send(vendor, small, padding=BULK_MAX_BYTES), 200)["results"][0]["status"] == 201
    assert reason_of(send(vendor, small, padding=BULK_MAX_BYTES + 1)) == "body_must_fit"


def send(vendor: Vendor, document: Any, *, padding: int) -> httpx.Response:
    content = httpx.Request("POST", vendor.cell.url, json=document).content.ljust(padding)
    return vendor.client.post("/v1/bulk", content=content, headers={"Content-Type": "application/json"})


def test_a_thousand_at_once(vendor: Vendor) -> None:
    wallet_ids = [vendor.open() for _ in range(10)]
    operations = [op("credit", wallet_ids[number % 10], number + 1) for number in range(OPERATIONS_MAX)]
    assert set(statuses(bulk(vendor, *operations))) == {201}


def test_what_the_whole_needs(cell: RunningCell, vendor: Vendor) -> None:
    body = {"operations": [op("credit", vendor.open(), 1)]}
    assert reason_of(vendor.client.put("/v1/bulk", json=body)) == "method_must_be_allowed"
    assert vendor.client.get("/v1/bulk").headers["allow"] == "POST"
    assert reason_of(vendor.client.post("/v1/bulk", content=b"{}")) == "content_type_must_be_json"
    assert reason_of(vendor.client.post("/v1/b%75lk", json=body)) == "path_must_be_well_formed"
    assert reason_of(vendor.client.post("/v1/bulk/", json=body)) == "route_must_exist"
    late = vendor.client.post("/v1/bulk", json=body, headers={"X-Deadline-Ms": "0"})
    assert reason_of(late) == MALFORMED
    with httpx.Client(base_url=cell.url, trust_env=False) as nobody:
        assert reason_of(nobody.post("/v1/bulk", json=body)) == "token_must_be_valid"


def test_scopes_are_of_each_operation(cell: RunningCell, vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=10)
    with cell.client("money:credit money:reverse", vendor="acme") as client:
        results = bulk(
            Vendor(client, cell),
            op("credit", wallet_id, 1),
            op("debit", wallet_id, 1),
            op("debit", wallet_id, 1, colour="red"),
            op("hold", wallet_id, 1),
            op("transfer", wallet_id, 1, to_wallet_id=NOBODY),
            op("reverse", wallet_id, original_transaction_id=NOBODY, original_vendor="other"),
        )
    assert results[0]["status"] == 201
    assert [reason(result) for result in results[1:]] == [
        "scope_must_allow_debit",
        "scope_must_allow_debit",
        "scope_must_allow_hold",
        "scope_must_allow_transfer",
        "scope_must_allow_reverse_any",
    ]


def test_a_token_for_some_owners_only(cell: RunningCell, vendor: Vendor) -> None:
    persons = vendor.open()
    with cell.client(owner_types=["company"]) as client:
        [result] = bulk(Vendor(client, cell), op("credit", persons, 1))
    assert (result["status"], reason(result)) == (403, "scope_must_allow_credit")


def test_limits_count_commands_and_the_vendor_s_requests(databases: CellDatabases) -> None:
    with running_cell(databases.copy()) as cell, cell.client() as client:
        vendor = Vendor(client, cell)
        wallet_id = vendor.open()
        cell.configure(capacity_per_s=1.0)
        assert statuses(bulk(vendor, *(op("credit", wallet_id, 1) for _ in range(30)))) == [201] * 30
        full = client.post("/v1/bulk", json={"operations": [op("credit", wallet_id, 1)]})
        assert reason_of(full) == "cell_must_have_capacity"
        assert int(full.headers["retry-after"]) > 10
        cell.configure(vendors={"acme": {"limits": {"amount_max": 4}}})
        assert statuses(bulk(vendor, op("credit", wallet_id, 9), op("debit", wallet_id, 4))) == [201, 201]
        assert reason(bulk(vendor, op("debit", wallet_id, 5))[0]) == "amount_must_not_exceed_limit"
        assert reason(bulk(vendor, op("hold", wallet_id, 5))[0]) == "amount_must_not_exceed_limit"
        asyncio.run(cell.database.assert_clean())
