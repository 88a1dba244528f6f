"""What the steps of moves need of a store. PostgreSQL implements it for cells, memory for simulations; both pass the
same conformance suite (tests/integration/cell/moves/test_conformance.py).

Each call is one transaction, or none. A step that may not be taken raises `MoveRefusedError` and changes nothing; a
step that is done already is answered like the first time.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from cell.ledger.unit_life import UnitRow
from cell.store.moves.departures import Parcel
from cell.store.moves.target import Intent
from contract.ids import WalletId
from contract.moves import (
    Cleaned,
    FenceOrder,
    Fences,
    Grant,
    GrantOrder,
    Grants,
    Positions,
    RowsTaken,
    SagaName,
    StagedUnits,
    StageOrder,
    Surveys,
    UnitsNow,
)
from contract.quarantine import ReviveOrder
from contract.slots import Unit


class Departures(Protocol):
    async def survey(self, units: Sequence[int]) -> Surveys: ...

    async def positions(self, unit: int) -> Positions: ...

    async def entries(self, unit: int, positions: Sequence[tuple[str, int]], *, rows_max: int) -> Parcel: ...

    async def state(self, unit: int, open_sagas: Sequence[SagaName] = ()) -> Parcel: ...


class Arrivals(Protocol):
    async def positions(self, unit: int, *, move_id: str) -> Positions: ...

    async def take(self, unit: int, body: bytes, *, part: str, move_id: str) -> RowsTaken: ...


class Source(Protocol):
    async def fence(self, order: FenceOrder, *, move_id: str) -> Fences: ...

    async def unfence(self, units: Sequence[int], *, move_id: str) -> UnitsNow: ...

    async def lapse(self, units: Sequence[int]) -> None: ...

    async def standing(self) -> list[tuple[int, int]]: ...

    async def grant(self, order: GrantOrder, *, move_id: str) -> Grants: ...

    async def tombstone(self, units: Sequence[int], *, move_id: str) -> UnitsNow: ...

    async def grant_of(self, unit: int) -> tuple[Grant | None, UnitRow]: ...

    async def units_now(self, units: Sequence[int]) -> UnitsNow: ...


class Target(Protocol):
    async def stage(self, order: StageOrder, *, move_id: str) -> UnitsNow: ...

    async def seal(self, fences: Fences, *, move_id: str) -> StagedUnits: ...

    async def activate(self, grants: Sequence[Grant], *, move_id: str) -> UnitsNow: ...

    async def discard(self, units: Sequence[int], *, move_id: str, never_granted: Mapping[int, int]) -> UnitsNow: ...

    async def intents(self, units: Sequence[int]) -> dict[int, Intent]: ...


class Deletion(Protocol):
    async def clean(self, units: Sequence[int], *, move_id: str) -> Cleaned: ...

    async def delete_batch(self, unit: int) -> int: ...

    async def begun(self) -> list[int]: ...

    async def stale(self, *, older_s: float) -> list[Intent]: ...

    async def waiting(self, *, older_s: float) -> list[Intent]: ...


class Isolation(Protocol):
    async def isolate(self, wallet_id: WalletId, unit: Unit) -> UnitsNow: ...

    async def rejoin(self, wallet_id: WalletId, unit: Unit) -> UnitsNow: ...


class Revival(Protocol):
    async def revive(self, order: ReviveOrder) -> UnitsNow: ...


class MoveStore(Protocol):
    @property
    def departures(self) -> Departures: ...

    @property
    def arrivals(self) -> Arrivals: ...

    @property
    def source(self) -> Source: ...

    @property
    def target(self) -> Target: ...

    @property
    def deletion(self) -> Deletion: ...

    @property
    def isolation(self) -> Isolation: ...

    @property
    def revival(self) -> Revival: ...

    async def close(self) -> None: ...
