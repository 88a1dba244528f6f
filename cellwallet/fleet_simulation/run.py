"""Days of a fleet, look by look: at each the real plan, as much of it ordered as cells bear, and what came of it.

Cells are added as headroom asks for them, and one is drained on the way, so that everything a planner must do occurs.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from cellwallet.fleet_simulation.costs import Costs
from cellwallet.fleet_simulation.loads import Demand, Traffic
from contract.ids import CellId
from contract.slots import ISOLATED_UNIT_FIRST
from contract.values import value
from control_plane.fleet.board import PlannedMove
from control_plane.fleet.ceiling import placement_ceiling
from control_plane.fleet.ordering import MOVES_PER_CELL_MAX, portions
from control_plane.fleet.placement import first_shares
from control_plane.fleet.placing import Held, Holder, Picture, scores
from control_plane.fleet.reasons import WaitReason
from control_plane.fleet.rebalancing import REST, Relief, is_burdened, rebalancing
from control_plane.fleet.resettling import is_filled

LOOK_HOURS = 3
"""Between two looks at the fleet; the control plane looks every few seconds, and loads change little in between."""
LOOK_S = LOOK_HOURS * 3_600.0
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
DRAIN_AT_SHARE = 0.5
"""Of the days, when one cell is drained."""
SPARE_SCORE = 0.9
"""Mean of the fleet, of the ceiling, from which a cell is added."""


@value
class Look:
    day: int
    hour: int
    cells: int
    busiest: float
    """Score, as a share of the limit."""
    mean: float
    ceiling: float
    moves: int
    moved_units: int
    moved_entries: int
    waiting_units: int
    """Planned, and not ordered yet."""
    stretches: int
    """Runs of neighbouring units of one cell: what the directory's length grows with."""


@value
class Settings:
    cells: int = 100
    days: int = 60
    limit_per_s: float = 800.0
    seed: int = 1
    demand: Demand = Demand()
    costs: Costs = Costs()


class Simulation:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._traffic = Traffic(settings.demand, seed=settings.seed)
        self._ceiling = placement_ceiling(None)
        names = [CellId(f"cell-{number + 1:03}") for number in range(settings.cells)]
        self._holders = {
            share.cell: self._holder(share.cell, tuple(range(share.first, share.last + 1)))
            for share in first_shares(names)
        }
        self._moved_at: dict[int, datetime] = {}
        self._next_unit = ISOLATED_UNIT_FIRST

    def looks(self) -> Iterator[Look]:
        for day in range(self._settings.days):
            for hour in range(0, 24, LOOK_HOURS):
                yield self._look(day, hour)
            self._traffic.pass_a_day()

    def _look(self, day: int, hour: int) -> Look:
        now = BEGIN + timedelta(days=day, hours=hour)
        self._let_cells_come_and_go(day, hour, now)
        picture = self._picture(day, hour, now)
        relief: Relief = "automatic" if is_burdened(picture) else "none"
        plan = rebalancing(picture, relief=relief)
        ordered = self._done_until_the_next_look(plan.moves, picture)
        for move in ordered:
            self._carry_out(move, now)
        after = self._picture(day, hour, now)
        self._fill_ends(after)
        scored = scores(after)
        planned = sum(max(1, len(move.units)) for move in plan.moves)
        moved = sum(max(1, len(move.units)) for move in ordered)
        return Look(
            day=day,
            hour=hour,
            cells=len(scored),
            busiest=max(scored.values()),
            mean=sum(scored.values()) / len(scored),
            ceiling=self._ceiling,
            moves=len(ordered),
            moved_units=moved,
            moved_entries=sum(picture.load_of(unit).entries for move in ordered for unit in move.units),
            waiting_units=planned - moved,
            stretches=self._stretches(),
        )

    def _holder(self, cell: CellId, units: tuple[int, ...] = (), *, is_filling: bool = False) -> Holder:
        return Holder(
            cell=cell,
            role="takes",
            units=units,
            is_filling=is_filling,
            limit_per_s=self._settings.limit_per_s,
            ceiling=self._ceiling,
        )

    def _let_cells_come_and_go(self, day: int, hour: int, now: datetime) -> None:
        settings = self._settings
        if (day, hour) == (int(settings.days * DRAIN_AT_SHARE), 0):
            leaving = min(self._holders)
            self._holders[leaving] = replace(self._holders[leaving], role="gives")
        takers = [one for one in self._holders.values() if one.role == "takes"]
        is_resettling = any(one.is_filling for one in takers) or len(takers) < len(self._holders)
        scored = scores(self._picture(day, hour, now))
        if not is_resettling and sum(scored.values()) / len(scored) > SPARE_SCORE * self._ceiling:
            name = CellId(f"cell-{int(max(self._holders).removeprefix('cell-')) + 1:03}")
            self._holders[name] = self._holder(name, is_filling=True)

    def _picture(self, day: int, hour: int, now: datetime) -> Picture:
        rest = Held(reason=WaitReason.MOVED_UNIT_MUST_REST, detail="moved within a day")
        return Picture(
            holders=tuple(self._holders[name] for name in sorted(self._holders)),
            loads=self._traffic.units(day=day, hour=hour),
            hot_wallets=self._traffic.hot_wallets(day=day, hour=hour),
            held_back={},
            resting={unit: rest for unit, at in self._moved_at.items() if now - at < REST},
            isolated=self._next_unit - ISOLATED_UNIT_FIRST,
        )

    def _done_until_the_next_look(self, moves: tuple[PlannedMove, ...], picture: Picture) -> list[PlannedMove]:
        """Each cell has as much time for moves as it may take part in at once."""
        budget: Counter[CellId] = Counter({cell: int(MOVES_PER_CELL_MAX * LOOK_S) for cell in self._holders})
        done = []
        for move in moves:
            for portion in portions(move, picture):
                takes_s = int(self._settings.costs.duration_s(portion, picture))
                cells = (portion.from_cell, portion.to_cell)
                if all(budget[cell] >= takes_s for cell in cells):
                    budget.subtract(dict.fromkeys(cells, takes_s))
                    done.append(portion)
        return done

    def _carry_out(self, move: PlannedMove, now: datetime) -> None:
        source, target = self._holders[move.from_cell], self._holders[move.to_cell]
        moved = set(move.units)
        if move.wallet_id is not None:
            moved = {self._next_unit}
            self._traffic.isolate(move.wallet_id, unit=self._next_unit)
            self._next_unit += 1
        self._holders[move.from_cell] = replace(source, units=tuple(sorted(set(source.units) - moved)))
        self._holders[move.to_cell] = replace(target, units=tuple(sorted({*target.units, *moved})))
        self._moved_at |= dict.fromkeys(moved, now)

    def _fill_ends(self, picture: Picture) -> None:
        for holder in picture.holders:
            if holder.is_filling and is_filled(picture, holder):
                self._holders[holder.cell] = replace(holder, is_filling=False)
            if holder.role == "gives" and not holder.units:
                del self._holders[holder.cell]

    def _stretches(self) -> int:
        owners = sorted((unit, name) for name, holder in self._holders.items() for unit in holder.units)
        return sum(1 for _ in groupby(owners, key=lambda one: one[1]))
