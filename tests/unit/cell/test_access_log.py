"""The access log: every request once, in order, bounded, and never at the price of a request."""

import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.telemetry import AccessLine, AccessLog
from cell.telemetry.access_log import LINES_PER_TURN, render


class Drops:
    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, lines: int) -> None:
        self.lines += lines


@pytest.fixture
def drops() -> Drops:
    return Drops()


def _log(stream: BinaryIO, drops: Drops, **options: Any) -> AccessLog:
    return AccessLog(
        **{"cell_id": "cell-a", "lines_max": 1_000, "period_ms": 5, "on_drop": drops, "stream": stream, **options}
    )


def _line(request_id: str = "r-1", *, status: int = 201, path: str = "/v1/wallets/w/debit") -> AccessLine:
    line = AccessLine(request_id, "POST", path, time.perf_counter())
    line.status = status
    line.duration_s = 0.0125
    return line


def _events(written: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in written.splitlines()]


class Debit:
    KIND: ClassVar[str] = "debit"
    wallet_id = "w-1"
    transaction_id = "t-1"


def test_a_line_tells_everything_that_is_known() -> None:
    line = _line(status=422)
    line.asked(Debit())
    line.vendor, line.trace_id, line.seq, line.reason = "shop", "ab" * 16, 7, "wallet_must_be_active"
    line.started_at_s = 10.0
    ahead_s = 1_799_999_990.0
    (event,) = _events(render(line, "cell-a", ahead_s))
    assert event == {
        "event": "request",
        "timestamp": datetime.fromtimestamp(1_800_000_000.0125, UTC).isoformat().replace("+00:00", "Z"),
        "level": "info",
        "cell": "cell-a",
        "request_id": "r-1",
        "trace_id": "ab" * 16,
        "method": "POST",
        "path": "/v1/wallets/w/debit",
        "vendor": "shop",
        "wallet_id": "w-1",
        "transaction_id": "t-1",
        "kind": "debit",
        "seq": 7,
        "status": 422,
        "reason": "wallet_must_be_active",
        "duration_ms": 12.5,
    }


@given(path=st.text(max_size=500), request_id=st.text(max_size=50))
def test_a_line_stays_one_line(path: str, request_id: str) -> None:
    rendered = render(_line(request_id, path=path), "cell-a", 0.0)
    assert rendered.count(b"\n") == 1
    assert _events(rendered)[0]["path"] == path[:200]


@pytest.mark.parametrize(("status", "level"), [(201, "info"), (429, "info"), (500, "error"), (503, "error")])
def test_levels(status: int, level: str) -> None:
    assert _events(render(_line(status=status), "cell-a", 0.0))[0]["level"] == level


async def test_lines_are_written_while_it_runs(drops: Drops) -> None:
    stream = io.BytesIO()
    log = _log(stream, drops)
    log.start()
    log.note(_line())
    async with asyncio.timeout(5):
        while not stream.getvalue():  # noqa: ASYNC110 - a stream has no event to wait for
            await asyncio.sleep(0.001)
    await log.stop()
    (event,) = _events(stream.getvalue())
    age_s = time.time() - datetime.fromisoformat(event["timestamp"]).timestamp()
    assert abs(age_s) < 60


async def test_what_is_left_is_written_at_a_stop_in_order(drops: Drops) -> None:
    stream = io.BytesIO()
    log = _log(stream, drops, period_ms=60_000)
    log.start()
    expected = [f"r-{number}" for number in range(3 * LINES_PER_TURN + 1)]
    for request_id in expected:
        log.note(_line(request_id))
    await log.stop()
    assert [event["request_id"] for event in _events(stream.getvalue())] == expected
    assert drops.lines == 0


async def test_lines_beyond_the_bound_are_dropped_and_counted(drops: Drops) -> None:
    stream = io.BytesIO()
    log = _log(stream, drops, lines_max=10, period_ms=60_000)
    log.start()
    for number in range(25):
        log.note(_line(f"r-{number}"))
    await log.stop()
    assert (len(_events(stream.getvalue())), drops.lines) == (10, 15)


async def test_above_info_only_errors_are_written(drops: Drops) -> None:
    stream = io.BytesIO()
    log = _log(stream, drops, errors_only=True)
    log.start()
    for status in (201, 422, 500):
        log.note(_line(status=status))
    await log.stop()
    assert [event["status"] for event in _events(stream.getvalue())] == [500]
    assert drops.lines == 0


async def test_a_line_that_cannot_be_written_does_not_take_the_others_with_it(drops: Drops) -> None:
    stream = io.BytesIO()
    log = _log(stream, drops)
    log.start()
    log.note(_line(path="/\ud800"))
    log.note(_line("r-2"))
    await log.stop()
    assert [event["request_id"] for event in _events(stream.getvalue())] == ["r-2"]
    assert drops.lines == 1


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end, os.fdopen(writer, "wb", buffering=0) as write_end:
        yield read_end, write_end


async def test_a_reader_that_hangs_does_not_stop_the_event_loop(drops: Drops, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """The pipe takes 64 KiB, then blocks its writer; the loop must go on, and nothing may be lost afterwards."""
    read_end, write_end = pipe
    log = _log(write_end, drops, lines_max=2_000)
    log.start()
    for number in range(2_000):
        log.note(_line(f"r-{number}"))
    async with asyncio.timeout(5):
        while log._lines:  # noqa: ASYNC110 - once the background task has them, it hangs in its write
            await asyncio.sleep(0.001)
    turns = 0
    async with asyncio.timeout(5):
        while turns < 100:
            await asyncio.sleep(0.001)
            turns += 1
    received: list[bytes] = []
    drain = threading.Thread(target=lambda: received.append(_read_lines(read_end, 2_000)))
    drain.start()
    await log.stop()
    drain.join(timeout=10)
    assert len(_events(received[0])) == 2_000
    assert drops.lines == 0


def _read_lines(stream: BinaryIO, lines: int) -> bytes:
    return b"".join(stream.readline() for _ in range(lines))


async def test_a_reader_that_is_gone_costs_lines_and_nothing_else(
    drops: Drops, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    read_end, write_end = pipe
    read_end.close()
    log = _log(write_end, drops)
    log.start()
    log.note(_line())
    async with asyncio.timeout(5):
        while drops.lines < 1:  # noqa: ASYNC110 - a counter has no event to wait for
            await asyncio.sleep(0.001)
    log.note(_line())
    await log.stop()
    assert drops.lines == 2
