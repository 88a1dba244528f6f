"""What reaches beyond the cell, put together: answers and routes of transfers and groups, and the loops behind them."""

from fastapi import APIRouter

from cell.api.asking import Salts
from cell.api.peer_routes import Peers, peer_routes
from cell.api.reading import Readers
from cell.api.saga_answers import SagaAnswers
from cell.api.saga_reads import saga_reads
from cell.background.duty import Duty
from cell.cell_tokens import CellTokens, CellTokenVerifier
from cell.crash_points import CrashPoints
from cell.elsewhere import Elsewhere
from cell.groups import Groups
from cell.lanes import Lanes
from cell.policy import LimitPolicy
from cell.queries import Queries
from cell.resending import Resending
from cell.store.own_connection import OwnConnection
from cell.store.sagas import SagaStore
from cell.telemetry import Metrics
from cell.transfers import Transfers

LEGS_PERIOD_S = 10.0
"""How often legs that wait for another cell's decision are looked at."""


class Sagas:
    def __init__(
        self,
        *,
        cell_id: str,
        tokens: CellTokens,
        cells: CellTokenVerifier,
        router_url: str,
        database_url: str,
        period_s: float,
        crash_points: CrashPoints,
        lanes: Lanes,
        queries: Queries,
        limits: LimitPolicy,
        metrics: Metrics,
    ) -> None:
        salt = Salts().next
        self._elsewhere = Elsewhere(router_url=router_url, tokens=tokens)
        self._store = SagaStore(OwnConnection(database_url, name="cell-saga"))
        self.resending = Resending(cell_id=cell_id, elsewhere=self._elsewhere, store=self._store)
        transfers = Transfers(
            lanes=lanes,
            elsewhere=self._elsewhere,
            store=self._store,
            salt=salt,
            metrics=metrics,
            crash_points=crash_points,
        )
        groups = Groups(lanes=lanes, elsewhere=self._elsewhere, store=self._store, salt=salt, crash_points=crash_points)
        by_name = {
            "transfers": (period_s, transfers.work),
            "groups": (period_s, groups.work),
            "group-legs": (LEGS_PERIOD_S, groups.ask_coordinators),
        }
        self.duties = [
            (name, Duty(database_url=database_url, name=name, period_s=every_s, work=work, metrics=metrics))
            for name, (every_s, work) in by_name.items()
        ]
        self.answers = SagaAnswers(transfers=transfers, groups=groups, store=self._store, on_open=self._nudge)
        self._peer_routes = peer_routes(
            peers=Peers(tokens=cells, lanes=lanes, salt=salt, crash_points=crash_points),
            queries=queries,
            store=self._store,
            policy=limits,
        )

    def routes(self, readers: Readers) -> list[APIRouter]:
        return [self._peer_routes, saga_reads(readers=readers, store=self._store)]

    async def stop(self) -> None:
        """After the duties have ended and the last request was answered."""
        await self._elsewhere.close()
        await self._store.close()

    def _nudge(self) -> None:
        for name, duty in self.duties:
            if name != "group-legs":
                duty.nudge()
