"""What a vendor asks a cell about its webhooks: its own dead letters by pages, and once more; nobody else's."""

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest
from cell_databases import CellDatabases
from cell_process import RunningCell, running_cell

from contract.configuration import Webhook, WebhookSecret
from contract.webhooks import secret_of

HOOK, OTHERS = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
PATH = f"/v1/webhooks/{HOOK}"

BURY = """
INSERT INTO webhook_deliveries (webhook_id, wallet_id, seq, entry_hash, vendor_id, type, occurred_at, body, attempts,
                                last_error, dead_at)
VALUES (%s, %s, %s, '\\x01', 'acme', 'entry.debit', now(), '{}', 16, 'status 500', now())
"""


def webhook(hook: str, vendor: str) -> Webhook:
    secrets = (WebhookSecret(secret=secret_of(bytes(32))),)
    return Webhook(id=hook, vendor_id=vendor, url="https://vendor.example/", secrets=secrets)


@pytest.fixture(scope="module")
def cell(databases: CellDatabases) -> Iterator[RunningCell]:
    with running_cell(databases.copy()) as cell:
        cell.configure(webhooks=(webhook(HOOK, "acme"), webhook(OTHERS, "other")))
        yield cell


@pytest.fixture
def client(cell: RunningCell) -> Iterator[httpx.Client]:
    cell.database.sql("DELETE FROM webhook_deliveries")
    cell.database.sql("DELETE FROM webhook_lines")
    with cell.client() as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_dead_letters_come_by_pages_and_are_sent_again(cell: RunningCell, client: httpx.Client) -> None:
    wallet = str(uuid.uuid4())
    for seq in range(1, 6):
        cell.database.sql(BURY, HOOK, wallet, seq)
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{PATH}/dead_letters?limit=2{cursor and '&cursor=' + cursor}").json()
        assert len(page["dead_letters"]) <= 2
        seen += page["dead_letters"]
        cursor = page["next_cursor"]
    assert [letter["seq"] for letter in seen] == [1, 2, 3, 4, 5]
    assert seen[0]["event_id"] == f"{wallet}:1:01"
    assert (seen[0]["attempts"], seen[0]["last_error"], seen[0]["cell"]) == (16, "status 500", "cell-a")
    assert client.post(f"{PATH}/redeliver").json() == {"redelivered": 5}
    assert client.get(f"{PATH}/dead_letters").json() == {"dead_letters": [], "next_cursor": None}
    assert cell.database.one("SELECT count(*) FROM webhook_lines WHERE due_at <= now()") == 1
    assert client.post(f"{PATH}/redeliver").json() == {"redelivered": 0}


@pytest.mark.parametrize("hook", [OTHERS, "00000000-0000-4000-8000-00000000000f"])
def test_anothers_webhook_is_as_unknown_as_none(client: httpx.Client, hook: str) -> None:
    assert_problem(client.get(f"/v1/webhooks/{hook}/dead_letters"), 404, "webhook_must_exist")
    assert_problem(client.post(f"/v1/webhooks/{hook}/redeliver"), 404, "webhook_must_exist")


def test_who_may_not(cell: RunningCell) -> None:
    with cell.client("wallet:read") as reader:
        assert_problem(reader.get(f"{PATH}/dead_letters"), 403, "scope_must_allow_manage")
    answer = httpx.get(f"{cell.url}{PATH}/dead_letters", trust_env=False)
    assert_problem(answer, 401, "token_must_be_valid")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=%21", "cursor=AAAA", "cursor=" + "A" * 300]
)
def test_a_page_that_is_none_is_refused(client: httpx.Client, query: str) -> None:
    assert_problem(client.get(f"{PATH}/dead_letters?{query}"), 400, "request_must_be_well_formed")


def test_an_id_that_is_none_is_refused(client: httpx.Client) -> None:
    assert_problem(client.get("/v1/webhooks/X/dead_letters"), 400, "path_must_be_well_formed")
    assert json.loads(client.post("/v1/webhooks/X/redeliver").content)["status"] == 400
