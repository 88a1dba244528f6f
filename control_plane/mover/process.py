"""The composition root of the mover: a worker, and beside it an HTTP port for health and metrics, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from time import monotonic

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from control_plane.crash_points import CrashPoints
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.mover.asking import MoveCells, mover_client
from control_plane.mover.copying import CopyPace
from control_plane.mover.log import RecordedMoves
from control_plane.mover.metrics import MoverMetrics
from control_plane.mover.worker import MoverParts, Worker
from control_plane.moves.policy import MovePolicy
from control_plane.settings import Settings
from control_plane.store.database import open_database
from control_plane.store.nudges import looks
from control_plane.tokens import Tokens
from control_plane.watch import Watch

READY_LEASE_S = 10.0


def build_mover(settings: Settings) -> FastAPI:
    """Connects to nothing yet.

    Raises:
        KeyMustBeUsableError: a key file is missing or unusable.

    """
    parts = _parts(settings)
    worker = Worker(parts)
    app = FastAPI(title="Cellwallet mover", openapi_url=None, lifespan=_lifespan(parts, worker), redirect_slashes=False)
    app.state.parts = parts

    @app.get("/healthz")
    async def show_health() -> PlainTextResponse:
        return PlainTextResponse("alive")

    @app.get("/readyz")
    async def show_readiness() -> PlainTextResponse:
        return _answer(worker)

    @app.get("/metrics")
    async def show_metrics() -> PlainTextResponse:
        return PlainTextResponse(parts.metrics.text())

    return app


def _parts(settings: Settings) -> MoverParts:
    signing_key = read_signing_key(settings.signing_key_file, key_id=settings.signing_key_id)
    issuer = read_issuer_keys(settings.issuer_jwks_file)
    database = open_database(settings.database_url.get_secret_value())
    return MoverParts(
        database=database,
        watch=Watch(partial(looks, database.url)),
        cells=MoveCells(mover_client(), Tokens(own=signing_key, issuer=issuer, audience=settings.audience)),
        moves=RecordedMoves(database, signing_key),
        policy=policy_of(settings),
        pace=CopyPace(rows_max=settings.move_rows_per_page, share=settings.move_copy_share),
        crash_points=CrashPoints(settings.crash_file),
        metrics=MoverMetrics(),
        places=settings.moves_per_cell_max,
    )


def policy_of(settings: Settings) -> MovePolicy:
    return MovePolicy(
        converged_ms=settings.move_converged_ms,
        passes_max=settings.move_passes_max,
        retention=timedelta(hours=settings.move_retention_h),
        is_synchrony_required=settings.moves_need_standbys,
    )


def _lifespan(parts: MoverParts, worker: Worker) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(worker.run(), name="mover")
        try:
            yield
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            await parts.cells.close()
            await parts.database.close()

    return lifespan


def _answer(worker: Worker) -> PlainTextResponse:
    """Ready as long as the database has answered lately: without it nothing is moved."""
    is_ready = worker.looked_at is not None and monotonic() - worker.looked_at < READY_LEASE_S
    return PlainTextResponse("ready" if is_ready else "the database does not answer", 200 if is_ready else 503)
