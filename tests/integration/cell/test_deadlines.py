"""Reads keep the caller's deadline, whatever the database does; and what heads of requests must not be."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from cell_answers import reason_of
from cell_databases import CellDatabase, CellDatabases
from cell_process import RunningCell, Vendor, new_id, posting, running_cell

from cell.patience import within
from contract.ids import wallet_id_of
from router.routing.request_head import NoRoute, parse_head

READS = ("", "/balance", "/balance?at={at}", "/entries", "/statement", "/transactions/{wallet_id}")
SHORT = {"X-Deadline-Ms": "300"}


@pytest.fixture(scope="module")
def frozen(databases: CellDatabases) -> Iterator[tuple[RunningCell, Vendor, str, str]]:
    """A cell that was asked everything once, so that its connections stand."""
    with running_cell(databases.copy()) as cell, cell.client() as client:
        vendor = Vendor(client, cell)
        wallet_id = vendor.open(balance=5)
        at = vendor.get(f"/v1/wallets/{wallet_id}").json()["updated_at"]
        for read in READS:
            assert client.get(f"/v1/wallets/{wallet_id}{read.format(at=at, wallet_id=wallet_id)}").status_code == 200
        yield cell, vendor, wallet_id, at


@contextmanager
def silent_readers(database: CellDatabase) -> Iterator[None]:
    """The backends that read neither answer nor go away."""
    rows = database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'cell-read' AND datname = current_database()"
    )
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in rows:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("read", READS)
def test_a_read_is_late_when_the_caller_says_so(frozen: tuple[RunningCell, Vendor, str, str], read: str) -> None:
    cell, vendor, wallet_id, at = frozen
    path = f"/v1/wallets/{wallet_id}{read.format(at=at, wallet_id=wallet_id)}"
    with silent_readers(cell.database):
        late = vendor.client.get(path, headers=SHORT)
        assert (late.status_code, reason_of(late)) == (504, "deadline_must_not_pass")
        assert late.headers["x-cell"]
    assert vendor.client.get(path).status_code == 200


def test_the_wallet_after_a_write_is_late_too_and_the_write_is_done(
    frozen: tuple[RunningCell, Vendor, str, str],
) -> None:
    cell, vendor, wallet_id, _ = frozen
    change = {"transaction_id": new_id(), "metadata": {"n": 1}}
    with silent_readers(cell.database):
        late = vendor.client.patch(f"/v1/wallets/{wallet_id}", json=change, headers=SHORT)
        assert reason_of(late) == "deadline_must_not_pass"
    again = vendor.client.patch(f"/v1/wallets/{wallet_id}", json=change)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.parametrize("read", ["", "/balance", "/entries"])
@pytest.mark.parametrize("deadline", ["0", "-1", "soon", "30001", "1.5"])
def test_a_deadline_that_is_none_is_refused(vendor: Vendor, read: str, deadline: str) -> None:
    wallet_id = wallet_id_of(owner_type="person", owner_ref="x", kind="main", currency="EUR")
    answer = vendor.client.get(f"/v1/wallets/{wallet_id}{read}", headers={"X-Deadline-Ms": deadline})
    assert reason_of(answer) == "request_must_be_well_formed"


async def test_whoever_is_left_behind_is_cancelled_and_not_waited_for() -> None:
    ended = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await ended.wait()

    with pytest.raises(TimeoutError):
        await within(0.01, stubborn())
    waiting = asyncio.create_task(within(3_600, stubborn()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ended.set()


async def test_an_answer_in_time_is_the_answer() -> None:
    async def quick(answer: int) -> int:
        if answer < 0:
            raise ValueError(answer)
        return answer

    assert await within(3_600, quick(7)) == 7
    with pytest.raises(ValueError, match="-1"):
        await within(3_600, quick(-1))


# One Authorization header.


@pytest.mark.parametrize("path", ["", "/balance", "/entries", "/statement", "/debit"])
@pytest.mark.parametrize("is_same", [True, False])
def test_two_authorization_headers_are_no_valid_token(
    vendor: Vendor, cell: RunningCell, path: str, *, is_same: bool
) -> None:
    wallet_id = vendor.open(balance=5)
    own = f"Bearer {cell.token()}"
    headers = [("Authorization", own), ("Authorization", own if is_same else f"Bearer {cell.token(vendor='other')}")]
    with httpx.Client(base_url=cell.url, trust_env=False) as client:
        is_write = path == "/debit"
        answer = client.request(
            "POST" if is_write else "GET",
            f"/v1/wallets/{wallet_id}{path}",
            headers=headers,
            json=posting(1) if is_write else None,
        )
    assert (answer.status_code, reason_of(answer)) == (401, "token_must_be_valid")


# A slash at the end.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/wallets/",
        "/v1/wallets/{id}/",
        "/v1/wallets/{id}/balance/",
        "/v1/wallets/{id}/entries/",
        "/v1/wallets/{id}/debit/",
        "/v1/wallets/{id}/transactions/",
        "/v1/wallets/{id}/transactions/{id}/",
        "/v1/wallets/{id}/holds/{id}/capture/",
        "/v1/owners/person/x/wallets/",
    ],
)
def test_a_slash_at_the_end_makes_a_path_that_no_route_has(vendor: Vendor, method: str, path: str) -> None:
    """Whoever is asked: the router says the same of it."""
    wallet_id = wallet_id_of(owner_type="person", owner_ref="x", kind="main", currency="EUR")
    asked = path.format(id=wallet_id)
    answer = vendor.client.request(method, asked, json=None if method == "GET" else {})
    assert (answer.status_code, reason_of(answer)) == (404, "route_must_exist")
    told = parse_head(method, asked)
    assert isinstance(told, NoRoute)
    assert told.problem.code == "route_must_exist"
