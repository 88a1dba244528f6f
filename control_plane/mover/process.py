"""The composition root of the mover, and its life as a process: it works until it is told to end."""

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from functools import partial

from control_plane.crash_points import CrashPoints
from control_plane.keys import read_issuer_keys, read_signing_key
from control_plane.mover.asking import MoveCells, mover_client
from control_plane.mover.copying import CopyPace
from control_plane.mover.log import RecordedMoves
from control_plane.mover.worker import MoverParts, Worker
from control_plane.moves.policy import MovePolicy
from control_plane.settings import Settings
from control_plane.store.database import open_database
from control_plane.store.nudges import looks
from control_plane.tokens import Tokens
from control_plane.watch import Watch


def build_mover(settings: Settings) -> Worker:
    """Connects to nothing yet.

    Raises:
        KeyMustBeUsableError: a key file is missing or unusable.

    """
    signing_key = read_signing_key(settings.signing_key_file, key_id=settings.signing_key_id)
    issuer = read_issuer_keys(settings.issuer_jwks_file)
    database = open_database(settings.database_url.get_secret_value())
    return Worker(
        MoverParts(
            database=database,
            watch=Watch(partial(looks, database.url)),
            cells=MoveCells(mover_client(), Tokens(own=signing_key, issuer=issuer, audience=settings.audience)),
            moves=RecordedMoves(database, signing_key),
            policy=policy_of(settings),
            pace=CopyPace(rows_max=settings.move_rows_per_page, share=settings.move_copy_share),
            crash_points=CrashPoints(settings.crash_file),
            places=settings.moves_per_cell_max,
        )
    )


def policy_of(settings: Settings) -> MovePolicy:
    return MovePolicy(
        converged_ms=settings.move_converged_ms,
        passes_max=settings.move_passes_max,
        retention=timedelta(hours=settings.move_retention_h),
        is_synchrony_required=settings.moves_need_standbys,
    )


async def work_until_told(worker: Worker) -> None:
    """Until SIGINT or SIGTERM; then no unit is left behind a fence."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(stop, told.set)
    working = asyncio.create_task(worker.run(), name="mover")
    waiting = asyncio.create_task(told.wait(), name="told")
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await worker.close()
