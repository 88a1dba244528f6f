"""The duty that keeps partitions ahead, folds account deltas and forgets processes that are gone."""

from functools import partial

import structlog

from cell.background.duty import Duty
from cell.store.housekeeping import keep_house
from cell.telemetry import Metrics

DELTAS_MAX = 100_000
PERIOD_MAX_S = 60.0
"""Deltas are folded at least this often, so that the trial balance stays cheap."""

log = structlog.get_logger()


def housekeeping(database_url: str, *, months_ahead: int, period_s: float, metrics: Metrics) -> Duty:
    return Duty(
        database_url=database_url,
        name="housekeeping",
        period_s=min(period_s, PERIOD_MAX_S),
        work=partial(_round, database_url, months_ahead=months_ahead, metrics=metrics),
        metrics=metrics,
    )


async def _round(database_url: str, *, months_ahead: int, metrics: Metrics) -> None:
    done = await keep_house(database_url, months_ahead=months_ahead, deltas_max=DELTAS_MAX)
    metrics.partitions_ahead(done.months_ahead)
    if done.months_ahead < months_ahead:
        log.warning("partitions are missing", wanted=months_ahead, found=done.months_ahead)
    if done.rows_in_default_partition:
        log.error("entries stand in the default partition", rows=done.rows_in_default_partition)
