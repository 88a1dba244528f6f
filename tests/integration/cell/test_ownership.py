"""Two cells behind ownership: what is not owned here is sent on, reads and writes alike, with all that routers need."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cell_answers import done, reason_of
from cell_databases import CellDatabases
from cell_process import RunningCell, Vendor, id_of, new_id, opening, posting, running_cell
from cell_stores import MOVE_ID

from contract.ids import WalletId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of

MIDDLE = SLOTS // 2


@pytest.fixture(scope="module")
def lower(databases: CellDatabases) -> Iterator[RunningCell]:
    """Owns the lower half of the slots; knows nothing of the rest."""
    database = databases.copy()
    database.sql("DELETE FROM unit_state WHERE unit >= %s", MIDDLE)
    with running_cell(database, moving_wait_s=0) as cell:
        yield cell


@pytest.fixture(scope="module")
def upper(databases: CellDatabases) -> Iterator[RunningCell]:
    """Owns the upper half; has given the lower half away, and knows to whom."""
    database = databases.copy()
    database.sql("UPDATE unit_state SET state = 'moved', epoch = 5, peer_cell = 'cell-lower' WHERE unit < %s", MIDDLE)
    with running_cell(database) as cell:
        yield cell


@pytest.fixture
def at_lower(lower: RunningCell) -> Iterator[Vendor]:
    with lower.client() as client:
        yield Vendor(client, lower)


@pytest.fixture
def at_upper(upper: RunningCell) -> Iterator[Vendor]:
    with upper.client() as client:
        yield Vendor(client, upper)


def body_in(is_ours: Callable[[int], bool]) -> dict[str, Any]:
    """An opening whose wallet lies in a slot of that kind."""
    return next(body for body in iter(opening, None) if is_ours(slot_of(WalletId(id_of(body)))))


def in_lower() -> dict[str, Any]:
    return body_in(lambda slot: slot < MIDDLE)


def in_upper() -> dict[str, Any]:
    return body_in(lambda slot: slot >= MIDDLE)


def every_call(vendor: Vendor, body: dict[str, Any], other: str) -> dict[str, httpx.Response]:
    """Each route of the wallet, its opening by both ways included."""
    wallet_id, client = id_of(body), vendor.client
    path = f"/v1/wallets/{wallet_id}"
    return {
        "put": client.put(path, json=body),
        "post": client.post("/v1/wallets", json=body),
        "credit": vendor.credit(wallet_id, 1),
        "debit": vendor.debit(wallet_id, 1),
        "reverse": vendor.reverse(wallet_id, new_id()),
        "transfer": vendor.transfer(wallet_id, other),
        "change": vendor.change(wallet_id, status="suspended"),
        "show": client.get(path),
        "balance": client.get(f"{path}/balance"),
        "past balance": client.get(f"{path}/balance", params={"at": "2024-01-01T00:00:00Z"}),
        "entries": client.get(f"{path}/entries"),
        "transaction": client.get(f"{path}/transactions/{new_id()}"),
    }


def redirection(answer: httpx.Response) -> dict[str, Any]:
    assert (reason_of(answer), answer.status_code) == ("wallet_must_be_owned_by_this_cell", 421)
    document = answer.json()
    assert document["retry"] == "same_id"
    return {name: document[name] for name in ("unit", "cell", "epoch", "wallet_id") if name in document}


def test_a_unit_that_was_never_here(lower: RunningCell, at_lower: Vendor) -> None:
    body, mine = in_upper(), at_lower.open(ref=in_lower()["owner"]["ref"])
    unit = slot_of(WalletId(id_of(body)))
    for name, answer in every_call(at_lower, body, mine).items():
        assert redirection(answer) == {"unit": unit, "cell": None, "epoch": None}, name
    assert lower.database.one("SELECT count(*) FROM wallets WHERE wallet_id = %s", id_of(body)) == 0
    assert lower.database.one("SELECT count(*) FROM transactions WHERE wallet_id = %s", id_of(body)) == 0


def test_a_unit_that_has_moved(upper: RunningCell, at_upper: Vendor) -> None:
    body, mine = in_lower(), at_upper.open(ref=in_upper()["owner"]["ref"])
    unit = slot_of(WalletId(id_of(body)))
    for name, answer in every_call(at_upper, body, mine).items():
        assert redirection(answer) == {"unit": unit, "cell": "cell-lower", "epoch": 5}, name


def test_who_follows_finds_the_wallet_once(at_lower: Vendor, at_upper: Vendor) -> None:
    """The same opening at both cells is one wallet, at the one that owns it."""
    for make in (in_lower, in_upper):
        body = make()
        statuses = sorted(vendor.client.post("/v1/wallets", json=body).status_code for vendor in (at_lower, at_upper))
        assert statuses == [201, 421]
        posted = posting(5)
        answers = [
            vendor.client.post(f"/v1/wallets/{id_of(body)}/credit", json=posted) for vendor in (at_lower, at_upper)
        ]
        assert sorted(answer.status_code for answer in answers) == [201, 421]
        shown = [vendor.get(f"/v1/wallets/{id_of(body)}").status_code for vendor in (at_lower, at_upper)]
        assert sorted(shown) == [200, 421]


def test_an_owner_is_told_the_wallets_of_this_cell_only(at_lower: Vendor, at_upper: Vendor) -> None:
    ref = new_id()
    bodies = [opening(ref=ref, kind=f"kind_{number}") for number in range(12)]
    opened: dict[str, set[str]] = {"lower": set(), "upper": set()}
    for body in bodies:
        for name, vendor in (("lower", at_lower), ("upper", at_upper)):
            if vendor.client.post("/v1/wallets", json=body).status_code == 201:
                opened[name].add(id_of(body))
    for name, vendor in (("lower", at_lower), ("upper", at_upper)):
        listed = done(vendor.get(f"/v1/owners/person/{ref}/wallets"), 200)["wallets"]
        assert {wallet["wallet_id"] for wallet in listed} == opened[name]
    assert opened["lower"] | opened["upper"] == {id_of(body) for body in bodies}
    assert not opened["lower"] & opened["upper"]


def test_a_wallet_that_was_isolated_away(upper: RunningCell, at_upper: Vendor) -> None:
    """Its slot is still ours; the wallet itself is not."""
    body, mine = in_upper(), at_upper.open(ref=in_upper()["owner"]["ref"])
    wallet_id = id_of(body)
    unit = ISOLATED_UNIT_FIRST + 7
    upper.database.sql(
        "INSERT INTO isolated (wallet_id, slot, unit, cell, epoch) VALUES (%s, %s, %s, 'cell-c', 3)",
        wallet_id,
        slot_of(WalletId(wallet_id)),
        unit,
    )
    expected = {"unit": unit, "cell": "cell-c", "epoch": 3, "wallet_id": wallet_id}
    for name, answer in every_call(at_upper, body, mine).items():
        assert redirection(answer) == expected, name
    assert reason_of(at_upper.transfer(mine, wallet_id)) == "cell_must_be_reachable"


def test_an_exile_is_told_even_where_its_slot_has_moved(upper: RunningCell, at_upper: Vendor) -> None:
    body = in_lower()
    upper.database.sql(
        "INSERT INTO isolated (wallet_id, slot, unit, cell, epoch) VALUES (%s, %s, %s, 'cell-c', 2)",
        id_of(body),
        slot_of(WalletId(id_of(body))),
        ISOLATED_UNIT_FIRST,
    )
    expected = {"unit": ISOLATED_UNIT_FIRST, "cell": "cell-c", "epoch": 2, "wallet_id": id_of(body)}
    assert redirection(at_upper.get(f"/v1/wallets/{id_of(body)}")) == expected
    assert redirection(at_upper.credit(id_of(body), 1)) == expected


@pytest.mark.parametrize(
    ("state", "writes", "reads"),
    [
        ("fenced", "wallet_is_moving", None),
        ("granted", "wallet_must_be_owned_by_this_cell", "wallet_must_be_owned_by_this_cell"),
        ("moved", "wallet_must_be_owned_by_this_cell", "wallet_must_be_owned_by_this_cell"),
        ("staging", "wallet_must_be_owned_by_this_cell", "wallet_must_be_owned_by_this_cell"),
        ("staged", "wallet_is_moving", "wallet_is_moving"),
    ],
)
def test_a_wallet_on_its_way(lower: RunningCell, at_lower: Vendor, state: str, writes: str, reads: str | None) -> None:
    """Its row is here, frozen by the move: writes wait or go on to the new owner, reads go with the grant."""
    body = in_lower()
    wallet_id = at_lower.client.post("/v1/wallets", json=body).json()["wallet_id"]
    credit = posting(5)
    at_lower.client.post(f"/v1/wallets/{wallet_id}/credit", json=credit)
    other = at_lower.open(ref=in_lower()["owner"]["ref"])
    before = lower.database.count("entries")
    unit = slot_of(WalletId(wallet_id))
    lower.database.sql("UPDATE wallets SET frozen_by = %s WHERE wallet_id = %s", MOVE_ID, wallet_id)
    lower.database.sql("UPDATE unit_state SET state = %s, epoch = 2, peer_cell = 'cell-b' WHERE unit = %s", state, unit)
    try:
        for name, answer in every_call(at_lower, body, other).items():
            is_read = name in {"show", "balance", "past balance", "entries", "transaction"}
            expected = reads if is_read else writes
            if expected is None:
                assert answer.status_code in {200, 404}, name
                continue
            assert reason_of(answer) == expected, name
            if expected == "wallet_is_moving":
                assert (answer.json()["retry"], answer.json()["unit"]) == ("same_id", unit)
                assert int(answer.headers["retry-after"]) >= 1
            elif state in {"granted", "moved"}:
                assert redirection(answer) == {"unit": unit, "cell": "cell-b", "epoch": 2}, name
        assert reason_of(at_lower.client.post(f"/v1/wallets/{wallet_id}/credit", json=credit)) == writes
        listed = done(at_lower.get(f"/v1/owners/person/{body['owner']['ref']}/wallets"), 200)["wallets"]
        assert len(listed) == (1 if reads is None else 0)
        assert lower.database.count("entries") == before
    finally:
        lower.database.sql("UPDATE wallets SET frozen_by = NULL WHERE wallet_id = %s", wallet_id)
        lower.database.sql("UPDATE unit_state SET state = 'active', epoch = 1, peer_cell = NULL WHERE unit = %s", unit)
    assert done(at_lower.client.post(f"/v1/wallets/{wallet_id}/credit", json=credit))["balance"] == 5


def test_a_unit_that_is_fenced_opens_nothing(lower: RunningCell, at_lower: Vendor) -> None:
    body = in_lower()
    unit = slot_of(WalletId(id_of(body)))
    lower.database.sql("UPDATE unit_state SET state = 'fenced' WHERE unit = %s", unit)
    try:
        assert reason_of(at_lower.client.post("/v1/wallets", json=body)) == "wallet_is_moving"
        assert reason_of(at_lower.credit(id_of(body), 1)) == "wallet_is_moving"
    finally:
        lower.database.sql("UPDATE unit_state SET state = 'active' WHERE unit = %s", unit)
    assert at_lower.client.post("/v1/wallets", json=body).status_code == 201


def test_a_cell_without_units_owns_nothing(databases: CellDatabases) -> None:
    with running_cell(databases.copy(has_units=False)) as cell, cell.client() as client:
        body = opening()
        expected = {"unit": slot_of(WalletId(id_of(body))), "cell": None, "epoch": None}
        assert redirection(client.post("/v1/wallets", json=body)) == expected
        assert redirection(client.get(f"/v1/wallets/{id_of(body)}")) == expected
        assert done(client.get("/v1/owners/person/x/wallets"), 200) == {"wallets": []}
