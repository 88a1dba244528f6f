"""What one 421 teaches: a single unit's owner, taken over only with a higher epoch than the known one.

The cell decides about ownership, never the router. A hint that speaks of another unit than that of the wallet asked
for, or of a cell without addresses, teaches nothing.
"""

from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from contract.ids import CellId, WalletId, is_canonical_uuid
from contract.slots import ISOLATED_UNIT_FIRST, ISOLATED_UNITS_MAX, SLOTS, Unit, slot_of
from contract.values import value
from router.routing.directory import Directory


@value
class Hint:
    """The facts of a 421: `wallet_id` comes with isolated wallets, `cell` is None when the cell does not know."""

    unit: Unit
    cell: CellId | None
    epoch: int
    wallet_id: WalletId | None = None


def hint_of(facts: Mapping[str, Any]) -> Hint | None:
    """The hint in the members of a problem document, if they have the right form."""
    unit, cell, epoch, wallet_id = (facts.get(name) for name in ("unit", "cell", "epoch", "wallet_id"))
    if type(unit) is not int or not (0 <= unit < SLOTS or unit >= ISOLATED_UNIT_FIRST):
        return None
    if type(epoch) is not int or epoch < 1:
        return None
    is_wallet = isinstance(wallet_id, str) and is_canonical_uuid(wallet_id)
    return Hint(
        unit=Unit(unit),
        cell=CellId(cell) if isinstance(cell, str) else None,
        epoch=epoch,
        wallet_id=WalletId(str(wallet_id)) if is_wallet else None,
    )


def learn(directory: Directory, hint: Hint, *, asked: WalletId) -> Directory | None:
    """The map with the hint of a 421 to a request for `asked` in it; None if it teaches nothing."""
    if hint.wallet_id not in (None, asked):
        return None
    if hint.unit < SLOTS:
        return take_over(directory, hint) if hint.unit == slot_of(asked) else None
    if hint.wallet_id is None and directory.isolated.get(asked) != hint.unit:
        return None
    return take_over(directory, replace(hint, wallet_id=asked))


def take_over(directory: Directory, hint: Hint) -> Directory | None:
    """The map with the hint in it, if it is newer; also used for hints kept from an earlier life of the router."""
    if hint.cell is None or hint.cell not in directory.index_of:
        return None
    if hint.unit < SLOTS:
        return _take_over_slot(directory, hint, directory.index_of[hint.cell])
    return _take_over_isolated(directory, hint, directory.index_of[hint.cell])


def hints_of(directory: Directory) -> tuple[Hint, ...]:
    """Everything that the map knows beyond its document, in the order of units."""
    wallet_of = {unit: wallet for wallet, unit in directory.isolated.items()}
    return tuple(
        Hint(
            unit=unit,
            cell=directory.cell_of(unit),
            epoch=directory.epoch_of(unit),
            wallet_id=wallet_of.get(unit),
        )
        for unit in sorted(directory.learned_units)
    )


def _take_over_slot(directory: Directory, hint: Hint, cell_index: int) -> Directory | None:
    known = directory.epoch_of(hint.unit)
    wallet = hint.wallet_id
    if wallet is not None and wallet in directory.isolated and hint.epoch >= known:
        directory = _rejoined(directory, wallet)
    elif hint.epoch <= known:
        return None
    slot_cells = array("H", directory.slot_cells)
    slot_cells[hint.unit] = cell_index
    return replace(_risen(directory, hint), slot_cells=slot_cells)


def _take_over_isolated(directory: Directory, hint: Hint, cell_index: int) -> Directory | None:
    wallet = hint.wallet_id
    if wallet is None:
        return None
    known = directory.isolated.get(wallet)
    is_known = known == hint.unit
    if is_known and hint.epoch <= directory.epoch_of(hint.unit):
        return None
    if not is_known and not _is_newly_isolated(directory, hint.unit, known):
        return None
    return replace(
        _risen(directory, hint),
        isolated={**directory.isolated, wallet: hint.unit},
        unit_cells={**directory.unit_cells, hint.unit: cell_index},
        learned_wallets=directory.learned_wallets if is_known else directory.learned_wallets | {wallet},
    )


def _is_newly_isolated(directory: Directory, unit: Unit, known: Unit | None) -> bool:
    """A wallet is isolated again only into a unit of a higher number, and no unit ever holds two wallets."""
    is_later = known is None or unit > known
    return is_later and unit not in directory.unit_cells and len(directory.isolated) < ISOLATED_UNITS_MAX


def _risen(directory: Directory, hint: Hint) -> Directory:
    """The unit stays one that moves: its giver has let go of it, but only the document says that its taker has it."""
    return replace(
        directory,
        epochs={**directory.epochs, hint.unit: hint.epoch},
        learned_units=directory.learned_units | {hint.unit},
    )


def _rejoined(directory: Directory, wallet: WalletId) -> Directory:
    """The wallet is back in its slot; its isolated unit is never used again."""
    unit = directory.isolated[wallet]
    return replace(
        directory,
        isolated={other: home for other, home in directory.isolated.items() if other != wallet},
        unit_cells={other: index for other, index in directory.unit_cells.items() if other != unit},
        learned_units=directory.learned_units - {unit},
        learned_wallets=directory.learned_wallets - {wallet},
    )
