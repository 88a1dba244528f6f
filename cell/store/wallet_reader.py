"""Reads of wallets by id, many callers' in one statement.

Whoever asks while a statement is on its way rides on the next one: a read costs the database a row and not a round
trip. Never waits for the write path; has connections of its own. Answers what the row says at that moment.
"""

import asyncio
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cell.ledger.model import Exile, UnitState
from cell.ports import StoreLostError
from cell.store import arrays
from cell.store.pipeline import Pipeline
from cell.store.plans import BY_INDEX
from cell.store.restored import admitted, must_be_open
from contract.ids import WalletId
from contract.slots import Unit, slot_of
from contract.values import value

READ_MAX: Final = 500
"""Wallets per statement."""
WAITING_MAX: Final = 20_000

log = structlog.get_logger()

SELECT_WALLETS = """
SELECT wallet_id, unit, owner_type, owner_ref, kind, currency, status, balance, held, overdraft_limit, seq, opened_at,
       posted_at, frozen_by, metadata
FROM wallets WHERE wallet_id = ANY(%s) AND status <> 'unopened'
"""

SELECT_UNITS = "SELECT unit, state, epoch, peer_cell FROM unit_state WHERE unit = ANY(%s)"

SELECT_EXILES = "SELECT wallet_id, unit, cell, epoch FROM isolated WHERE wallet_id = ANY(%s)"


@value
class StoredWallet:
    """A whole wallet row, as vendors may see it."""

    wallet_id: WalletId
    unit: Unit
    owner_type: str
    owner_ref: str
    kind: str
    currency: str
    status: str
    balance: int
    held: int
    overdraft_limit: int
    seq: int
    opened_at_us: int
    posted_at_us: int
    frozen_by: str | None
    metadata: str


@value
class Sighting:
    """What the store knows of a wallet id: its row, or why there may be none here."""

    wallet: StoredWallet | None
    unit_state: UnitState | None = None
    exile: Exile | None = None


class WalletReader:
    def __init__(
        self,
        database_url: str,
        *,
        connections: int,
        statement_timeout_ms: int,
        connect_timeout_s: int,
        tcp_user_timeout_ms: int,
    ) -> None:
        self._database_url = database_url
        self._options = (
            f"-c application_name=cell-read -c plan_cache_mode=force_generic_plan {BY_INDEX} "
            f"-c timezone=UTC -c statement_timeout={statement_timeout_ms}"
        )
        self._connect_arguments: dict[str, Any] = {
            "connect_timeout": connect_timeout_s,
            "tcp_user_timeout": tcp_user_timeout_ms,
        }
        self._connections = connections
        self._waiting: dict[WalletId, asyncio.Future[Sighting]] = {}
        self._is_filled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._serve(), name=f"wallet reader {number}") for number in range(self._connections)
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def read(self, wallet_id: WalletId) -> "asyncio.Future[Sighting]":
        """What is stored of this wallet, read after this call.

        Raises (through the future):
            StoreLostError: the database cannot be reached, or too many wait for it.
        """
        answer = self._waiting.get(wallet_id)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            if len(self._waiting) >= WAITING_MAX:
                answer.set_exception(StoreLostError("too many reads are waiting"))
                return answer
            self._waiting[wallet_id] = answer
            self._is_filled.set()
        return answer

    async def _serve(self) -> None:
        pipeline: Pipeline | None = None
        try:
            while True:
                await self._is_filled.wait()
                taken = self._take()
                if not taken:
                    continue
                try:
                    pipeline = await self._answer(pipeline, taken)
                except Exception as error:  # noqa: BLE001 - the only reader must outlive every bug
                    if pipeline is not None:
                        await pipeline.close()
                    pipeline = None
                    _fail(taken, error)
        finally:
            if pipeline is not None:
                await pipeline.close()

    def _take(self) -> dict[WalletId, "asyncio.Future[Sighting]"]:
        if len(self._waiting) <= READ_MAX:
            taken, self._waiting = self._waiting, {}
            self._is_filled.clear()
            return taken
        ids = list(self._waiting)[:READ_MAX]
        return {wallet_id: self._waiting.pop(wallet_id) for wallet_id in ids}

    async def _answer(
        self, pipeline: Pipeline | None, taken: dict[WalletId, "asyncio.Future[Sighting]"]
    ) -> Pipeline | None:
        """Answer all of them; a broken connection is replaced once before anybody is told."""
        for is_last_try in (False, True):
            try:
                pipeline = pipeline or await self._connect()
                await _read(pipeline, taken)
            except psycopg.Error as error:
                if pipeline is not None:
                    await pipeline.close()
                pipeline = None
                if is_last_try:
                    _fail(taken, error)
            except BaseException:  # the caller does not know this connection yet
                if pipeline is not None:
                    await pipeline.close()
                raise
            else:
                return pipeline
        return None

    async def _connect(self) -> Pipeline:
        connection = await AsyncConnection.connect(
            self._database_url, autocommit=True, options=self._options, **self._connect_arguments
        )
        await admitted(connection, must_be_open)
        arrays.register(connection)
        return Pipeline(connection)


async def _read(pipeline: Pipeline, taken: dict[WalletId, "asyncio.Future[Sighting]"]) -> None:
    found = pipeline.send(SELECT_WALLETS, arrays.uuids(list(taken)))
    await pipeline.sync()
    wallets = {row[0]: _stored(row) for row in found.rows()}
    for wallet_id, wallet in wallets.items():
        if wallet.frozen_by is None and not taken[wallet_id].done():
            taken[wallet_id].set_result(Sighting(wallet=wallet))
    doubtful = [wallet_id for wallet_id, answer in taken.items() if not answer.done()]
    if doubtful:
        await _read_ownership(pipeline, taken, wallets, doubtful)


async def _read_ownership(
    pipeline: Pipeline,
    taken: dict[WalletId, "asyncio.Future[Sighting]"],
    wallets: dict[WalletId, StoredWallet],
    doubtful: list[WalletId],
) -> None:
    units = {one: wallets[one].unit if one in wallets else slot_of(one) for one in doubtful}
    states_found = pipeline.send(SELECT_UNITS, arrays.int4s(sorted(set(units.values()))))
    exiles_found = pipeline.send(SELECT_EXILES, arrays.uuids(doubtful))
    await pipeline.sync()
    states = {
        row[0]: UnitState(unit=row[0], state=row[1], epoch=row[2], peer_cell=row[3]) for row in states_found.rows()
    }
    exiles = {row[0]: Exile(wallet_id=row[0], unit=row[1], cell=row[2], epoch=row[3]) for row in exiles_found.rows()}
    for one in doubtful:
        if not taken[one].done():
            taken[one].set_result(
                Sighting(wallet=wallets.get(one), unit_state=states.get(units[one]), exile=exiles.get(one))
            )


def _fail(taken: dict[WalletId, "asyncio.Future[Sighting]"], error: Exception) -> None:
    log.warning("wallets cannot be read", wallets=len(taken), error=str(error).strip())
    for answer in taken.values():
        if not answer.done():
            answer.set_exception(StoreLostError(str(error).strip()))


def _stored(row: TupleRow) -> StoredWallet:
    return StoredWallet(
        wallet_id=row[0],
        unit=row[1],
        owner_type=row[2],
        owner_ref=row[3],
        kind=row[4],
        currency=row[5],
        status=row[6],
        balance=row[7],
        held=row[8],
        overdraft_limit=row[9],
        seq=row[10],
        opened_at_us=row[11],
        posted_at_us=row[12],
        frozen_by=row[13],
        metadata=row[14],
    )
