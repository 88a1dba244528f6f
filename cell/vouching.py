"""Vouching for a standby that was promoted with other tools: its timeline is recorded if what is remembered proves it.

A process that was connected to the old primary until its end remembers how far that had counted. A database that has
counted as far, and knows the timeline that was seen, is what the old one became; a restored one has counted less. All
processes that are alive look before anything is recorded, so that who remembers more has said so; one that comes later
closes the cell again by itself. Rules: cell/ledger/restored.py.
"""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from cell.ledger.model import Instant
from cell.ledger.restored import Found, Seen, doubt, suspicion
from cell.seen_file import SeenFileBrokenError, read_seen
from cell.store.restored import begin, found_now, latest, vouch_for_promotion
from contract.values import value

OBJECTIONS_S: Final = 3.0
"""From the quarantine until somebody may vouch: processes look every second, and first have to connect again."""


class PromotionDoubtedError(Exception):
    """Nothing was recorded; the message says why."""


class DatabaseMustAnswerError(PromotionDoubtedError):
    """It did not; the same again may find it."""


@value
class Vouched:
    timeline: int
    is_new: bool
    """Else somebody had recorded it before."""


async def vouch(
    database_url: str, *, state_dir: Path, connect_timeout_s: int, objections_s: float = OBJECTIONS_S
) -> Vouched:
    """Raises PromotionDoubtedError, and DatabaseMustAnswerError of its kind."""
    try:
        seen = read_seen(state_dir)
        async with await _connected(database_url, connect_timeout_s) as connection:
            found = await found_now(connection)
            if found.era in found.recorded:
                return Vouched(timeline=found.era.timeline, is_new=False)
            noticed_at_us = await _closed_at(connection, found, seen)
        # Without a connection: whoever objects ends those of all others.
        await asyncio.sleep(max(0.0, objections_s - (found.now_us - noticed_at_us) / 1e6))
        async with await _connected(database_url, connect_timeout_s) as connection:
            return await _vouch(connection, seen, noticed_at_us=noticed_at_us)
    except psycopg.Error as error:
        raise DatabaseMustAnswerError(str(error).strip()) from error
    except SeenFileBrokenError as error:
        raise PromotionDoubtedError(str(error)) from error


async def _connected(database_url: str, connect_timeout_s: int) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(database_url, autocommit=True, connect_timeout=connect_timeout_s)


async def _closed_at(connection: AsyncConnection[Any], found: Found, seen: Seen | None) -> Instant:
    """When the cell was found on its timeline first: now, if nobody has looked yet."""
    suspected = suspicion(found, seen)
    if suspected is not None and not found.is_quarantined:
        await begin(connection, suspected)
    episode = await latest(connection)
    return found.now_us if episode is None or episode.is_open else _instant(episode.began_at)


async def _vouch(connection: AsyncConnection[Any], seen: Seen | None, *, noticed_at_us: Instant) -> Vouched:
    found = await found_now(connection)
    why = doubt(found, seen, noticed_at_us=noticed_at_us)
    if why is not None:
        raise PromotionDoubtedError(why)
    if not await vouch_for_promotion(connection):
        raise PromotionDoubtedError(await _what_else_closes_it(connection))
    return Vouched(timeline=found.era.timeline, is_new=True)


async def _what_else_closes_it(connection: AsyncConnection[Any]) -> str:
    episode = await latest(connection)
    if episode is not None and episode.cause == "timeline_must_be_recorded":
        return "the cell was adjudicated, and units were found to be elsewhere: it was no promotion without loss"
    return f"the cell is closed for another reason than its timeline: {episode.detail if episode else 'unknown'}"


def _instant(moment: datetime) -> Instant:
    return Instant(int(moment.timestamp() * 1e6))
