"""A cell's two databases as parts of a platform: what the supervisor runs, and where services find the primary.

Services need the address and neither of the places: whichever is the primary when they start, it is there. So a cell
starts without its standby, however long that is copied.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import psycopg

from cellwallet.local.databases import provision_cell
from cellwallet.local.failover import PLACES, Place
from cellwallet.local.pair_acts import PairActs
from cellwallet.local.pair_watch import PairWatch
from cellwallet.local.parts import Condition, Database, Part
from cellwallet.local.postgres import Cluster, url_at
from contract.values import value

STANDBY_PATIENCE_S: Final = 20.0
"""Most standbys are there by then, and a start may say so; a copy of many gigabytes takes longer, and is told of."""


@value
class CellPair:
    cell: str
    names: Mapping[Place, str]
    """Of the parts, by the places in which they run; roles change, and names do not."""
    acts: PairActs
    watch: PairWatch

    @property
    def address_name(self) -> str:
        return f"{self.cell}-address"

    def name_of(self, place: Place) -> str:
        return self.names[place]

    def url(self, role: str, database: str) -> str:
        """Of the primary, whichever it is."""
        return url_at(self.acts.address.folder, role, database)

    def parts(self) -> list[Part]:
        """Both databases, unless the second is neither wanted nor needed; and what a start waits for.

        Which two those are may change as soon as they run.
        """
        pair = self.watch.pair
        places = [pair.primary] if pair.is_settled and not pair.is_wanted else PLACES
        databases: list[Part] = [self._database(place) for place in places]
        conditions: list[Part] = [Condition(name=self.address_name, why_not=self._why_not_provisioned)]
        if pair.is_wanted:
            conditions.append(
                Condition(
                    name=f"{self.cell}-standby", why_not=self.watch.why_unprotected, patience_s=STANDBY_PATIENCE_S
                )
            )
        return databases + conditions

    def _database(self, place: Place) -> Database:
        return Database(
            name=self.names[place],
            cluster=self.acts.cluster_in(place),
            provision=_nothing,
            choose=partial(self.watch.choose, place),
            is_spare=partial(self.watch.is_spare, place),
        )

    async def _why_not_provisioned(self) -> str | None:
        """None = services have an address, and what their migration needs is behind it."""
        missing = await self.watch.why_closed()
        if missing is not None:
            return missing
        primary = self.acts.cluster_in(self.watch.pair.primary)
        try:
            await asyncio.to_thread(provision_cell, primary)
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
            return f"the primary, which was just lost: {error}"
        return None


def _nothing(_: Cluster) -> None:
    """A place does not know when it becomes the primary, and a standby gets everything from its primary."""
