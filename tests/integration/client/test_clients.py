"""Both clients over real sockets: the same id in every attempt, no attempt too many, waits as the server asks.

Waiting is injected, so that nothing here takes its time.
"""

import asyncio
import inspect
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from scripted_router import CUT, Answer, ScriptedRouter, Seen, in_turn, posting, problem, scripted_router

from cellwallet.client import (
    AsyncClient,
    CallerMustActError,
    CallFailedError,
    Client,
    ConflictError,
    OperatorMustActError,
    Posting,
    Refused,
    RefusedError,
    RefusedLeg,
    Retries,
    TryAgainLaterError,
    accepted,
)
from contract.reasons import Reason

WALLET = "0190a0b0-0000-7000-8000-000000000001"
OTHER = "0190a0b0-0000-7000-8000-000000000002"

Script = Callable[[Seen], Answer]


class Caller:
    """Debits once through one kind of client, and tells how long it was asked to wait."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.waits_s: list[float] = []

    def debit(self, url: str, **options: Any) -> Posting | Refused:
        call = {"wallet_id": WALLET, "amount": 5, "currency": "EUR"}
        if self.kind == "blocking":
            with Client(url, "secret", sleep=self.waits_s.append, **options) as client:
                return client.debit(**call)  # type: ignore[arg-type]

        async def debit() -> Posting | Refused:
            async def sleep(seconds: float) -> None:
                self.waits_s.append(seconds)

            async with AsyncClient(url, "secret", sleep=sleep, **options) as client:
                return await client.debit(**call)  # type: ignore[arg-type]

        return asyncio.run(debit())


@pytest.fixture(params=["blocking", "asyncio"])
def caller(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def _then_posting(*answers: Answer) -> Script:
    """The answers first, then a true posting for whatever was asked."""
    left = list(answers)
    return lambda seen: left.pop(0) if left else posting(seen)


def _ids(router: ScriptedRouter) -> list[str]:
    return [seen.body["transaction_id"] for seen in router.seen if seen.body is not None]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(problem(Reason.REQUEST_MUST_FIT_RATE_LIMIT), id="429"),
        pytest.param(problem(Reason.WALLET_IS_MOVING), id="503"),
        pytest.param(problem(Reason.DEADLINE_MUST_NOT_PASS), id="504"),
        pytest.param(problem(Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL), id="421"),
        pytest.param(Answer(status=502, document="bad gateway"), id="a proxy's 502"),
        pytest.param(CUT, id="connection cut"),
    ],
)
def test_what_can_be_repeated_is_repeated_with_the_same_id(caller: Caller, fault: Answer) -> None:
    with scripted_router(_then_posting(fault, fault)) as router:
        outcome = caller.debit(router.url)
    assert isinstance(outcome, Posting)
    assert _ids(router) == [outcome.transaction_id] * 3
    assert len(caller.waits_s) == 2
    assert outcome.cell == "cell-1"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT, Refused),
        (Reason.WALLET_MUST_EXIST, Refused),
        (Reason.TRANSACTION_EXISTS_WITH_DIFFERENT, ConflictError),
        (Reason.REQUEST_MUST_BE_WELL_FORMED, CallerMustActError),
        (Reason.TOKEN_MUST_BE_VALID, CallerMustActError),
        (Reason.REQUEST_MUST_NOT_BREAK_THE_CELL, OperatorMustActError),
    ],
)
def test_nothing_else_is_repeated(caller: Caller, reason: Reason, expected: type[Refused | CallFailedError]) -> None:
    with scripted_router(in_turn(problem(reason))) as router:
        try:
            outcome: object = caller.debit(router.url)
        except CallFailedError as failure:
            outcome = failure
    assert type(outcome) is expected
    assert len(router.seen) == 1
    assert caller.waits_s == []


def test_retry_after_is_honoured(caller: Caller) -> None:
    busy = problem(Reason.CELL_MUST_HAVE_CAPACITY, headers={"Retry-After": "2"})
    with scripted_router(_then_posting(busy)) as router:
        caller.debit(router.url)
    (wait_s,) = caller.waits_s
    assert 2 <= wait_s <= 2 + Retries().wait_first_s


def test_attempts_have_an_end_and_tell_the_id_to_go_on_with(caller: Caller) -> None:
    unreachable = in_turn(problem(Reason.CELL_MUST_BE_REACHABLE))
    with scripted_router(unreachable) as router, pytest.raises(TryAgainLaterError) as failure:
        caller.debit(router.url, retries=Retries(attempts_max=4))
    assert _ids(router) == [failure.value.transaction_id] * 4


def test_nobody_listening_is_told_after_the_attempts(caller: Caller) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TryAgainLaterError, match="ConnectError"):
            caller.debit(url, retries=Retries(attempts_max=3))
    assert len(caller.waits_s) == 2


def test_an_attempt_does_not_wait_longer_than_its_deadline(caller: Caller) -> None:
    """A listener that never accepts a request: only the attempt's own time-out ends it."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(TryAgainLaterError, match="Timeout"):
            caller.debit(url, retries=Retries(attempts_max=1, attempt_deadline_s=0.05))


def test_requests_carry_token_deadline_and_type(caller: Caller) -> None:
    with scripted_router(posting) as router:
        caller.debit(router.url, retries=Retries(attempt_deadline_s=1.5))
    headers = router.seen[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-deadline-ms"] == "1500"
    assert headers["content-type"] == "application/json"


def test_a_replay_is_marked(caller: Caller) -> None:
    with scripted_router(lambda seen: posting(seen, replayed=True)) as router:
        outcome = caller.debit(router.url)
    assert outcome.replayed


def test_an_own_http_client_is_used_and_closed() -> None:
    with scripted_router(posting) as router:
        http = httpx.Client(base_url=router.url, headers={"X-Department": "tills"})
        with Client(router.url, "secret", http=http) as client:
            client.debit(WALLET, amount=5, currency="EUR")
        assert http.is_closed
    assert router.seen[0].headers["x-department"] == "tills"


def test_an_unusable_address_is_the_callers_and_never_repeated(caller: Caller) -> None:
    with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
        caller.debit("ftp://127.0.0.1")
    assert caller.waits_s == []


def _entry(seq: int) -> dict[str, Any]:
    return {
        "transaction_id": f"0190a0b0-0000-7000-8000-{seq:012d}",
        "wallet_id": WALLET,
        "kind": "credit",
        "amount": 1,
        "currency": "EUR",
        "delta": 1,
        "held_delta": 0,
        "balance_after": seq,
        "held_after": 0,
        "available": seq,
        "overdraft_limit_after": 0,
        "status_after": "active",
        "seq": seq,
        "posted_at": "2027-01-15T08:00:00.123456Z",
        "vendor_id": "shop",
        "counter_account": "clearing:shop",
        "entry_hash": "ab" * 32,
        "sealed": "cd" * 32,
    }


def _pages(seen: Seen) -> Answer:
    """Seven entries in pages of three; the cursor is the last seq."""
    query = httpx.URL(seen.path).params
    last = int(query.get("cursor", "0"))
    seqs = range(last + 1, min(last + 3, 7) + 1)
    cursor = str(seqs[-1]) if seqs[-1] < 7 else None
    return Answer(status=200, document={"entries": [_entry(seq) for seq in seqs], "next_cursor": cursor})


def test_entries_are_read_page_after_page() -> None:
    with scripted_router(_pages) as router, Client(router.url, "secret") as client:
        log = client.entries(WALLET, order="asc", kind="credit")
        assert inspect.isgenerator(log)
        assert [entry.seq for entry in log] == [1, 2, 3, 4, 5, 6, 7]
    assert len(router.seen) == 3
    assert all("kind=credit" in seen.path and "order=asc" in seen.path for seen in router.seen)


async def test_entries_are_read_page_after_page_in_asyncio() -> None:
    with scripted_router(_pages) as router:
        async with AsyncClient(router.url, "secret") as client:
            assert [entry.seq async for entry in client.entries(WALLET, order="asc")] == [1, 2, 3, 4, 5, 6, 7]
    assert len(router.seen) == 3


def test_entries_of_no_wallet_are_refused() -> None:
    absent = in_turn(problem(Reason.WALLET_MUST_EXIST))
    with (
        scripted_router(absent) as router,
        Client(router.url, "secret") as client,
        pytest.raises(RefusedError) as refusal,
    ):
        list(client.entries(WALLET))
    assert refusal.value.refused.reason == "wallet_must_exist"


def _group(*states: str) -> Script:
    """A group that is in these states, one after the other."""
    left = list(states)

    def script(seen: Seen) -> Answer:
        state = left.pop(0) if len(left) > 1 else left[0]
        legs = [{**leg, "state": "prepared", "reason": None} for leg in (seen.body or {})["legs"]]
        document = {
            "transaction_id": (seen.body or {})["transaction_id"],
            "wallet_id": WALLET,
            "currency": "EUR",
            "state": state,
            "is_finished": state != "preparing",
            "started_at": "2027-01-15T08:00:00.123456Z",
            "legs": legs,
        }
        return Answer(status=202 if state == "preparing" else 201, document=document)

    return script


LEGS = {WALLET: -5, OTHER: 5}


def test_a_group_is_asked_for_until_it_is_decided() -> None:
    waits_s: list[float] = []
    with (
        scripted_router(_group("preparing", "preparing", "confirmed")) as router,
        Client(router.url, "secret", sleep=waits_s.append) as client,
    ):
        outcome = accepted(client.group(WALLET, legs=LEGS, currency="EUR", wait=True))
    assert outcome.state == "confirmed"
    assert {leg.wallet_id: leg.amount for leg in outcome.legs} == LEGS
    assert _ids(router) == [outcome.transaction_id] * 3
    assert len(waits_s) == 2


async def test_a_group_is_asked_for_in_asyncio() -> None:
    async def sleep(_: float) -> None:
        pass

    with scripted_router(_group("preparing", "confirmed")) as router:
        async with AsyncClient(router.url, "secret", sleep=sleep) as client:
            outcome = accepted(await client.group(WALLET, legs=LEGS, currency="EUR", wait=True))
    assert outcome.state == "confirmed"
    assert len(set(_ids(router))) == 1


def test_a_group_tells_whose_leg_was_refused() -> None:
    leg = {"wallet_id": OTHER, "reason": "wallet_must_be_active"}
    with (
        scripted_router(in_turn(problem(Reason.WALLET_MUST_BE_ACTIVE, leg=leg))) as router,
        Client(router.url, "secret") as client,
    ):
        outcome = client.group(WALLET, legs=LEGS, currency="EUR")
    assert isinstance(outcome, Refused)
    assert outcome.leg == RefusedLeg(wallet_id=OTHER, reason="wallet_must_be_active")


def test_a_path_reaches_the_server_as_it_was_escaped() -> None:
    answer = Answer(status=200, document={"wallets": []})
    with scripted_router(in_turn(answer)) as router, Client(router.url, "secret") as client:
        client.wallets_of(owner_type="customer", owner_ref="a/b é%2F", currency="EUR")
    assert router.seen[0].path == "/v1/owners/customer/a%2Fb%20%C3%A9%252F/wallets?currency=EUR"
