"""Rollouts as pages show them: every judgement with its evidence, every step."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.rollouts.model import JudgedWindow
from control_plane.store.judgements import window_of
from control_plane.store.release_tables import rollout_steps, rollout_windows


@value
class ShownWindow:
    id: int
    window: JudgedWindow
    evidence: Mapping[str, Any]


@value
class ShownStep:
    """One line of a rollout's history."""

    id: int
    at: datetime
    wave: int
    step: str
    duration_ms: float
    facts: Mapping[str, Any] | None


async def windows_of(
    connection: AsyncConnection, rollout_id: str, *, below: int | None, limit: int
) -> tuple[ShownWindow, ...]:
    """Newest first."""
    query = select(rollout_windows).where(rollout_windows.c.rollout_id == rollout_id)
    if below is not None:
        query = query.where(rollout_windows.c.id < below)
    rows = (await connection.execute(query.order_by(rollout_windows.c.id.desc()).limit(limit))).all()
    return tuple(ShownWindow(id=row.id, window=window_of(row), evidence=row.evidence) for row in rows)


async def rollout_steps_of(
    connection: AsyncConnection, rollout_id: str, *, below: int | None, limit: int
) -> tuple[ShownStep, ...]:
    """Newest first."""
    table = rollout_steps.c
    query = select(table.id, table.at, table.wave, table.step, table.duration_ms, table.facts)
    query = query.where(table.rollout_id == rollout_id)
    if below is not None:
        query = query.where(table.id < below)
    rows = (await connection.execute(query.order_by(table.id.desc()).limit(limit))).all()
    return tuple(ShownStep(**row._asdict()) for row in rows)
