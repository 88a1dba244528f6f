"""The deadline of ordinary routes, in front of applications that a test makes up."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import pytest

from cell.api.deadlines import Timed
from cell.api.responses import Responder

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
PIECE: Message = {"type": "http.response.body", "body": b"x", "more_body": True}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


def application(*steps: Message | None) -> Any:
    """Sends these; None = waits for ever, and sends the rest although it is cancelled."""

    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        for step in steps:
            if step is not None:
                await send(step)
                continue
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await send(PIECE)
                raise

    return app


async def answered(app: Any, *, deadline: bytes | None, default_ms: int = 60_000) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if deadline is None else [(b"x-deadline-ms", deadline)]
    timed = Timed(app, responder=Responder(cell_id="cell-a"), default_ms=default_ms)
    await timed({"type": "http", "headers": headers}, lambda: asyncio.sleep(0), send)  # type: ignore[arg-type, return-value]
    await asyncio.sleep(0)  # whoever was left behind has its last word
    return sent


async def test_an_answer_in_time_passes_as_it_is() -> None:
    assert await answered(application(START, PIECE, END), deadline=b"30000") == [START, PIECE, END]


@pytest.mark.parametrize("deadline", [b"1", None, b"soon", b"99999"])
async def test_what_is_late_is_told_once(deadline: bytes | None) -> None:
    """Without a deadline that can be read the default holds."""
    start, body = await answered(application(None, START), deadline=deadline, default_ms=1)
    assert start["status"] == 504
    assert orjson.loads(body["body"])["reason"] == "deadline_must_not_pass"


async def test_an_answer_that_has_begun_is_broken_off() -> None:
    assert await answered(application(START, PIECE, None, END), deadline=b"1") == [START, PIECE]


async def test_a_bug_is_still_a_bug() -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answered(broken, deadline=None)
