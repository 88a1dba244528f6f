"""The loop that keeps partitions ahead and folds account deltas; one process of the cell at a time does the work."""

import asyncio
import random

import structlog

from cell.store.housekeeping import HousekeepingFailed, keep_house
from cell.telemetry import Metrics

DELTAS_MAX = 100_000
PERIOD_MAX_S = 60.0
"""Deltas are folded at least this often, so that the trial balance stays cheap."""

log = structlog.get_logger()


async def housekeeping_loop(database_url: str, *, months_ahead: int, period_s: float, metrics: Metrics) -> None:
    """For ever; a round that fails is logged and counted, and the next one tries again."""
    while True:
        try:
            done = await keep_house(database_url, months_ahead=months_ahead, deltas_max=DELTAS_MAX)
        except HousekeepingFailed as error:
            metrics.database_error("busy")
            log.warning("housekeeping failed", error=str(error).strip())
        else:
            if done.did_work:
                metrics.partitions_ahead(done.months_ahead)
                if done.months_ahead < months_ahead:
                    log.warning("partitions are missing", wanted=months_ahead, found=done.months_ahead)
            if done.rows_in_default_partition:
                log.error("entries stand in the default partition", rows=done.rows_in_default_partition)
        await asyncio.sleep(min(period_s, PERIOD_MAX_S) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
