"""An answer leaves in one write, and what was written before a close still leaves."""

import asyncio
from typing import Any

from cell.api.transport import GatheringTransport


class Wire(asyncio.Transport):
    """Keeps what leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.left.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 7


async def test_what_is_written_in_one_turn_leaves_together_at_its_end() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.left == []
    await asyncio.sleep(0)
    assert wire.left == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert wire.left == [b"head body", b"next"]


async def test_a_close_comes_after_what_was_written_before_it() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert wire.left == [b"last words"]
    assert wire.is_closed


async def test_nothing_is_written_to_a_wire_that_is_gone() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"too late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.left == []


async def test_everything_else_is_the_transports_own() -> None:
    assert GatheringTransport(Wire(), asyncio.get_running_loop()).get_write_buffer_size() == 7
