"""The write path of one process under test: its lanes, and the hands to use them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from cell_databases import CellDatabase
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.lanes import LaneLimits, Lanes
from cell.ledger.commands import Command
from cell.ledger.outcomes import Accepted, Outcome, Refused, Rejected, Replayed
from cell.ports import LedgerStore
from cell.telemetry import Metrics
from contract.ids import WalletId

DEADLINE_S = 30.0


class RunningLanes:
    def __init__(self, lanes: Lanes, metrics: Metrics) -> None:
        self.lanes = lanes
        self.metrics = metrics
        self.on_moving: Callable[[], None] = lambda: None
        """Told when a command meets a unit that moves."""

    def submit(self, command: Command, *, deadline_s: float = DEADLINE_S) -> "asyncio.Future[Outcome]":
        return self.lanes.submit(command, deadline_at_s=asyncio.get_running_loop().time() + deadline_s)

    async def do(self, *commands: Command, deadline_s: float = DEADLINE_S) -> list[Outcome]:
        """All of them at once."""
        return await asyncio.gather(*(self.submit(command, deadline_s=deadline_s) for command in commands))

    async def codes(self, *commands: Command, deadline_s: float = DEADLINE_S) -> list[str]:
        return [code(outcome) for outcome in await self.do(*commands, deadline_s=deadline_s)]

    async def open(self, book: Book, refs: Iterable[str], *, balance: int = 0) -> list[WalletId]:
        openings = [book.opening(ref) for ref in refs]
        assert set(await self.codes(*openings)) == {"accepted"}
        if balance:
            credits_ = [book.credit(opening.wallet_id, balance) for opening in openings]
            assert set(await self.codes(*credits_)) == {"accepted"}
        return [opening.wallet_id for opening in openings]

    def figure(self, name: str) -> float:
        """A sample of /metrics, summed over its labels."""
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def code(outcome: Outcome) -> str:
    """The wire code of a "no", recorded or not; `accepted` or `replayed` otherwise."""
    match outcome:
        case Accepted():
            return "accepted"
        case Refused():
            return str(outcome.recorded.reason)
        case Replayed():
            return outcome.recorded.reason or "replayed"
        case Rejected():
            return outcome.problem.code


@asynccontextmanager
async def running_lanes(
    store: LedgerStore | CellDatabase,
    *,
    lanes: int = 2,
    batch_max: int = 100,
    queue_max: int = 5_000,
    openings_max: int = 5_000,
    patience_s: float = 10.0,
    must_connect: bool = True,
) -> AsyncIterator[RunningLanes]:
    metrics = Metrics(cell_id="cell-a", zone="zone-1", software_version="1")
    running: RunningLanes

    def tell() -> None:
        running.on_moving()

    built = Lanes(
        postgres_ledger(store.app_url) if isinstance(store, CellDatabase) else store,
        lanes=lanes,
        money=LaneLimits(batch_max=batch_max, queue_max=queue_max, patience_s=patience_s),
        openings=LaneLimits(batch_max=batch_max, queue_max=openings_max, patience_s=patience_s),
        metrics=metrics,
        on_moving=tell,
    )
    running = RunningLanes(built, metrics)
    built.start()
    try:
        await until(lambda: built.are_connected or not must_connect)
        yield running
    finally:
        await built.stop()
