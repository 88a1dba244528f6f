"""Limits of wallets, and of vendors on wallets; those of a vendor alone are part of its policy (store/vendors.py)."""

from collections import defaultdict
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, delete, func, literal, null, select, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.configuration import Limit, Limits, VendorLimits
from contract.ids import VendorId
from contract.values import value
from control_plane.store.changes import record_change
from control_plane.store.locks import lock_fleet
from control_plane.store.nudges import nudge
from control_plane.store.tables import limits, vendors
from control_plane.store.vendors import policy_of, put_policy

LIMITS_MAX: Final = 10_000
"""Of wallets, in the whole fleet: every cell carries them all, about 1 MB of its configuration."""

NOBODY: Final = ""
"""In place of a vendor or a wallet that is not named."""


@value
class LimitOf:
    """A limit and whose it is, as people see it."""

    vendor_id: str
    wallet_id: str
    limit: Limit


async def wallet_limits(connection: AsyncConnection) -> Limits:
    wallets: dict[str, Limit] = {}
    vendor_wallets: defaultdict[str, dict[str, Limit]] = defaultdict(dict)
    for row in await connection.execute(select(limits).order_by(limits.c.wallet_id, limits.c.vendor_id)):
        limit = Limit(amount_max=row.amount_max, day_max=row.day_max)
        if row.vendor_id == NOBODY:
            wallets[row.wallet_id] = limit
        else:
            vendor_wallets[row.wallet_id][row.vendor_id] = limit
    return Limits(wallets=wallets, vendor_wallets=dict(vendor_wallets))


async def put_wallet_limit(connection: AsyncConnection, new: LimitOf, *, actor: str, request_id: str) -> bool:
    """Replace what applies to this wallet, or this vendor on it; False when no more limits fit."""
    await lock_fleet(connection)
    before = await _limit_of(connection, new)
    if before == new.limit:
        return True
    if new.limit == Limit():
        await connection.execute(delete(limits).where(*_is_subject(new)))
    elif before == Limit() and await _count(connection) >= LIMITS_MAX:
        return False
    else:
        await _upsert(connection, new)
    await record_change(
        connection,
        actor=actor,
        subject=f"wallet:{new.wallet_id}",
        before=_told(new, before),
        after=_told(new, new.limit),
        request_id=request_id,
    )
    await nudge(connection)
    return True


async def put_vendor_limit(connection: AsyncConnection, new: LimitOf, *, actor: str, request_id: str) -> None:
    """Replace what applies to this vendor on every wallet, and nothing else of its policy."""
    await lock_fleet(connection)
    vendor = VendorId(new.vendor_id)
    before = await policy_of(connection, vendor)
    after = before.model_copy(update={"limits": VendorLimits(amount_max=new.limit.amount_max)})
    await put_policy(connection, vendor, after, actor=actor, request_id=request_id)


async def limits_after(
    connection: AsyncConnection, place: tuple[str, str], *, vendor_id: str | None, wallet_id: str | None, limit: int
) -> tuple[LimitOf, ...]:
    """In the order of (wallet, vendor), those of vendors alone first; `place` is the last of the page before."""
    amount = vendors.c.policy["limits"]["amount_max"].as_string().cast(BigInteger)
    of_vendors = select(
        literal(NOBODY).label("wallet_id"),
        vendors.c.id.label("vendor_id"),
        amount.label("amount_max"),
        null().cast(BigInteger).label("day_max"),
    ).where(amount.is_not(None))
    known = union_all(select(limits), of_vendors).subquery()
    where = tuple_(known.c.wallet_id, known.c.vendor_id)
    query = select(known).where(where > place).order_by(known.c.wallet_id, known.c.vendor_id).limit(limit)
    if vendor_id is not None:
        query = query.where(known.c.vendor_id == vendor_id)
    if wallet_id is not None:
        query = query.where(known.c.wallet_id == wallet_id)
    return tuple(
        LimitOf(
            vendor_id=row.vendor_id,
            wallet_id=row.wallet_id,
            limit=Limit(amount_max=row.amount_max, day_max=row.day_max),
        )
        for row in await connection.execute(query)
    )


async def _limit_of(connection: AsyncConnection, subject: LimitOf) -> Limit:
    row = (await connection.execute(select(limits).where(*_is_subject(subject)))).first()
    return Limit() if row is None else Limit(amount_max=row.amount_max, day_max=row.day_max)


async def _count(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.count()).select_from(limits))).scalar_one())


async def _upsert(connection: AsyncConnection, new: LimitOf) -> None:
    write = insert(limits).values(
        wallet_id=new.wallet_id,
        vendor_id=new.vendor_id,
        amount_max=new.limit.amount_max,
        day_max=new.limit.day_max,
    )
    both = {"amount_max": write.excluded.amount_max, "day_max": write.excluded.day_max}
    await connection.execute(
        write.on_conflict_do_update(index_elements=[limits.c.wallet_id, limits.c.vendor_id], set_=both)
    )


def _is_subject(subject: LimitOf) -> tuple[ColumnElement[bool], ...]:
    return limits.c.wallet_id == subject.wallet_id, limits.c.vendor_id == subject.vendor_id


def _told(subject: LimitOf, limit: Limit) -> dict[str, object]:
    return {"vendor": subject.vendor_id or None, **limit.model_dump(mode="json")}
