"""The questions behind a statement: from where to where, the two balances, and the lines between them, page by page.

`to` is fixed before anything is read, at an instant before which nothing can be posted any more: so the pages fit
together although other entries are posted meanwhile, and a statement asked for again is the same. Knows no HTTP.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from cell.ledger.posting import InvariantBrokenError
from cell.queries import Queries, absent, malformed
from cell.store import reads
from cell.store.reads import EntryFilter, StoredEntry
from contract.ids import WalletId
from contract.problems import Problem
from contract.values import value

PAGE: Final = 500
_MICROSECOND: Final = timedelta(microseconds=1)


@value
class Statement:
    wallet_id: WalletId
    currency: str
    from_at: datetime
    """Inclusive."""
    to_at: datetime
    """Exclusive."""
    opening_balance: int
    closing_balance: int


@value
class StatementPage:
    lines: tuple[StoredEntry, ...]
    """Those of the entries read that changed the balance."""
    next_after: tuple[datetime, int] | None
    """None at the end."""


class Statements:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def begin(self, wallet_id: WalletId, from_at: datetime | None, to_at: datetime | None) -> Statement | Problem:
        """Without `from_at` from the wallet's first entry on, without `to_at` until now."""

        async def ask(connection: AsyncConnection) -> Statement | Problem:
            now = await reads.clock(connection)
            if to_at is not None and to_at > now:
                return malformed("to", "must not be in the future")
            if from_at is not None and from_at > (to_at or now):
                return malformed("from", "must not be after `to`")
            settled_until = await reads.settled_until(connection)
            end = min(to_at or now, settled_until + _MICROSECOND)
            first = await reads.entry_page(connection, EntryFilter(wallet_id=wallet_id, limit=1, order="asc"))
            if not first or end <= first[0].posted_at:
                return absent(wallet_id, at=end)
            start = min(from_at or first[0].posted_at, end)
            before = None
            if start > first[0].posted_at:
                before = await reads.entry_at(connection, wallet_id, start - _MICROSECOND)
            last = await reads.entry_at(connection, wallet_id, end - _MICROSECOND)
            return Statement(
                wallet_id=wallet_id,
                currency=first[0].currency,
                from_at=start,
                to_at=end,
                opening_balance=0 if before is None else before.balance_after,
                closing_balance=0 if last is None else last.balance_after,
            )

        return await self._queries.ask(ask)

    async def page(self, statement: Statement, after: tuple[datetime, int] | None) -> StatementPage:
        wanted = EntryFilter(
            wallet_id=statement.wallet_id,
            limit=PAGE,
            order="asc",
            from_at=statement.from_at,
            to_at=statement.to_at,
            after=after,
        )
        rows = await self._queries.ask(lambda connection: reads.entry_page(connection, wanted))
        return StatementPage(
            lines=tuple(row for row in rows if row.amount),
            next_after=(rows[-1].posted_at, rows[-1].seq) if len(rows) == PAGE else None,
        )


def must_add_up(statement: Statement, moved: int) -> None:
    """Lines that do not lead from one balance to the other are never told as if they did.

    Raises:
        InvariantBrokenError: they do not.

    """
    if statement.opening_balance + moved != statement.closing_balance:
        raise InvariantBrokenError(
            f"statement of {statement.wallet_id} from {statement.from_at} to {statement.to_at}: "
            f"{statement.opening_balance} + {moved} is not {statement.closing_balance}"
        )
