"""The read path: balances, histories and transactions, on connections of its own, never behind the write queue.

Reads are refused like writes where another cell owns the wallet, but a fence does not stop them. Knows no HTTP.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cell.ledger.ownership import refuse_absent, refuse_read
from cell.patience import within
from cell.ports import StoreLostError
from cell.store import reads
from cell.store.database_url import sqlalchemy_url
from cell.store.plans import BY_INDEX
from cell.store.reads import EntryFilter, StoredEntry
from cell.store.restored import admitted, must_be_open
from cell.store.wallet_reader import Sighting, StoredWallet, WalletReader
from contract.ids import TransactionId, VendorId, WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value

T = TypeVar("T")

SILENCE_S = 0.5
"""For the way to the database and back."""
TOO_LATE = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="There was no answer before the deadline.")


@value
class BalanceAt:
    """A balance as it was at `as_of`, for ever."""

    entry: StoredEntry
    as_of: datetime


class _ConnectionLostError(StoreLostError):
    """Worth asking once more on another connection; what was slow or found no place would only be slower."""


class Queries:
    """Expected "no"s are returned as problems; a lost database is raised as `StoreLostError`."""

    def __init__(
        self,
        database_url: str,
        *,
        connections_max: int,
        wait_max_ms: int,
        statement_timeout_ms: int,
        connect_timeout_s: int,
        tcp_user_timeout_ms: int = 5_000,
    ) -> None:
        self._wallets = WalletReader(
            database_url,
            connections=1,
            statement_timeout_ms=statement_timeout_ms,
            connect_timeout_s=connect_timeout_s,
            tcp_user_timeout_ms=tcp_user_timeout_ms,
        )
        self._answer_max_s = statement_timeout_ms / 1_000

        async def connect() -> psycopg.AsyncConnection[Any]:
            connection = await psycopg.AsyncConnection.connect(
                database_url,
                application_name="cell-read",
                connect_timeout=connect_timeout_s,
                tcp_user_timeout=tcp_user_timeout_ms,
                options=f"{BY_INDEX} -c timezone=UTC -c statement_timeout={statement_timeout_ms}",
            )
            return await admitted(connection, must_be_open)

        # The database itself ends a statement that takes too long: silence beyond that is no slowness.
        self._ask_max_s = (wait_max_ms + statement_timeout_ms) / 1_000 + SILENCE_S
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(database_url),
            async_creator=connect,
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=wait_max_ms / 1_000,
        )

    def start(self) -> None:
        self._wallets.start()

    async def stop(self) -> None:
        await self._wallets.stop()
        await self._engine.dispose()

    async def wallet(
        self, wallet_id: WalletId, owner_types: frozenset[str] | None, *, within_s: float = math.inf
    ) -> StoredWallet | Problem:
        sighting = await self._sighting_of(wallet_id, within_s)
        if sighting is None:
            return TOO_LATE
        wallet = sighting.wallet
        if wallet is None:
            elsewhere = refuse_absent(wallet_id, sighting.unit_state, sighting.exile)
            return elsewhere or absent(wallet_id)
        if owner_types is not None and wallet.owner_type not in owner_types:
            return Problem(
                reason=Reason.SCOPE_MUST_ALLOW,
                qualifier="read",
                detail=f"The token does not cover wallets of owners of type {wallet.owner_type!r}.",
            )
        if wallet.frozen_by is None:
            return wallet
        return refuse_read(wallet.unit, sighting.unit_state) or wallet

    async def _sighting_of(self, wallet_id: WalletId, within_s: float) -> Sighting | None:
        """Others may wait for the same answer: it outlives a caller who leaves, and a database that is silent.

        None = the caller's own time was up first.
        """
        try:
            async with asyncio.timeout(min(within_s, self._answer_max_s)):
                return await asyncio.shield(self._wallets.read(wallet_id))
        except TimeoutError as error:
            if within_s < self._answer_max_s:
                return None
            raise StoreLostError("the database does not answer") from error

    async def balance_at(self, wallet_id: WalletId, at: datetime) -> BalanceAt | Problem:
        """The balance at `at`, or at the latest instant before it that can no longer change."""

        async def ask(connection: AsyncConnection) -> BalanceAt | Problem:
            if at > await reads.clock(connection):
                return malformed("at", "must not be in the future")
            as_of = min(at, await reads.settled_until(connection))
            entry = await reads.entry_at(connection, wallet_id, as_of)
            return absent(wallet_id, at=at) if entry is None else BalanceAt(entry=entry, as_of=as_of)

        return await self.ask(ask)

    async def entries(self, wanted: EntryFilter) -> tuple[list[StoredEntry], bool]:
        """A page, and whether more follow."""
        one_more = EntryFilter(
            wallet_id=wanted.wallet_id,
            limit=wanted.limit + 1,
            order=wanted.order,
            from_at=wanted.from_at,
            to_at=wanted.to_at,
            kind=wanted.kind,
            after=wanted.after,
        )
        rows = list(await self.ask(lambda connection: reads.entry_page(connection, one_more)))
        return rows[: wanted.limit], len(rows) > wanted.limit

    async def transaction(
        self, wallet_id: WalletId, vendor_id: VendorId, transaction_id: TransactionId, *, may_see_all: bool
    ) -> StoredEntry | Problem:
        entry = await self.ask(
            lambda connection: reads.deciding_entry(
                connection, wallet_id, vendor_id, transaction_id, may_see_all=may_see_all
            )
        )
        return entry or Problem(
            reason=Reason.TRANSACTION_MUST_EXIST, detail=f"This wallet has no transaction {transaction_id}."
        )

    async def wallets_of_owner(
        self, *, owner_type: str, owner_ref: str, currency: str | None, kind: str | None
    ) -> list[StoredWallet]:
        """Those that this cell owns; the router asks every cell."""
        ids = await self.ask(
            lambda connection: reads.owned_wallet_ids(
                connection, owner_type=owner_type, owner_ref=owner_ref, currency=currency, kind=kind
            )
        )
        found = [await self.wallet(wallet_id, None) for wallet_id in ids]
        return [wallet for wallet in found if isinstance(wallet, StoredWallet)]

    async def ask(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Each statement sees what is committed by then; a connection that was lost while idle is replaced once."""
        try:
            return await within(self._ask_max_s, self._ask_twice(question))
        except TimeoutError as error:
            raise StoreLostError("the database does not answer") from error

    async def _ask_twice(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        try:
            return await self._ask_once(question)
        except _ConnectionLostError:
            return await self._ask_once(question)

    async def _ask_once(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        try:
            async with self._engine.connect() as pooled:
                connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
                return await question(connection)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _ConnectionLostError(str(error)) from error
            if isinstance(error, OperationalError | InterfaceError):
                raise StoreLostError(str(error)) from error
            raise
        except PoolTimeoutError as error:
            raise StoreLostError(str(error)) from error


def absent(wallet_id: WalletId, *, at: datetime | None = None) -> Problem:
    if at is None:
        return Problem(reason=Reason.WALLET_MUST_EXIST, detail=f"There is no wallet {wallet_id}.")
    moment = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return Problem(
        reason=Reason.WALLET_MUST_EXIST,
        detail=f"Wallet {wallet_id} did not exist at {moment}.",
        facts={"at": moment},
    )


def malformed(parameter: str, message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{parameter}: {message}",
        facts={"errors": [{"pointer": "", "parameter": parameter, "message": message}]},
    )
