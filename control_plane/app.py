"""The composition root of the control plane: builds every part from `Settings` and puts them together.

Nothing is connected before the application starts, and everything is closed when it ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

import httpx
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from control_plane.api.adjudicating import adjudication_routes
from control_plane.api.capacity import capacity_routes
from control_plane.api.cell_orders import cell_order_routes
from control_plane.api.cells import cell_routes
from control_plane.api.directory import directory_routes
from control_plane.api.envelope import Envelope
from control_plane.api.evacuations import evacuation_routes
from control_plane.api.health import health_routes
from control_plane.api.installations import installation_routes
from control_plane.api.limits import limit_routes
from control_plane.api.moves import move_routes
from control_plane.api.parts import Parts
from control_plane.api.plans import plan_routes
from control_plane.api.problems import answer_problems
from control_plane.api.quarantines import quarantine_routes
from control_plane.api.rebalances import rebalance_routes
from control_plane.api.rebuilding import rebuild_routes
from control_plane.api.resending import resending_routes
from control_plane.api.reviving import revival_routes
from control_plane.api.rollouts import rollout_routes
from control_plane.api.vendors import vendor_routes
from control_plane.api.webhooks import webhook_routes
from control_plane.cell_admin import CellAdmin, admin_client
from control_plane.fleet.model import Policy
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.metrics import Metrics
from control_plane.mover.asking import MoveCells
from control_plane.mover.desk import MoveDesk
from control_plane.rebalancer import Rebalancer
from control_plane.reconcile import Reconciler
from control_plane.releaser.building import build_releasing
from control_plane.releaser.worker import ReleaseWorker, Releasing
from control_plane.settings import Settings
from control_plane.store.database import open_database
from control_plane.store.migrate import newest_revision
from control_plane.store.nudges import looks
from control_plane.tokens import Tokens
from control_plane.tracing import Tracing, open_tracing
from control_plane.watch import Watch

API_VERSION = "1"
"""Of the HTTP contract, not of the software: paths begin with `/v1`."""


def build(settings: Settings, *, policy: Policy | None = None) -> FastAPI:
    """The application; `policy` other than from the settings is for fast clocks in tests.

    Raises:
        KeyMustBeUsableError: a key file is missing or unusable.

    """
    client = admin_client()
    parts = _parts(settings, policy or Policy(first_cells=settings.first_cells), client)
    releasing = build_releasing(settings, database=parts.database, cells=parts.cells)
    tracing = open_tracing(settings.otlp_endpoint)
    app = FastAPI(
        title="Cellwallet platform API",
        version=API_VERSION,
        description="Directory, cells and vendors: what operators, routers and cells ask the control plane.",
        lifespan=_lifespan(parts, releasing, tracing),
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.substrate = releasing.substrate
    app.state.move_desk = MoveDesk(parts.database, MoveCells(client, parts.tokens))
    bearer = Depends(HTTPBearer(auto_error=False, bearerFormat="JWT"))
    for routes in (
        directory_routes,
        cell_routes,
        cell_order_routes,
        installation_routes,
        rebalance_routes,
        rebuild_routes,
        quarantine_routes,
        adjudication_routes,
        revival_routes,
        resending_routes,
        capacity_routes,
        vendor_routes,
        limit_routes,
        move_routes,
        rollout_routes,
        evacuation_routes,
        plan_routes,
        webhook_routes,
    ):
        app.include_router(routes, dependencies=[bearer])
    app.include_router(health_routes)
    app.add_middleware(Envelope, metrics=parts.metrics, tracing=tracing)
    answer_problems(app)
    return app


def _parts(settings: Settings, policy: Policy, client: httpx.AsyncClient) -> Parts:
    signing_key = read_signing_key(settings.signing_key_file, key_id=settings.signing_key_id)
    issuer = read_issuer_keys(settings.issuer_jwks_file)
    tokens = Tokens(own=signing_key, issuer=issuer, audience=settings.audience)
    database = open_database(settings.database_url.get_secret_value())
    watch = Watch(partial(looks, database.url))
    metrics = Metrics()
    cells = CellAdmin(client, tokens)
    rebalancer = Rebalancer(database=database, cells=cells)
    reconciler = Reconciler(
        database=database,
        watch=watch,
        cells=cells,
        signing_key=signing_key,
        issuer=issuer,
        policy=policy,
        metrics=metrics,
        rebalancer=rebalancer,
    )
    return Parts(
        database=database,
        watch=watch,
        tokens=tokens,
        cells=cells,
        reconciler=reconciler,
        rebalancer=rebalancer,
        metrics=metrics,
        schema_revision=newest_revision(),
        webhooks_may_be_local=settings.webhooks_may_be_local,
    )


def _lifespan(
    parts: Parts, releasing: Releasing, tracing: Tracing
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(parts.watch.run(), name="watch"),
            asyncio.create_task(parts.reconciler.run(), name="reconcile"),
            asyncio.create_task(ReleaseWorker(releasing).run(), name="releases"),
        ]
        try:
            yield
        finally:
            parts.watch.stop()
            await _end(tasks)
            await releasing.close()
            await parts.cells.close()
            await parts.database.close()
            await asyncio.to_thread(tracing.close)  # it may have to wait for the collector

    return lifespan


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
