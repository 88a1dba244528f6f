"""The plan of a fleet as a picture: what becomes of a cell's limit, and how busy everything is in each case.

The only module here that needs a library (the extra `plots`) and writes a file.
"""

from pathlib import Path

from cellwallet.headroom.fleet import FleetPlan
from cellwallet.headroom.tier import utilisation_ceiling
from cellwallet.plots import BAD, FAINT, GOOD, NEUTRAL, OURS, WARM, Figure, blank, save


def draw(plan: FleetPlan, file: Path) -> None:
    """Write a PNG.

    Raises:
        PlotsMustBeInstalledError: the extra is not there.
        OSError: the file cannot be written.

    """
    figure = blank(width_in=11, height_in=4.8)
    figure.suptitle(
        f"{plan.wanted.demand_per_s:,.0f} commands/s: {plan.cells} cells ({plan.wanted.spare_cells} spare), "
        f"{plan.nodes_per_zone} nodes in each of {plan.wanted.zones} zones"
    )
    _draw_rates(figure, plan)
    _draw_utilisation(figure, plan)
    save(figure, file)


def _draw_rates(figure: Figure, plan: FleetPlan) -> None:
    margins = plan.wanted.margins
    steps = {
        "certified\nlimit L": margins.limit_per_s,
        "a zone gone,\nunits moving": margins.worst_per_s,
        "after a\nfailover λmax": margins.carried_per_s,
        "placed\nλplace": plan.placed_per_s,
        "mean now": plan.wanted.demand_per_s / plan.cells_in_use,
    }
    axes = figure.add_subplot(1, 2, 1)
    bars = axes.bar(list(steps), list(steps.values()), color=[NEUTRAL, OURS, OURS, GOOD, FAINT])
    axes.bar_label(bars, fmt="{:,.0f}")
    axes.set_ylabel("commands/s of one cell")
    axes.tick_params(axis="x", labelsize=8)


def _draw_utilisation(figure: Figure, plan: FleetPlan) -> None:
    axes = figure.add_subplot(1, 2, 2)
    cases = ("every day", "a zone gone", "and pods missing")
    for offset, (name, tier) in enumerate((("API processes", plan.api), ("routers", plan.routers))):
        shares = (tier.everyday_share, tier.busiest_share(), tier.busiest_share(missing=tier.missing))
        places = [case + (offset - 0.5) * 0.38 for case in range(len(cases))]
        bars = axes.bar(places, [share * 100 for share in shares], width=0.36, label=name)
        axes.bar_label(bars, fmt="{:.0f} %")
    axes.set_xticks(range(len(cases)), cases)
    axes.axhline(plan.wanted.utilisation * 100, color=BAD, linestyle="--", label="target with a zone gone")
    ceiling = utilisation_ceiling(plan.wanted.zones) * plan.wanted.utilisation * 100
    axes.axhline(ceiling, color=WARM, linestyle=":", label="ceiling every day")
    axes.set_ylim(0, 110)
    axes.set_ylabel("% of the safe rate, busiest zone")
    axes.legend(fontsize=8)
