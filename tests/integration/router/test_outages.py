"""Processes that die, hang or babble: invisible while another one can answer, a clear "later" when none can."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest, wait_until
from running_haproxy import both_data_planes
from signed_directory import directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell

from contract.ids import WalletId
from router import cell_connections, delivery
from router.routing import choice, journey
from router.routing.breaker import State
from router.routing.journey import AskAgain, GiveUp


class Pair:
    """One cell with two API processes; `first` is the one that the wallet prefers."""

    def __init__(self, first: StandInCell, second: StandInCell, router: RouterUnderTest, wallet: WalletId) -> None:
        self.first = first
        self.second = second
        self.router = router
        self.path = f"/v1/wallets/{wallet}/debit"


@pytest.fixture
async def pair(new_cell: NewCell, new_router: NewRouter) -> Pair:
    one, two = await new_cell("a"), await new_cell("a")
    document = directory_document({"a": [one.url, two.url]})
    router = await new_router(document=document)
    wallet = wallet_in(document, "a")
    assert (await router.get(f"/v1/wallets/{wallet}")).status_code == 200
    first, second = (one, two) if one.seen else (two, one)
    first.seen.clear()
    return Pair(first, second, router, wallet)


class Single:
    """One cell with one API process."""

    def __init__(self, cell: StandInCell, router: RouterUnderTest, wallet: WalletId) -> None:
        self.cell = cell
        self.router = router
        self.path = f"/v1/wallets/{wallet}/debit"

    @property
    def breaker_state(self) -> State:
        return self.router.router.health.cell("a").breaker.state


@pytest.fixture
async def single(new_cell: NewCell, new_router: NewRouter) -> Single:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url]})
    return Single(cell, await new_router(document=document), wallet_in(document, "a"))


async def never(_seen: Seen) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


def saying(raw: bytes, *, cuts: bool = False) -> Callable[[Seen], object]:
    async def say(_seen: Seen) -> Reply:
        return Reply(raw=raw, cuts=cuts)

    return say


@both_data_planes
async def test_a_process_killed_under_way_is_invisible(pair: Pair) -> None:
    """Killed by -9 with 40 requests inside: every one is answered by the other process, with the same body."""
    pair.first.script = never
    asked = [asyncio.create_task(pair.router.post(pair.path, {"number": number})) for number in range(40)]
    await wait_until(lambda: pair.first.in_flight == 40)
    await pair.first.kill()
    answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 40
    assert sorted(seen.body for seen in pair.second.seen) == sorted(seen.body for seen in pair.first.seen)
    assert (await pair.router.post(pair.path)).status_code == 200
    assert pair.router.router.health.cell("a").breaker.state is State.CLOSED, (
        "the cell as a whole was never out of reach"
    )


async def test_mutant_that_does_not_send_again_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey.Journey, "fell_silent", lambda *_, **__: (GiveUp(), True))
    with pytest.raises(AssertionError):
        await test_a_process_killed_under_way_is_invisible(pair)


async def test_connections_are_kept_but_not_for_long(single: Single, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await single.router.post(single.path)
    assert single.cell.connections == 1
    monkeypatch.setattr(cell_connections, "IDLE_MAX_S", -1.0)
    for _ in range(3):
        await single.router.post(single.path)
    assert single.cell.connections == 4


@both_data_planes
async def test_a_process_that_does_not_listen_is_invisible(pair: Pair) -> None:
    await pair.first.kill()
    for _ in range(10):
        assert (await pair.router.post(pair.path)).status_code == 200


@both_data_planes
async def test_a_process_that_comes_back_is_used_again(pair: Pair) -> None:
    await pair.first.kill()
    for _ in range(5):
        await pair.router.post(pair.path)
    await pair.first.start()
    pair.first.seen.clear()

    async def is_used() -> bool:
        await pair.router.post(pair.path)
        return bool(pair.first.seen)

    for _ in range(1_000):
        if await is_used():
            break
        await asyncio.sleep(0.005)
    assert pair.first.seen


HALF = b'HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"half":'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 20",
        HALF,
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 201 Created\r\n\r\nup to the end",
        b"SSH-2.0-babble\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000,
    ],
    ids=[
        "nothing",
        "part of the head",
        "part of the body",
        "part of the chunks",
        "no length",
        "no HTTP",
        "upgrade",
        "head",
    ],
)
async def test_an_answer_that_breaks_off_is_asked_for_again(pair: Pair, raw: bytes) -> None:
    pair.first.script = saying(raw, cuts=True)
    answer = await pair.router.post(pair.path, {"amount": 1})
    assert (answer.status_code, answer.json()["body"]) == (200, '{"amount": 1}')
    assert len(pair.first.seen) == len(pair.second.seen) == 1


async def test_a_hanging_process_costs_half_of_the_deadline(pair: Pair) -> None:
    pair.first.script = never
    answer = await pair.router.post(pair.path, x_deadline_ms="600")
    assert answer.status_code == 200
    assert 0 < int(pair.second.seen[0].header("x-deadline-ms") or 0) <= 300


@both_data_planes
async def test_bytes_that_nobody_asked_for_end_the_connection(single: Single) -> None:
    """An answer too many must never become the answer to somebody else's request."""
    own = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine"
    single.cell.script = saying(own + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nothers")
    assert (await single.router.post(single.path)).content == b"mine"
    single.cell.script = single.cell.echo
    assert (await single.router.post(single.path, {"n": 2})).json()["body"] == '{"n": 2}'
    assert single.cell.connections == 2


@both_data_planes
async def test_a_connection_that_the_cell_closes_is_not_used_again(single: Single) -> None:
    raw = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    single.cell.script = saying(raw)
    for _ in range(3):
        assert (await single.router.post(single.path)).status_code == 200
    assert single.cell.connections == 3


@both_data_planes
async def test_the_only_process_restarts_and_nobody_notices(single: Single) -> None:
    single.cell.script = never
    asked = [asyncio.create_task(single.router.post(single.path, {"number": number})) for number in range(20)]
    await wait_until(lambda: single.cell.in_flight == 20)
    await single.cell.kill()
    asked += [asyncio.create_task(single.router.post(single.path, {"number": number})) for number in range(20, 40)]
    await wait_until(lambda: single.breaker_state is not State.CLOSED)
    single.cell.script = single.cell.echo
    await single.cell.start()
    assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 40
    assert single.breaker_state is State.CLOSED


async def test_waiting_requests_go_as_soon_as_the_probe_is_answered(
    single: Single, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are woken; left to themselves they would sleep past their deadline."""
    monkeypatch.setattr(choice, "WAIT_MIN_S", 60.0)
    monkeypatch.setattr(journey.Journey, "may_wait_until", lambda _, at, **__: AskAgain(at=at))
    await single.cell.kill()
    breaker = single.router.router.health.cell("a").breaker
    for _ in range(5):
        breaker.failed(time.monotonic())
    waiting = [asyncio.create_task(single.router.post(single.path)) for _ in range(10)]
    await wait_until(lambda: single.router.router.health.cell("a").in_flight == 10)
    await single.cell.start()
    await wait_until(lambda: breaker.lets_through(time.monotonic()))
    assert (await single.router.post(single.path)).status_code == 200, "the probe"
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


@both_data_planes
async def test_a_dead_cell_is_out_of_reach_within_the_deadline(single: Single) -> None:
    await single.cell.kill()
    answer = await single.router.post(single.path, x_deadline_ms="300")
    told = answer.json()
    assert (answer.status_code, told["reason"], told["retry"]) == (503, "cell_must_be_reachable", "same_id")
    assert int(answer.headers["retry-after"]) >= 1
    assert told["request_id"] == answer.headers["x-request-id"]


@both_data_planes
async def test_a_hanging_cell_costs_the_deadline(single: Single) -> None:
    single.cell.script = never
    answer = await single.router.post(single.path, x_deadline_ms="100")
    assert (answer.status_code, answer.json()["reason"]) == (504, "deadline_must_not_pass")
    await wait_until(lambda: single.router.router.health.cell("a").in_flight == 0)


@both_data_planes
async def test_an_answer_that_comes_after_the_deadline_reaches_nobody(single: Single) -> None:
    release = asyncio.Event()

    async def late(seen: Seen) -> Reply:
        if seen.body == b"late":
            await release.wait()
        return await single.cell.echo(seen)

    single.cell.script = late
    assert (await single.router.post(single.path, b"late", x_deadline_ms="50")).status_code == 504
    release.set()
    for _ in range(5):
        assert (await single.router.post(single.path, b"next")).json()["body"] == "next"


async def check_short_deadlines_do_not_speak_against_a_cell(single: Single) -> None:
    single.cell.script = never
    answers = await asyncio.gather(*(single.router.post(single.path, x_deadline_ms="30") for _ in range(12)))
    assert {answer.status_code for answer in answers} == {504}
    assert single.breaker_state is State.CLOSED


@both_data_planes
async def test_a_vendor_with_short_deadlines_cannot_shut_a_cell(single: Single) -> None:
    await check_short_deadlines_do_not_speak_against_a_cell(single)


async def test_mutant_that_counts_every_silence_is_found(single: Single, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SLOW_S", 0.0)
    with pytest.raises(AssertionError):
        await check_short_deadlines_do_not_speak_against_a_cell(single)


@both_data_planes
async def test_a_long_answer_that_breaks_off_cannot_be_taken_for_whole(single: Single) -> None:
    body = b"x" * 2_000_000
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body) + 1, body)
    single.cell.script = saying(raw, cuts=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await single.router.post(single.path)
    assert len(single.cell.seen) == 1
