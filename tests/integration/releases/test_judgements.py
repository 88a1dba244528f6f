"""What is read of a rollout that is held: its judgements grow without end, and what is read of them does not."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict

import psycopg
import pytest
from psycopg.types.json import Jsonb

from control_plane.rollouts.judging import has_passed, why_failed
from control_plane.rollouts.model import BakePolicy, RolloutRecord
from control_plane.store.database import Database, open_database
from control_plane.store.rollouts import latest_rollouts, open_rollout

HELD_FOR = 5_000
"""Windows; three and a half days of them."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()


def baking(database_url: str, *, wave: int = 1) -> str:
    """A rollout whose wave in hand bakes."""
    rollout_id = str(uuid.uuid4())
    waves = [{"name": name, "cells": [name], "home_zone": "a"} for name in ("cell-1", "cell-2")]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            INSERT INTO rollouts
                (id, release, policy, waves, idle_cells, state, wave, ordered_by, ordered_at, changed_at)
            VALUES (%s, %s, %s, %s, '[]', 'baking', %s, 'olga', now(), now())
            """,
            [rollout_id, Jsonb({"label": "2.0", "image": "i"}), Jsonb(asdict(BakePolicy())), Jsonb(waves), wave],
        )
    return rollout_id


def judged(database_url: str, rollout_id: str, *verdicts: str, wave: int = 1, times: int = 1) -> None:
    with psycopg.connect(database_url) as connection:
        for verdict in verdicts:
            connection.execute(
                """
                INSERT INTO rollout_windows (rollout_id, wave, began_at, ended_at, verdict, is_grave, detail, evidence)
                SELECT %s, %s, now(), now(), %s, false, 'number ' || n, jsonb_build_object('long', repeat('x', 2000))
                FROM generate_series(1, %s) n
                """,
                [rollout_id, wave, verdict, times],
            )


async def record(database: Database) -> RolloutRecord:
    async with database.transaction() as connection:
        found = await open_rollout(connection)
        listed = await latest_rollouts(connection, below=None, limit=10)
    assert found is not None
    assert listed == (found,)
    return found


async def test_of_windows_that_say_nothing_only_the_latest_is_read(database: Database, database_url: str) -> None:
    rollout_id = baking(database_url)
    judged(database_url, rollout_id, "good", "inconclusive", "bad")
    judged(database_url, rollout_id, "inconclusive", times=HELD_FOR)
    found = await record(database)
    assert [one.verdict for one in found.windows] == ["good", "bad", "inconclusive"]
    assert found.windows[-1].detail == f"number {HELD_FOR}"


async def test_what_says_something_is_read_whole_and_in_order(database: Database, database_url: str) -> None:
    rollout_id = baking(database_url)
    judged(database_url, rollout_id, "bad", "good", "inconclusive", "good", "good", "inconclusive", "good", "good")
    found = await record(database)
    assert [one.verdict for one in found.windows] == ["bad", "good", "good", "good", "good", "good"]
    assert has_passed(found.windows, found.policy)
    assert why_failed(found.windows, found.policy) is None


async def test_windows_of_earlier_waves_are_not_those_of_this_one(database: Database, database_url: str) -> None:
    rollout_id = baking(database_url)
    judged(database_url, rollout_id, "bad", "good", wave=0)
    assert (await record(database)).windows == ()
    judged(database_url, rollout_id, "good")
    assert [(one.wave, one.verdict) for one in (await record(database)).windows] == [(1, "good")]
