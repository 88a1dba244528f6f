"""What this cell owns, in its own database: ownership lives here, the directory is derived from it."""

from itertools import groupby

import psycopg
from psycopg import AsyncConnection

from cell.ports import StoreLostError
from contract.fleet import CellUnits, FirstUnits, UnitRun


class UnitsMustBeTheFirstError(Exception):
    """The cell owns or has owned units already; ownership changes only by moves."""


class UnitStore:
    def __init__(self, database_url: str, *, cell_id: str) -> None:
        self._database_url = database_url
        self._cell_id = cell_id

    async def read(self) -> CellUnits:
        """Every unit that the cell knows of, as runs.

        Raises:
            StoreLostError: the database cannot be reached.

        """
        try:
            async with await self._connect() as connection:
                return await self._read(connection)
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error

    async def adopt_first(self, first: FirstUnits) -> CellUnits:
        """Own these slots from the birth of the fleet; the same again changes nothing.

        Raises:
            UnitsMustBeTheFirstError: the cell knows other units already.
            StoreLostError: the database cannot be reached.

        """
        wanted = [unit for start, last in first.runs for unit in range(start, last + 1)]
        try:
            async with await self._connect() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(2, 0)")
                known = await connection.execute("SELECT unit, state, epoch FROM unit_state ORDER BY unit")
                rows = await known.fetchall()
                if not rows:
                    await connection.execute(
                        "INSERT INTO unit_state (unit, state, epoch) "
                        "SELECT unit, 'active', 1 FROM unnest(%s::int[]) AS unit",
                        (wanted,),
                    )
                elif rows != [(unit, "active", 1) for unit in wanted]:
                    raise UnitsMustBeTheFirstError(f"the cell knows {len(rows)} units already")
                return await self._read(connection)
        except psycopg.OperationalError as error:
            raise StoreLostError(str(error).strip()) from error

    async def _connect(self) -> AsyncConnection[tuple[object, ...]]:
        return await AsyncConnection.connect(
            self._database_url, options="-c application_name=cell-units", connect_timeout=3
        )

    async def _read(self, connection: AsyncConnection[tuple[object, ...]]) -> CellUnits:
        rows = await connection.execute("SELECT unit, state, epoch FROM unit_state ORDER BY unit")
        runs: list[UnitRun] = []
        numbered = enumerate(await rows.fetchall())
        for (state, epoch, _), run in groupby(numbered, key=lambda one: (one[1][1], one[1][2], one[1][0] - one[0])):  # type: ignore[operator]
            units = [row[0] for _, row in run]
            runs.append(UnitRun.model_validate({"first": units[0], "last": units[-1], "state": state, "epoch": epoch}))
        return CellUnits(cell=self._cell_id, units=tuple(runs))
