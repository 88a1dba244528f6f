"""Whom to send a request to, or why not: the one decision that every proxied request passes.

Pure: it reads the map and the health of the fleet and changes neither.
"""

import math

from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.slots import Unit
from contract.values import value
from router.routing.breaker import State
from router.routing.directory import Cell, Directory, Instance
from router.routing.health import CellHealth, FleetHealth

GRACE_S = 10.0
"""A cell that has been out of reach for less is worth waiting for: a process that was killed is back by then.

The vendor's deadline bounds the wait; afterwards the answer is an immediate "later"."""

PROBE_S = 0.2
"""While a probe is under way its outcome is near; asking again so often costs little even with a full bulkhead."""

WAIT_MIN_S = 0.02
"""Never ask again sooner."""


@value
class Forward:
    cell: Cell
    instances: tuple[Instance, ...]
    """Best first."""
    promising: int
    """How many of them, from the front, are not known to be out of reach."""
    unit: Unit | None
    epoch: int | None
    """None when the request is about the cell and not about one wallet."""


@value
class Refuse:
    problem: Problem
    cell_id: str | None
    retry_after_s: int = 1
    ask_again_at: float | None = None
    """From this instant on the decision may be another; None = not within any deadline worth waiting for.
    Always with a `cell_id`."""


def choose(directory: Directory, wallet_id: WalletId, health: FleetHealth, now: float) -> Forward | Refuse:
    """The owner of the wallet and its instances in order of preference, or why it cannot be asked."""
    owner = directory.owner_of(wallet_id)
    if owner.cell is None:
        return _unreachable("No cell owns this wallet yet.", cell_id=None)
    return _admitted(owner.cell, owner.bucket, health.cell(owner.cell.id), now, unit=owner.unit, epoch=owner.epoch)


def choose_instances(cell: Cell, bucket: int, health: FleetHealth, now: float) -> Forward | Refuse:
    """The same for a request about a cell as a whole."""
    return _admitted(cell, bucket, health.cell(cell.id), now, unit=None, epoch=None)


def _admitted(
    cell: Cell, bucket: int, health: CellHealth, now: float, *, unit: Unit | None, epoch: int | None
) -> Forward | Refuse:
    instances = cell.instances_for(bucket)
    if not instances:
        return _unreachable(f"Cell {cell.id} has no API process.", cell_id=cell.id)
    if health.is_full:
        return _unreachable(f"Cell {cell.id} has too many requests under way.", cell_id=cell.id)
    if not health.breaker.lets_through(now):
        return _cooling(cell, health, now)
    ordered, promising = health.in_order(instances, now)
    return Forward(cell=cell, instances=ordered, promising=promising, unit=unit, epoch=epoch)


def _cooling(cell: Cell, health: CellHealth, now: float) -> Refuse:
    next_try_at = health.breaker.next_try_at(now)
    if health.breaker.state is State.HALF_OPEN:
        next_try_at = min(next_try_at, now + PROBE_S)
    is_recent = now < health.breaker.opened_at + GRACE_S
    return _unreachable(
        f"Cell {cell.id} does not answer.",
        cell_id=cell.id,
        retry_after_s=max(1, math.ceil(next_try_at - now)),
        ask_again_at=max(next_try_at, now + WAIT_MIN_S) if is_recent else None,
    )


def _unreachable(
    detail: str, *, cell_id: str | None, retry_after_s: int = 1, ask_again_at: float | None = None
) -> Refuse:
    return Refuse(
        problem=Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail=detail),
        cell_id=cell_id,
        retry_after_s=retry_after_s,
        ask_again_at=ask_again_at,
    )


NO_MAP = _unreachable("The router has no map yet.", cell_id=None)
"""Before the first directory document: the router does not guess."""
