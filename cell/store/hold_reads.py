"""Questions about vendors' holds: one, a page of a wallet's, and those whose time is over.

A hold past its time is told as `expired` whether or not the sweep was there yet: no command finds it open either. Legs
of groups are no holds to vendors.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from cell.store.tables import holds, wallets
from contract.ids import TransactionId, VendorId, WalletId
from contract.values import value

StoredHold = Row[Any]
"""A row of `holds`, `state` as it is at this moment."""

_IS_OPEN = holds.c.state == literal_column("'open'")
"""Written out, so that every plan may use the index of holds that can expire."""
_IS_OVER = and_(_IS_OPEN, holds.c.expires_at <= func.statement_timestamp())
"""Not `clock_timestamp`, which changes within the statement: no index could be asked for it."""
_STATE: ColumnElement[str] = case((_IS_OVER, "expired"), else_=holds.c.state)
_HOLD = (*(column for column in holds.c if column.name not in {"state", "terms"}), _STATE.label("state"))
_OF_VENDORS = holds.c.kind == "vendor"
_PLACE_OF_DUE = (holds.c.expires_at, holds.c.wallet_id, holds.c.vendor_id, holds.c.hold_id)


@value
class HoldFilter:
    """Which holds of a wallet, and from where on: `after` is the last (vendor, hold) of the page before."""

    wallet_id: WalletId
    vendor_id: VendorId | None
    """None = of all vendors."""
    limit: int
    state: str | None = None
    after: tuple[str, str] | None = None


@value
class DueHold:
    """A hold that is open and past its time."""

    expires_at: datetime
    wallet_id: WalletId
    vendor_id: VendorId
    hold_id: TransactionId
    overdue_s: float


async def hold_page(connection: AsyncConnection, wanted: HoldFilter) -> Sequence[StoredHold]:
    """At most `limit` holds in the order of the primary key: a vendor's in that of their ids."""
    conditions = [holds.c.wallet_id == wanted.wallet_id, _OF_VENDORS]
    if wanted.vendor_id is not None:
        conditions.append(holds.c.vendor_id == wanted.vendor_id)
    if wanted.state is not None:
        conditions.append(_STATE.in_((wanted.state,)))
    if wanted.after is not None:
        conditions.append(tuple_(holds.c.vendor_id, holds.c.hold_id) > wanted.after)
    statement = select(*_HOLD).where(and_(*conditions)).order_by(holds.c.vendor_id, holds.c.hold_id)
    rows: Sequence[StoredHold] = (await connection.execute(statement.limit(wanted.limit))).all()
    return rows


async def one_hold(
    connection: AsyncConnection,
    wallet_id: WalletId,
    vendor_id: VendorId,
    hold_id: TransactionId,
    *,
    may_see_all: bool,
) -> StoredHold | None:
    """The vendor's own first, then anybody's."""
    is_own = holds.c.vendor_id == vendor_id
    statement = select(*_HOLD).where(holds.c.wallet_id == wallet_id, holds.c.hold_id == hold_id, _OF_VENDORS)
    if not may_see_all:
        statement = statement.where(is_own)
    ordered = statement.order_by(case((is_own, 0), else_=1), holds.c.vendor_id).limit(1)
    row: StoredHold | None = (await connection.execute(ordered)).first()
    return row


async def due_holds(connection: AsyncConnection, *, after: DueHold | None, limit: int) -> Sequence[DueHold]:
    """Open holds past their time, of wallets that no move has stopped, the longest overdue first."""
    overdue = func.extract("epoch", func.statement_timestamp() - holds.c.expires_at)
    statement = (
        select(*_PLACE_OF_DUE, overdue.label("overdue_s"))
        .join(wallets, wallets.c.wallet_id == holds.c.wallet_id)
        .where(
            _IS_OVER,
            holds.c.expires_at.is_not(None),
            _OF_VENDORS,
            wallets.c.frozen_by.is_(None),
        )
        .order_by(*_PLACE_OF_DUE)
        .limit(limit)
    )
    if after is not None:
        place = (after.expires_at, after.wallet_id, after.vendor_id, after.hold_id)
        statement = statement.where(tuple_(*_PLACE_OF_DUE) > place)
    return [
        DueHold(
            expires_at=row.expires_at,
            wallet_id=WalletId(row.wallet_id),
            vendor_id=VendorId(row.vendor_id),
            hold_id=TransactionId(row.hold_id),
            overdue_s=float(row.overdue_s),
        )
        for row in await connection.execute(statement)
    ]
