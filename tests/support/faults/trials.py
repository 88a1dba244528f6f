"""Scenarios on a small fleet: the trials that the platform as it is must pass and a mutant of it must not."""

from pathlib import Path
from typing import Literal

from faults.faults import crowding, havoc, killing, nothing, pausing
from faults.scenario import Fault, play
from faults.small_fleet import POSTGRES, ROUTER, Plan, small_fleet
from faults.vendors import Shape
from history.errors import find_errors
from history.model import Finding

from cellwallet.local.postgres import Cluster
from contract.values import value

BUSY = Shape(pause_mean_s=0.004)


@value
class Trial:
    plan: Plan
    fault: Fault
    shape: Shape = BUSY
    spared: Literal["nobody", "everybody", "bystanders"] = "nobody"
    """Who must not see one error."""


TRIALS: dict[str, Trial] = {
    "undisturbed": Trial(plan=Plan(), fault=nothing),
    "postgres_killed": Trial(plan=Plan(), fault=killing(POSTGRES, POSTGRES, POSTGRES)),
    "api_killed": Trial(
        plan=Plan(has_router=True),
        fault=killing("cell-1-api-1", "cell-1-api-2", "cell-1-api-1"),
        spared="everybody",
    ),
    "router_killed": Trial(plan=Plan(has_router=True), fault=killing(ROUTER)),
    "havoc": Trial(
        plan=Plan(has_router=True),
        fault=havoc(POSTGRES, ROUTER, "cell-1-api-1", "cell-1-api-2", blows=6),
    ),
    "api_paused": Trial(
        plan=Plan(has_router=True),
        fault=pausing("cell-1-api-1", cell="cell-1"),
    ),
    "cell_crowded": Trial(
        plan=Plan(cells=2, api_processes=1, has_router=True, router_environment=(("ROUTER_IN_FLIGHT_MAX", "24"),)),
        fault=crowding("cell-1-api-1", cell="cell-1", bystander="cell-2"),
        shape=Shape(),
        spared="bystanders",
    ),
}


async def run_trial(
    trial: Trial, cluster: Cluster, folder: Path, *, name: str, seed: int, patience_s: float
) -> list[Finding]:
    """Everything that is found, errors of those who must be spared included."""
    async with small_fleet(trial.plan, cluster, folder, name=name) as fleet:
        played = await play(fleet, trial.fault, label=name, seed=seed, shape=trial.shape, patience_s=patience_s)
    spared = {
        "nobody": [],
        "everybody": played.wallet_ids(),
        "bystanders": played.wallet_ids(but_of="cell-1"),
    }[trial.spared]
    return [*played.findings, *find_errors(played.history, wallet_ids=spared)]
