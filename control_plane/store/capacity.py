"""What each cell may carry, and the certificate that it rests on."""

from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.certificate import CapacityCertificate
from contract.ids import CellId
from contract.values import value
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import cells, certificates


@value
class Capacity:
    capacity_per_s: float | None
    certificate: CapacityCertificate | None = None
    """None = set by hand."""
    uploaded_at: datetime | None = None


async def capacity_of(connection: AsyncConnection, cell: CellId) -> Capacity | None:
    """None when there is no such cell."""
    query = (
        select(cells.c.capacity_per_s, certificates.c.document, certificates.c.uploaded_at)
        .join_from(cells, certificates, certificates.c.cell == cells.c.id, isouter=True)
        .where(cells.c.id == cell)
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    certificate = None if row.document is None else CapacityCertificate.model_validate(row.document)
    return Capacity(capacity_per_s=row.capacity_per_s, certificate=certificate, uploaded_at=row.uploaded_at)


async def put_capacity(
    connection: AsyncConnection, cell: CellId, wanted: Capacity, *, actor: str, request_id: str
) -> bool:
    """Replace what is in force; False when there is no such cell. Its configuration says so within moments."""
    await lock_fleet(connection)
    before = await capacity_of(connection, cell)
    if before is None:
        return False
    if (before.capacity_per_s, before.certificate) != (wanted.capacity_per_s, wanted.certificate):
        await connection.execute(update(cells).where(cells.c.id == cell).values(capacity_per_s=wanted.capacity_per_s))
        await _put_certificate(connection, cell, wanted.certificate)
        await record_change(
            connection,
            actor=actor,
            subject=f"cell:{cell}",
            before=_told(before),
            after=_told(wanted),
            request_id=request_id,
        )
        await nudge(connection)
    return True


async def _put_certificate(connection: AsyncConnection, cell: CellId, certificate: CapacityCertificate | None) -> None:
    await connection.execute(delete(certificates).where(certificates.c.cell == cell))
    if certificate is not None:
        document = certificate.model_dump(mode="json")
        await connection.execute(insert(certificates).values(cell=cell, uploaded_at=func.now(), document=document))


def _told(capacity: Capacity) -> dict[str, object]:
    """For the audit trail, which keeps every certificate that was ever in force."""
    if capacity.certificate is None:
        return {"capacity_per_s": capacity.capacity_per_s}
    return {
        "capacity_per_s": capacity.capacity_per_s,
        "certificate": capacity.certificate.model_dump(mode="json"),
    }
