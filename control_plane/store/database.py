"""The way to the database: one engine, short transactions, one translation of every failure of the world.

Everything that PostgreSQL's absence, restart or slowness can raise leaves here as `DatabaseMustBeReadyError`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction, UndefinedColumn, UndefinedTable
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

POOL_SIZE = 8
"""Connections of one process; its transactions take a few milliseconds each."""
POOL_TIMEOUT_S = 2.0
"""How long a request waits for a connection before it is told that the database is not ready."""
CONNECT_TIMEOUT_S = 3
TRANSACTION_TIMEOUT_S = 5.0
"""A transaction that hangs longer has lost its database, whatever the socket says. The driver then tries for up to ten
seconds more to cancel the statement, before it gives the connection up."""
ACTING_LOCK = 0x6370_6163
"""Key of the advisory lock that the one acting control plane process holds."""


class DatabaseMustBeReadyError(Exception):
    """The database is gone, starting, hanging, or not migrated.

    Whether the last commit happened is not known: every write of the store may be repeated.
    """


class Database:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @property
    def url(self) -> URL:
        return self._engine.url

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block.

        Raises:
            DatabaseMustBeReadyError: see there.

        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S), self._engine.begin() as connection:
                yield connection
        except FAILURES as error:
            raise_translated(error)
            raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One read-only transaction that sees one moment.

        Raises:
            DatabaseMustBeReadyError: see there.

        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S), self._engine.connect() as plain:
                connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                yield connection
        except FAILURES as error:
            raise_translated(error)
            raise

    @asynccontextmanager
    async def acting_alone(self) -> AsyncIterator[bool]:
        """Whether, within the block, this is the one control plane process that acts.

        The lock belongs to a session, so it ends with the process or its connection, whatever kills them. Who acts
        under a lock that it has silently lost is stopped by the compare-and-set of each write.
        """
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
                connection = await self._autocommitting()
            try:
                is_alone = await _scalar(connection, "SELECT pg_try_advisory_lock(:key)")
                try:
                    yield bool(is_alone)
                finally:
                    if is_alone:
                        await _unlock(connection)
            finally:
                await connection.close()
        except FAILURES as error:
            raise_translated(error)
            raise

    async def close(self) -> None:
        await self._engine.dispose()

    async def _autocommitting(self) -> AsyncConnection:
        connection = await self._engine.connect()
        return await connection.execution_options(isolation_level="AUTOCOMMIT")


def open_database(url: str) -> Database:
    """Connects to nothing yet."""
    engine = create_async_engine(
        driver_url(url),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": "-c timezone=UTC"},
    )
    return Database(engine)


def driver_url(url: str) -> URL:
    """Any PostgreSQL URL, for psycopg 3."""
    return make_url(url).set(drivername="postgresql+psycopg")


FAILURES = (DBAPIError, PoolTimeoutError, psycopg.Error, TimeoutError, OSError)
_GONE = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeoutError,
    TimeoutError,
    OSError,
)
_DEMOTED = (ReadOnlySqlTransaction,)
"""The primary has become a standby under us."""
_NOT_MIGRATED = (UndefinedTable, UndefinedColumn, InsufficientPrivilege)


def raise_translated(error: BaseException) -> None:
    """What the world did becomes `DatabaseMustBeReadyError`; what we did wrong is left to the caller to raise."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, _NOT_MIGRATED):
        raise DatabaseMustBeReadyError("the database must be migrated first") from error
    if isinstance(cause, _DEMOTED):
        raise DatabaseMustBeReadyError("the database takes no writes at the moment") from error
    if isinstance(error, _GONE) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        raise DatabaseMustBeReadyError(f"the database does not answer ({type(cause).__name__})") from error


async def _scalar(connection: AsyncConnection, statement: str) -> object:
    async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
        return (await connection.execute(text(statement), {"key": ACTING_LOCK})).scalar_one()


async def _unlock(connection: AsyncConnection) -> None:
    """A session that cannot be unlocked is thrown away, and its lock with it."""
    try:
        await _scalar(connection, "SELECT pg_advisory_unlock(:key)")
    except BaseException:
        await connection.invalidate()
        raise
