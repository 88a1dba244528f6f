"""Round trips of prepared statements on one connection: libpq's pipeline mode, driven without a cursor per statement.

A cursor costs some 80 µs for each statement, and a batch of thirty commands has ten of them: more than deciding all
thirty. So the write path speaks to psycopg's libpq layer itself; what comes back is decoded by psycopg as ever. One
user at a time. Knows no ledger: what a failed statement means is its caller's to say.
"""

import asyncio
import os
import select
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, adapt
from psycopg.abc import Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from cell.store.arrays import Array

_TEXT_OID = 25
_BINARY = Format.BINARY
_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE})


class Answer:
    """What a statement gives, once the round trip that carried it is over."""

    __slots__ = ("_result", "_transformer")

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._result: PGresult | None = None

    def take(self, result: PGresult) -> None:
        self._result = result

    @property
    def tag(self) -> str:
        """The command tag: `COMMIT`, or `ROLLBACK` where a commit was asked of a failed transaction."""
        return (self._known.command_status or b"").decode()

    @property
    def count(self) -> int:
        """Rows read or written."""
        return self._known.command_tuples or 0

    def rows(self) -> list[tuple[Any, ...]]:
        result = self._known
        if result.ntuples == 0:
            return []
        self._transformer.set_pgresult(result, format=_BINARY)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    @property
    def _known(self) -> PGresult:
        assert self._result is not None, "its round trip is not over"  # noqa: S101 - a bug of the caller
        return self._result


class Pipeline:
    """Owns the connection from here on: nobody else may speak on it until it is closed."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._wire = connection.pgconn
        self._transformer: Transformer = adapt.Transformer(connection)
        self._names: dict[str, bytes] = {}
        self._sent: list[Answer | None] = []
        """In order; None for a preparation."""
        self._results: list[PGresult] = []
        self._missing = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_torn = False
        self._loop = asyncio.get_running_loop()
        self._socket = os.dup(self._wire.socket)
        """Our own: libpq closes its one when the connection breaks, and the number may be somebody else's at once."""
        self._is_listening = True
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._wire.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._on_readable)

    def send(self, statement: str, *columns: Array | str) -> Answer:
        """Queue one statement. With columns it is prepared when it is met first; without it goes as text.

        Raises:
            psycopg.OperationalError: the connection is gone.

        """
        if columns:
            name = self._names.get(statement) or self._prepare(statement, columns)
            values = [column.data if isinstance(column, Array) else column.encode() for column in columns]
            self._wire.send_query_prepared(name, values, [_BINARY] * len(values), _BINARY)
        else:
            self._wire.send_query_params(statement.encode(), None, result_format=_BINARY)
        answer = Answer(self._transformer)
        self._sent.append(answer)
        return answer

    async def sync(self) -> None:
        """One round trip: everything that was queued, and its answers.

        Nothing follows the Sync: after a Flush, PostgreSQL would never start the clock of an idle transaction.

        Raises:
            psycopg.Error: what the first failed statement failed of; those behind it were not tried.

        """
        sent, self._sent = self._sent, []
        self._wire.pipeline_sync()
        self._results = []
        self._missing = len(sent) + 1
        while self._wire.flush():
            await self._until_writable()
        self._waiter = self._loop.create_future()
        self._on_readable()
        await self._waiter
        for answer, result in zip(sent, self._results, strict=False):  # behind them comes that of the sync
            if result.status in _FAILED:
                self._is_torn = True
                raise psycopg.errors.error_from_result(result, self._connection.info.encoding)
            if answer is not None:
                answer.take(result)

    async def roll_back(self) -> None:
        """End the transaction, if there is one.

        Raises:
            psycopg.Error: the connection is gone.

        """
        if self._sent:
            with suppress(psycopg.Error):  # what was queued and is not wanted any more
                await self.sync()
        self.send("ROLLBACK")
        await self.sync()
        if self._is_torn:  # nobody knows which statements of a failed round trip were prepared
            self._names = {}
            self.send("DEALLOCATE ALL")
            await self.sync()
            self._is_torn = False

    async def close(self) -> None:
        """Give the connection up."""
        self._leave()
        await self._connection.close()

    def _leave(self) -> None:
        """Hear nothing of the connection any more."""
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            os.close(self._socket)

    def _prepare(self, statement: str, columns: tuple[Array | str, ...]) -> bytes:
        text = statement
        for number in range(1, len(columns) + 1):
            text = text.replace("%s", f"${number}", 1)
        oids = [column.OID if isinstance(column, Array) else _TEXT_OID for column in columns]
        name = self._names[statement] = b"s%d" % len(self._names)
        self._wire.send_prepare(name, text.encode(), oids)
        self._sent.append(None)
        return name

    def _on_readable(self) -> None:
        """Read until there is nothing left: of a broken connection libuv tells once, and then never again.

        What the server said last lies before the end, and libpq reads only once whenever it is asked to.
        """
        try:
            self._read()
            while self._is_listening and self._poll.poll(0):
                self._read()
        except psycopg.Error as error:
            self._leave()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return
        if not self._missing and self._waiter is not None:
            _resolve(self._waiter)

    def _read(self) -> None:
        self._wire.consume_input()
        is_between = False
        while self._missing and not self._wire.is_busy():
            result = self._wire.get_result()
            if result is not None:
                self._results.append(result)
                self._missing -= 1
            elif is_between:
                raise psycopg.OperationalError("the connection has fewer answers than it was asked for")
            is_between = result is None  # one None stands between the results of two statements

    async def _until_writable(self) -> None:
        """What was sent is more than the socket takes at once; the server may have to be read meanwhile, too."""
        self._waiter = writable = self._loop.create_future()
        self._loop.add_writer(self._socket, _resolve, writable)
        try:
            await writable
        finally:
            if self._is_listening:
                self._loop.remove_writer(self._socket)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
