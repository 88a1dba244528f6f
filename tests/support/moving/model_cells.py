"""The two cells of a move as a model: what contract/moves.py promises, on dictionaries, with faults on the way.

A call may be lost before the cell hears it, or its answer on the way back; it may arrive twice; its caller may die
right before or right after it. The watchdog of a cell takes down fences whenever the test says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import TypeAdapter

from contract.ids import CellId
from contract.moves import (
    Fence,
    FenceOrder,
    Fences,
    Grant,
    GrantOrder,
    Grants,
    MoveReason,
    Positions,
    RowsTaken,
    RowsWanted,
    StagedUnit,
    StagedUnits,
    StageOrder,
    Survey,
    Surveys,
    UnitList,
    UnitNow,
    UnitsNow,
)
from control_plane.fleet.model import Unreachable
from control_plane.mover.asking import StepRefused
from control_plane.mover.calls import Call, Rows

T = TypeVar("T")
ROWS = TypeAdapter(dict[str, list[int]])
"""On the way: wallet to the amounts of its log."""


class MoverKilledError(BaseException):
    """kill -9: nothing that the mover had in memory is left."""


class RefusedError(Exception):
    def __init__(self, reason: MoveReason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass
class ModelUnit:
    state: str
    epoch: int
    move_id: str | None = None
    fence_no: int = 0
    digest: str | None = None
    grant: Grant | None = None
    before: "ModelUnit | None" = None
    """What a discarded staging gives back."""
    wallets: dict[str, list[int]] = field(default_factory=dict)


class ModelCell:
    def __init__(self, name: str, clock: Callable[[], datetime]) -> None:
        self.name = CellId(name)
        self.units: dict[int, ModelUnit] = {}
        self.busy_locks = 0
        """So many fences find a wallet locked."""
        self.breaks_rows = False
        """Folds what arrives into something else: a bug that the digests must find."""
        self._clock = clock

    def write(self, unit: int, wallet: str, amount: int) -> bool:
        """What a vendor does; False where the cell does not own the unit, or it is fenced."""
        owned = self.units.get(unit)
        if owned is None or owned.state != "active":
            return False
        owned.wallets.setdefault(wallet, []).append(amount)
        return True

    def watchdog(self) -> None:
        for unit in self.units.values():
            if unit.state == "fenced":
                unit.state, unit.move_id, unit.digest = "active", None, None

    def answer(self, path: str, body: Any) -> Any:
        _, _, *rest = path.partition("?")[0].split("/")
        if rest[0] == "grants":
            grant = self.units[int(rest[1])].grant
            if grant is None:
                raise RefusedError(MoveReason.UNIT_MUST_BE_GRANTED)
            return grant
        _, move_id, verb = rest
        if verb == "rows" and isinstance(body, bytes):
            query = dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
            return self.put_rows(move_id, int(query["unit"]), body)
        return getattr(self, verb)(move_id, body)

    def survey(self, _: str, body: UnitList) -> Surveys:
        return Surveys(
            schema_revision="1",
            database_now=self._clock().isoformat(),
            is_synchronous=False,
            units=tuple(self._survey(unit) for unit in body.units),
        )

    def versions(self, _: str, body: UnitList) -> Positions:
        (unit,) = body.units
        wallets = self.units[unit].wallets if unit in self.units else {}
        return Positions(unit=unit, positions=tuple((wallet, len(log)) for wallet, log in sorted(wallets.items())))

    positions = versions

    def rows(self, _: str, body: RowsWanted) -> Rows:
        if body.part == "state":
            return Rows(content=b"{}", count=0)
        logs = self.units[body.unit].wallets
        left, chosen = body.rows_max, {}
        for wallet, seq in body.positions:
            chosen[wallet] = logs[wallet][seq : seq + left]
            left -= len(chosen[wallet])
        chosen = {wallet: rows for wallet, rows in chosen.items() if rows}
        return Rows(content=ROWS.dump_json(chosen), count=sum(map(len, chosen.values())))

    def fence(self, move_id: str, body: FenceOrder) -> Fences:
        if self.busy_locks:
            self.busy_locks -= 1
            raise RefusedError(MoveReason.LOCKS_MUST_BE_FREE)
        found = [self.units[unit] for unit in body.units]
        if all(unit.state == "fenced" and unit.move_id == move_id for unit in found):
            return self._fences(body.units)
        if any(unit.state != "active" for unit in found):
            raise RefusedError(MoveReason.UNIT_MUST_BE_ACTIVE)
        for unit in found:
            unit.state, unit.move_id, unit.fence_no = "fenced", move_id, unit.fence_no + 1
            unit.digest = digest_of(unit.wallets)
        return self._fences(body.units)

    def unfence(self, move_id: str, body: UnitList) -> UnitsNow:
        for unit in body.units:
            if self.units[unit].state == "fenced" and self.units[unit].move_id == move_id:
                self.units[unit].state, self.units[unit].move_id = "active", None
        return self._now(body.units)

    def grant(self, move_id: str, body: GrantOrder) -> Grants:
        found = {one.unit: self.units[one.unit] for one in body.staged}
        if all(unit.state in {"granted", "moved"} and unit.move_id == move_id for unit in found.values()):
            return Grants(grants=tuple(unit.grant for unit in found.values() if unit.grant))
        for one in body.staged:
            unit = found[one.unit]
            if unit.state != "fenced" or unit.move_id != move_id:
                raise RefusedError(MoveReason.UNIT_MUST_BE_FENCED)
            if unit.fence_no != one.fence_no:
                raise RefusedError(MoveReason.FENCE_MUST_STAND)
            if unit.digest != one.digest:
                raise RefusedError(MoveReason.DIGESTS_MUST_MATCH)
        for one in body.staged:
            unit = found[one.unit]
            unit.state = "granted"
            unit.grant = Grant(
                move_id=move_id,
                unit=one.unit,
                from_cell=self.name,
                to_cell=body.to_cell,
                epoch=one.epoch,
                fence_no=one.fence_no,
                digest=one.digest,
            )
        return Grants(grants=tuple(unit.grant for unit in found.values() if unit.grant))

    def tombstone(self, move_id: str, body: UnitList) -> UnitsNow:
        for unit in body.units:
            if self.units[unit].state == "granted" and self.units[unit].move_id == move_id:
                self.units[unit].state = "moved"
        return self._now(body.units)

    def stage(self, move_id: str, body: StageOrder) -> UnitsNow:
        for number, epoch in body.units:
            unit = self.units.get(number)
            if unit is not None and unit.state in {"staging", "staged"} and unit.move_id == move_id:
                continue
            if unit is not None and unit.state != "moved":
                raise RefusedError(MoveReason.UNIT_MUST_BE_ABSENT)
            kept = {wallet: list(log) for wallet, log in unit.wallets.items()} if unit else {}
            self.units[number] = ModelUnit(state="staging", epoch=epoch, move_id=move_id, before=unit, wallets=kept)
        return self._now(tuple(number for number, _ in body.units))

    def put_rows(self, move_id: str, number: int, content: bytes) -> RowsTaken:
        unit = self.units.get(number)
        if unit is None or unit.state not in {"staging", "staged"} or unit.move_id != move_id:
            raise RefusedError(MoveReason.UNIT_MUST_BE_STAGING)
        rows = ROWS.validate_json(content)
        if rows:
            unit.state, unit.digest = "staging", None
        for wallet, amounts in rows.items():
            unit.wallets.setdefault(wallet, []).extend(amounts if not self.breaks_rows else [0] * len(amounts))
        positions = tuple((wallet, len(unit.wallets[wallet])) for wallet in sorted(rows))
        return RowsTaken(unit=number, rows=sum(map(len, rows.values())), positions=positions)

    def seal(self, move_id: str, body: Fences) -> StagedUnits:
        for one in body.fences:
            unit = self.units.get(one.unit)
            if unit is None or unit.state not in {"staging", "staged"} or unit.move_id != move_id:
                raise RefusedError(MoveReason.UNIT_MUST_BE_STAGING)
            if digest_of(unit.wallets) != one.digest:
                raise RefusedError(MoveReason.DIGESTS_MUST_MATCH, f"unit {one.unit}")
        for one in body.fences:
            unit = self.units[one.unit]
            unit.state, unit.fence_no, unit.digest = "staged", one.fence_no, one.digest
        return StagedUnits(
            staged=tuple(
                StagedUnit(unit=one.unit, epoch=self.units[one.unit].epoch, fence_no=one.fence_no, digest=one.digest)
                for one in body.fences
            )
        )

    def activate(self, _: str, body: Grants) -> UnitsNow:
        for grant in body.grants:
            unit = self.units[grant.unit]
            if unit.state == "active" and unit.epoch == grant.epoch:
                continue
            if unit.state != "staged" or (unit.fence_no, unit.digest) != (grant.fence_no, grant.digest):
                raise RefusedError(MoveReason.UNIT_MUST_BE_STAGED)
            unit.state, unit.before = "active", None
        return self._now(tuple(grant.unit for grant in body.grants))

    def discard(self, move_id: str, body: UnitList) -> UnitsNow:
        for number in body.units:
            unit = self.units.get(number)
            if unit is not None and unit.state in {"staging", "staged"} and unit.move_id == move_id:
                del self.units[number]
                if unit.before is not None:
                    self.units[number] = unit.before
        return self._now(body.units)

    def ask_for_grant(self, number: int, source: "ModelCell") -> None:
        """What the target does by itself when nobody brings the grant."""
        unit, grant = self.units.get(number), source.units[number].grant
        if unit is not None and unit.state == "staged" and grant is not None and grant.move_id == unit.move_id:
            self.activate(grant.move_id, Grants(grants=(grant,)))

    def _survey(self, number: int) -> Survey:
        unit = self.units.get(number)
        if unit is None:
            return Survey(unit=number, state=None, epoch=None, wallets=0, entries=0)
        entries = sum(map(len, unit.wallets.values()))
        return Survey(
            unit=number,
            state=unit.state,
            epoch=unit.epoch,
            wallets=len(unit.wallets),
            entries=entries,  # type: ignore[arg-type]
        )

    def _fences(self, numbers: tuple[int, ...]) -> Fences:
        return Fences(
            from_cell=self.name,
            fences=tuple(
                Fence(
                    unit=number,
                    epoch=self.units[number].epoch,
                    fence_no=self.units[number].fence_no,
                    digest=self.units[number].digest or "",
                )
                for number in numbers
            ),
        )

    def _now(self, numbers: tuple[int, ...]) -> UnitsNow:
        known = ((number, self.units.get(number)) for number in numbers)
        return UnitsNow(
            units=tuple(
                UnitNow(unit=number, state=unit.state, epoch=unit.epoch, fence_no=unit.fence_no)  # type: ignore[arg-type]
                if unit
                else UnitNow(unit=number, state=None, epoch=None)
                for number, unit in known
            )
        )


def digest_of(wallets: dict[str, list[int]]) -> str:
    return sha256(repr(sorted(wallets.items())).encode()).hexdigest()


class ModelCells:
    """`Cells` for the mover: `fault` says before each call what becomes of it, `beside` what happens meanwhile."""

    def __init__(self, *cells: ModelCell) -> None:
        self.cells = {cell.name: cell for cell in cells}
        self.fault: Callable[[str], str] = lambda _: "none"
        self.beside: Callable[[str], None] = lambda _: None
        self.calls: list[str] = []

    def admin_urls(self, cell: CellId) -> tuple[str, ...]:
        return (f"http://{cell}",)

    async def ask(self, cell: CellId, call: Call[T]) -> T | StepRefused | Unreachable:
        verb = call.path.partition("?")[0].rpartition("/")[2]
        self.calls.append(verb)
        self.beside(verb)
        fault = self.fault(verb)
        if fault == "killed_before":
            raise MoverKilledError
        if fault == "lost":
            return Unreachable(detail="lost")
        answer = self._answered(cell, call)
        if fault == "twice":
            answer = self._answered(cell, call)
        self.beside(verb)
        if fault == "killed_after":
            raise MoverKilledError
        return Unreachable(detail="answer lost") if fault == "answer_lost" else answer

    def _answered(self, cell: CellId, call: Call[Any]) -> Any:
        try:
            return self.cells[cell].answer(call.path, call.body)
        except RefusedError as error:
            return StepRefused(status=409, reason=error.reason, detail=error.detail, facts={})
