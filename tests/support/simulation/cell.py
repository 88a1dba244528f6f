"""A cell of the simulated fleet: the real write path, routes, moves and sagas over a memory store.

What is on its disk outlives the process; everything else is built anew at each start, as cell/app.py does it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from moving.memory_cells import move_application

from cell.api.admin import answer_lost_database
from cell.api.admission import Admission
from cell.api.asking import Callers
from cell.api.errors import answer_problems
from cell.api.peer_routes import Peers, peer_routes
from cell.api.responses import Identified, Responder
from cell.api.saga_answers import SagaAnswers
from cell.api.tokens import vendor_tokens
from cell.api.wallet_routes import WalletRoutes
from cell.background.duty import Duty
from cell.background.expiry import DUTY as EXPIRY
from cell.background.expiry import expiry_of
from cell.background.move_duties import PULL_PERIOD_S, WATCHDOG_PERIOD_S, MoveDuties
from cell.cell_tokens import CellTokens, CellTokenVerifier
from cell.crash_points import CrashPoints
from cell.elsewhere import Elsewhere
from cell.groups import Groups
from cell.lanes import LaneLimits, Lanes
from cell.ledger.footprint import Footprint
from cell.ledger.outcomes import Changes
from cell.ledger.view import Loaded
from cell.moves import Moves
from cell.peer_grants import PeerGrants
from cell.policy import LimitPolicy
from cell.ports import StoreLostError
from cell.queries import Queries
from cell.store.hold_reads import DueHold
from cell.store.memory import MemoryLedger, MemorySession
from cell.store.memory_moves import MemoryMoves
from cell.store.memory_sagas import MemorySagas
from cell.store.wallet_reader import Sighting, StoredWallet
from cell.telemetry import AccessLog, Metrics, Telemetry
from cell.transfers import Transfers
from contract.configuration import CellConfiguration
from contract.headers import DEADLINE_DEFAULT_MS
from contract.ids import WalletId
from contract.scopes import AUDIENCE
from contract.slots import slot_of
from simulation.network import Network, Own, Process, Wire
from simulation.trace import Trace

LEFTOVER_AFTER_S = 4.0
"""Of a staging that nobody goes on with; a quarter of an hour in a real cell."""
LEFTOVERS_PERIOD_S = 1.0
SAGA_PERIOD_S = 0.3
LEGS_PERIOD_S = 2.0
EXPIRY_PERIOD_S = 0.5
SLOW_SHARE = 0.1
SLOW_MEAN_S = 0.02


class Disk(MemoryLedger):
    """A memory store whose statements take time, and whose connections break."""

    def __init__(self, clock: Callable[[], int], dice: random.Random, watch: Callable[[], None]) -> None:
        super().__init__(clock)
        self.is_down = False
        self.doubt = 0.0
        """Share of the commits of which nobody is told whether they happened."""
        self._dice = dice
        self._watch = watch
        self.open: list[FragileSession] = []

    async def pause(self, *, is_heavy: bool = False) -> None:
        """A way to the database and back; the statements of a step of a move can take a while."""
        is_slow = is_heavy and self._dice.random() < SLOW_SHARE
        await asyncio.sleep(self._dice.expovariate(1 / (SLOW_MEAN_S if is_slow else 0.001)))
        if self.is_down:
            raise StoreLostError("the database is down")

    def may_break(self, when: str) -> None:
        if self.doubt > 0 and self._dice.random() < self.doubt:
            raise StoreLostError(f"the connection broke {when}")

    @asynccontextmanager
    async def transaction(self, *, wait_s: float | None = None) -> AsyncIterator[None]:
        await self.pause()
        async with super().transaction(wait_s=wait_s):
            await self.pause(is_heavy=True)
            yield
        self._watch()
        await self.pause()
        self.may_break("after the commit")

    def session(self, name: str) -> "FragileSession":
        session = FragileSession(self, name)
        self.open.append(session)
        return session

    def drop_sessions(self) -> None:
        """Their process is gone: what they had not committed is rolled back."""
        for session in self.open:
            session.drop()
        self.open.clear()

    def told(self) -> None:
        self._watch()


class FragileSession(MemorySession):
    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(disk, name)
        self._disk = disk

    def drop(self) -> None:
        self._release()
        self._is_connected = False

    async def connect(self) -> None:
        await self._disk.pause()
        await super().connect()

    async def load(self, footprint: Footprint) -> Loaded:
        await self._disk.pause()
        loaded = await super().load(footprint)
        try:
            await self._disk.pause()
        except StoreLostError:
            self.drop()
            raise
        return loaded

    async def save(self, changes: Sequence[Changes]) -> None:
        try:
            await self._disk.pause()
            self._disk.may_break("before the commit")
            await super().save(changes)
            self._disk.told()
            await self._disk.pause()
            self._disk.may_break("after the commit")
        except StoreLostError:
            self.drop()
            raise


class AlwaysHeld:
    """The lock of a duty where each cell has one process: it is this one's."""

    async def hold(self) -> bool:
        return True

    async def let_go(self) -> None:
        return None


class MemoryReads(Queries):
    """The read path over a memory store; what may be read stays the affair of `Queries`."""

    def __init__(self, disk: Disk) -> None:
        self._wallets = _Reader(disk)  # type: ignore[assignment]
        self._answer_max_s = 2.0


class _Reader:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self, wallet_id: WalletId) -> "asyncio.Future[Sighting]":
        return asyncio.ensure_future(self._read(wallet_id))

    async def _read(self, wallet_id: WalletId) -> Sighting:
        disk = self._disk
        await disk.pause()
        wallet, opened = disk.wallets.get(wallet_id), disk.opened.get(wallet_id)
        unit = slot_of(wallet_id) if wallet is None else wallet.unit
        shown = None
        if wallet is not None and opened is not None and wallet.status != "unopened":
            shown = StoredWallet(
                wallet_id=wallet_id,
                unit=wallet.unit,
                owner_type=wallet.owner_type,
                owner_ref=opened.owner_ref,
                kind=opened.kind,
                currency=wallet.currency,
                status=wallet.status,
                balance=wallet.balance,
                held=wallet.held,
                overdraft_limit=wallet.overdraft_limit,
                seq=wallet.seq,
                opened_at_us=0,
                posted_at_us=wallet.posted_at_us,
                frozen_by=wallet.frozen_by,
                metadata=opened.metadata,
            )
        found = Sighting(wallet=shown, unit_state=disk.states_of([unit]).get(unit), exile=disk.exiles.get(wallet_id))
        await disk.pause()
        return found


class DeadlyPoints(CrashPoints):
    """Named points at which the process dies, as often as the dice say."""

    def __init__(self, process: Process, dice: random.Random, trace: Trace, share: Callable[[], float]) -> None:
        super().__init__(None)
        self._process = process
        self._dice = dice
        self._trace = trace
        self._share = share

    async def reach(self, point: str) -> None:
        if self._dice.random() < self._share():
            self._trace.note(self._process.name, f"! dies at {point}")
            self._process.kill()
            raise asyncio.CancelledError


class SimulatedCell:
    def __init__(
        self,
        name: str,
        *,
        key: Ed25519PrivateKey,
        disk: Disk,
        network: Network,
        dice: random.Random,
        trace: Trace,
        router_url: str,
        death_share: Callable[[], float],
    ) -> None:
        self.name = name
        self.disk = disk
        self.configuration: CellConfiguration | None = None
        self.process: Process | None = None
        self._key = key
        self._network = network
        self._dice = dice
        self._trace = trace
        self._router_url = router_url
        self._death_share = death_share

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.is_up

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def start(self) -> None:
        assert self.configuration is not None
        process = self.process = Process(self.name)
        process.on_death.append(self.disk.drop_sessions)
        parts = process.parts = _Parts(self, process, self.configuration)
        self._network.listen(self.name, process, parts.vendor_application())
        self._network.listen(f"admin.{self.name}", process, _admin_application(self.name))
        process.spawn(parts.run())


class _Parts:
    """One life of the process, put together as cell/app.py does it."""

    def __init__(self, cell: SimulatedCell, process: Process, configuration: CellConfiguration) -> None:
        self._name = cell.name
        self._disk = cell.disk
        self._dice = cell._dice
        self._metrics = Metrics(cell_id=cell.name, zone="zone-1", software_version="1")
        self._configuration = configuration
        self.policy, self.reads = LimitPolicy(), MemoryReads(cell.disk)
        points = DeadlyPoints(process, cell._dice, cell._trace, cell._death_share)
        tokens, wire = CellTokens(cell.name, cell._key), Wire(cell._network)
        self.moves = Moves(
            MemoryMoves(cell.disk, cell_id=cell.name, crash_points=points),
            peers=PeerGrants(tokens, transport=wire),
            crash_points=points,
        )
        limits = LaneLimits(batch_max=20, queue_max=500, patience_s=1.0)
        self._lanes = Lanes(
            cell.disk,
            lanes=2,
            money=limits,
            openings=limits,
            metrics=self._metrics,
            on_moving=self.moves.look_for_grants,
        )
        self._points = points
        self.salts = lambda: cell._dice.randbytes(16)
        self.sagas = MemorySagas(cell.disk, cell._dice.random)
        elsewhere = Elsewhere(router_url=cell._router_url, tokens=tokens, transport=wire)
        shared: dict[str, Any] = {"lanes": self._lanes, "elsewhere": elsewhere, "store": self.sagas}
        self._transfers = Transfers(**shared, salt=self.salts, metrics=self._metrics, crash_points=points)
        self._groups = Groups(**shared, salt=self.salts, crash_points=points)
        duties = MoveDuties(self.moves, database_url="", metrics=self._metrics, leftover_after_s=LEFTOVER_AFTER_S)
        works: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "transfers": (SAGA_PERIOD_S, self._transfers.work),
            "groups": (SAGA_PERIOD_S, self._groups.work),
            "group-legs": (LEGS_PERIOD_S, self._groups.ask_coordinators),
            "move-watchdog": (WATCHDOG_PERIOD_S, duties.watch),
            "move-puller": (PULL_PERIOD_S, duties.pull),
            "move-leftovers": (LEFTOVERS_PERIOD_S, duties.end_leftovers),
            EXPIRY: (EXPIRY_PERIOD_S, self._expire),
        }
        self._duties = {name: self._duty(name, *work) for name, work in works.items()}

    def _duty(self, name: str, period_s: float, work: Callable[[], Awaitable[None]]) -> Duty:
        duty = Duty(database_url="", name=name, period_s=period_s, work=work, metrics=self._metrics)
        duty._lock = AlwaysHeld()  # type: ignore[assignment]
        return duty

    async def run(self) -> None:
        self._lanes.start()
        await asyncio.gather(*(duty.run() for duty in self._duties.values()))

    async def _expire(self) -> None:
        """As cell/background/expiry.py does it: what is due here, through the write path."""
        disk = self._disk
        await disk.pause()
        now_us = disk.clock()
        due = [
            hold
            for hold in disk.holds.values()
            if hold.state == "open" and hold.expires_at_us is not None and hold.expires_at_us <= now_us
        ]
        owned = [hold for hold in due if disk.wallets[hold.key.wallet_id].frozen_by is None]
        deadline_at_s = asyncio.get_running_loop().time() + 5
        commands = [
            expiry_of(
                DueHold(
                    wallet_id=hold.key.wallet_id,
                    vendor_id=hold.key.vendor_id,
                    hold_id=hold.key.transaction_id,
                    expires_at=datetime.fromtimestamp(hold.expires_at_us / 1e6, UTC),
                    overdue_s=0.0,
                )
            )
            for hold in owned
        ]
        await asyncio.gather(*(self._lanes.submit(one, deadline_at_s=deadline_at_s) for one in commands))

    def vendor_application(self) -> WalletRoutes:
        verifier, admission = CellTokenVerifier(), Admission()
        tokens = vendor_tokens(audience=AUDIENCE)
        for one in (verifier, self.policy, tokens):
            one.configure(self._configuration)
        admission.configure(self._configuration, asyncio.get_running_loop().time())
        self.peers = Peers(tokens=verifier, lanes=self._lanes, salt=self.salts, crash_points=self._points)
        log = AccessLog(cell_id=self._name, lines_max=0, period_ms=1_000, on_drop=lambda _: None)
        telemetry = Telemetry(metrics=self._metrics, access_log=log, tracing=None)
        return WalletRoutes(
            _peer_application(self._name),
            tokens=tokens,
            admission=admission,
            lanes=self._lanes,
            queries=self.reads,
            responder=Responder(cell_id=self._name),
            telemetry=telemetry,
            callers=Callers(telemetry=telemetry, limits=self.policy, may_leave=True),
            sagas=SagaAnswers(
                transfers=self._transfers,
                groups=self._groups,
                store=self.sagas,  # type: ignore[arg-type]
                on_open=lambda: None,
            ),
            deadline_default_ms=DEADLINE_DEFAULT_MS,
            body_timeout_ms=5_000,
        )


@cache
def _admin_application(name: str) -> Any:
    return move_application(name, Own("moves"))  # type: ignore[arg-type]


@cache
def _peer_application(name: str) -> Any:
    """Built once, because FastAPI takes its time; each request finds the parts of the process that serves it."""
    responder = Responder(cell_id=name)
    rest = FastAPI(openapi_url=None)
    answer_problems(rest, responder)
    answer_lost_database(rest, responder)
    parts: dict[str, Any] = {"peers": Own("peers"), "queries": Own("reads"), "store": Own("sagas")}
    rest.include_router(peer_routes(**parts, policy=Own("policy")))  # type: ignore[arg-type]
    return Identified(rest, cell_id=name)
