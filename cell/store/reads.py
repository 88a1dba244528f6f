"""The questions that reads ask, one function each, as SQLAlchemy Core statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, Select, and_, asc, case, desc, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from cell.ledger.derived_ids import TRANSFER_VENDOR
from cell.store.tables import entries, transactions, wallets
from contract.ids import INTERNAL_VENDOR, TransactionId, VendorId, WalletId
from contract.values import value

Order = Literal["asc", "desc"]

StoredEntry = Row[Any]
"""A row of `entries` with the currency of its wallet."""

_ENTRY = (*(column for column in entries.c if column.name not in {"salt", "xid"}), wallets.c.currency)


@value
class EntryFilter:
    """Which entries of a wallet, and from where on. `after` is the last (posted_at, seq) of the page before."""

    wallet_id: WalletId
    limit: int
    order: Order
    from_at: datetime | None = None
    to_at: datetime | None = None
    kind: str | None = None
    after: tuple[datetime, int] | None = None


async def entry_page(connection: AsyncConnection, wanted: EntryFilter) -> Sequence[StoredEntry]:
    """At most `limit` entries in the order of the log (by posted_at and seq, which is the order of seq)."""
    place = tuple_(entries.c.posted_at, entries.c.seq)
    conditions = [entries.c.wallet_id == wanted.wallet_id]
    if wanted.from_at is not None:
        conditions.append(entries.c.posted_at >= wanted.from_at)
    if wanted.to_at is not None:
        conditions.append(entries.c.posted_at < wanted.to_at)
    if wanted.kind is not None:
        conditions.append(entries.c.kind == wanted.kind)
    if wanted.after is not None:
        conditions.append(place > wanted.after if wanted.order == "asc" else place < wanted.after)
    direction = asc if wanted.order == "asc" else desc
    statement = (
        _entries_of_wallets()
        .where(and_(*conditions))
        .order_by(direction(entries.c.posted_at), direction(entries.c.seq))
        .limit(wanted.limit)
    )
    rows: Sequence[StoredEntry] = (await connection.execute(statement)).all()
    return rows


async def entry_at(connection: AsyncConnection, wallet_id: WalletId, at: datetime) -> StoredEntry | None:
    """The last entry at or before `at`: an index seek, whatever the length of the log."""
    statement = (
        _entries_of_wallets()
        .where(entries.c.wallet_id == wallet_id, entries.c.posted_at <= at)
        .order_by(desc(entries.c.posted_at), desc(entries.c.seq))
        .limit(1)
    )
    row: StoredEntry | None = (await connection.execute(statement)).first()
    return row


async def deciding_entry(
    connection: AsyncConnection,
    wallet_id: WalletId,
    vendor_id: VendorId,
    transaction_id: TransactionId,
    *,
    may_see_all: bool,
) -> StoredEntry | None:
    """The entry that decided a transaction: the vendor's own first, then the platform's, then anybody's."""
    mine = transactions.c.vendor_id == vendor_id
    platforms = transactions.c.vendor_id.in_((TRANSFER_VENDOR, INTERNAL_VENDOR))
    statement = (
        _entries_of_wallets()
        .join(
            transactions,
            and_(
                transactions.c.wallet_id == entries.c.wallet_id,
                transactions.c.posted_at == entries.c.posted_at,
                transactions.c.seq == entries.c.seq,
            ),
        )
        .where(transactions.c.wallet_id == wallet_id, transactions.c.transaction_id == transaction_id)
        .order_by(case((mine, 0), (platforms, 1), else_=2))
        .limit(1)
    )
    if not may_see_all:
        statement = statement.where(mine | platforms)
    row: StoredEntry | None = (await connection.execute(statement)).first()
    return row


async def owned_wallet_ids(
    connection: AsyncConnection, *, owner_type: str, owner_ref: str, currency: str | None, kind: str | None
) -> list[WalletId]:
    statement = select(wallets.c.wallet_id).where(wallets.c.owner_type == owner_type, wallets.c.owner_ref == owner_ref)
    if currency is not None:
        statement = statement.where(wallets.c.currency == currency)
    if kind is not None:
        statement = statement.where(wallets.c.kind == kind)
    rows = await connection.execute(statement.order_by(wallets.c.kind, wallets.c.currency))
    return [WalletId(row.wallet_id) for row in rows]


async def settled_until(connection: AsyncConnection) -> datetime:
    """No transaction that is still open, or yet to begin, can post an entry at or before this instant.

    A batch reads the clock after it has begun, so every open batch posts after its own beginning. Must be read in a
    statement of its own, before the entries: what has ended by then is visible to the next statement.
    """
    statement = text(
        "SELECT least(clock_timestamp(), min(xact_start)) - interval '1 microsecond' FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'cell-write:%' AND xact_start IS NOT NULL"
    )
    instant: datetime = (await connection.execute(statement)).scalar_one()
    return instant


async def clock(connection: AsyncConnection) -> datetime:
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


def _entries_of_wallets() -> Select[Any]:
    return select(*_ENTRY).select_from(entries.join(wallets, wallets.c.wallet_id == entries.c.wallet_id))
