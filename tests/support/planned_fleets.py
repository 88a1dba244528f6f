"""Pictures of fleets for the planner: made up, drawn by dice, and as they are after a plan was carried out."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from control_plane.fleet.placement import first_shares
from control_plane.fleet.placing import Held, Holder, HotWallet, Picture, UnitLoad
from control_plane.fleet.reasons import WaitReason
from control_plane.fleet.resettling import is_filled


def fleet(*cells: str, newcomers: tuple[str, ...] = (), leaving: tuple[str, ...] = (), **members: object) -> Picture:
    """First cells with even shares, empty newcomers that are to be filled, and cells that leave."""
    held = {share.cell: tuple(range(share.first, share.last + 1)) for share in first_shares([*cells, *leaving])}
    holders = [
        *(Holder(cell=CellId(name), role="takes", units=held[CellId(name)]) for name in cells),
        *(Holder(cell=CellId(name), role="gives", units=held[CellId(name)]) for name in leaving),
        *(Holder(cell=CellId(name), role="takes", is_filling=True) for name in newcomers),
    ]
    ordered = tuple(sorted(holders, key=lambda one: one.cell))
    return replace(Picture(holders=ordered, loads={}, held_back={}, resting={}), **members)


def certified(picture: Picture, limit_per_s: float = 1000.0, *, ceiling: float = 0.65) -> Picture:
    holders = tuple(replace(one, limit_per_s=limit_per_s, ceiling=ceiling) for one in picture.holders)
    return replace(picture, holders=holders)


def after(picture: Picture, moves: Sequence[Any]) -> Picture:
    """The moves done: isolated wallets have units of their own."""
    units = {holder.cell: set(holder.units) for holder in picture.holders}
    loads = dict(picture.loads)
    hot = {wallet.wallet_id: wallet for wallet in picture.hot_wallets}
    for number, move in enumerate(moves):
        moved = set(move.units)
        if move.wallet_id is not None:
            wallet = hot[move.wallet_id]
            unit, rest = ISOLATED_UNIT_FIRST + 1000 + number, loads[wallet.unit]
            moved = {unit}
            units[move.from_cell].add(unit)
            loads[unit] = UnitLoad(wallets=1, rate_per_s=wallet.rate_per_s)
            loads[wallet.unit] = replace(rest, rate_per_s=rest.rate_per_s - wallet.rate_per_s)
            hot[move.wallet_id] = replace(wallet, unit=unit)
        assert moved <= units[move.from_cell], "only the owner gives"
        units[move.from_cell] -= moved
        units[move.to_cell] |= moved
    holders = tuple(replace(one, units=tuple(sorted(units[one.cell]))) for one in picture.holders)
    return replace(picture, holders=holders, loads=loads, hot_wallets=tuple(hot.values()))


def small_fleet(seed: int) -> Picture:
    """Certified or not, with skewed loads, newcomers, leavers, hot wallets, units held back and others at rest.

    Too large to print.
    """
    dice = Random(seed)
    cells = [f"c{number}" for number in range(dice.randint(1, 5))]
    leaving = dice.choice([(), ("z",)])
    newcomers = dice.choice([(), ("n",), ("m", "n")])
    touched = dice.sample(range(SLOTS), dice.randint(0, 60))
    loads = {
        unit: UnitLoad(
            wallets=2, entries=5, rate_per_s=dice.choice([0.0, dice.uniform(0.5, 20), dice.uniform(20, 120)])
        )
        for unit in touched
    }
    busiest = sorted(touched, key=lambda unit: (-loads[unit].rate_per_s, unit))[:3]
    hot = tuple(
        HotWallet(wallet_id=f"w{unit}", unit=unit, rate_per_s=loads[unit].rate_per_s)
        for unit in busiest
        if dice.random() < 0.5
    )
    failed = Held(reason=WaitReason.FAILED_MOVE_MUST_REST, detail="")
    held = {unit: failed for unit in touched[:2] if dice.random() < 0.5}
    moved = Held(reason=WaitReason.MOVED_UNIT_MUST_REST, detail="")
    rest = {unit: moved for unit in touched if dice.random() < 0.2}
    known = {"loads": loads, "hot_wallets": hot, "held_back": held, "resting": rest}
    picture = fleet(*cells, newcomers=newcomers, leaving=leaving, **known)
    return certified(picture, dice.choice([150.0, 400.0, 2000.0])) if dice.random() < 0.5 else picture


def done(picture: Picture) -> Picture:
    """With newcomers that have got what there was for them no longer new."""
    return replace(
        picture,
        holders=tuple(
            replace(one, is_filling=one.is_filling and not is_filled(picture, one)) for one in picture.holders
        ),
    )
