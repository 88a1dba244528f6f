"""The write path's two round trips in PostgreSQL, each one pipeline of prepared statements.

READ COMMITTED, the lock statement first, everything else in later statements: a later statement sees what was
committed while the locks were waited for. Locks are taken in id order, so batches cannot deadlock. Knows nothing of
rules; whether a commit happened is never guessed (cell/ports.py).
"""

import secrets
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import ConnStatus
from psycopg.rows import TupleRow

from cell.ledger.footprint import Footprint
from cell.ledger.model import Exile, TransactionKey, UnitState
from cell.ledger.outcomes import Changes
from cell.ledger.view import Loaded
from cell.ports import StoreBusyError, StoreLostError, StoreRefusedError
from cell.store import arrays, promises
from cell.store.pipeline import Answer, Pipeline
from cell.store.plans import BY_INDEX
from cell.store.restored import Admit, InQuarantineError, must_be_open
from cell.store.statements import (
    CLOCK,
    INSERT_ACCOUNT_DELTAS,
    INSERT_ENTRIES_AND_TRANSACTIONS,
    INSERT_REVERSALS,
    INSERT_WALLETS,
    LOCK_UNITS,
    LOCK_WALLETS,
    NAME_WALLETS,
    PROBE,
    SELECT_EXILES,
    SELECT_FREE_WALLETS,
    SELECT_RECORDED,
    SELECT_REVERSED,
    SELECT_UNIT_STATES,
    SELECT_WALLET_IDS,
    UPDATE_METADATA,
    UPDATE_WALLETS,
    entry_columns,
    name_columns,
    opened_columns,
    recorded_of,
    wallet_columns,
    wallet_of,
)
from contract.ids import WalletId
from contract.slots import slot_of

_WARNING_AT_COMMIT = "01000"
"""The commit was cancelled while it waited for its standby: the row is visible here and perhaps nowhere else."""


class PostgresLedger:
    """`LedgerStore` on one PostgreSQL."""

    def __init__(
        self,
        database_url: str,
        *,
        process_id: str,
        lock_timeout_ms: int,
        idle_timeout_ms: int,
        connect_timeout_s: int = 3,
        tcp_user_timeout_ms: int = 5_000,
        admit: Admit = must_be_open,
    ) -> None:
        self._database_url = database_url
        self._admit = admit
        self._process_id = process_id
        self._lock_timeout_ms = lock_timeout_ms
        self._idle_timeout_ms = idle_timeout_ms
        self._connect_arguments = {"connect_timeout": connect_timeout_s, "tcp_user_timeout": tcp_user_timeout_ms}

    def session(self, name: str) -> "PostgresSession":
        options = (
            f"-c application_name=cell-write:{name} -c synchronous_commit=on "
            f"-c plan_cache_mode=force_generic_plan {BY_INDEX} -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={self._idle_timeout_ms} "
            f"-c default_transaction_isolation=read\\ committed"
        )
        return PostgresSession(
            self._database_url,
            connect_arguments={"options": options, **self._connect_arguments},
            process_id=self._process_id,
            lock_timeout_ms=self._lock_timeout_ms,
            admit=self._admit,
        )


class PostgresSession:
    def __init__(
        self,
        database_url: str,
        *,
        connect_arguments: dict[str, Any],
        process_id: str,
        lock_timeout_ms: int,
        admit: Admit,
    ) -> None:
        self._database_url = database_url
        self._admit = admit
        self._connect_arguments = connect_arguments
        self._process_id = process_id
        self._limit_locks = f"SET LOCAL statement_timeout = {lock_timeout_ms}"
        self._connection: AsyncConnection[TupleRow] | None = None
        self._pipeline: Pipeline | None = None
        self._commit_is_doubtful = False

    async def connect(self) -> None:
        await self.close()
        try:
            connection = await AsyncConnection.connect(
                self._database_url, autocommit=True, prepare_threshold=0, **self._connect_arguments
            )
            arrays.register(connection)
            connection.add_notice_handler(self._on_notice)
            self._connection = connection
            await self._admit(connection)
            await connection.execute(PROBE, (self._process_id,))
            self._pipeline = Pipeline(connection)
        except psycopg.Error as error:
            await self.close()
            raise StoreLostError(str(error).strip()) from error

    async def load(self, footprint: Footprint) -> Loaded:
        try:
            loaded, frozen = await self._lock_and_load(footprint)
            doubtful = [one for one in footprint.wallet_ids if one not in loaded.wallets] + frozen
            if doubtful:
                await self._load_ownership(loaded, doubtful)
        except psycopg.Error as error:
            raise self._failure(error) from error
        return loaded

    async def save(self, changes: Sequence[Changes]) -> None:
        self._commit_is_doubtful = False
        try:
            await self._insert_and_commit(changes)
        except psycopg.Error as error:
            raise self._failure(error) from error

    async def confirm(self) -> None:
        """Who has locked a row has a transaction id, so its commit waits for a standby, and for all before it."""
        self._commit_is_doubtful = False
        try:
            pipeline = self._live()
            commit = pipeline.send("COMMIT")
            await pipeline.sync()
        except psycopg.Error as error:
            raise self._failure(error) from error
        self._must_be_committed(commit)

    async def held_wallets(self, wallet_ids: Sequence[WalletId]) -> frozenset[WalletId]:
        try:
            pipeline = self._live()
            free = pipeline.send(SELECT_FREE_WALLETS, arrays.uuids(wallet_ids))
            known = pipeline.send(SELECT_WALLET_IDS, arrays.uuids(wallet_ids))
            await pipeline.sync()  # which ends the transaction, and with it what this look has locked
            are_free = {row[0] for row in free.rows()}
            return frozenset(row[0] for row in known.rows() if row[0] not in are_free)
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error

    async def abandon(self) -> None:
        if self._pipeline is None:
            return
        try:
            await self._pipeline.roll_back()
        except psycopg.Error:
            await self.close()

    async def close(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        connection, self._connection = self._connection, None
        if pipeline is not None:
            await pipeline.close()
        elif connection is not None:
            await connection.close()

    async def _lock_and_load(self, footprint: Footprint) -> tuple[Loaded, list[WalletId]]:
        pipeline = self._live()
        pipeline.send("BEGIN")
        pipeline.send(self._limit_locks)
        if footprint.openings:
            units = sorted({slot_of(wallet_id) for wallet_id in footprint.openings})
            pipeline.send(LOCK_UNITS, arrays.int4s(units))
        wallets = pipeline.send(LOCK_WALLETS, arrays.uuids(footprint.wallet_ids))
        pipeline.send("SET LOCAL statement_timeout = 0")
        recorded = pipeline.send(SELECT_RECORDED, *promises.key_columns(footprint.transactions))
        reversed_ = None
        if footprint.originals:
            reversed_ = pipeline.send(SELECT_REVERSED, *promises.key_columns(footprint.originals))
        asked = [
            (pipeline.send(statement, *columns), take) for statement, columns, take in promises.questions(footprint)
        ]
        clock = pipeline.send(CLOCK)
        await pipeline.sync()
        loaded = Loaded(
            wallets={row[0]: wallet_of(row) for row in wallets.rows()},
            recorded={record.key: record for record in map(recorded_of, recorded.rows())},
            reversed_amounts={TransactionKey(*row[:3]): row[3] for row in (reversed_.rows() if reversed_ else ())},
            now_us=clock.rows()[0][0],
            unit_states={},
            exiles={},
        )
        for rows, take in asked:
            for row in rows.rows():
                take(loaded, row)
        frozen = [wallet.wallet_id for wallet in loaded.wallets.values() if wallet.frozen_by is not None]
        return loaded, frozen

    async def _load_ownership(self, loaded: Loaded, doubtful: list[WalletId]) -> None:
        """Units and exiles of absent and frozen wallets, in statements after the locks."""
        pipeline = self._live()
        units = {loaded.wallets[one].unit if one in loaded.wallets else slot_of(one) for one in doubtful}
        states = pipeline.send(SELECT_UNIT_STATES, arrays.int4s(sorted(units)))
        exiles = pipeline.send(SELECT_EXILES, arrays.uuids(doubtful))
        await pipeline.sync()
        for unit, state, epoch, peer_cell in states.rows():
            loaded.unit_states[unit] = UnitState(unit=unit, state=state, epoch=epoch, peer_cell=peer_cell)
        for wallet_id, unit, cell, epoch in exiles.rows():
            loaded.exiles[wallet_id] = Exile(wallet_id=wallet_id, unit=unit, cell=cell, epoch=epoch)

    async def _insert_and_commit(self, changes: Sequence[Changes]) -> None:
        pipeline = self._live()
        opened = [change.opened for change in changes if change.opened is not None]
        born = {one.wallet.wallet_id: one.wallet.seq for one in opened}
        touched = {wallet.wallet_id: wallet for change in changes for wallet in change.wallets}
        altered = [wallet for wallet in touched.values() if wallet.seq != born.get(wallet.wallet_id)]
        written = [pair for change in changes for pair in zip(change.entries, change.recorded, strict=True)]
        if opened:
            await self._insert_wallets(pipeline, opened)
        rows = pipeline.send(INSERT_ENTRIES_AND_TRANSACTIONS, *entry_columns(written))
        updated = pipeline.send(UPDATE_WALLETS, *wallet_columns(altered)) if altered else None
        self._send_the_rest(pipeline, changes)
        commit = pipeline.send("COMMIT")
        await pipeline.sync()
        counts = rows.rows()[0]
        if counts != (len(written), len(written)) or (updated and updated.count != len(altered)):
            raise StoreLostError(f"{len(written)} entries were sent, {counts} were written")
        self._must_be_committed(commit)

    def _must_be_committed(self, commit: Answer) -> None:
        if commit.tag != "COMMIT" or self._commit_is_doubtful:
            raise StoreLostError(f"the commit was answered by {commit.tag}")

    async def _insert_wallets(self, pipeline: Pipeline, opened: list[Any]) -> None:
        rows = pipeline.send(INSERT_WALLETS, *opened_columns(opened))
        await pipeline.sync()
        if rows.count != len(opened):
            raise StoreBusyError("a wallet was opened by somebody else meanwhile")

    def _send_the_rest(self, pipeline: Pipeline, changes: Sequence[Changes]) -> None:
        deltas: defaultdict[tuple[str, str], int] = defaultdict(int)
        for change in changes:
            for account, currency, delta in change.account_deltas:
                deltas[account, currency] += delta
        if deltas:
            names, currencies = zip(*deltas, strict=True)
            columns = (arrays.texts(names), arrays.texts(currencies), arrays.int8s(list(deltas.values())))
            pipeline.send(INSERT_ACCOUNT_DELTAS, *columns, secrets.token_hex(8))
        reversals = [change.reversal for change in changes if change.reversal is not None]
        if reversals:
            keys = promises.key_columns([one.original for one in reversals])
            columns_of_parts = (
                arrays.int8s([one.seq for one in reversals]),
                arrays.int8s([one.amount for one in reversals]),
            )
            pipeline.send(INSERT_REVERSALS, *keys, *columns_of_parts)
        metadata = {
            change.recorded[0].key.wallet_id: change.metadata for change in changes if change.metadata is not None
        }
        for statement, columns_of_rows in promises.writes(changes):
            pipeline.send(statement, *columns_of_rows)
        continued = [change.continued for change in changes if change.continued is not None]
        if continued:
            pipeline.send(NAME_WALLETS, *name_columns(continued))
        if metadata:
            columns_of_texts = (arrays.uuids(list(metadata)), arrays.texts(list(metadata.values())))
            pipeline.send(UPDATE_METADATA, *columns_of_texts)

    def _live(self) -> Pipeline:
        if self._pipeline is None:
            raise StoreLostError("not connected")
        return self._pipeline

    def _failure(self, error: psycopg.Error) -> StoreLostError | StoreBusyError | StoreRefusedError:
        """What is known after a driver's error: nothing (lost), nobody's fault (busy), or bad data (refused)."""
        text = str(error).strip()
        connection = self._connection
        if connection is None or connection.closed or connection.pgconn.status != ConnStatus.OK:
            return StoreLostError(text)
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            return StoreLostError(text)  # this is no primary any more: the next connection finds the one that is
        if isinstance(error, InQuarantineError):
            return StoreLostError(text)  # which no connection will find otherwise until an operator opens the cell
        if isinstance(error, psycopg.OperationalError | psycopg.InternalError):
            return StoreBusyError(text)
        return StoreRefusedError(text)

    def _on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate == _WARNING_AT_COMMIT:
            self._commit_is_doubtful = True
