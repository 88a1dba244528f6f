"""A connection to a database that may hang: stopped in the middle of a statement it never answers, nor closes.

A time limit of the database's own does not help then, and libpq knows one for connecting alone. So the connection is
shut here when its time is over, and whoever waits for an answer hears that there will be none.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import psycopg

CONNECT_TIMEOUT_S: Final = 2
"""The least that libpq knows."""


@contextlib.contextmanager
def connected(url: str, *, limit_s: float | None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Commits each statement. With a limit, the database gives each statement up then, and we it a little later.

    Raises:
        TimeoutError: the time is over. What was asked may have been done all the same.

    """
    if limit_s is None:
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
        return
    options = f"-c statement_timeout={limit_s * 1000:.0f}"
    with (
        psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, options=options) as connection,
        _shut_after(limit_s + CONNECT_TIMEOUT_S, connection) as is_over,
    ):
        try:
            yield connection
        except psycopg.OperationalError as error:
            if is_over.is_set() or isinstance(error, psycopg.errors.QueryCanceled):
                raise TimeoutError(f"it takes longer than {limit_s:.0f} s") from error
            raise


@contextlib.contextmanager
def _shut_after(seconds: float, connection: psycopg.Connection[Any]) -> Iterator[threading.Event]:
    """By a descriptor of our own, whose number nobody else can have meanwhile."""
    is_over = threading.Event()

    def shut() -> None:
        is_over.set()
        with contextlib.suppress(OSError):  # it has gone by itself
            own.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        timer = threading.Timer(seconds, shut)
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()
            timer.join()
