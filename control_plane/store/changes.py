"""The audit trail of operators' changes: who, when, what it was before and after. Only ever appended to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.store.tables import changes


@value
class Change:
    id: int
    at: datetime
    actor: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    request_id: str


async def record_change(
    connection: AsyncConnection,
    *,
    actor: str,
    subject: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    request_id: str,
) -> None:
    """In the transaction of the change itself: one is never without the other."""
    await connection.execute(
        insert(changes).values(
            at=func.now(), actor=actor, subject=subject, before=before, after=after, request_id=request_id
        )
    )


async def latest_changes(
    connection: AsyncConnection, *, subject: str | None, below_id: int | None, limit: int
) -> tuple[Change, ...]:
    """Newest first."""
    query = select(changes).order_by(changes.c.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(changes.c.subject == subject)
    if below_id is not None:
        query = query.where(changes.c.id < below_id)
    return tuple(Change(**row._asdict()) for row in (await connection.execute(query)).all())
