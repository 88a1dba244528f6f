"""Judgements of the windows of a bake: only ever appended to, with what each rests on.

A rollout that is held is judged for as long as that lasts, window after window. Whoever decides is therefore told what
counts and no more: the windows that say something, the latest one, and the evidence of none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Select, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.rollouts.model import JudgedWindow, RolloutRecord
from control_plane.store.leases import Lease, still_holds
from control_plane.store.release_tables import rollout_windows, rollouts

_OF_A_WINDOW = ("wave", "began_at", "ended_at", "verdict", "is_grave", "detail")


@value
class Evidence:
    """What a judgement rests on: what was asked, the numbers, and what was found in them."""

    document: Mapping[str, Any]


async def record_window(
    connection: AsyncConnection, lease: Lease, rollout: RolloutRecord, window: JudgedWindow, evidence: Evidence
) -> bool:
    """False when the lease is lost, or the wave is not baking any more: then it says nothing."""
    if not await still_holds(connection, lease):
        return False
    query = select(rollouts.c.id).where(
        rollouts.c.id == rollout.id, rollouts.c.state == "baking", rollouts.c.wave == window.wave
    )
    if (await connection.execute(query.with_for_update(read=True))).first() is None:
        return False
    facts = asdict(window)
    await connection.execute(
        insert(rollout_windows).values(rollout_id=rollout.id, evidence=dict(evidence.document), **facts)
    )
    return True


async def windows_in_hand(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[JudgedWindow]]:
    """Of each rollout those of its wave in hand that say something, and the latest one; the oldest first."""
    found: dict[int, Row[Any]] = {}
    for query in (_conclusive(), _latest()):
        rows = (await connection.execute(query.where(rollouts.c.id.in_(ids)))).all()
        found |= {row.id: row for row in rows}
    windows: dict[str, list[JudgedWindow]] = {one: [] for one in ids}
    for _, row in sorted(found.items()):
        windows[row.rollout_id].append(window_of(row))
    return windows


def window_of(row: Row[Any]) -> JudgedWindow:
    facts = row._asdict()
    return JudgedWindow(**{name: facts[name] for name in _OF_A_WINDOW})


def _conclusive() -> Select[Any]:
    """As many as a policy allows; found by an index of their own among any number of others."""
    return _of_waves_in_hand().where(rollout_windows.c.verdict != literal("inconclusive", literal_execute=True))


def _latest() -> Select[Any]:
    any_window = rollout_windows.alias("any_window")
    latest = select(func.max(any_window.c.id)).where(any_window.c.rollout_id == rollouts.c.id)
    return _of_waves_in_hand().where(rollout_windows.c.id == latest.correlate(rollouts).scalar_subquery())


def _of_waves_in_hand() -> Select[Any]:
    columns = (rollout_windows.c[name] for name in ("id", "rollout_id", *_OF_A_WINDOW))
    is_in_hand = (rollout_windows.c.rollout_id == rollouts.c.id) & (rollout_windows.c.wave == rollouts.c.wave)
    return select(*columns).join_from(rollouts, rollout_windows, is_in_hand)
