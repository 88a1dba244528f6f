"""Two cells over memory stores, with the write path, the steps of moves and their admin routes of a real cell.

They have the face of tests/support/moving_cells.py, so that one suite says what both kinds of stores promise. Nothing
here opens a socket: requests go straight into the applications.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from cell_lanes import RunningLanes, running_lanes
from fastapi import Depends, FastAPI
from moving_cells import KEYS, OPERATOR, Forgeries, Passing

from cell.api.admin import answer_lost_database
from cell.api.errors import answer_problems
from cell.api.move_routes import answer_move_refusals, move_routes
from cell.api.responses import Identified, Responder
from cell.background.move_duties import MoveDuties
from cell.cell_tokens import CellTokens
from cell.ledger.footprint import Footprint
from cell.ledger.unit_life import UnitRow
from cell.ledger.view import Loaded
from cell.moves import Moves
from cell.peer_grants import PeerGrants
from cell.store.memory import MemoryLedger
from cell.store.memory_moves import MemoryMoves
from contract.slots import SLOTS, Unit


async def anybody() -> None:
    """Who may is not what these cells are for; a coroutine, so that no thread is needed."""


def move_application(name: str, moves: Moves) -> Any:
    app = FastAPI(openapi_url=None)
    responder = Responder(cell_id=name)
    answer_problems(app, responder)
    for routes in move_routes(moves, manages=Depends(anybody), reads_grants=Depends(anybody)):
        app.include_router(routes)
    answer_move_refusals(app, responder)
    answer_lost_database(app, responder)
    return Identified(app, cell_id=name)


class ByHost(httpx.AsyncBaseTransport):
    """To the cell that the URL names."""

    def __init__(self) -> None:
        self.cells: dict[str, httpx.ASGITransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        cell = self.cells.get(request.url.host)
        if cell is None:
            raise httpx.ConnectError("there is no such cell")
        return await cell.handle_async_request(request)


class MemoryMovingCell:
    is_in_memory = True
    forgeries = Forgeries(
        empty_page=b'{"wallets": [], "entries": []}',
        sum=(b'"delta": 100,', b'"delta": 900,'),
        text=(b'"vendor_id": "acme"', b'"vendor_id": "evil"'),
        kind=(b'"kind": "credit"', b'"kind": ["credit"]'),
        saga=(
            b'"amount": 25, "currency": "EUR", "state": "in_transit"',
            b'"amount": 95, "currency": "EUR", "state": "in_transit"',
        ),
    )

    def __init__(self, name: str, store: MemoryLedger, running: RunningLanes, network: ByHost) -> None:
        self.name = name
        self.store = store
        self.running = running
        self.points = Passing()
        self.url = f"http://{name}"
        self.moves = Moves(
            MemoryMoves(store, cell_id=name, crash_points=self.points),
            peers=PeerGrants(CellTokens(name, KEYS[name]), transport=network),
            crash_points=self.points,
        )
        self.duties = MoveDuties(self.moves, database_url="", metrics=running.metrics)
        running.on_moving = self.moves.look_for_grants
        self._network = network
        network.cells[name] = httpx.ASGITransport(move_application(name, self.moves))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._network, base_url=self.url, headers=OPERATOR)

    def state(self, unit: int) -> tuple[str, int] | None:
        row = self.store.units.get(Unit(unit))
        return None if row is None or row.state is None else (row.state, row.epoch)

    def everything(self) -> list[Any]:
        tables = ("units", "wallets", "intents", "account_totals", "exiles")
        return [dict(getattr(self.store, table)) for table in tables]

    def forget_fence(self) -> None:
        """Its time is over."""
        for row in self.store.units.values():
            if row.state == "fenced":
                self.store.units[row.unit] = UnitRow(
                    **{name: getattr(row, name) for name in UnitRow.__slots__} | {"deadline_us": self.store.clock()}
                )

    def count_entries(self) -> int:
        return sum(map(len, self.store.entries.values()))

    def migrated(self) -> int:
        return self.store.account_totals["migrated", "EUR"]

    async def load(self, footprint: Footprint) -> Loaded:
        session = self.store.session("test")
        await session.connect()
        loaded = await session.load(footprint)
        await session.close()
        return loaded

    async def assert_clean(self) -> None:
        """The books: what this cell owns, and its accounts."""
        owned = {row.unit for row in self.store.units.values() if row.state in {"active", "fenced"}}
        wallets = sum(one.balance for one in self.store.wallets.values() if one.unit in owned)
        assert wallets + sum(self.store.account_totals.values()) == 0


@asynccontextmanager
async def memory_cells(*names: str) -> AsyncIterator[list[MemoryMovingCell]]:
    """The first owns every slot, the others none."""
    network = ByHost()
    async with AsyncExitStack() as stack:
        cells = []
        for name in names:
            store = MemoryLedger(clock=lambda: time.time_ns() // 1_000)
            if name == names[0]:
                store.units = {unit: UnitRow(unit=unit, state="active", epoch=1) for unit in map(Unit, range(SLOTS))}
            running = await stack.enter_async_context(running_lanes(store))
            cells.append(MemoryMovingCell(name, store, running, network))
        yield cells
        for cell in cells:
            await cell.moves.close()
