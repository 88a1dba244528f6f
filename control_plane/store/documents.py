"""The signed documents as they were published: directories, and the newest configuration of each cell.

Publishing is a compare-and-set: right after the version that the publisher saw, or not at all.
"""

import json
from collections.abc import Sequence

from sqlalchemy import case, delete, func, insert, null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.configuration import CellConfiguration
from contract.directory import DirectoryDocument
from contract.ids import CellId
from contract.values import value
from control_plane.fleet.configuration import ConfigurationPublication
from control_plane.fleet.publish import Publication, shows_units
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import configurations, directories
from control_plane.store.units import change_units, isolated_units, owned_runs

DIRECTORIES_KEPT = 1_000
"""Publications that can be looked back at; a document is rarely above 100 KB."""


@value
class SignedText:
    """`text` is None when the reader said that it knows this version."""

    version: int
    text: str | None


async def newest_directory(connection: AsyncConnection, *, known: Sequence[int] = ()) -> SignedText | None:
    query = select(
        directories.c.version,
        case((directories.c.version.in_(known), null()), else_=directories.c.document).label("text"),
    )
    row = (await connection.execute(query.order_by(directories.c.version.desc()).limit(1))).first()
    return SignedText(version=row.version, text=row.text) if row else None


async def newest_configuration(
    connection: AsyncConnection, cell: CellId, *, known: Sequence[int] = ()
) -> SignedText | None:
    query = select(
        configurations.c.version,
        case((configurations.c.version.in_(known), null()), else_=configurations.c.document).label("text"),
    )
    row = (await connection.execute(query.where(configurations.c.cell == cell))).first()
    return SignedText(version=row.version, text=row.text) if row else None


async def publish_directory(connection: AsyncConnection, publication: Publication, signed_text: str) -> bool:
    """False, and nothing written, when another publication, or another owner of a unit, came first."""
    await lock_fleet(connection)
    document = publication.document
    newest = (await connection.execute(select(func.max(directories.c.version)))).scalar_one()
    if newest != publication.after:
        return False
    async with connection.begin_nested() as attempt:
        if not await _changed_to_what_it_shows(connection, publication):
            await attempt.rollback()
            return False
    await connection.execute(
        insert(directories).values(version=document.version, issued_at=document.issued_at, document=signed_text)
    )
    await _forget_old(connection)
    await nudge(connection)
    return True


async def publish_configuration(
    connection: AsyncConnection, publication: ConfigurationPublication, signed_text: str
) -> bool:
    """False when another one came first."""
    document = publication.document
    content = {"version": document.version, "issued_at": document.issued_at, "document": signed_text}
    if publication.after is None:
        write = upsert(configurations).values(cell=document.cell, **content).on_conflict_do_nothing()
        written = await connection.execute(write.returning(configurations.c.cell))
    else:
        is_next = (configurations.c.cell == document.cell, configurations.c.version == publication.after)
        rewrite = update(configurations).where(*is_next).values(**content)
        written = await connection.execute(rewrite.returning(configurations.c.cell))
    is_written = written.first() is not None
    if is_written:
        await nudge(connection)
    return is_written


async def last_directory(connection: AsyncConnection) -> DirectoryDocument | None:
    newest = await newest_directory(connection)
    return DirectoryDocument.model_validate(_unsigned(newest.text)) if newest and newest.text else None


async def last_configurations(connection: AsyncConnection) -> dict[CellId, CellConfiguration]:
    rows = (await connection.execute(select(configurations.c.cell, configurations.c.document))).all()
    return {CellId(row.cell): CellConfiguration.model_validate(_unsigned(row.document)) for row in rows}


async def _changed_to_what_it_shows(connection: AsyncConnection, publication: Publication) -> bool:
    if not await change_units(connection, publication.changes):
        return False
    return shows_units(publication.document, await owned_runs(connection), await isolated_units(connection))


def _unsigned(text: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(text)
    document.pop("signature", None)
    return document


async def _forget_old(connection: AsyncConnection) -> None:
    oldest_kept = (
        select(directories.c.version)
        .order_by(directories.c.version.desc())
        .offset(DIRECTORIES_KEPT - 1)
        .limit(1)
        .scalar_subquery()
    )
    await connection.execute(delete(directories).where(directories.c.version < oldest_kept))
