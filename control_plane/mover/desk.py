"""What the platform API needs of moves beyond the log: wallets isolated or rejoined at once, and a cell's load."""

from contract.ids import CellId, WalletId
from contract.load import CellLoad
from contract.values import value
from control_plane.fleet.model import Unreachable
from control_plane.mover.asking import MoveCells
from control_plane.mover.calls import Call
from control_plane.mover.isolating import carry_through
from control_plane.moves.isolating import Isolation, IsolationRefused
from control_plane.store.cells import cells_in_order
from control_plane.store.database import Database
from control_plane.store.isolations import order_isolation, order_rejoin

LOAD_S = 2.0

Outcome = Isolation | IsolationRefused | Unreachable


@value
class Caller:
    """Who asks, for the audit trail."""

    actor: str
    request_id: str


class MoveDesk:
    def __init__(self, database: Database, cells: MoveCells) -> None:
        self._database = database
        self._cells = cells

    async def isolate(self, wallet_id: WalletId, caller: Caller) -> Outcome:
        async with self._database.transaction() as connection:
            ordered = await order_isolation(connection, wallet_id, actor=caller.actor, request_id=caller.request_id)
        return await self._carry_through(ordered)

    async def rejoin(self, wallet_id: WalletId, caller: Caller) -> Outcome:
        async with self._database.transaction() as connection:
            ordered = await order_rejoin(connection, wallet_id, actor=caller.actor, request_id=caller.request_id)
        return await self._carry_through(ordered)

    async def load_per_s(self, cell: CellId) -> float | None:
        """Commands per second of late; None where the cell is not there to be asked."""
        async with self._database.transaction() as connection:
            self._cells.know(await cells_in_order(connection, only=cell))
        call = Call(method="GET", path="/admin/units/load", body=None, answer=CellLoad, timeout_s=LOAD_S)
        answer = await self._cells.ask(cell, call)
        if not isinstance(answer, CellLoad):
            return None
        return sum(unit.commands for unit in answer.units) / answer.window_s

    async def _carry_through(self, ordered: Isolation | IsolationRefused) -> Outcome:
        """At once where the cell is there; otherwise the mover does it when the cell is back."""
        if isinstance(ordered, IsolationRefused):
            return ordered
        async with self._database.transaction() as connection:
            self._cells.know(await cells_in_order(connection, only=ordered.cell))
        return await carry_through(self._database, self._cells, ordered)
