"""Policies of vendors: what the platform allows each, whatever its token says."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.configuration import VendorPolicy
from contract.ids import VendorId
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import vendors


async def policies(connection: AsyncConnection) -> dict[str, VendorPolicy]:
    rows = (await connection.execute(select(vendors))).all()
    return {row.id: VendorPolicy.model_validate(row.policy) for row in rows}


async def policy_of(connection: AsyncConnection, vendor: VendorId) -> VendorPolicy:
    """A vendor without an entry has no restriction."""
    policy = (await connection.execute(select(vendors.c.policy).where(vendors.c.id == vendor))).scalar_one_or_none()
    return VendorPolicy.model_validate(policy or {})


async def put_policy(
    connection: AsyncConnection, vendor: VendorId, policy: VendorPolicy, *, actor: str, request_id: str
) -> None:
    await lock_fleet(connection)
    before = await policy_of(connection, vendor)
    if before == policy:
        return
    new = insert(vendors).values(id=vendor, policy=policy.model_dump(mode="json"))
    await connection.execute(
        new.on_conflict_do_update(index_elements=[vendors.c.id], set_={"policy": new.excluded.policy})
    )
    await record_change(
        connection,
        actor=actor,
        subject=f"vendor:{vendor}",
        before=before.model_dump(mode="json"),
        after=policy.model_dump(mode="json"),
        request_id=request_id,
    )
    await nudge(connection)
