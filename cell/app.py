"""The composition root of a cell's API process: builds everything from the settings and passes it by constructor."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from cell.api.admin import admin_application
from cell.api.admission import Admission
from cell.api.application import vendor_application
from cell.api.proofs import PublishedKeys
from cell.api.quarantine_gate import QuarantineGate
from cell.api.responses import Responder
from cell.api.tokens import admin_tokens, usable_keys, vendor_tokens
from cell.background.audit_loop import AuditLoop
from cell.background.checkpoints import Checkpoints
from cell.background.duty import Duty
from cell.background.expiry import Expiry
from cell.background.housekeeping import housekeeping
from cell.background.move_duties import MoveDuties
from cell.cell_tokens import CellTokens, CellTokenVerifier, read_cell_key
from cell.closed import ClosedCell
from cell.configuration_source import ConfigurationSource, control_plane_client, read_jwks
from cell.crash_points import CrashPoints
from cell.event_duties import EventDuties
from cell.lanes import LaneLimits, Lanes
from cell.moves import Moves
from cell.peer_grants import PeerGrants
from cell.policy import LimitPolicy
from cell.quarantine import DatabaseWatch
from cell.queries import Queries
from cell.registration import Registrar
from cell.sagas import Sagas
from cell.serving import serve
from cell.settings import Settings
from cell.store.dead_letters import DeadLetters
from cell.store.ledger_store import PostgresLedger
from cell.store.moves.store import PostgresMoves
from cell.store.revision import SCHEMA_REVISION
from cell.store.unit_load import UnitLoads
from cell.store.units import UnitStore
from cell.telemetry import AccessLog, Metrics, Telemetry, Tracing, start_tracing
from cell.telemetry.event_metrics import EventMetrics
from cell.version import VERSION
from contract.configuration import CellConfiguration, PublicKey
from contract.directory import ApiInstance
from contract.fleet import Registration
from contract.signing import public_jwk, public_keys_of
from lean_http.collector import calm_the_collector

PATIENCE_S = 2.0
"""How long commands wait for a lost database: a restarting PostgreSQL is back sooner, a dead one answers 503 then."""

RESTART_PAUSE_S = 1.0
"""Before a background loop that failed begins again."""

log = structlog.get_logger()


class CellProcess:
    """One API process of a cell, from its settings to its two servers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process_id = f"{settings.zone}-{settings.port}-{secrets.token_hex(4)}"
        database_url = settings.database_url.get_secret_value()
        jwks = read_jwks(settings.control_plane_jwks_file)
        self._key = read_cell_key(settings.signing_key_file)
        self._metrics = Metrics(cell_id=settings.id, zone=settings.zone, software_version=VERSION)
        self._tracing = self._start_tracing()
        self._access_log = self._build_access_log()
        self._tokens = vendor_tokens(audience=settings.audience)
        self._admins = admin_tokens(audience=settings.audience, control_plane_keys=usable_keys(jwks))
        self._admission = Admission()
        self._cells = CellTokenVerifier(audience=settings.audience)
        self._own_tokens = CellTokens(settings.id, self._key, audience=settings.audience)
        self._crash_points = CrashPoints(settings.crash_file)
        self._watch = DatabaseWatch(database_url, state_dir=settings.state_dir)
        self._moves = self._build_moves(database_url)
        self._lanes = self._build_lanes(database_url)
        self._queries = self._build_queries(database_url)
        self._control_plane = control_plane_client(
            url=settings.control_plane_url, join_token=settings.join_token.get_secret_value()
        )
        self._configuration = self._build_configuration(jwks)
        self._registrar = Registrar(
            control_plane=self._control_plane,
            describe=self._describe,
            metrics=self._metrics,
            period_s=settings.registration_period_s,
            timeout_s=settings.control_plane_timeout_s,
        )
        self._published_keys = PublishedKeys()
        self._limits = LimitPolicy()
        self._sagas = self._build_sagas(database_url)
        self._checkpoints = Checkpoints(database_url, cell=settings.id, key=self._key, kept=settings.checkpoints_kept)
        self._housekeeping = housekeeping(
            database_url,
            months_ahead=settings.partitions_ahead_months,
            period_s=settings.partitions_period_s,
            metrics=self._metrics,
        )
        self._events = EventDuties(
            settings,
            configuration=lambda: self._configuration.current,
            metrics=EventMetrics(self._metrics.registry),
            duty_metrics=self._metrics,
            tokens=self._own_tokens,
        )
        self._checkpoint_keys = {f"cell:{settings.id}": self._key.public_key()}
        self._closed = ClosedCell(
            database_url,
            cell_id=settings.id,
            checkpoint_keys=self._checkpoint_keys,
            state_dir=settings.state_dir,
            connect_timeout_s=settings.connect_timeout_s,
        )
        self._units = UnitStore(database_url, cell_id=settings.id)
        self._move_duties = MoveDuties(self._moves, database_url=database_url, metrics=self._metrics)
        self._loads = UnitLoads(database_url, cell_id=settings.id)
        self._is_stopping = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until `stop`; then finish what was accepted. False = a silent database did not let us end in time."""
        self._configuration.load()
        self._configuration.subscribe(self._configure)
        self._access_log.start()
        await self._watch.look_first()
        self._lanes.start()
        self._queries.start()
        background = [
            asyncio.create_task(_kept_running("database-watch", self._watch.run)),
            asyncio.create_task(_kept_running("configuration", self._configuration.run)),
            asyncio.create_task(_kept_running("registration", self._registrar.run)),
            asyncio.create_task(_kept_running("housekeeping", self._housekeeping.run)),
            asyncio.create_task(_kept_running("checkpoints", self._checkpoint_duty().run)),
            asyncio.create_task(_kept_running("expiry", self._expiry_duty().run)),
            asyncio.create_task(_kept_running("audit", self._audit_duty().run)),
            *(asyncio.create_task(_kept_running(name, duty.run)) for name, duty in self._events.duties),
            *(asyncio.create_task(_kept_running(name, duty.run)) for name, duty in self._sagas.duties),
            *(asyncio.create_task(_kept_running(name, duty.run)) for name, duty in self._move_duties.duties),
        ]
        calm_the_collector()
        log.info("serving", process=self._process_id, port=self._settings.port)
        try:
            await serve(self._settings, public=self._vendor_app(), admin=self._admin_app(), stop=stop)
        finally:
            self._is_stopping = True
            stopping = asyncio.create_task(self._stop(background))
            # Not cancelled when it takes too long: that would cancel a commit under way.
            await asyncio.wait({stopping}, timeout=self._settings.shutdown_grace_s)
        return stopping.done()

    @property
    def _is_ready(self) -> bool:
        is_serving = self._lanes.are_connected and not self._watch.is_quarantined
        return is_serving and self._configuration.is_ready and not self._is_stopping

    async def _stop(self, background: list[asyncio.Task[None]]) -> None:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._lanes.stop()
        await self._events.stop()
        await self._sagas.stop()
        await self._moves.close()
        await self._queries.stop()
        await self._loads.close()
        await self._closed.close()
        await self._watch.close()
        if self._control_plane is not None:
            await self._control_plane.aclose()
        await self._access_log.stop()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop)

    def _start_tracing(self) -> Tracing | None:
        settings = self._settings
        return start_tracing(
            endpoint=settings.otlp_endpoint, cell_id=settings.id, zone=settings.zone, software_version=VERSION
        )

    def _build_access_log(self) -> AccessLog:
        settings = self._settings
        return AccessLog(
            cell_id=settings.id,
            lines_max=settings.access_log_max,
            period_ms=settings.access_log_period_ms,
            on_drop=self._metrics.lines_dropped,
            errors_only=settings.log_level in {"warning", "error"},
        )

    def _build_moves(self, database_url: str) -> Moves:
        return Moves(
            PostgresMoves(database_url, cell_id=self._settings.id, crash_points=self._crash_points),
            peers=PeerGrants(self._own_tokens),
            crash_points=self._crash_points,
        )

    def _build_lanes(self, database_url: str) -> Lanes:
        settings = self._settings
        ledger = PostgresLedger(
            database_url,
            process_id=self._process_id,
            lock_timeout_ms=settings.lock_statement_timeout_ms,
            idle_timeout_ms=settings.idle_in_transaction_timeout_ms,
            connect_timeout_s=settings.connect_timeout_s,
            tcp_user_timeout_ms=settings.tcp_user_timeout_ms,
            admit=self._watch.admit,
        )
        return Lanes(
            ledger,
            lanes=settings.lanes,
            money=LaneLimits(batch_max=settings.batch_max, queue_max=settings.queue_max, patience_s=PATIENCE_S),
            openings=LaneLimits(
                batch_max=settings.opening_batch_max, queue_max=settings.opening_queue_max, patience_s=PATIENCE_S
            ),
            metrics=self._metrics,
            tracing=self._tracing,
            on_moving=self._moves.look_for_grants,
        )

    def _build_queries(self, database_url: str) -> Queries:
        settings = self._settings
        return Queries(
            database_url,
            connections_max=settings.read_pool_max,
            wait_max_ms=settings.read_wait_max_ms,
            statement_timeout_ms=settings.read_statement_timeout_ms,
            connect_timeout_s=settings.connect_timeout_s,
            tcp_user_timeout_ms=settings.tcp_user_timeout_ms,
        )

    def _build_configuration(self, jwks: dict[str, Any]) -> ConfigurationSource:
        settings = self._settings
        return ConfigurationSource(
            cell_id=settings.id,
            state_dir=settings.state_dir,
            trusted_keys=public_keys_of(jwks),
            metrics=self._metrics,
            control_plane=self._control_plane,
            wait_s=settings.configuration_wait_s,
            timeout_s=settings.control_plane_timeout_s,
        )

    def _build_sagas(self, database_url: str) -> Sagas:
        settings = self._settings
        return Sagas(
            cell_id=settings.id,
            tokens=self._own_tokens,
            cells=self._cells,
            router_url=settings.router_url,
            database_url=database_url,
            period_s=settings.saga_period_ms / 1_000,
            crash_points=self._crash_points,
            lanes=self._lanes,
            queries=self._queries,
            limits=self._limits,
            metrics=self._metrics,
        )

    def _vendor_app(self) -> Any:
        vendors = vendor_application(
            cell_id=self._settings.id,
            version=VERSION,
            tokens=self._tokens,
            admission=self._admission,
            lanes=self._lanes,
            queries=self._queries,
            keys=self._published_keys,
            sagas=self._sagas,
            letters=DeadLetters(self._settings.database_url.get_secret_value()),
            configuration=lambda: self._configuration.current,
            telemetry=Telemetry(metrics=self._metrics, access_log=self._access_log, tracing=self._tracing),
            limits=self._limits,
            may_leave=bool(self._settings.router_url),
            is_ready=lambda: self._is_ready,
            deadline_default_ms=self._settings.deadline_default_ms,
            body_timeout_ms=self._settings.body_timeout_ms,
        )
        return QuarantineGate(
            vendors,
            is_quarantined=lambda: self._watch.is_quarantined,
            responder=Responder(cell_id=self._settings.id),
        )

    def _admin_app(self) -> Any:
        return admin_application(
            cell_id=self._settings.id,
            database_url=self._settings.database_url.get_secret_value(),
            tokens=self._admins,
            units=self._units,
            loads=self._loads,
            checkpoints=self._checkpoints,
            checkpoint_keys=self._checkpoint_keys,
            responder=Responder(cell_id=self._settings.id),
            status=self._status,
            metrics_text=self._metrics.exposition,
            moves=self._moves,
            event_order=self._events.order,
            resending=self._sagas.resending,
            cells=self._cells,
            closed=self._closed,
            remember=self._watch.remember,
        )

    def _checkpoint_duty(self) -> Duty:
        return self._checkpoints.duty(period_s=self._settings.checkpoint_period_s, metrics=self._metrics)

    def _audit_duty(self) -> Duty:
        settings = self._settings
        database_url = settings.database_url.get_secret_value()
        loop = AuditLoop(database_url=database_url, entries_max=settings.audit_entries_max, metrics=self._metrics)
        return loop.duty(period_s=settings.audit_period_s)

    def _expiry_duty(self) -> Duty:
        database_url = self._settings.database_url.get_secret_value()
        expiry = Expiry(database_url=database_url, reads=self._queries, lanes=self._lanes, metrics=self._metrics)
        return expiry.duty(period_s=self._settings.expiry_period_s)

    def _configure(self, configuration: CellConfiguration) -> None:
        self._tokens.configure(configuration)
        self._admins.configure(configuration)
        self._published_keys.configure(configuration)
        self._limits.configure(configuration)
        self._cells.configure(configuration)
        self._admission.configure(configuration, asyncio.get_running_loop().time())

    def _describe(self) -> Registration:
        settings = self._settings
        return Registration(
            id=settings.id,
            home_zone=settings.home_zone,
            instance=ApiInstance(url=settings.advertised_api_url, zone=settings.zone),
            admin_url=settings.advertised_admin_url,
            schema_revision=SCHEMA_REVISION,
            software_version=VERSION,
            public_key=PublicKey.model_validate(public_jwk(self._key.public_key(), key_id=f"cell:{settings.id}")),
        )

    def _status(self) -> dict[str, Any]:
        current = self._configuration.current
        return {
            "cell": self._settings.id,
            "zone": self._settings.zone,
            "process": self._process_id,
            "version": VERSION,
            "schema_revision": SCHEMA_REVISION,
            "is_ready": self._is_ready,
            "is_quarantined": self._watch.is_quarantined,
            "configuration_version": None if current is None else current.version,
            "clock_s": time.time(),
        }


async def _kept_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """A bug in a background loop must not end it for good: it is logged, and the loop begins again."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("background loop failed", loop=name)
        else:
            return
        await asyncio.sleep(RESTART_PAUSE_S)
