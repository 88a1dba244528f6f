"""The map in memory: which cell owns which unit, and where the cells' API processes are.

Built from the contract's document, laid out for one lookup per request. A `Directory` never changes; a newer document
(`adoption.py`) or a single learned unit (`learning.py`) makes another one. Knows nothing of files, time or health.
"""

import hashlib
import math
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import field
from itertools import chain, repeat
from typing import cast

from contract.directory import DirectoryCell, DirectoryDocument
from contract.ids import CellId, WalletId
from contract.slots import SLOTS, Unit
from contract.values import value

NO_CELL = 0xFFFF
"""Owner of a slot before the first cells have joined."""

EPOCH_FIRST = 1

AFFINITY_BUCKETS = 1_024
"""Wallets are spread over a cell's API processes in so many buckets: fine enough for an even share, few to remember."""


@value
class Instance:
    """One API process of a cell."""

    url: str
    zone: str


@value
class Cell:
    """A cell as the router sees it from its own zone."""

    id: CellId
    instances: tuple[Instance, ...]
    zone_weights: Mapping[str, int]
    own_zone: str
    _orders: dict[int, tuple[Instance, ...]] = field(default_factory=dict, compare=False, repr=False)

    def instances_for(self, bucket: int) -> tuple[Instance, ...]:
        """All instances worth asking, best first; always the same order for the same bucket."""
        order = self._orders.get(bucket)
        if order is None:
            order = self._orders[bucket] = _order(self, bucket)
        return order


@value
class Owner:
    """Where a wallet lives. `cell` is None while nobody owns its slot."""

    cell: Cell | None
    unit: Unit
    epoch: int
    bucket: int


@value
class Directory:
    version: int
    issued_at: str
    cells: tuple[Cell, ...]
    index_of: Mapping[str, int]
    slot_cells: "array[int]"
    """Slot to index into `cells`."""
    isolated: Mapping[WalletId, Unit]
    unit_cells: Mapping[Unit, int]
    """Isolated unit to index into `cells`."""
    epochs: Mapping[Unit, int]
    """Sparse: a unit without an entry is at its first epoch."""
    moving: frozenset[Unit]
    learned_units: frozenset[Unit] = frozenset()
    """Units whose owner is known by a higher epoch than the document's."""
    learned_wallets: frozenset[WalletId] = frozenset()
    """Isolated wallets that the document does not know of."""

    def owner_of(self, wallet_id: WalletId) -> Owner:
        checksum = zlib.crc32(wallet_id.encode())
        unit = self.isolated.get(wallet_id)
        if unit is None:
            unit = Unit(checksum % SLOTS)  # contract.slots.slot_of, with the rest of the checksum kept for affinity
            index = self.slot_cells[unit]
        else:
            index = self.unit_cells[unit]
        return Owner(
            cell=None if index == NO_CELL else self.cells[index],
            unit=unit,
            epoch=self.epochs.get(unit, EPOCH_FIRST),
            bucket=checksum // SLOTS % AFFINITY_BUCKETS,
        )

    def epoch_of(self, unit: Unit) -> int:
        return self.epochs.get(unit, EPOCH_FIRST)

    def cell_of(self, unit: Unit) -> CellId | None:
        """The cell of a unit that the map knows; None for unowned slots and unknown isolated units."""
        index = self.slot_cells[unit] if unit < SLOTS else self.unit_cells.get(unit, NO_CELL)
        return None if index == NO_CELL else self.cells[index].id

    def owning_cells(self) -> tuple[Cell, ...]:
        """Cells that own at least one unit, in the order of the map."""
        owning = (set(self.slot_cells) | set(self.unit_cells.values())) - {NO_CELL}
        return tuple(self.cells[index] for index in sorted(owning))

    @property
    def has_owners(self) -> bool:
        """Whether the slots have been given out: before that there is nothing to route to."""
        return self.slot_cells[0] != NO_CELL


def directory_of(document: DirectoryDocument, *, own_zone: str) -> Directory:
    """The map that the document describes, seen from `own_zone`."""
    names = sorted(document.cells)
    index_of = {name: index for index, name in enumerate(names)}
    return Directory(
        version=document.version,
        issued_at=document.issued_at,
        cells=tuple(_cell(name, document.cells[name], own_zone) for name in names),
        index_of=index_of,
        slot_cells=_slot_cells(document, index_of),
        isolated={WalletId(wallet): Unit(unit) for wallet, unit in document.isolated.items()},
        unit_cells={Unit(unit): index_of[cell] for unit, cell in document.unit_cells.items()},
        epochs=cast("dict[Unit, int]", document.epochs),
        moving=frozenset(Unit(unit) for unit in document.moving),
    )


def _cell(name: str, listed: DirectoryCell, own_zone: str) -> Cell:
    return Cell(
        id=CellId(name),
        instances=tuple(Instance(url=api.url.rstrip("/"), zone=api.zone) for api in listed.api),
        zone_weights=dict(listed.zone_weights),
        own_zone=own_zone,
    )


def _slot_cells(document: DirectoryDocument, index_of: Mapping[str, int]) -> "array[int]":
    if not document.slots:
        return array("H", [NO_CELL]) * SLOTS
    return array("H", chain.from_iterable(repeat(index_of[cell], count) for count, cell in document.slots))


def _order(cell: Cell, bucket: int) -> tuple[Instance, ...]:
    """Own zone first, then the other zones by weight; within a zone by rendezvous hash.

    A zone of weight 0 is being evacuated: its processes are asked only if the cell has no others.
    """
    zones = sorted({instance.zone for instance in cell.instances})
    weights = {zone: cell.zone_weights.get(zone, 1) for zone in zones}
    if any(weights.values()):
        zones = [zone for zone in zones if weights[zone] > 0]
    else:
        weights = dict.fromkeys(zones, 1)
    zones.sort(key=lambda zone: (zone != cell.own_zone, -math.log(_draw(bucket, zone)) / weights[zone]))
    return tuple(
        instance
        for zone in zones
        for instance in sorted(
            (instance for instance in cell.instances if instance.zone == zone),
            key=lambda instance: _draw(bucket, instance.url),
        )
    )


def _draw(bucket: int, name: str) -> float:
    """A number in (0, 1] for each pair; crc32 would draw related numbers for related names."""
    digest = hashlib.blake2b(f"{bucket}|{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / 2**64
