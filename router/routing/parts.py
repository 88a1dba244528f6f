"""A bulk request in parts: which of its operations go to which cell, and what each of their results calls for.

Pure. A part is for the API process that its wallets prefer, like their single requests: so a cell's processes share the
work, and their batches share no rows. Operations of one wallet stay together and in order. An operation that names no
wallet is for a cell to refuse: it rides with the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from contract.ids import CellId, WalletId, is_canonical_uuid
from contract.reasons import Reason
from contract.values import value
from router.routing.directory import Cell, Directory


@value
class Part:
    """Places of operations, ascending, that one cell is asked about; `bucket` says which of its processes first."""

    cell: Cell
    bucket: int
    places: list[int]


@value
class Split:
    parts: list[Part]
    homeless: list[int]
    """Their wallets have no owner yet, or no cell owns anything."""


class Next(Enum):
    FINAL = "final"
    FOLLOW = "follow"
    """Another cell owns the wallet."""
    WAIT = "wait"
    """The wallet is on its way to another cell."""


def wallets_named(operations: Iterable[Any]) -> list[WalletId | None]:
    """The wallet of each operation; None where there is none that could be one."""
    named = (fields.get("wallet_id") if isinstance(fields, dict) else None for fields in operations)
    return [WalletId(one) if isinstance(one, str) and is_canonical_uuid(one) else None for one in named]


def split(directory: Directory, wallets: Sequence[WalletId | None], places: Iterable[int]) -> Split:
    by_process: dict[tuple[CellId, str], Part] = {}
    homeless, unnamed = [], []
    for place in places:
        wallet_id = wallets[place]
        if wallet_id is None:
            unnamed.append(place)
            continue
        owner = directory.owner_of(wallet_id)
        if owner.cell is None:
            homeless.append(place)
            continue
        process = _preferred(owner.cell, owner.bucket)
        if (part := by_process.get((owner.cell.id, process))) is not None:
            part.places.append(place)
        else:
            by_process[owner.cell.id, process] = Part(cell=owner.cell, bucket=owner.bucket, places=[place])
    parts = list(by_process.values())
    if unnamed and not parts:
        parts = [Part(cell=cell, bucket=0, places=[]) for cell in directory.owning_cells()[:1]]
    if unnamed and parts:
        first = parts[0]
        parts[0] = Part(cell=first.cell, bucket=first.bucket, places=sorted((*first.places, *unnamed)))
        unnamed = []
    return Split(parts=parts, homeless=[*homeless, *unnamed])


def _preferred(cell: Cell, bucket: int) -> str:
    instances = cell.instances_for(bucket)
    return instances[0].url if instances else ""


def next_of(result: Mapping[str, Any]) -> Next:
    """What a result calls for. Only the cells' own words count: an odd body is final."""
    status = result.get("status")
    if status == 421:
        return Next.FOLLOW
    body = result.get("body")
    if status == 503 and isinstance(body, dict) and body.get("reason") == Reason.WALLET_IS_MOVING:
        return Next.WAIT
    return Next.FINAL
