"""Whether a newer document may replace the map, and the map that results.

Versions never go backwards, and per unit the higher epoch wins whatever the version. A publication that re-assigns
too many units or drops a cell without saying that it means to is the one fault that cells do not contain: declined.
"""

from array import array
from enum import StrEnum
from operator import ne

from contract.directory import CHANGE_SHARE_MAX, DirectoryDocument
from contract.ids import WalletId
from contract.slots import SLOTS, Unit
from contract.values import value
from router.routing.directory import Directory, directory_of


class DeclineReason(StrEnum):
    VERSION_MUST_NOT_GO_BACKWARDS = "version_must_not_go_backwards"
    CELLS_MUST_NOT_DISAPPEAR = "cells_must_not_disappear"
    CHANGE_MUST_NOT_BE_LARGE = "change_must_not_be_large"


@value
class Adopted:
    directory: Directory


@value
class Declined:
    reason: DeclineReason
    detail: str


def adopt(
    current: Directory | None, document: DirectoryDocument, *, own_zone: str, is_after_decline: bool = False
) -> Adopted | Declined:
    """The map after `document`, or why it may not replace `current`.

    `is_after_decline`: the document before was declined for its size, so this one may carry the same mistake and is
    bound as if it followed `current` directly.
    """
    published = directory_of(document, own_zone=own_zone)
    if current is None:
        return Adopted(directory=published)
    if published.version < current.version:
        detail = f"version {published.version} is older than {current.version}"
        return Declined(reason=DeclineReason.VERSION_MUST_NOT_GO_BACKWARDS, detail=detail)
    adopted = _with_higher_epochs(current, published)
    if _is_bound(current, document, is_after_decline=is_after_decline):
        return _too_large(current, adopted) or Adopted(directory=adopted)
    return Adopted(directory=adopted)


def _is_bound(current: Directory, document: DirectoryDocument, *, is_after_decline: bool) -> bool:
    """A router that missed publications cannot judge the sum of them; each was judged when it was published."""
    if document.is_large_change_meant:
        return False
    follows_directly = document.previous_version is None or document.previous_version == current.version
    return follows_directly or is_after_decline


def _too_large(current: Directory, adopted: Directory) -> Declined | None:
    gone = [cell.id for cell in current.cells if cell.id not in adopted.index_of]
    if gone:
        detail = f"version {adopted.version} leaves out {', '.join(gone)}"
        return Declined(reason=DeclineReason.CELLS_MUST_NOT_DISAPPEAR, detail=detail)
    changed, owned = _changed_units(current, adopted)
    if changed > CHANGE_SHARE_MAX * owned:
        detail = f"version {adopted.version} gives {changed} of {owned} units to other cells"
        return Declined(reason=DeclineReason.CHANGE_MUST_NOT_BE_LARGE, detail=detail)
    return None


def _changed_units(current: Directory, adopted: Directory) -> tuple[int, int]:
    """How many units have another owner or none, of how many that had one."""
    indexes = _translation(current, adopted)
    kept = [unit for unit in current.unit_cells if unit in adopted.unit_cells]
    changed = sum(1 for unit in kept if indexes[current.unit_cells[unit]] != adopted.unit_cells[unit])
    if not current.has_owners:
        return changed, len(kept)
    before = map(indexes.__getitem__, current.slot_cells)
    return changed + sum(map(ne, before, adopted.slot_cells)), len(kept) + SLOTS


def _translation(current: Directory, adopted: Directory) -> list[int]:
    """Index of a cell in `current` to its index in `adopted`; a cell that is gone equals no other."""
    gone = len(adopted.cells)
    return [adopted.index_of.get(cell.id, gone) for cell in current.cells]


def _with_higher_epochs(current: Directory, published: Directory) -> Directory:
    """`published`, except for units that `current` knows by a higher epoch and wallets isolated since."""
    wallets = {wallet for wallet in current.learned_wallets if _is_still_isolated(current, published, wallet)}
    units = {
        unit
        for unit, epoch in current.epochs.items() - published.epochs.items()
        if epoch > published.epoch_of(unit) and (unit < SLOTS or unit in published.unit_cells)
    } | {current.isolated[wallet] for wallet in wallets}
    kept = {unit for unit in units if current.cell_of(unit) in published.index_of}
    if not kept:
        return published
    wallets = {wallet for wallet in wallets if current.isolated[wallet] in kept}
    return _overlaid(current, published, units=kept, wallets=wallets)


def _is_still_isolated(current: Directory, published: Directory, wallet: WalletId) -> bool:
    """Isolated units are numbered upwards and never used again: one that the document has seen is no news to it."""
    unit = current.isolated[wallet]
    known = published.isolated.get(wallet)
    if known is not None:
        return unit > known
    return unit not in published.epochs and unit not in published.unit_cells


def _overlaid(current: Directory, published: Directory, *, units: set[Unit], wallets: set[WalletId]) -> Directory:
    slot_cells = array("H", published.slot_cells)
    unit_cells = dict(published.unit_cells)
    for unit in units:
        index = published.index_of[str(current.cell_of(unit))]
        if unit < SLOTS:
            slot_cells[unit] = index
        else:
            unit_cells[unit] = index
    return Directory(
        version=published.version,
        issued_at=published.issued_at,
        cells=published.cells,
        index_of=published.index_of,
        slot_cells=slot_cells,
        isolated={**published.isolated, **{wallet: current.isolated[wallet] for wallet in wallets}},
        unit_cells=unit_cells,
        epochs={**published.epochs, **{unit: current.epoch_of(unit) for unit in units}},
        moving=published.moving,
        learned_units=frozenset(units),
        learned_wallets=frozenset(wallets),
    )
