"""The calls of contract/moves.py as values, so that whoever carries them out needs to know none of them."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel

from contract.moves import (
    Cleaned,
    Fence,
    FenceOrder,
    Fences,
    Grant,
    GrantOrder,
    Grants,
    IsolateOrder,
    Part,
    Positions,
    RejoinOrder,
    RowsTaken,
    RowsWanted,
    StagedUnit,
    StagedUnits,
    StageOrder,
    Surveys,
    UnitList,
    UnitsNow,
)
from contract.values import value
from control_plane.moves.model import MoveRecord
from control_plane.moves.policy import MovePolicy

LOOK_S = 5.0
"""A question that takes nothing in hand."""
CUT_S = 1.5
"""A call under the fence: whoever waits longer finds it gone."""
BULK_S = 60.0
"""A page of rows, or a batch of deletions, of a busy cell."""

T = TypeVar("T")


@value
class Rows:
    """Rows on their way: bytes that nobody here reads."""

    content: bytes
    count: int


@value
class Call(Generic[T]):
    method: str
    path: str
    body: BaseModel | bytes | None
    answer: type[T]
    timeout_s: float


def survey(move: MoveRecord, units: Sequence[int]) -> Call[Surveys]:
    return _post(f"/admin/outgoing/{move.id}/survey", UnitList(units=tuple(units)), Surveys, LOOK_S)


def versions(move: MoveRecord, unit: int, *, is_fenced: bool) -> Call[Positions]:
    timeout_s = CUT_S if is_fenced else LOOK_S
    return _post(f"/admin/outgoing/{move.id}/versions", UnitList(units=(unit,)), Positions, timeout_s)


def positions(move: MoveRecord, unit: int, *, is_fenced: bool) -> Call[Positions]:
    timeout_s = CUT_S if is_fenced else LOOK_S
    return _post(f"/admin/incoming/{move.id}/positions", UnitList(units=(unit,)), Positions, timeout_s)


def rows(move: MoveRecord, wanted: RowsWanted, *, is_fenced: bool) -> Call[Rows]:
    return _post(f"/admin/outgoing/{move.id}/rows", wanted, Rows, CUT_S if is_fenced else BULK_S)


def put_rows(move: MoveRecord, unit: int, part: Part, content: bytes, *, is_fenced: bool) -> Call[RowsTaken]:
    return Call(
        method="PUT",
        path=f"/admin/incoming/{move.id}/rows?unit={unit}&part={part}",
        body=content,
        answer=RowsTaken,
        timeout_s=CUT_S if is_fenced else BULK_S,
    )


def stage(move: MoveRecord, source_admin_urls: Sequence[str]) -> Call[UnitsNow]:
    order = StageOrder(
        from_cell=move.from_cell,
        source_admin_urls=tuple(source_admin_urls),
        units=tuple((unit.unit, unit.to_epoch) for unit in move.in_hand),
    )
    return _post(f"/admin/incoming/{move.id}/stage", order, UnitsNow, LOOK_S)


def fence(move: MoveRecord, policy: MovePolicy) -> Call[Fences]:
    order = FenceOrder(
        units=_in_hand(move),
        to_cell=move.to_cell,
        stands_ms=policy.stands_ms,
        lock_wait_ms=policy.lock_wait_ms,
    )
    return _post(f"/admin/outgoing/{move.id}/fence", order, Fences, CUT_S)


def seal(move: MoveRecord, fences: Sequence[Fence]) -> Call[StagedUnits]:
    order = Fences(from_cell=move.from_cell, fences=tuple(fences))
    return _post(f"/admin/incoming/{move.id}/seal", order, StagedUnits, CUT_S)


def grant(move: MoveRecord, staged: Sequence[StagedUnit]) -> Call[Grants]:
    order = GrantOrder(to_cell=move.to_cell, staged=tuple(staged))
    return _post(f"/admin/outgoing/{move.id}/grant", order, Grants, CUT_S)


def grant_of(unit: int) -> Call[Grant]:
    return Call(method="GET", path=f"/admin/grants/{unit}", body=None, answer=Grant, timeout_s=LOOK_S)


def activate(move: MoveRecord, grants: Sequence[Grant]) -> Call[UnitsNow]:
    return _post(f"/admin/incoming/{move.id}/activate", Grants(grants=tuple(grants)), UnitsNow, CUT_S)


def unfence(move: MoveRecord) -> Call[UnitsNow]:
    return _post(f"/admin/outgoing/{move.id}/unfence", UnitList(units=_in_hand(move)), UnitsNow, LOOK_S)


def tombstone(move: MoveRecord) -> Call[UnitsNow]:
    return _post(f"/admin/outgoing/{move.id}/tombstone", UnitList(units=_in_hand(move)), UnitsNow, LOOK_S)


def discard(move: MoveRecord) -> Call[UnitsNow]:
    return _post(f"/admin/incoming/{move.id}/discard", UnitList(units=_in_hand(move)), UnitsNow, BULK_S)


def clean(move: MoveRecord, units: Sequence[int]) -> Call[Cleaned]:
    return _post(f"/admin/outgoing/{move.id}/clean", UnitList(units=tuple(units)), Cleaned, BULK_S)


def isolate(wallet_id: str, unit: int) -> Call[UnitsNow]:
    return _post("/admin/isolate", IsolateOrder(wallet_id=wallet_id, unit=unit), UnitsNow, LOOK_S)


def rejoin(wallet_id: str, unit: int) -> Call[UnitsNow]:
    return _post("/admin/rejoin", RejoinOrder(wallet_id=wallet_id, unit=unit), UnitsNow, LOOK_S)


def _in_hand(move: MoveRecord) -> tuple[int, ...]:
    return tuple(unit.unit for unit in move.in_hand)


def _post(path: str, body: BaseModel, answer: type[T], timeout_s: float) -> Call[T]:
    return Call(method="POST", path=path, body=body, answer=answer, timeout_s=timeout_s)
