"""Webhooks of vendors: where each wants its events. A vendor finds its own and no others.

Every change nudges the reconciler, which tells all cells with their next configuration. Secrets leave here for the
cells' configurations only.
"""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.configuration import Webhook, WebhookSecret
from contract.values import value
from control_plane.fleet.secrets_of_webhooks import rotated
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import webhooks


@value
class StoredWebhook:
    """As its vendor may see it: without the secrets."""

    id: str
    url: str
    kinds: list[str] | None
    created_at: datetime
    secret_changed_at: datetime


async def published_webhooks(connection: AsyncConnection) -> tuple[Webhook, ...]:
    rows = (await connection.execute(select(webhooks).order_by(webhooks.c.id))).all()
    return tuple(
        Webhook(
            id=row.id,
            vendor_id=row.vendor_id,
            url=row.url,
            kinds=None if row.kinds is None else tuple(row.kinds),
            secrets=_secrets(row),
        )
        for row in rows
    )


async def webhooks_of(connection: AsyncConnection, vendor_id: str) -> tuple[StoredWebhook, ...]:
    """The oldest first."""
    query = select(webhooks).where(webhooks.c.vendor_id == vendor_id).order_by(webhooks.c.created_at, webhooks.c.id)
    return tuple(_shown(row) for row in (await connection.execute(query)).all())


async def add_webhook(
    connection: AsyncConnection, webhook: Webhook, *, at_most: int, request_id: str
) -> StoredWebhook | Literal["too_many"]:
    await lock_fleet(connection)
    count = select(func.count()).select_from(webhooks).where(webhooks.c.vendor_id == webhook.vendor_id)
    if (await connection.execute(count)).scalar_one() >= at_most:
        return "too_many"
    new = insert(webhooks).values(
        id=webhook.id,
        vendor_id=webhook.vendor_id,
        url=webhook.url,
        kinds=None if webhook.kinds is None else list(webhook.kinds),
        secrets=[one.model_dump() for one in webhook.secrets],
        created_at=func.now(),
        secret_changed_at=func.now(),
    )
    row = (await connection.execute(new.returning(webhooks))).one()
    await _tell(connection, webhook.vendor_id, None, {"webhook": row.id, "url": row.url}, request_id)
    return _shown(row)


async def remove_webhook(connection: AsyncConnection, vendor_id: str, webhook_id: str, *, request_id: str) -> bool:
    """False when the vendor has no such webhook."""
    gone = delete(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.vendor_id == vendor_id)
    row = (await connection.execute(gone.returning(webhooks))).first()
    if row is None:
        return False
    await _tell(connection, vendor_id, {"webhook": row.id, "url": row.url}, None, request_id)
    return True


async def rotate_secret(
    connection: AsyncConnection, vendor_id: str, webhook_id: str, *, secret: str, request_id: str
) -> StoredWebhook | None:
    """None when the vendor has no such webhook."""
    is_it = (webhooks.c.id == webhook_id, webhooks.c.vendor_id == vendor_id)
    found = select(webhooks, func.now().label("now")).where(*is_it).with_for_update()
    before = (await connection.execute(found)).first()
    if before is None:
        return None
    secrets = [one.model_dump() for one in rotated(_secrets(before), secret, before.now)]
    change = update(webhooks).where(*is_it).values(secrets=secrets, secret_changed_at=func.now())
    row = (await connection.execute(change.returning(webhooks))).one()
    told = {"webhook": row.id, "secret": "rotated"}
    await _tell(connection, vendor_id, {"webhook": row.id}, told, request_id)
    return _shown(row)


async def _tell(
    connection: AsyncConnection,
    vendor_id: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    request_id: str,
) -> None:
    await record_change(
        connection,
        actor=vendor_id,
        subject=f"vendor:{vendor_id}",
        before=before,
        after=after,
        request_id=request_id,
    )
    await nudge(connection)


def _secrets(row: Row[Any]) -> tuple[WebhookSecret, ...]:
    return tuple(WebhookSecret.model_validate(one) for one in row.secrets)


def _shown(row: Row[Any]) -> StoredWebhook:
    return StoredWebhook(
        id=row.id,
        url=row.url,
        kinds=row.kinds,
        created_at=row.created_at,
        secret_changed_at=row.secret_changed_at,
    )
