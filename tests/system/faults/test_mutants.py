"""Proof that the fault tests can fail: with one protection taken away, the same trial finds what is then wrong."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from faults.mutants import MUTANTS
from faults.site import BACK_DEADLINE_S
from faults.trials import TRIALS, run_trial
from history.checker import checks_of, told

from cellwallet.local.parts import Database, Service
from cellwallet.local.postgres import Cluster
from cellwallet.local.supervisor import RunningPart, Supervisor
from contract.values import value

WITHOUT_KEY = "ALTER TABLE transactions DROP CONSTRAINT transactions_pkey"
DEAD_END_S = 3.0
"""How long a mutant that does not come back is waited for."""
PAUSE_FOR_EVER = (("CELL_IDLE_IN_TRANSACTION_TIMEOUT_MS", "600000"),)


class NeverAgain(Supervisor):
    """Starts every part once."""

    async def _keep_running(self, running: RunningPart, part: Database | Service) -> None:
        await self._run_until_end(running, part)
        self._change(running, "stopped")
        await asyncio.Event().wait()


@value
class Mutation:
    trial: str
    finds: str
    """The check that must speak."""
    cell: str | None = None
    router: str | None = None
    sabotage: str = ""
    cell_environment: tuple[tuple[str, str], ...] = ()
    supervisor: type[Supervisor] = Supervisor
    patience_s: float = BACK_DEADLINE_S


MUTATIONS: dict[str, Mutation] = {
    "forget_outcomes": Mutation(
        trial="undisturbed", cell="forget_outcomes", sabotage=WITHOUT_KEY, finds="applied_twice"
    ),
    "forget_refusals": Mutation(trial="undisturbed", cell="forget_refusals", finds="lost"),
    "skip_locks": Mutation(trial="undisturbed", cell="skip_locks", finds="seq_gap"),
    "acknowledge_before_commit": Mutation(trial="postgres_killed", cell="acknowledge_before_commit", finds="lost"),
    "take_lost_commits_for_done": Mutation(trial="postgres_killed", cell="take_lost_commits_for_done", finds="lost"),
    "rerun_under_new_ids": Mutation(trial="postgres_killed", cell="rerun_under_new_ids", finds="never_asked"),
    "retry_under_new_ids": Mutation(trial="api_killed", router="retry_under_new_ids", finds="never_asked"),
    "never_ask_again": Mutation(trial="api_killed", router="never_ask_again", finds="error_seen"),
    "lose_configuration": Mutation(
        trial="api_killed", cell="lose_configuration", finds="error_seen", patience_s=DEAD_END_S
    ),
    "lose_map": Mutation(trial="router_killed", router="lose_map", finds="undecided", patience_s=DEAD_END_S),
    "never_restart": Mutation(trial="router_killed", supervisor=NeverAgain, finds="undecided", patience_s=DEAD_END_S),
    "pause_for_ever": Mutation(
        trial="api_paused", cell_environment=PAUSE_FOR_EVER, finds="locked_out", patience_s=DEAD_END_S
    ),
    "share_one_bulkhead": Mutation(
        trial="cell_crowded", router="share_one_bulkhead", finds="error_seen", patience_s=DEAD_END_S
    ),
}


@pytest.mark.parametrize("name", TRIALS)
async def test_the_platform_as_it_is_passes_the_trial(
    name: str, fleet_cluster: Cluster, fleet_folder: Path, seed: int
) -> None:
    findings = await run_trial(
        TRIALS[name], fleet_cluster, fleet_folder, name=f"honest_{name}", seed=seed, patience_s=BACK_DEADLINE_S
    )

    assert not findings, told(findings)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutant_does_not_pass(name: str, fleet_cluster: Cluster, fleet_folder: Path, seed: int) -> None:
    mutation = MUTATIONS[name]
    trial = TRIALS[mutation.trial]
    plan = replace(
        trial.plan,
        cell_mutant=mutation.cell,
        router_mutant=mutation.router,
        sabotage=mutation.sabotage,
        cell_environment=mutation.cell_environment,
        supervisor=mutation.supervisor,
    )

    findings = await run_trial(
        replace(trial, plan=plan), fleet_cluster, fleet_folder, name=name, seed=seed, patience_s=mutation.patience_s
    )

    assert mutation.finds in checks_of(findings), told(findings)


def test_every_mutant_is_tried() -> None:
    tried = {mutant for mutation in MUTATIONS.values() for mutant in (mutation.cell, mutation.router) if mutant}

    assert tried == set(MUTANTS)
