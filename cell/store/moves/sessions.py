"""Connections for the steps of moves, whose settings are pinned, so that rows have the same text in every cell.

Owns what is known after a failure: a commit that was cancelled while it waited for its standby is no commit yet.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from cell.ports import StoreLostError
from cell.store import arrays
from cell.store.plans import BY_INDEX
from cell.store.restored import Admit, InQuarantineError, admitted, must_be_open
from contract.moves import MoveReason

Connection = AsyncConnection[TupleRow]

IDLE_MAX: Final = 4
"""Connections kept between steps: a pause must not pay for connecting."""
STATEMENT_TIMEOUT_MS: Final = 60_000
"""For a page of rows or a digest of many wallets; the steps under a fence set their own."""
_CONNECT_TIMEOUT_S: Final = 3
_WARNING_AT_COMMIT: Final = "01000"
_OPTIONS: Final = (
    f"-c application_name=cell-move {BY_INDEX} -c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=iso_8601 "
    "-c bytea_output=hex -c extra_float_digits=1 -c synchronous_commit=on -c client_min_messages=warning "
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=10000 "
    "-c default_transaction_isolation=read\\ committed"
)


class MoveRefusedError(Exception):
    """The cell refuses a step; nothing of it was done."""

    def __init__(self, reason: MoveReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class Sessions:
    def __init__(self, database_url: str, *, admit: Admit = must_be_open) -> None:
        self._database_url = database_url
        self._admit = admit
        self._idle: list[Connection] = []
        self._is_closed = False

    @asynccontextmanager
    async def transaction(
        self, *, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED, commits_locally: bool = False
    ) -> AsyncIterator[Connection]:
        """One transaction; committed when the context ends without an error.

        `commits_locally`: what can be copied again need not wait for the disk or a standby.

        Raises:
            StoreLostError: the database cannot be reached, or it is unknown whether the commit happened.
            MoveRefusedError: the cell is in quarantine: it neither takes a step nor tells of one.

        """
        with _refused_or_lost():
            async with self._taken() as connection, _told_of_doubt(connection):
                await connection.set_isolation_level(isolation)
                async with connection.transaction():
                    if commits_locally:
                        await connection.execute("SET LOCAL synchronous_commit = off")
                    yield connection

    async def look(self, statement: str) -> list[TupleRow]:
        """The rows of one statement that only reads, without a transaction around it.

        Raises:
            StoreLostError, MoveRefusedError: as `transaction`.

        """
        with _refused_or_lost():
            async with self._taken() as connection:
                return await rows(connection, statement)

    async def close(self) -> None:
        """A connection that is still in use is closed by its user."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[Connection]:
        connection = await self._connected()
        try:
            yield connection
        finally:
            is_idle = connection.info.transaction_status is TransactionStatus.IDLE
            if self._is_closed or connection.closed or not is_idle or len(self._idle) >= IDLE_MAX:
                await connection.close()
            else:
                self._idle.append(connection)

    async def _connected(self) -> Connection:
        while self._idle:
            try:
                return await admitted(self._idle.pop(), self._admit)
            except InQuarantineError:
                raise
            except psycopg.Error:
                continue  # it has died since it was used; perhaps not all have
        connection = await AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            options=_OPTIONS,
            connect_timeout=_CONNECT_TIMEOUT_S,
            tcp_user_timeout=5_000,
        )
        await admitted(connection, self._admit)
        arrays.register(connection)
        return connection


@contextmanager
def _refused_or_lost() -> Iterator[None]:
    try:
        yield
    except InQuarantineError as error:
        detail = "This cell was restored and has not been opened since."
        raise MoveRefusedError(MoveReason.CELL_MUST_NOT_BE_QUARANTINED, detail) from error
    except psycopg.OperationalError as error:
        raise StoreLostError(str(error).strip()) from error


@asynccontextmanager
async def _told_of_doubt(connection: Connection) -> AsyncIterator[None]:
    doubts: list[str] = []

    def on_notice(notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate == _WARNING_AT_COMMIT:
            doubts.append(notice.message_primary or "")

    connection.add_notice_handler(on_notice)
    try:
        yield
    finally:
        connection.remove_notice_handler(on_notice)
    if doubts:
        raise StoreLostError(f"the commit is in doubt: {doubts[0]}")


async def rows(connection: Connection, statement: str, *arguments: object) -> list[TupleRow]:
    """The rows of a statement: ids as texts, instants in microseconds."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement.encode(), arguments or None)
    return await cursor.fetchall() if cursor.description else []


async def clock_us(connection: Connection) -> int:
    ((now_us,),) = await rows(connection, "SELECT clock_timestamp()")
    instant_us: int = now_us
    return instant_us
