"""The write path's round trips on a real connection: order, failures, and what is left usable after them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from cell_databases import CellDatabase
from psycopg import AsyncConnection

from cell.store import arrays
from cell.store.pipeline import Pipeline

ECHO = "SELECT number, text FROM unnest(%s, %s) AS t (number, text)"
DIVIDE = "SELECT 1 / number FROM unnest(%s) AS t (number)"
TERMINATE = "SELECT pg_terminate_backend(%s)"
ONE, NOTHING = arrays.int8s([1]), arrays.int8s([0])


@asynccontextmanager
async def pipelined(database: CellDatabase) -> AsyncIterator[Pipeline]:
    connection = await AsyncConnection.connect(database.app_url, autocommit=True)
    arrays.register(connection)
    pipeline = Pipeline(connection)
    try:
        yield pipeline
    finally:
        await pipeline.close()


async def test_one_round_trip_answers_every_statement_in_order(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        for _ in range(3):  # prepared first, then known
            echo = pipeline.send(ECHO, arrays.int8s([7, None]), arrays.texts(["a", None]))
            constant = pipeline.send("SELECT 5")
            none = pipeline.send(ECHO, arrays.int8s([]), arrays.texts([]))
            await pipeline.sync()
            assert echo.rows() == [(7, "a"), (None, None)]
            assert (constant.rows(), constant.count, none.rows()) == ([(5,)], 1, [])


async def test_the_first_failure_is_told_and_nothing_behind_it_is_tried(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        pipeline.send("BEGIN")
        pipeline.send(DIVIDE, NOTHING)
        pipeline.send(ECHO, ONE, arrays.texts(["never prepared"]))
        with pytest.raises(psycopg.errors.DivisionByZero):
            await pipeline.sync()
        await pipeline.roll_back()
        echo, quotient = pipeline.send(ECHO, ONE, arrays.texts(["b"])), pipeline.send(DIVIDE, ONE)
        await pipeline.sync()
        assert (echo.rows(), quotient.rows()) == ([(1, "b")], [(1,)])


async def test_a_commit_of_what_failed_says_so(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        pipeline.send("BEGIN")
        pipeline.send(DIVIDE, NOTHING)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await pipeline.sync()
        commit = pipeline.send("COMMIT")
        await pipeline.sync()
        assert commit.tag == "ROLLBACK"


async def test_what_was_queued_and_never_sent_is_rolled_back(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        pipeline.send("BEGIN")
        pipeline.send("INSERT INTO api_processes (process_id, written_at) VALUES ('x', now())")
        await pipeline.roll_back()
        known = pipeline.send("SELECT process_id FROM api_processes")
        await pipeline.sync()
        assert known.rows() == []


async def test_more_than_the_socket_takes_goes_through_both_ways(database: CellDatabase) -> None:
    texts = [str(number) * 1_000 for number in range(3_000)]
    async with pipelined(database) as pipeline:
        answers = [pipeline.send(ECHO, arrays.int8s(range(3_000)), arrays.texts(texts)) for _ in range(4)]
        await asyncio.wait_for(pipeline.sync(), 60)
        assert [answer.rows()[-1][1] for answer in answers] == [texts[-1]] * 4


async def test_a_connection_that_is_cut_under_way_is_told(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        pid = await backend_of(pipeline)
        pipeline.send("SELECT pg_sleep(60)")
        sleeping = asyncio.create_task(pipeline.sync())
        await asyncio.sleep(0)
        await asyncio.to_thread(database.sql, TERMINATE, pid)
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(sleeping, 30)


async def test_a_connection_that_was_cut_while_idle_is_told_at_its_next_use(database: CellDatabase) -> None:
    async with pipelined(database) as pipeline:
        await asyncio.to_thread(database.sql, TERMINATE, await backend_of(pipeline))
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(backend_of(pipeline), 30)


async def test_a_backend_that_dies_over_unread_statements_is_told_although_it_said_goodbye(
    database: CellDatabase,
) -> None:
    """Its last words and the end arrive together, and as an error: libuv tells of that once and never again."""
    async with pipelined(database) as pipeline:
        pid = await backend_of(pipeline)
        os.kill(pid, signal.SIGSTOP)
        for _ in range(20):  # more than it reads at once
            pipeline.send(ECHO, ONE, arrays.texts(["x" * 4_000]))
        answering = asyncio.create_task(pipeline.sync())
        await asyncio.sleep(0)
        database.sql(TERMINATE, pid)
        os.kill(pid, signal.SIGCONT)
        while is_alive(pid):  # the loop must stand still, so that it meets all of it at once
            time.sleep(0.01)  # noqa: ASYNC251
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(answering, 30)


async def backend_of(pipeline: Pipeline) -> int:
    answer = pipeline.send("SELECT pg_backend_pid()")
    await pipeline.sync()
    pid: int = answer.rows()[0][0]
    return pid


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
