"""The directory from what the cells say: the way back when the control plane's database was lost, or restored.

Of a unit the claim with the highest epoch holds, if a grant of that epoch leads to it; a cell that was restored to
before it gave a unit away claims it at a lower one. Where claims cannot be told apart nothing is rebuilt at all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from contract.directory import CHANGE_SHARE_MAX
from contract.fleet import CellUnits
from contract.ids import CellId, WalletId
from contract.load import IsolatedWallets
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from contract.values import value
from control_plane.fleet.model import OwnedRun

OWNING = frozenset({"active", "fenced"})
GIVEN = frozenset({"granted", "moved"})
SHOWN_MAX = 20


@value
class Disagreement:
    """Units of the same fault: nothing is rebuilt as long as there is one."""

    fault: str
    units: tuple[int, ...]

    @property
    def text(self) -> str:
        shown = ", ".join(map(str, self.units[:5]))
        return f"{self.fault}: {len(self.units)} units, {shown}{', ...' if len(self.units) > 5 else ''}"


@value
class Rebuilt:
    """Who owns what, and how much of that is not what was recorded."""

    runs: tuple[OwnedRun, ...]
    isolated: Mapping[str, int]
    changed: int
    """Units that were recorded with another cell."""
    recorded: int
    left: tuple[int, ...]
    """Numbers of isolated units that cells remember and nobody has: never to be used again."""
    superseded: tuple[tuple[CellId, int], ...] = ()
    """Cells that claim a unit which they gave away, according to whom they gave it; restored ones, as a rule."""

    @property
    def is_large_change(self) -> bool:
        return self.changed > CHANGE_SHARE_MAX * self.recorded


@value
class _Claim:
    cell: CellId
    state: str
    epoch: int


def rebuilt(
    told: Mapping[CellId, CellUnits], wallets: Mapping[CellId, IsolatedWallets], recorded: Iterable[OwnedRun]
) -> Rebuilt | tuple[Disagreement, ...]:
    """`wallets` is what cells say of isolated ones; `recorded` what the control plane knew until now."""
    claims = _claims(told)
    before = {unit: run for run in recorded for unit in range(run.first, run.last + 1)}
    owners: dict[int, _Claim] = {}
    faults: defaultdict[str, list[int]] = defaultdict(list)
    superseded: list[tuple[CellId, int]] = []
    for unit in sorted({*range(SLOTS), *claims}):
        found = _owner(claims.get(unit, ()), is_slot=unit < ISOLATED_UNIT_FIRST)
        if isinstance(found, str):
            faults[found].append(unit)
        elif found is not None:
            owners[unit] = found
            superseded += [(one.cell, unit) for one in claims[unit] if one.state in OWNING and one.epoch < found.epoch]
    for unit, owner in owners.items():
        if unit in before and owner.epoch < before[unit].epoch:
            faults[f"{owner.cell} owns at a lower epoch than was published"].append(unit)
    for fault, unit in _faults_of_wallets(wallets, owners):
        faults[fault].append(unit)
    if faults:
        return tuple(Disagreement(fault=fault, units=tuple(units)) for fault, units in sorted(faults.items()))
    isolated = {wallet: unit for cell in wallets.values() for wallet, unit in cell.wallets}
    known = set(isolated.values())
    kept = {unit: owner for unit, owner in owners.items() if unit < SLOTS or unit in known}
    return Rebuilt(
        runs=_runs(kept),
        isolated=isolated,
        left=tuple(sorted(unit for unit in claims if unit >= ISOLATED_UNIT_FIRST and unit not in kept)),
        changed=sum(1 for unit, owner in kept.items() if unit in before and before[unit].cell != owner.cell),
        recorded=len(before),
        superseded=tuple(superseded),
    )


def _faults_of_wallets(
    wallets: Mapping[CellId, IsolatedWallets], owners: Mapping[int, _Claim]
) -> Iterator[tuple[str, int]]:
    """A wallet is in a unit of its own if that unit has it and the owner of its slot says that it left for there.

    The one without the other is a cell that is missing, or one that was restored to an earlier day.
    """
    has = {pair for cell in wallets.values() for pair in cell.wallets}
    left = {
        (wallet, unit)
        for cell, answer in wallets.items()
        for wallet, unit in answer.exiles
        if (owner := owners.get(slot_of(WalletId(wallet)))) is not None and owner.cell == cell
    }
    for wallet, unit in sorted(has | left):
        if (wallet, unit) not in has:
            yield "a wallet has left its slot for it, and no cell has that wallet", unit
        elif unit not in owners:
            yield "nobody owns the unit of an isolated wallet", unit
        elif (wallet, unit) not in left and slot_of(WalletId(wallet)) in owners:
            yield "the owner of its wallet's slot knows nothing of it", unit


def _claims(told: Mapping[CellId, CellUnits]) -> dict[int, list[_Claim]]:
    claims: defaultdict[int, list[_Claim]] = defaultdict(list)
    for cell, answer in sorted(told.items()):
        for run in answer.units:
            for unit in range(run.first, run.last + 1):
                claims[unit].append(_Claim(cell=cell, state=run.state, epoch=run.epoch))
    return dict(claims)


def _owner(claims: Iterable[_Claim], *, is_slot: bool) -> _Claim | str | None:
    """The owner, or what is wrong; None for an isolated unit that has none any more."""
    everyone = list(claims)
    granted = max((one.epoch for one in everyone if one.state in GIVEN), default=0)
    owning = [one for one in everyone if one.state in OWNING or (one.state == "staged" and one.epoch == granted)]
    top = max((one.epoch for one in owning), default=0)
    holding = [one for one in owning if one.epoch == top]
    if granted > top:
        return f"given away at epoch {granted}, and nobody says that it came" if is_slot else None
    if not holding:
        return "nobody owns it" if is_slot else None
    if len(holding) > 1:
        return f"{' and '.join(one.cell for one in holding)} both own it at epoch {top}"
    if granted < top and len(owning) > 1:
        cells = " and ".join(one.cell for one in owning)
        return f"{cells} own it, and no grant leads to the higher epoch"
    return holding[0]


def _runs(owners: Mapping[int, _Claim]) -> tuple[OwnedRun, ...]:
    numbered = enumerate(sorted(owners.items()))
    runs = []
    for _, group in groupby(numbered, key=lambda one: (one[1][1].cell, one[1][1].epoch, one[1][0] - one[0])):
        alike = [entry for _, entry in group]
        runs.append(OwnedRun(first=alike[0][0], last=alike[-1][0], cell=alike[0][1].cell, epoch=alike[0][1].epoch))
    return tuple(runs)
