"""The steps of moves over one PostgreSQL, put together (`MoveStore` of cell/move_ports.py)."""

from cell.crash_points import CrashPoints
from cell.store.moves.arrivals import Arrivals
from cell.store.moves.deletion import Deletion
from cell.store.moves.departures import Departures
from cell.store.moves.isolation import Isolation
from cell.store.moves.revival import Revival
from cell.store.moves.sessions import Sessions
from cell.store.moves.source import Source
from cell.store.moves.target import Target


class PostgresMoves:
    def __init__(self, database_url: str, *, cell_id: str, crash_points: CrashPoints) -> None:
        self._sessions = Sessions(database_url)
        self.departures = Departures(self._sessions)
        self.arrivals = Arrivals(self._sessions)
        self.source = Source(self._sessions, cell_id=cell_id, crash_points=crash_points)
        self.target = Target(self._sessions, cell_id=cell_id, crash_points=crash_points)
        self.deletion = Deletion(self._sessions)
        self.isolation = Isolation(self._sessions, cell_id=cell_id)
        self.revival = Revival(self._sessions, cell_id=cell_id)

    async def close(self) -> None:
        await self._sessions.close()
