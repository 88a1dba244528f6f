"""The whole fleet in one consistent look, for `plan`; and the figures that are shown of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contract.values import value
from control_plane.fleet.model import Fleet
from control_plane.store.cells import cells_in_order
from control_plane.store.documents import last_configurations, last_directory
from control_plane.store.evacuations import evacuated_zones
from control_plane.store.limits import wallet_limits
from control_plane.store.release_tables import rollouts
from control_plane.store.routers import live_routers
from control_plane.store.tables import cells, directories, moves, units
from control_plane.store.units import isolated_units, owned_runs
from control_plane.store.vendors import policies
from control_plane.store.webhooks import published_webhooks

MOVES_SHOWN = timedelta(days=1)


@value
class Loaded:
    fleet: Fleet
    routers: Mapping[str, int]
    now: datetime
    """The database's clock: the one that all control plane processes share."""


@value
class Figures:
    cells_by_state: Mapping[str, int]
    directory_version: int | None
    directory_issued_at: datetime | None
    routers: int
    router_lag_max: int
    """Publications that the slowest live router has not applied."""
    router_lags: Mapping[str, int]
    router_ages_s: Mapping[str, float]
    """For how long a newer directory than the router's has been out."""
    units_by_cell: Mapping[str, int]
    moves_by_state: Mapping[str, int]
    """Open ones, and those that ended within a day."""
    rollouts_by_state: Mapping[str, int]
    """Likewise."""
    now: datetime


async def load(connection: AsyncConnection) -> Loaded:
    """Within `Database.snapshot`, so that cells, units and directory fit together."""
    return Loaded(
        fleet=Fleet(
            cells=await cells_in_order(connection),
            runs=await owned_runs(connection),
            isolated=await isolated_units(connection),
            vendors=await policies(connection),
            limits=await wallet_limits(connection),
            directory=await last_directory(connection),
            configurations=await last_configurations(connection),
            webhooks=await published_webhooks(connection),
            evacuated_zones=await evacuated_zones(connection),
        ),
        routers=await live_routers(connection),
        now=await _now(connection),
    )


async def figures(connection: AsyncConnection) -> Figures:
    by_state = select(cells.c.state, func.count().label("cells")).group_by(cells.c.state)
    newest = select(directories.c.version, directories.c.issued_at).order_by(directories.c.version.desc()).limit(1)
    directory = (await connection.execute(newest)).first()
    routers = await live_routers(connection)
    behind = {router: await _behind(connection, applied) for router, applied in routers.items()}
    of_cells = select(units.c.cell, func.count().label("units")).group_by(units.c.cell)
    of_moves = (
        select(moves.c.state, func.count().label("moves"))
        .where(moves.c.ended_at.is_(None) | (moves.c.ended_at > func.now() - MOVES_SHOWN))
        .group_by(moves.c.state)
    )
    of_rollouts = (
        select(rollouts.c.state, func.count().label("rollouts"))
        .where(rollouts.c.ended_at.is_(None) | (rollouts.c.ended_at > func.now() - MOVES_SHOWN))
        .group_by(rollouts.c.state)
    )
    return Figures(
        cells_by_state={row.state: row.cells for row in (await connection.execute(by_state)).all()},
        directory_version=directory.version if directory else None,
        directory_issued_at=directory.issued_at if directory else None,
        routers=len(routers),
        router_lag_max=max((lag for lag, _ in behind.values()), default=0),
        router_lags={router: lag for router, (lag, _) in behind.items()},
        router_ages_s={router: age_s for router, (_, age_s) in behind.items()},
        units_by_cell={row.cell: row.units for row in (await connection.execute(of_cells)).all()},
        moves_by_state={row.state: row.moves for row in (await connection.execute(of_moves)).all()},
        rollouts_by_state={row.state: row.rollouts for row in (await connection.execute(of_rollouts)).all()},
        now=await _now(connection),
    )


async def _behind(connection: AsyncConnection, version: int) -> tuple[int, float]:
    """How many publications have followed this version, and how long ago the first of them did."""
    first = func.extract("epoch", func.now() - func.min(directories.c.issued_at))
    query = select(func.count(), first).where(directories.c.version > version)
    count, age_s = (await connection.execute(query)).one()
    return int(count), float(age_s or 0.0)


async def _now(connection: AsyncConnection) -> datetime:
    now: datetime = (await connection.execute(select(func.now()))).scalar_one()
    return now
