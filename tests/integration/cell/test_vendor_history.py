"""The routes that read, over real HTTP; and what every answer carries."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cell_answers import HASH, INSTANT, NOBODY, UUID, Like, done, reason_of
from cell_process import CELL, RunningCell, Vendor, id_of, new_id, opening, posting

from cell.api.translate import instant_us_of
from contract.chain import ZERO_HASH, CanonicalEntry, entry_hash


def test_the_balance(vendor: Vendor) -> None:
    wallet_id = vendor.open(overdraft_limit=5)
    posted = done(vendor.credit(wallet_id, 30))
    answer = done(vendor.get(f"/v1/wallets/{wallet_id}/balance"), 200)
    assert answer == {
        "wallet_id": wallet_id,
        "currency": "EUR",
        "balance": 30,
        "held": 0,
        "available": 35,
        "seq": 2,
        "as_of": posted["posted_at"],
    }
    vendor.credit(wallet_id, 1)
    assert done(vendor.get(f"/v1/wallets/{wallet_id}/balance", at=answer["as_of"]), 200) == answer


def test_a_past_balance(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    born_at = done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["opened_at"]
    one = done(vendor.credit(wallet_id, 1))
    two = done(vendor.credit(wallet_id, 1))
    for posted in (one, two):
        answer = done(vendor.get(f"/v1/wallets/{wallet_id}/balance", at=posted["posted_at"]), 200)
        assert (answer["seq"], answer["balance"], answer["as_of"]) == (
            posted["seq"],
            posted["balance"],
            posted["posted_at"],
        )
    offset = two["posted_at"].replace("Z", "+00:00")
    assert done(vendor.get(f"/v1/wallets/{wallet_id}/balance", at=offset), 200)["seq"] == 3
    before = "2001-01-01T00:00:00Z"
    absent = vendor.get(f"/v1/wallets/{wallet_id}/balance", at=before)
    assert (reason_of(absent), absent.json()["at"]) == ("wallet_must_exist", "2001-01-01T00:00:00.000000Z")
    future = vendor.get(f"/v1/wallets/{wallet_id}/balance", at="2999-01-01T00:00:00Z")
    assert reason_of(future) == "request_must_be_well_formed"
    assert born_at < one["posted_at"]


def test_the_entries_of_a_wallet_are_its_chain(vendor: Vendor) -> None:
    """Everything that a hash covers is told, so that a vendor can verify the chain of its wallet."""
    wallet_id, other = vendor.open(overdraft_limit=5), vendor.open()
    credit = posting(30, description="gift", reference="R-1", metadata={"n": 1})
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=credit)
    vendor.reverse(wallet_id, credit["transaction_id"], amount=10)
    vendor.debit(wallet_id, 99)
    vendor.transfer(wallet_id, other, 2)
    vendor.transfer(other, wallet_id, 1)
    vendor.change(wallet_id, status="suspended")
    answer = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", order="asc"), 200)
    entries = answer["entries"]
    assert answer["next_cursor"] is None
    kinds = ["opened", "credit", "reversal", "refused", "transfer_out", "transfer_in", "changed"]
    assert [entry["kind"] for entry in entries] == kinds
    assert entries[1] == {
        "transaction_id": credit["transaction_id"],
        "wallet_id": wallet_id,
        "kind": "credit",
        "amount": 30,
        "currency": "EUR",
        "delta": 30,
        "held_delta": 0,
        "balance_after": 30,
        "held_after": 0,
        "available": 35,
        "overdraft_limit_after": 5,
        "status_after": "active",
        "seq": 2,
        "posted_at": Like(INSTANT),
        "vendor_id": "acme",
        "counter_account": "clearing:acme",
        "entry_hash": Like(HASH),
        "sealed": Like(HASH),
        "reason": None,
        "requested_kind": None,
        "requested_amount": None,
        "subject_id": None,
        "subject_vendor_id": None,
        "expires_at": None,
        "description": "gift",
        "reference": "R-1",
        "metadata": {"n": 1},
        "context": {
            "client_ip": "127.0.0.1",
            "request_id": Like(UUID),
            "trace_id": None,
            "user_agent": Like(".*httpx.*"),
        },
    }
    refused = entries[3]
    assert (refused["delta"], refused["requested_kind"], refused["requested_amount"]) == (0, "debit", 99)
    assert refused["reason"] == "available_balance_must_cover_amount"
    assert entries[4]["to_wallet_id"] == other
    assert entries[5]["counter_account"] == f"wallet:{other}"
    assert entries[2]["original_transaction_id"] == credit["transaction_id"]
    assert_chained(entries)


def assert_chained(entries: list[dict[str, Any]]) -> None:
    head = ZERO_HASH
    for entry in entries:
        subject = entry.get("original_transaction_id")
        head = entry_hash(
            head,
            CanonicalEntry(
                wallet_id=entry["wallet_id"],
                seq=entry["seq"],
                posted_at_us=microseconds(entry["posted_at"]),
                kind=entry["kind"],
                currency=entry["currency"],
                delta=entry["delta"],
                held_delta=entry["held_delta"],
                balance_after=entry["balance_after"],
                held_after=entry["held_after"],
                overdraft_limit_after=entry["overdraft_limit_after"],
                status_after=entry["status_after"],
                transaction_id=entry["transaction_id"],
                vendor_id=entry["vendor_id"],
                counter_account=entry["counter_account"],
                subject_id=subject,
                subject_vendor_id=entry["subject_vendor_id"],
                expires_at_us=None,
                requested_kind=entry["requested_kind"],
                requested_amount=entry["requested_amount"],
                reason=entry["reason"],
                sealed=entry["sealed"],
            ),
        )
        assert entry["entry_hash"] == head.hex(), entry["seq"]


def microseconds(instant: str) -> int:
    return instant_us_of(datetime.fromisoformat(instant))


def test_pages(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    for _ in range(6):
        vendor.credit(wallet_id, 1)
    for order, seqs in (("asc", [1, 2, 3, 4, 5, 6, 7]), ("desc", [7, 6, 5, 4, 3, 2, 1])):
        seen: list[int] = []
        cursor: dict[str, str] = {}
        pages = 0
        while True:
            page = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", limit=3, order=order, **cursor), 200)
            seen += [entry["seq"] for entry in page["entries"]]
            pages += 1
            if page["next_cursor"] is None:
                break
            assert re.fullmatch("[A-Za-z0-9_-]+", page["next_cursor"])
            cursor = {"cursor": page["next_cursor"]}
        assert (seen, pages) == (seqs, 3)
    default = done(vendor.get(f"/v1/wallets/{wallet_id}/entries"), 200)
    assert [entry["seq"] for entry in default["entries"]] == [7, 6, 5, 4, 3, 2, 1]


def test_filters(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    instants = [done(vendor.credit(wallet_id, 1))["posted_at"] for _ in range(4)]
    vendor.debit(wallet_id, 2)

    def seqs(**parameters: Any) -> list[int]:
        page = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", order="asc", **parameters), 200)
        return [entry["seq"] for entry in page["entries"]]

    assert seqs(kind="credit") == [2, 3, 4, 5]
    assert seqs(kind="hold") == []
    assert seqs(**{"from": instants[1], "to": instants[3]}) == [3, 4]
    assert seqs(**{"from": instants[2]}) == [4, 5, 6]
    assert seqs(to=instants[0]) == [1]
    assert seqs(kind="credit", limit=2) == [2, 3]
    assert seqs(**{"from": instants[3], "to": instants[0]}) == []


def test_a_transaction(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id, other = vendor.open(balance=10), vendor.open()
    credit = posting(5, description="mine")
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=credit)
    refused = posting(99)
    vendor.client.post(f"/v1/wallets/{wallet_id}/debit", json=refused)
    sent = done(vendor.transfer(wallet_id, other, 3))

    def ask(client: httpx.Client, transaction_id: str, wallet: str = wallet_id) -> httpx.Response:
        return client.get(f"/v1/wallets/{wallet}/transactions/{transaction_id}")

    entry = done(ask(vendor.client, credit["transaction_id"]), 200)
    assert (entry["kind"], entry["description"]) == ("credit", "mine")
    assert done(ask(vendor.client, refused["transaction_id"]), 200)["kind"] == "refused"
    assert done(ask(vendor.client, sent["transaction_id"]), 200)["to_wallet_id"] == other
    assert done(ask(vendor.client, wallet_id), 200)["kind"] == "opened"
    received = done(vendor.get(f"/v1/wallets/{other}/entries"), 200)["entries"][0]
    assert done(ask(vendor.client, received["transaction_id"], other), 200)["kind"] == "transfer_in"
    assert reason_of(ask(vendor.client, new_id())) == "transaction_must_exist"
    with cell.client("wallet:read", vendor="other") as client:
        assert reason_of(ask(client, credit["transaction_id"])) == "transaction_must_exist"
    with cell.client("wallet:read wallet:manage", vendor="other") as client:
        assert done(ask(client, credit["transaction_id"]), 200)["description"] == "mine"


def test_other_vendors_see_figures_and_no_words(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id = vendor.open()
    vendor.credit(wallet_id, 5, description="private", reference="R", metadata={"n": 1})
    hidden = {"description", "reference", "metadata", "context"}
    with cell.client("wallet:read", vendor="other") as client:
        entry = done(client.get(f"/v1/wallets/{wallet_id}/entries"), 200)["entries"][0]
        assert (entry["delta"], entry["vendor_id"]) == (5, "acme")
        assert not hidden & entry.keys()
    with cell.client("wallet:read wallet:manage", vendor="other") as client:
        entry = done(client.get(f"/v1/wallets/{wallet_id}/entries"), 200)["entries"][0]
        assert entry["description"] == "private"


@pytest.mark.parametrize("ref", ["plain", "a/b", "späße", "50% & more?#", "+ blank", "日本"])
def test_wallets_of_an_owner(vendor: Vendor, ref: str) -> None:
    ref = f"{ref}-{new_id()}"
    bodies = [opening(ref=ref, **fields) for fields in ({}, {"currency": "USD"}, {"kind": "savings"})]
    for body in bodies:
        assert vendor.client.post("/v1/wallets", json=body).status_code == 201
    path = f"/v1/owners/person/{quote(ref, safe='')}/wallets"
    answer = done(vendor.get(path), 200)
    assert {wallet["wallet_id"] for wallet in answer["wallets"]} == {id_of(body) for body in bodies}
    assert answer["wallets"][0]["owner"] == {"type": "person", "ref": ref}
    assert [wallet["currency"] for wallet in done(vendor.get(path, currency="USD"), 200)["wallets"]] == ["USD"]
    assert [wallet["kind"] for wallet in done(vendor.get(path, kind="savings"), 200)["wallets"]] == ["savings"]
    assert done(vendor.get(path, kind="other"), 200) == {"wallets": []}


# Every answer.


def test_every_answer_carries_its_request_id(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    headers = {"X-Request-Id": "order-77.a_B"}
    paths = [f"/v1/wallets/{wallet_id}", f"/v1/wallets/{wallet_id}/balance", f"/v1/wallets/{NOBODY}", "/nowhere"]
    answers = [vendor.client.get(path, headers=headers) for path in paths]
    answers.append(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=posting(1), headers=headers))
    answers.append(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json={}, headers=headers))
    for answer in answers:
        assert answer.headers.get_list("x-request-id") == ["order-77.a_B"]
        assert answer.headers.get_list("x-cell") == [CELL]
    for bad in ("", "two words", "x" * 129, "ü".encode().decode("latin-1")):
        answer = vendor.client.get(paths[0], headers=[(b"X-Request-Id", bad.encode("latin-1"))])
        assert answer.status_code == 200
        assert re.fullmatch(UUID, answer.headers["x-request-id"])


def test_the_context_of_a_request_is_kept(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    headers = {
        "X-Request-Id": "r-1",
        "User-Agent": "till/7 \xfc",
        "X-Forwarded-For": "203.0.113.9",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    encoded = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=posting(1), headers=encoded)
    entry = done(vendor.get(f"/v1/wallets/{wallet_id}/entries"), 200)["entries"][0]
    assert entry["context"] == {
        "client_ip": "203.0.113.9",
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "user_agent": "till/7 \xfc",
    }


def test_probes_need_no_token(cell: RunningCell) -> None:
    with httpx.Client(base_url=cell.url, trust_env=False) as client:
        assert client.get("/healthz").json() == {"status": "alive", "cell": CELL}
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/docs").status_code == 200
        assert client.get("/openapi.json").status_code == 200


def test_tokens_narrowed_to_owner_types(vendor: Vendor, cell: RunningCell) -> None:
    wallet_id = vendor.open(balance=5)
    with cell.client(owner_types=["company"]) as client:
        narrow = Vendor(client, cell)
        assert reason_of(narrow.debit(wallet_id, 1)) == "scope_must_allow_debit"
        assert reason_of(narrow.change(wallet_id, status="suspended")) == "scope_must_allow_manage"
        assert reason_of(narrow.get(f"/v1/wallets/{wallet_id}")) == "scope_must_allow_read"
        assert reason_of(narrow.get(f"/v1/wallets/{wallet_id}/balance")) == "scope_must_allow_read"
        assert reason_of(narrow.get("/v1/owners/person/x/wallets")) == "scope_must_allow_read"
        assert reason_of(client.post("/v1/wallets", json=opening())) == "scope_must_allow_open"
        company = opening()
        company["owner"]["type"] = "company"
        assert client.post("/v1/wallets", json=company).status_code == 201
    assert done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["seq"] == 2
