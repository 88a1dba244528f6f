"""What the mover reads and writes in the control plane's database: each method is one transaction, or none.

None where a method may give one means: the move is no longer what the mover believed, so it must be read again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from contract.directory import CellState
from contract.moves import Survey
from contract.values import value
from control_plane.fleet.publish import Publication
from control_plane.keys import SigningKey
from control_plane.moves.model import MoveRecord
from control_plane.moves.publication import Shown, changes_of, publication_of
from control_plane.moves.states import MoveEvent, StopKind
from control_plane.store.cells import cells_in_order
from control_plane.store.database import Database
from control_plane.store.documents import publish_directory
from control_plane.store.fleet import load
from control_plane.store.isolations import exiled_slots
from control_plane.store.moves import MoveStep, Recorded, advance, move_of, note, record_steps
from control_plane.store.routers import live_routers

ATTEMPTS_MAX = 10
"""Publications that may come before ours while we make it; each is over within milliseconds."""


@value
class NotPublished:
    detail: str


@value
class Grounds:
    """What is recorded about the two cells of a move and about its announcement."""

    source_state: CellState
    target_state: CellState
    is_acknowledged: bool


class MoveLog(Protocol):
    async def read(self, move_id: str) -> MoveRecord | None: ...

    async def grounds(self, move: MoveRecord) -> Grounds: ...

    async def exiled_slots(self) -> frozenset[int]: ...

    async def take_up(self, move: MoveRecord, chosen: Sequence[Survey]) -> MoveRecord | None: ...

    async def advance(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None: ...

    async def note(self, move: MoveRecord, recorded: Recorded) -> MoveRecord | None: ...

    async def stop(
        self, move: MoveRecord, kind: StopKind, reason: str, detail: str, difference: Mapping[str, Any] | None
    ) -> MoveRecord | None: ...

    async def show(self, move: MoveRecord, shown: Shown) -> MoveRecord | NotPublished | None: ...

    async def tell(self, move: MoveRecord, steps: Sequence[MoveStep]) -> None: ...


class _OutpacedError(Exception):
    """Another publication came first: nothing was written."""


class RecordedMoves:
    """`MoveLog` in the control plane's database."""

    def __init__(self, database: Database, signing_key: SigningKey) -> None:
        self._database = database
        self._signing_key = signing_key

    async def read(self, move_id: str) -> MoveRecord | None:
        async with self._database.transaction() as connection:
            return await move_of(connection, move_id)

    async def grounds(self, move: MoveRecord) -> Grounds:
        async with self._database.transaction() as connection:
            cells = {cell.id: cell.state for cell in await cells_in_order(connection)}
            routers = await live_routers(connection)
        version = move.announced_version
        return Grounds(
            source_state=cells[move.from_cell],
            target_state=cells[move.to_cell],
            is_acknowledged=version is not None and all(applied >= version for applied in routers.values()),
        )

    async def exiled_slots(self) -> frozenset[int]:
        async with self._database.transaction() as connection:
            return await exiled_slots(connection)

    async def take_up(self, move: MoveRecord, chosen: Sequence[Survey]) -> MoveRecord | None:
        portion = move.portion + 1
        facts = {
            survey.unit: {
                "result": "in_hand",
                "portion": portion,
                "wallets": survey.wallets,
                "entries": survey.entries,
            }
            for survey in chosen
        }
        move_facts = {"portion": portion, "announced_version": None, "reason": None, "detail": None}
        return await self.note(move, Recorded(move=move_facts, units=facts))

    async def advance(self, move: MoveRecord, event: MoveEvent, recorded: Recorded) -> MoveRecord | None:
        async with self._database.transaction() as connection:
            return await advance(connection, move, event, recorded)

    async def note(self, move: MoveRecord, recorded: Recorded) -> MoveRecord | None:
        async with self._database.transaction() as connection:
            return await note(connection, move, recorded)

    async def stop(
        self, move: MoveRecord, kind: StopKind, reason: str, detail: str, difference: Mapping[str, Any] | None
    ) -> MoveRecord | None:
        """A stop that was ordered before keeps its kind and reason."""
        facts = {"stop": kind, "reason": reason, "detail": detail, "difference": difference}
        async with self._database.transaction() as connection:
            seen = await move_of(connection, move.id)
            if seen is None or (seen.state, seen.portion) != (move.state, move.portion):
                return None
            recorded = Recorded(move=facts) if seen.stop is None else Recorded()
            return await advance(connection, seen, MoveEvent.STOP_ORDERED, recorded)

    async def show(self, move: MoveRecord, shown: Shown) -> MoveRecord | NotPublished | None:
        """Publish the units in hand as `shown`, and record it with the publication, in one transaction."""
        for _ in range(ATTEMPTS_MAX):
            async with self._database.snapshot() as connection:
                loaded = await load(connection)
            following = publication_of(loaded.fleet, changes_of(move, shown, loaded.fleet), loaded.now)
            if loaded.fleet.directory is None:
                return NotPublished(detail="no directory has been published")
            if isinstance(following, Publication):
                publication, version = following, following.document.version
            elif following:
                return NotPublished(detail="; ".join(f"{one.reason}: {one.detail}" for one in following))
            else:
                publication, version = None, loaded.fleet.directory.version
            with suppress(_OutpacedError):
                return await self._published(move, shown, publication, version)
        return NotPublished(detail=f"{ATTEMPTS_MAX} other publications came first")

    async def tell(self, move: MoveRecord, steps: Sequence[MoveStep]) -> None:
        async with self._database.transaction() as connection:
            await record_steps(connection, move.id, steps)

    async def _published(
        self, move: MoveRecord, shown: Shown, publication: Publication | None, version: int
    ) -> MoveRecord | None:
        """`publication` None = the directory of that version says it already."""
        async with self._database.transaction() as connection:
            if publication is not None:
                text = self._signing_key.signed_text(publication.document.model_dump(mode="json"))
                if not await publish_directory(connection, publication, text):
                    raise _OutpacedError
            if shown == "moved":
                return await advance(connection, move, MoveEvent.DIRECTORY_PUBLISHED, Recorded())
            announced = version if shown == "moving" else None
            return await note(connection, move, Recorded(move={"announced_version": announced}))
