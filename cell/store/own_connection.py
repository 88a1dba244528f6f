"""One connection of a loop's own, so that it never takes one from money, and with short statements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from cell.store.plans import BY_INDEX
from cell.store.restored import Admit, admitted, must_be_open

CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_MS = 10_000


class OwnConnection:
    """Opened when it is first needed, and anew after a failure."""

    def __init__(self, database_url: str, *, name: str, admit: Admit = must_be_open) -> None:
        self._database_url = database_url
        self._admit = admit
        self._options = (
            f"-c application_name={name} {BY_INDEX} -c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_MS}"
        )
        self._connection: AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The connection for one caller at a time; each statement commits unless the caller opens a transaction.

        Raises:
            psycopg.Error: the database cannot be reached or refuses.

        """
        async with self._turn:
            if self._connection is None:
                self._connection = await self._connect()
            try:
                yield self._connection
            except (psycopg.Error, asyncio.CancelledError):
                await self._drop()
                raise

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            row_factory=namedtuple_row,
            options=self._options,
            connect_timeout=CONNECT_TIMEOUT_S,
            tcp_user_timeout=STATEMENT_TIMEOUT_MS,
        )
        return await admitted(connection, self._admit)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
