"""The advisory lock by which one process of a cell is chosen for a duty, on a connection of its own.

The lock lives as long as the connection: whoever loses the one has lost the other, and nobody needs to clean up.
"""

import asyncio
from contextlib import suppress
from typing import Final
from zlib import crc32

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cell.store.restored import Admit, InQuarantineError, must_be_open

LOCK_CLASS: Final = 2
"""First key of the advisory locks of duties and of rare work; units have class 1."""

ANSWER_MAX_S: Final = 5.0
"""A database that takes longer for one trivial statement is taken for lost."""

_CONNECT_TIMEOUT_S: Final = 3
_SILENCE_MAX_MS: Final = 5_000
_BOUNDS: Final = f"tcp_user_timeout={_SILENCE_MAX_MS} -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2"
"""For the server's side too: a holder whose machine is gone must not keep the lock for the hours of TCP's defaults."""


class DutyLock:
    """Raises `DutyLockLost` where the database cannot be reached or does not answer."""

    def __init__(self, database_url: str, *, name: str, admit: Admit = must_be_open) -> None:
        """`admit` is asked at each look, so that in quarantine nobody holds it."""
        self._database_url = database_url
        self._admit = admit
        self._options = f"-c application_name=cell-duty:{name} -c timezone=UTC -c {_BOUNDS} -c tcp_keepalives_count=3"
        self._key = lock_key(name)
        self._connection: AsyncConnection[TupleRow] | None = None
        self._is_held = False

    async def hold(self) -> bool:
        """Whether this process holds the lock now: asked of the database, and tried for if it is free."""
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                self._is_held = await self._hold()
        except InQuarantineError:
            if self._is_held:
                await self.let_go()
        except (psycopg.Error, TimeoutError, OSError) as error:
            await self.let_go()
            raise DutyLockLostError(str(error).strip() or type(error).__name__) from error
        return self._is_held

    async def let_go(self) -> None:
        connection, self._connection, self._is_held = self._connection, None, False
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                await connection.close()

    async def _hold(self) -> bool:
        connection = self._connection
        if connection is None:
            connection = self._connection = await AsyncConnection.connect(
                self._database_url,
                autocommit=True,
                options=self._options,
                connect_timeout=_CONNECT_TIMEOUT_S,
                tcp_user_timeout=_SILENCE_MAX_MS,
            )
        await self._admit(connection)
        if self._is_held:
            return True  # as long as its connection lives, and that has just answered
        row = await (
            await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, self._key))
        ).fetchone()
        return row is not None and bool(row[0])


class DutyLockLostError(Exception):
    """The database of the lock cannot be reached: nobody knows who holds it."""


def lock_key(name: str) -> int:
    """The same in every process and release; positive, for 0 belongs to the first units."""
    return (crc32(name.encode()) & 0x7FFF_FFFF) or 1
