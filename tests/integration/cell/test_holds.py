"""Holds as a vendor has them: placed, captured in parts, released, extended, told; refused as the contract says."""

from typing import Any

import httpx
import pytest
from cell_answers import HASH, INSTANT, NOBODY, UUID, Like, done, reason_of
from cell_process import RunningCell, Vendor, new_id, posting
from cell_waiting import until_now

MALFORMED = "request_must_be_well_formed"


def place(vendor: Vendor, wallet_id: str, amount: int, **fields: Any) -> httpx.Response:
    return vendor.client.post(f"/v1/wallets/{wallet_id}/holds", json=posting(amount, **fields))


def end(vendor: Vendor, wallet_id: str, hold_id: str, action: str, **fields: Any) -> httpx.Response:
    body = {"transaction_id": new_id(), **fields}
    return vendor.client.post(f"/v1/wallets/{wallet_id}/holds/{hold_id}/{action}", json=body)


def held(vendor: Vendor, wallet_id: str, amount: int, **fields: Any) -> str:
    hold_id: str = done(place(vendor, wallet_id, amount, **fields))["hold_id"]
    return hold_id


def show(vendor: Vendor, wallet_id: str, hold_id: str) -> dict[str, Any]:
    return done(vendor.get(f"/v1/wallets/{wallet_id}/holds/{hold_id}"), 200)


def figures(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[name] for name in ("amount", "delta", "held_delta", "balance", "held", "available"))


def test_a_hold_sets_money_aside(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    body = posting(30, description="A room", metadata={"room": 7})
    placed = done(vendor.client.post(f"/v1/wallets/{wallet_id}/holds", json=body))
    assert placed == {
        "transaction_id": body["transaction_id"],
        "hold_id": body["transaction_id"],
        "wallet_id": wallet_id,
        "kind": "hold",
        "currency": "EUR",
        "amount": 30,
        "delta": 0,
        "held_delta": 30,
        "balance": 100,
        "held": 30,
        "available": 70,
        "seq": 3,
        "posted_at": Like(INSTANT),
        "entry_hash": Like(HASH),
    }
    again = vendor.client.post(f"/v1/wallets/{wallet_id}/holds", json=body)
    assert (done(again), again.headers["idempotent-replayed"]) == (placed, "true")
    other = vendor.client.post(f"/v1/wallets/{wallet_id}/holds", json={**body, "expires_in_s": 5})
    assert reason_of(other) == "transaction_exists_with_different_expires_in_s"
    assert reason_of(vendor.debit(wallet_id, 71)) == "available_balance_must_cover_amount"
    assert reason_of(place(vendor, wallet_id, 71)) == "available_balance_must_cover_amount"
    assert vendor.debit(wallet_id, 70).status_code == 201


def test_captures_in_parts_until_the_final_one(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    first = done(end(vendor, wallet_id, hold_id, "capture", amount=20, final=False))
    assert (first["kind"], first["hold_id"]) == ("capture", hold_id)
    assert figures(first) == (20, -20, -20, 80, 40, 40)
    assert reason_of(end(vendor, wallet_id, hold_id, "capture", amount=41)) == "capture_must_not_exceed_hold"
    last = done(end(vendor, wallet_id, hold_id, "capture", amount=10))
    assert figures(last) == (10, -10, -40, 70, 0, 70)
    assert reason_of(end(vendor, wallet_id, hold_id, "capture", amount=1)) == "hold_must_be_open"
    told = show(vendor, wallet_id, hold_id)
    assert told == {
        "hold_id": hold_id,
        "wallet_id": wallet_id,
        "vendor_id": "acme",
        "amount": 60,
        "captured": 30,
        "remaining": 0,
        "state": "captured",
        "placed_at": Like(INSTANT),
        "expires_at": Like(INSTANT),
    }


def test_a_capture_without_an_amount_takes_all_that_remains(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    done(end(vendor, wallet_id, hold_id, "capture", amount=20, final=False))
    assert figures(done(end(vendor, wallet_id, hold_id, "capture"))) == (40, -40, -40, 40, 0, 40)


def test_a_capture_can_be_reversed(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    captured = done(end(vendor, wallet_id, held(vendor, wallet_id, 60), "capture"))
    assert figures(done(vendor.reverse(wallet_id, captured["transaction_id"], amount=15)))[:4] == (15, 15, 0, 55)


def test_a_release_gives_back_and_an_extension_lets_live(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60, expires_in_s=1_000)
    before = show(vendor, wallet_id, hold_id)["expires_at"]
    extended = done(end(vendor, wallet_id, hold_id, "extend", expires_in_s=2_000))
    assert (extended["kind"], extended["hold_id"]) == ("extend", hold_id)
    assert figures(extended) == (60, 0, 0, 100, 60, 40)
    assert show(vendor, wallet_id, hold_id)["expires_at"] > before
    released = done(end(vendor, wallet_id, hold_id, "release"))
    assert (released["kind"], released["hold_id"]) == ("release", hold_id)
    assert figures(released) == (60, 0, -60, 100, 0, 100)
    for action, fields in (("release", {}), ("capture", {}), ("extend", {"expires_in_s": 1})):
        assert reason_of(end(vendor, wallet_id, hold_id, action, **fields)) == "hold_must_be_open"
    assert show(vendor, wallet_id, hold_id)["state"] == "released"


def test_what_the_log_says_of_holds(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    postings = [
        done(end(vendor, wallet_id, hold_id, "extend", expires_in_s=9)),
        done(end(vendor, wallet_id, hold_id, "capture", amount=5, final=False)),
        done(end(vendor, wallet_id, hold_id, "release")),
    ]
    path = f"/v1/wallets/{wallet_id}/entries"
    entries = done(vendor.get(path, order="asc"), 200)["entries"][2:]
    assert [entry["kind"] for entry in entries] == ["hold", "extend", "capture", "release"]
    assert {entry["hold_id"] for entry in entries} == {hold_id}
    for entry, answer in zip(entries[1:], postings, strict=True):
        same = set(answer) - {"balance", "held"}
        assert {name: entry[name] for name in same} == {name: answer[name] for name in same}
        assert (entry["balance_after"], entry["held_after"]) == (answer["balance"], answer["held"])


def test_a_hold_that_is_over_is_told_so_before_anybody_swept(vendor: Vendor) -> None:
    """Nobody sweeps in the cell under test."""
    wallet_id = vendor.open(balance=100)
    hold_id, other = held(vendor, wallet_id, 60, expires_in_s=1), held(vendor, wallet_id, 1)
    until_now(lambda: show(vendor, wallet_id, hold_id)["state"] == "expired")
    assert reason_of(end(vendor, wallet_id, hold_id, "capture")) == "hold_must_be_open"
    path = f"/v1/wallets/{wallet_id}/holds"
    for state, expected in (("expired", [hold_id]), ("open", [other]), ("captured", [])):
        assert [one["hold_id"] for one in done(vendor.get(path, state=state), 200)["holds"]] == expected


def test_holds_by_pages(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    ids = sorted(held(vendor, wallet_id, 1) for _ in range(7))
    path, seen, cursor = f"/v1/wallets/{wallet_id}/holds", [], ""
    while cursor is not None:
        page = done(vendor.get(path, limit=3, **({"cursor": cursor} if cursor else {})), 200)
        seen += [one["hold_id"] for one in page["holds"]]
        cursor = page["next_cursor"]
    assert seen == ids
    assert done(vendor.get(path, limit=7), 200)["next_cursor"] is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 0},
        {"limit": 501},
        {"limit": "x"},
        {"state": "gone"},
        {"state": ""},
        {"cursor": "x"},
        {"cursor": "!"},
        {"cursor": "eA"},
        {"cursor": "x" * 301},
        {"cursor": "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwAA"},
    ],
    ids=str,
)
def test_bad_questions(vendor: Vendor, parameters: dict[str, Any]) -> None:
    assert reason_of(vendor.get(f"/v1/wallets/{vendor.open()}/holds", **parameters)) == MALFORMED


def test_holds_are_their_vendor_s(cell: RunningCell, vendor: Vendor) -> None:
    """Another vendor finds nothing to end and nothing to see, but for `wallet:manage`."""
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    path = f"/v1/wallets/{wallet_id}/holds"
    with cell.client("money:hold wallet:read", vendor="other") as client:
        other = Vendor(client, cell)
        assert reason_of(end(other, wallet_id, hold_id, "capture")) == "hold_must_exist"
        own = held(other, wallet_id, 3)
        assert [one["hold_id"] for one in done(other.get(path), 200)["holds"]] == [own]
        unknown = other.get(f"{path}/{hold_id}")
        assert (unknown.status_code, unknown.json()["reason"], unknown.json()["retry"]) == (
            404,
            "hold_must_exist",
            "same_id",
        )
    with cell.client("wallet:read wallet:manage", vendor="boss") as client:
        boss = Vendor(client, cell)
        assert {one["hold_id"] for one in done(boss.get(path), 200)["holds"]} == {hold_id, own}
        assert done(boss.get(f"{path}/{own}"), 200)["vendor_id"] == "other"
    with cell.client("wallet:read", vendor="third") as client:
        assert done(client.get(path), 200) == {"holds": [], "next_cursor": None}


def test_a_read_that_finds_nothing_records_nothing(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    assert vendor.get(f"/v1/wallets/{wallet_id}/holds/{NOBODY}").status_code == 404
    assert done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["seq"] == 1
    refused = end(vendor, wallet_id, NOBODY, "release")
    assert (refused.status_code, reason_of(refused)) == (422, "hold_must_exist")
    assert done(vendor.get(f"/v1/wallets/{wallet_id}"), 200)["seq"] == 2
    assert reason_of(vendor.get(f"/v1/wallets/{NOBODY}/holds/{NOBODY}")) == "wallet_must_exist"


def test_paths_that_are_none(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    holds = f"/v1/wallets/{wallet_id}/holds"
    body = {"transaction_id": new_id()}
    for hold_id in ("x", NOBODY.replace("0", "A"), NOBODY.replace("-", ""), ""):
        assert reason_of(vendor.client.post(f"{holds}/{hold_id}/release", json=body)) == "path_must_be_well_formed"
    encoded = NOBODY.replace("-", "%2d", 1)
    assert reason_of(vendor.client.post(f"{holds}/{encoded}/release", json=body)) == "path_must_be_well_formed"
    assert reason_of(vendor.get(f"{holds}/x")) == "path_must_be_well_formed"
    for path in (f"{holds}/{NOBODY}/nothing", f"{holds}/{NOBODY}/release/", f"{holds}/{NOBODY}/release/{NOBODY}"):
        assert reason_of(vendor.client.post(path, json=body)) == "route_must_exist"
    for method, path in (("GET", f"{holds}/{NOBODY}/release"), ("POST", f"{holds}/{NOBODY}"), ("PUT", holds)):
        assert vendor.client.request(method, path, json=body).status_code == 405


@pytest.mark.parametrize(
    "field", [{"expires_in_s": 0}, {"expires_in_s": 7_776_001}, {"expires_in_s": 1.0}, {"amount": 0}]
)
def test_bad_holds(vendor: Vendor, field: dict[str, Any]) -> None:
    body = {**posting(1), **field}
    assert reason_of(vendor.client.post(f"/v1/wallets/{vendor.open()}/holds", json=body)) == MALFORMED


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("capture", {"amount": 0}),
        ("capture", {"amount": "1"}),
        ("capture", {"final": 1}),
        ("capture", {"currency": "EUR"}),
        ("release", {"amount": 1}),
        ("extend", {}),
        ("extend", {"expires_in_s": 0}),
        ("extend", {"expires_in_s": True}),
    ],
)
def test_bad_endings(vendor: Vendor, action: str, fields: dict[str, Any]) -> None:
    assert reason_of(end(vendor, vendor.open(), NOBODY, action, **fields)) == MALFORMED


def test_the_longest_hold(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=1)
    assert show(vendor, wallet_id, held(vendor, wallet_id, 1, expires_in_s=7_776_000))["hold_id"] == Like(UUID)


def test_a_suspended_wallet_s_holds_may_be_ended_and_none_placed(vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    assert vendor.change(wallet_id, status="suspended").status_code == 200
    assert reason_of(place(vendor, wallet_id, 1)) == "wallet_must_be_active"
    assert end(vendor, wallet_id, hold_id, "capture").status_code == 201


def test_scopes(cell: RunningCell, vendor: Vendor) -> None:
    wallet_id = vendor.open(balance=100)
    hold_id = held(vendor, wallet_id, 60)
    with cell.client("money:debit wallet:manage") as client:
        poor = Vendor(client, cell)
        assert reason_of(place(poor, wallet_id, 1)) == "scope_must_allow_hold"
        assert reason_of(end(poor, wallet_id, hold_id, "capture")) == "scope_must_allow_hold"
        assert reason_of(poor.get(f"/v1/wallets/{wallet_id}/holds")) == "scope_must_allow_read"
