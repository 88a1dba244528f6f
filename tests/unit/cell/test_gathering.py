"""Small batches: who waits for company, and who does not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from cell_stores import MemoryUnderTest
from ledger_book import Book

from cell.lane import Lane, LaneLimits
from cell.store.memory import MemoryLedger, MemorySession
from cell.telemetry import Metrics

PATIENT = LaneLimits(batch_max=100, queue_max=1_000, patience_s=5.0, gathering_s=0.5)
"""So long that a test is sure to be in time."""
DEADLINE_S = 60.0


class Counting(MemorySession):
    """Keeps the size of each batch."""

    def __init__(self, store: MemoryLedger) -> None:
        super().__init__(store, "lane")
        self.batches: list[int] = []

    async def save(self, changes: Sequence[Any]) -> None:
        self.batches.append(len(changes))
        await super().save(changes)


@pytest.fixture
def session() -> Counting:
    return Counting(MemoryUnderTest(clock=lambda: 1_800_000_000_000_000).ledger)


@pytest.fixture
async def lane(session: Counting) -> AsyncIterator[Lane]:
    lane = Lane("lane", session, PATIENT, Metrics(cell_id="c", zone="z", software_version="1"), None)
    running = asyncio.create_task(lane.run())
    yield lane
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def opening(lane: Lane, book: Book, ref: str) -> asyncio.Future[Any]:
    return lane.submit(book.opening(ref), deadline_at_s=asyncio.get_running_loop().time() + DEADLINE_S)


async def test_commands_that_come_in_numbers_wait_for_more(lane: Lane, session: Counting) -> None:
    book = Book()
    await asyncio.gather(*(opening(lane, book, ref) for ref in ("a", "b")))
    late = []
    for ref in ("c", "d", "e"):
        late.append(opening(lane, book, ref))
        await asyncio.sleep(0.01)
    await asyncio.gather(*late)
    assert session.batches == [2, 3]


async def test_a_lone_command_waits_for_nobody(lane: Lane, session: Counting) -> None:
    book = Book()
    async with asyncio.timeout(PATIENT.gathering_s * 0.9):
        for ref in "abc":
            await opening(lane, book, ref)
    assert session.batches == [1, 1, 1]


async def test_enough_commands_wait_no_longer(lane: Lane, session: Counting) -> None:
    book = Book()
    async with asyncio.timeout(PATIENT.gathering_s * 0.9):
        for _ in range(3):
            await asyncio.gather(*(opening(lane, book, f"{len(session.batches)}.{number}") for number in range(16)))
    assert session.batches == [16, 16, 16]
