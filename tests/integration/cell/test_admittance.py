"""Who may come in, over real HTTP: tokens, scopes, rates, capacity, queues; and which "no" comes first."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jwt
import pytest
from cell_answers import NOBODY, done, reason_of
from cell_databases import CellDatabases
from cell_process import EVERY_SCOPE, RunningCell, Vendor, id_of, new_id, opening, posting, running_cell
from cell_proxy import database_proxy_in_thread
from cell_waiting import until_now
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from platform_keys import token

from contract.headers import BODY_MAX_BYTES
from contract.ids import WalletId
from contract.reasons import Reason
from contract.scopes import VENDOR_SCOPES
from contract.slots import slot_of

# Tokens.


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), "", algorithm="none", headers={"kid": "issuer-1"})


def signed_by_the_public_key(cell: RunningCell, claims: dict[str, Any]) -> str:
    """The oldest trick: the public key as the secret of an HMAC."""
    public = cell.issuer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.api_jws.PyJWS().encode(
        json.dumps(claims).encode(), public, algorithm="HS256", headers={"kid": "issuer-1"}
    )


def usual_claims() -> dict[str, Any]:
    return {"sub": "acme", "scope": EVERY_SCOPE, "aud": "cellwallet", "exp": int(time.time()) + 600}


def bad_authorizations(cell: RunningCell) -> dict[str, str | None]:
    good = cell.token()
    header, payload, signature = good.split(".")
    stranger = Ed25519PrivateKey.generate()
    return {
        "none": None,
        "empty": "",
        "no scheme": good,
        "another scheme": f"Basic {good}",
        "no token at all": "Bearer",
        "garbage": "Bearer x.y.z",
        "text": "Bearer please",
        "two tokens": f"Bearer {good} {good}",
        "expired": f"Bearer {cell.token(exp=int(time.time()) - 1)}",
        "expired long ago": f"Bearer {cell.token(exp=1)}",
        "never expiring": f"Bearer {cell.token(exp=None)}",
        "not yet valid": f"Bearer {cell.token(nbf=int(time.time()) + 600)}",
        "for somebody else": f"Bearer {cell.token(aud='otherwallet')}",
        "for nobody": f"Bearer {cell.token(aud=None)}",
        "of nobody": f"Bearer {cell.token(sub=None)}",
        "of the platform": f"Bearer {cell.token(vendor='@cell')}",
        "of a number": f"Bearer {cell.token(sub=7)}",
        "forged": f"Bearer {token(stranger, 'issuer-1', subject='acme', scope=EVERY_SCOPE)}",
        "of an unknown key": f"Bearer {token(stranger, 'issuer-2', subject='acme', scope=EVERY_SCOPE)}",
        "unsigned": f"Bearer {unsigned(usual_claims())}",
        "without its signature": f"Bearer {header}.{payload}.",
        "with another payload": f"Bearer {header}.{payload[:-2]}AA.{signature}",
        "an HMAC with the public key": f"Bearer {signed_by_the_public_key(cell, usual_claims())}",
        "too long": f"Bearer {cell.token(note='x' * 9_000)}",
        "scopes as a list": f"Bearer {cell.token(scope=['money:credit'])}",  # type: ignore[arg-type]
        "owner types as a text": f"Bearer {cell.token(owner_types='person')}",
    }


@pytest.fixture(scope="module")
def anybody(cell: RunningCell) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cell.url, trust_env=False, timeout=20) as client:
        yield client


def test_tokens_that_are_not_believed(cell: RunningCell, vendor: Vendor, anybody: httpx.Client) -> None:
    wallet_id = vendor.open()
    before = cell.database.count("entries")
    for name, text in bad_authorizations(cell).items():
        headers = {} if text is None else {"Authorization": text}
        for _ in range(2):  # the second time it is remembered
            answers = [
                anybody.post(f"/v1/wallets/{wallet_id}/credit", json=posting(1), headers=headers),
                anybody.post("/v1/wallets", json=opening(), headers=headers),
                anybody.get(f"/v1/wallets/{wallet_id}", headers=headers),
                anybody.get(f"/v1/wallets/{wallet_id}/balance", headers=headers),
            ]
            for answer in answers:
                assert reason_of(answer) == "token_must_be_valid", name
                assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert cell.database.count("entries") == before


def test_a_token_is_believed_until_it_expires(cell: RunningCell, vendor: Vendor) -> None:
    wallet_id = vendor.open()
    expires_at_s = int(time.time()) + 2
    with cell.client(exp=expires_at_s) as client:
        assert client.get(f"/v1/wallets/{wallet_id}").status_code == 200
        until_now(lambda: client.get(f"/v1/wallets/{wallet_id}").status_code == 401)
        assert time.time() >= expires_at_s


def test_a_key_that_is_taken_away_is_believed_no_longer(cell: RunningCell, vendor: Vendor) -> None:
    wallet_id = vendor.open()
    try:
        cell.configure(vendors={"acme": {"blocked": True}})
        assert reason_of(vendor.get(f"/v1/wallets/{wallet_id}")) == "token_must_be_valid"
        cell.configure(vendors={"acme": {"scopes_allowed": ["money:credit"]}})
        assert reason_of(vendor.get(f"/v1/wallets/{wallet_id}")) == "scope_must_allow_read"
        done(vendor.credit(wallet_id, 1))
    finally:
        cell.configure()
    assert vendor.get(f"/v1/wallets/{wallet_id}").status_code == 200


# Scopes.


def test_every_route_needs_its_scope_and_no_other(cell: RunningCell, vendor: Vendor) -> None:
    wallet_id, other = vendor.open(balance=50), vendor.open()
    original = posting(1)
    vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=original)
    path = f"/v1/wallets/{wallet_id}"
    calls: list[tuple[str, str, str, Any]] = [
        ("wallet:open", "POST", "/v1/wallets", opening()),
        ("wallet:read", "GET", path, None),
        ("wallet:read", "GET", f"{path}/balance", None),
        ("wallet:read", "GET", f"{path}/balance?at=2999-01-01T00:00:00Z", None),
        ("wallet:read", "GET", f"{path}/entries", None),
        ("wallet:read", "GET", f"{path}/transactions/{original['transaction_id']}", None),
        ("wallet:read", "GET", "/v1/owners/person/x/wallets", None),
        ("wallet:manage", "PATCH", path, {"transaction_id": new_id(), "metadata": {}}),
        ("money:debit", "POST", f"{path}/debit", posting(1)),
        ("money:credit", "POST", f"{path}/credit", posting(1)),
        (
            "money:reverse",
            "POST",
            f"{path}/reverse",
            {"transaction_id": new_id(), "original_transaction_id": original["transaction_id"]},
        ),
        ("money:transfer", "POST", f"{path}/transfers", {**posting(1), "to_wallet_id": other}),
    ]
    for scope, method, url, body in calls:
        others = " ".join(one for one in VENDOR_SCOPES if one != scope)
        with cell.client(others) as client:
            answer = client.request(method, url, json=body)
            assert reason_of(answer) == f"scope_must_allow_{scope.partition(':')[2]}", url
        with cell.client(scope) as client:
            assert client.request(method, url, json=body).status_code in {200, 201, 400}, url
    with cell.client("wallet:open") as client:
        assert reason_of(client.post("/v1/wallets", json=opening(overdraft_limit=1))) == "scope_must_allow_manage"
    with cell.client("") as client:
        assert reason_of(client.get(path)) == "scope_must_allow_read"


# Rates and queues: a cell of its own, that may be pressed.


@pytest.fixture(scope="module")
def pressed(databases: CellDatabases) -> Iterator[RunningCell]:
    with running_cell(databases.copy(), queue_max=3, batch_max=1) as cell:
        yield cell


@pytest.fixture
def presser(pressed: RunningCell) -> Iterator[Vendor]:
    pressed.configure()
    with pressed.client() as client:
        yield Vendor(client, pressed)
    pressed.configure()


def test_a_vendor_is_held_to_its_rate(pressed: RunningCell, presser: Vendor) -> None:
    wallet_id = presser.open()
    pressed.configure(vendors={"acme": {"rate_per_s": 0.01}})
    assert presser.get(f"/v1/wallets/{wallet_id}").status_code == 200
    answers = [
        presser.credit(wallet_id, 1),
        presser.get(f"/v1/wallets/{wallet_id}"),
        presser.get(f"/v1/wallets/{wallet_id}/balance"),
        presser.get("/v1/owners/person/x/wallets"),
        presser.client.post("/v1/wallets", json=opening()),
    ]
    for answer in answers:
        assert (reason_of(answer), answer.json()["retry"]) == ("request_must_fit_rate_limit", "same_id")
        assert 1 <= int(answer.headers["retry-after"]) <= 100
        assert answer.headers["ratelimit"].startswith('"vendor";r=0;t=')
        assert answer.headers["ratelimit-policy"] == '"vendor";q=1;w=100'
    with pressed.client(vendor="other") as client:
        assert client.get(f"/v1/wallets/{wallet_id}").status_code == 200


def test_a_cell_is_held_to_its_capacity(pressed: RunningCell, presser: Vendor) -> None:
    wallet_id = presser.open()
    pressed.configure(capacity_per_s=0.01)
    done(presser.credit(wallet_id, 1))
    answer = presser.credit(wallet_id, 1)
    assert (reason_of(answer), answer.json()["retry"]) == ("cell_must_have_capacity", "same_id")
    assert int(answer.headers["retry-after"]) >= 1
    assert presser.get(f"/v1/wallets/{wallet_id}").status_code == 200


def test_a_full_queue_is_told_and_reads_go_on(pressed: RunningCell, presser: Vendor) -> None:
    wallet_id = presser.open()

    def credit(_: int) -> httpx.Response:
        return presser.credit(wallet_id, 1)

    with ThreadPoolExecutor(12) as crowd:
        with pressed.database.transaction() as stranger:
            stranger.execute("SELECT FROM wallets FOR UPDATE")
            answering = [crowd.submit(credit, number) for number in range(12)]
            until_now(lambda: sum(one.done() for one in answering) >= 6)
            assert presser.get(f"/v1/wallets/{wallet_id}/balance").json()["balance"] == 0
        answers = [one.result() for one in answering]
    turned_away = [answer for answer in answers if answer.status_code == 429]
    accepted = [answer for answer in answers if answer.status_code == 201]
    assert {reason_of(answer) for answer in turned_away} == {"cell_must_have_capacity"}
    assert len(accepted) + len(turned_away) == 12
    assert presser.get(f"/v1/wallets/{wallet_id}/balance").json()["balance"] == len(accepted)


def test_a_deadline_is_kept(pressed: RunningCell, presser: Vendor) -> None:
    wallet_id, body = presser.open(), posting(1)
    with pressed.database.transaction() as stranger:
        stranger.execute("SELECT FROM wallets FOR UPDATE")
        started_s = time.monotonic()
        headers = {"X-Deadline-Ms": "300"}
        answer = presser.client.post(f"/v1/wallets/{wallet_id}/credit", json=body, headers=headers)
        assert (reason_of(answer), answer.json()["retry"]) == ("deadline_must_not_pass", "same_id")
        assert 0.3 <= time.monotonic() - started_s < 5
    posted = done(presser.client.post(f"/v1/wallets/{wallet_id}/credit", json=body))
    assert posted["balance"] == 1


def test_poison_is_a_problem_too(pressed: RunningCell, presser: Vendor) -> None:
    wallet_id = presser.open()
    pressed.database.sql("ALTER TABLE entries ADD CONSTRAINT poison CHECK (amount <> 666)")
    answer = presser.credit(wallet_id, 666)
    assert (reason_of(answer), answer.status_code) == ("request_must_not_break_the_cell", 500)
    assert "poison" not in answer.text
    pressed.database.sql("ALTER TABLE entries DROP CONSTRAINT poison")
    assert done(presser.credit(wallet_id, 1))["seq"] == 2


def test_a_database_that_is_gone(databases: CellDatabases) -> None:
    database = databases.copy()
    with (
        database_proxy_in_thread(database) as proxy,
        running_cell(database, database_url=proxy.url(), patience_s=0.3) as cell,
        cell.client() as client,
    ):
        vendor = Vendor(client, cell)
        wallet_id = vendor.open(balance=5)
        proxy.go_down()
        for answer in (
            vendor.debit(wallet_id, 1),
            vendor.get(f"/v1/wallets/{wallet_id}"),
            vendor.get(f"/v1/wallets/{wallet_id}/balance"),
            vendor.get(f"/v1/wallets/{wallet_id}/entries"),
            vendor.get("/v1/owners/person/x/wallets"),
        ):
            assert (reason_of(answer), answer.json()["retry"]) == ("cell_must_be_reachable", "same_id")
            assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        proxy.come_back()
        until_now(lambda: client.get("/readyz").status_code == 200)
        assert done(vendor.debit(wallet_id, 1))["balance"] == 4
        assert vendor.get(f"/v1/wallets/{wallet_id}/entries").status_code == 200


# Precedence: a request with two faults is told the first one of contract/reasons.py.


AWAY = id_of(opening(ref="away"))
"""A wallet of a slot that another cell owns."""

Fault = dict[str, Any]
WRITE_FAULTS: dict[str, Fault] = {
    "route_must_exist": {"verb": "/nothing"},
    "method_must_be_allowed": {"method": "DELETE"},
    "body_must_fit": {"padding": BODY_MAX_BYTES},
    "content_type_must_be_json": {"content_type": "text/plain"},
    "path_must_be_well_formed": {"wallet_id": AWAY.upper()},
    "token_must_be_valid": {"has_token": False},
    "scope_must_allow_credit": {"scope": "wallet:read"},
    "request_must_be_well_formed": {"more": {"colour": "red"}},
    "request_must_fit_rate_limit": {"vendor": "hurried"},
    "cell_must_have_capacity": {"is_full": True},
    "wallet_must_be_owned_by_this_cell": {"wallet_id": AWAY},
    "wallet_must_exist": {},
}
READ_FAULTS: dict[str, Fault] = {
    "path_must_be_well_formed": {"wallet_id": AWAY.upper()},
    "token_must_be_valid": {"has_token": False},
    "scope_must_allow_read": {"scope": "money:credit"},
    "request_must_be_well_formed": {"query": "?limit=0"},
    "request_must_fit_rate_limit": {"vendor": "hurried"},
    "wallet_must_be_owned_by_this_cell": {"wallet_id": AWAY},
    "wallet_must_exist": {},
}
WELL = {
    "method": "POST",
    "verb": "/credit",
    "wallet_id": NOBODY,
    "vendor": "acme",
    "scope": EVERY_SCOPE,
    "has_token": True,
    "content_type": "application/json",
    "more": {},
    "padding": 0,
    "query": "",
    "is_full": False,
}


def ask(cell: RunningCell, asked: dict[str, Any]) -> httpx.Response:
    exhaust(cell, is_full=asked["is_full"])
    headers = {"Content-Type": asked["content_type"]}
    if asked["has_token"]:
        headers["Authorization"] = f"Bearer {cell.token(asked['scope'], vendor=asked['vendor'])}"
    body = json.dumps({**posting(1), **asked["more"]}).encode() + b" " * asked["padding"]
    with cell.client("") as client:
        del client.headers["Authorization"]
        return client.request(
            asked["method"],
            f"/v1/wallets/{asked['wallet_id']}{asked['verb']}{asked['query']}",
            headers=headers,
            content=body if asked["method"] == "POST" else None,
        )


@pytest.fixture(scope="module")
def strict(databases: CellDatabases) -> Iterator[RunningCell]:
    """One slot is another cell's."""
    database = databases.copy()
    database.sql(
        "UPDATE unit_state SET state = 'moved', epoch = 2, peer_cell = 'cell-b' WHERE unit = %s",
        slot_of(WalletId(AWAY)),
    )
    with running_cell(database) as cell:
        yield cell


def exhaust(cell: RunningCell, *, is_full: bool) -> None:
    """One vendor has no request left, and if the cell is full, nobody has a command."""
    limits: dict[str, Any] = {"capacity_per_s": 0.001} if is_full else {}
    cell.configure(vendors={"hurried": {"rate_per_s": 0.001}}, **limits)
    with cell.client(vendor="hurried") as client:
        client.get(f"/v1/wallets/{NOBODY}")
    if is_full:
        with cell.client(vendor="filler") as client:
            client.post(f"/v1/wallets/{NOBODY}/credit", json=posting(1))


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(WRITE_FAULTS, 2)))
def test_the_first_reason_is_told_on_writes(strict: RunningCell, first: str, second: str) -> None:
    asked = {**WELL, **WRITE_FAULTS[second], **WRITE_FAULTS[first]}
    assert reason_of(ask(strict, asked)) == first


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(READ_FAULTS, 2)))
def test_the_first_reason_is_told_on_reads(strict: RunningCell, first: str, second: str) -> None:
    asked = {**WELL, "method": "GET", "verb": "/entries", **READ_FAULTS[second], **READ_FAULTS[first]}
    assert reason_of(ask(strict, asked)) == first


def test_both_tables_are_in_the_order_of_the_reasons() -> None:
    ranks = list(Reason)
    for faults in (WRITE_FAULTS, READ_FAULTS):
        order = [ranks.index(next(one for one in ranks if code.startswith(one.partition("{")[0]))) for code in faults]
        assert order == sorted(order)
