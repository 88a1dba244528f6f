"""The platform with one protection taken away, each as a function that replaces one piece before a program runs.

Every claim of the fault tests has one here that breaks it. What a mutant does is the mistake that somebody could make.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

LATE_S = 0.1
"""How far a commit lags behind in mutants: their window must be hit by every kill."""


def forget_outcomes() -> None:
    """A known id is decided anew; the primary key that would catch it has to be dropped as well."""
    from cell.ledger.view import View  # noqa: PLC0415 - only the mutated program needs it

    recorded = View.recorded

    def recorded_but_own(view: View, key: Any) -> Any:
        return None if key == view._footprint.transactions[0] else recorded(view, key)

    _put(View, recorded=recorded_but_own)


def forget_refusals() -> None:
    """A refusal is answered and not recorded."""
    from cell.ledger import money, transferring  # noqa: PLC0415
    from cell.ledger.outcomes import Rejected  # noqa: PLC0415
    from contract.problems import Problem  # noqa: PLC0415

    def refuse(wallet: Any, command: Any, now_us: Any, reason: Any) -> Any:
        del wallet, command, now_us
        return Rejected(problem=Problem(reason=reason, detail="No."))

    for subject in (money, transferring):
        _put(subject, refuse=refuse)


def acknowledge_before_commit() -> None:
    """Callers are answered while the batch is still on its way to the database; openings, which are read, are not."""
    from cell.store.ledger_store import PostgresSession  # noqa: PLC0415

    save, load, abandon = PostgresSession.save, PostgresSession.load, PostgresSession.abandon
    under_way: dict[PostgresSession, asyncio.Task[None]] = {}

    async def save_later(session: PostgresSession, changes: Sequence[Any]) -> None:
        async def late() -> None:
            await asyncio.sleep(LATE_S)
            await save(session, changes)

        if any(change.opened for change in changes):
            await save(session, changes)
        else:
            under_way[session] = asyncio.create_task(late())

    async def finish(session: PostgresSession) -> None:
        await asyncio.gather(*filter(None, [under_way.pop(session, None)]), return_exceptions=True)

    async def load_after(session: PostgresSession, footprint: Any) -> Any:
        await finish(session)
        return await load(session, footprint)

    async def abandon_after(session: PostgresSession) -> None:
        await finish(session)
        await abandon(session)

    _put(PostgresSession, save=save_later, load=load_after, abandon=abandon_after)


def take_lost_commits_for_done() -> None:
    """A connection that breaks at COMMIT is taken for a commit."""
    from cell.ports import StoreLostError  # noqa: PLC0415
    from cell.store.ledger_store import PostgresSession  # noqa: PLC0415

    save = PostgresSession.save

    async def save_hopefully(session: PostgresSession, changes: Sequence[Any]) -> None:
        await asyncio.sleep(LATE_S)
        try:
            await save(session, changes)
        except StoreLostError:
            return

    _put(PostgresSession, save=save_hopefully)


def rerun_under_new_ids() -> None:
    """After a lost connection the batch runs again as if it were another one."""
    from cell.lane import Lane as _Lane  # noqa: PLC0415

    lose = _Lane._lose

    def lose_ids_too(lane: _Lane, batch: Sequence[Any], error: Any) -> None:
        for waiting in batch:
            waiting.command = replace(waiting.command, transaction_id=str(uuid.uuid4()))
        lose(lane, batch, error)

    _put(_Lane, _lose=lose_ids_too)


def skip_locks() -> None:
    """Wallets are read without being locked."""
    from cell.store import ledger_store, statements  # noqa: PLC0415

    _put(ledger_store, LOCK_WALLETS=statements.LOCK_WALLETS.replace(" FOR UPDATE", ""))


def lose_configuration() -> None:
    """A cell keeps its configuration in memory only."""
    from cell.configuration_source import ConfigurationSource  # noqa: PLC0415

    load = ConfigurationSource.load

    def load_for_the_last_time(source: ConfigurationSource) -> bool:
        is_loaded = load(source)
        source._file.unlink(missing_ok=True)
        return is_loaded

    _put(ConfigurationSource, load=load_for_the_last_time)


def lose_map() -> None:
    """A router keeps its map in memory only."""
    from router.directory_files import NEWEST, DirectoryFiles  # noqa: PLC0415

    load = DirectoryFiles.load

    def load_for_the_last_time(files: DirectoryFiles) -> Any:
        document = load(files)
        (files._dir / NEWEST).unlink(missing_ok=True)
        return document

    _put(DirectoryFiles, load=load_for_the_last_time)


def retry_under_new_ids() -> None:
    """The router sends a money request again as a new transaction."""
    from router.delivery import Delivery  # noqa: PLC0415

    on_the_wire = Delivery._on_the_wire

    def on_the_wire_anew(delivery: Delivery, request: Any, forward: Any, authority: bytes) -> bytes:
        if request.sendings > 1 and b'"transaction_id"' in request.body:
            body = json.loads(request.body)
            body["transaction_id"] = str(uuid.uuid4())
            request.body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        return on_the_wire(delivery, request, forward, authority)

    _put(Delivery, _on_the_wire=on_the_wire_anew)


def never_ask_again() -> None:
    """The router gives up at the first silence of an instance."""
    from router.routing.journey import GiveUp, Journey  # noqa: PLC0415

    def give_up(journey: Journey, *_: Any, **__: Any) -> tuple[GiveUp, bool]:
        del journey
        return GiveUp(), True

    _put(Journey, fell_silent=give_up)


def share_one_bulkhead() -> None:
    """The router counts the requests of all cells together."""
    from router.routing.health import CellHealth, FleetHealth  # noqa: PLC0415

    cell = FleetHealth.cell

    def any_cell(fleet: FleetHealth, cell_id: str) -> CellHealth:
        del cell_id
        return cell(fleet, "any")

    _put(FleetHealth, cell=any_cell)


def refund_on_any_no() -> None:
    """A silent or unreachable receiver is taken for one that refuses."""
    from cell import elsewhere  # noqa: PLC0415

    ask = elsewhere.Elsewhere._ask

    async def ask_hastily(self: Any, *arguments: Any) -> Any:
        answer = await ask(self, *arguments)
        return elsewhere.RefusedThere(reason="silence") if isinstance(answer, elsewhere.Unknown) else answer

    _put(elsewhere.Elsewhere, _ask=ask_hastily)


def forget_receipts() -> None:
    """The receiver takes a transfer in whenever it comes; the primary key is gone as well."""
    from cell.ledger.derived_ids import TRANSFER_VENDOR  # noqa: PLC0415
    from cell.ledger.view import View  # noqa: PLC0415

    recorded = View.recorded

    def recorded_but_receipts(view: View, key: Any) -> Any:
        return None if key.vendor_id == TRANSFER_VENDOR else recorded(view, key)

    _put(View, recorded=recorded_but_receipts)


def leave_transfers_to_their_requests() -> None:
    """No loop finishes what a request has begun."""
    from cell.transfers import Transfers  # noqa: PLC0415

    async def do_nothing(self: Any) -> None:
        del self

    _put(Transfers, work=do_nothing)


def decide_legs_alone() -> None:
    """A participant confirms its leg by itself instead of waiting for the decision."""
    from cell import groups  # noqa: PLC0415

    _put(groups, LEG_PATIENCE_S=0.0)

    async def confirm(self: Any, *_: Any, **__: Any) -> Any:
        del self
        return groups.Done(answer={"state": "confirmed"})

    from cell.elsewhere import Elsewhere  # noqa: PLC0415

    _put(Elsewhere, decision=confirm)


def _put(owner: Any, **pieces: Any) -> None:
    """Replace what is there: a piece that was renamed must not make a mutant harmless."""
    for name, piece in pieces.items():
        if getattr(owner, name) == piece:
            raise ValueError(f"{name} is what it was: this mutant changes nothing")
        setattr(owner, name, piece)


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        forget_outcomes,
        forget_refusals,
        acknowledge_before_commit,
        take_lost_commits_for_done,
        rerun_under_new_ids,
        skip_locks,
        lose_configuration,
        lose_map,
        retry_under_new_ids,
        never_ask_again,
        share_one_bulkhead,
    )
}

SAGA_MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (refund_on_any_no, forget_receipts, leave_transfers_to_their_requests, decide_legs_alone)
}
