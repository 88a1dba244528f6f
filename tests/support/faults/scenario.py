"""One scenario from beginning to end: load, a fault in the middle of it, every command asked again, the verdict.

The same scenario runs on the platform as it is, where nothing may be found, and on mutants, where something must be.
Nothing here asserts: what goes wrong becomes a finding.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from faults.recording import Recorder
from faults.site import BACK_DEADLINE_S, Site
from faults.stored import read_ledger
from faults.vendors import Load, LoadWallet, Shape, ask_again, open_wallets, patient
from history.checker import check
from history.model import Asked, Finding, History, Ledger
from history.once import find_uncounted

from contract.values import value

WALLETS_PER_CELL = 5
DECISIONS = 120
"""Of each cell, before the fault and again after it."""


class Stage:
    """What a fault may use; it adds to `findings` what only it can see."""

    def __init__(
        self,
        site: Site,
        recorder: Recorder,
        wallets: Sequence[LoadWallet],
        load: Load,
        shape: Shape,
        *,
        patience_s: float,
        dice: random.Random,
    ) -> None:
        self.site = site
        self.recorder = recorder
        self.wallets = wallets
        self.load = load
        self.shape = shape
        self.patience_s = patience_s
        self.dice = dice
        self.findings: list[Finding] = []

    def wallet_ids(self, *cells: str) -> list[str]:
        """Of these cells, or of all."""
        return [one.wallet_id for one in self.wallets if not cells or one.cell in cells]


Fault = Callable[[Stage], Awaitable[None]]


@value
class Played:
    wallets: Sequence[LoadWallet]
    history: History
    ledger: Ledger
    findings: list[Finding]
    gave_up: list[Asked]
    """What patient vendors never got to know, although they kept asking."""

    def wallet_ids(self, *, but_of: str | None = None) -> list[str]:
        return [one.wallet_id for one in self.wallets if one.cell != but_of]


async def play(
    site: Site,
    fault: Fault,
    *,
    label: str,
    seed: int,
    shape: Shape,
    patience_s: float = BACK_DEADLINE_S,
    ends_down: bool = False,
    revive: Callable[[], Awaitable[None]] | None = None,
) -> Played:
    """`patience_s` bounds the waiting for service after the fault: short where it is not expected to return.

    `ends_down`: the load ends with the fault; `revive` then brings the site back.
    """
    recorder = Recorder()
    wallets = await open_wallets(site, recorder, label=label, per_cell=WALLETS_PER_CELL)
    async with Load(site, recorder, wallets, shape, name=f"{label}:{seed}", patience_s=patience_s) as load:
        dice = random.Random(f"{label}:{seed}")
        stage = Stage(site, recorder, wallets, load, shape, patience_s=patience_s, dice=dice)
        await load.wait_for_decisions(DECISIONS, deadline_s=BACK_DEADLINE_S)
        await fault(stage)
        if not ends_down:
            await load.wait_for_decisions(DECISIONS, deadline_s=patience_s)
    if revive is not None:
        await revive()
    # Before anything is asked again: that would write what was lost a second time.
    untouched = await asyncio.to_thread(read_ledger, site.databases, wallets)
    uncounted = list(find_uncounted(recorder.history, untouched))
    await ask_everything_again(site, recorder, shape, patience_s=patience_s)
    ledger = await asyncio.to_thread(read_ledger, site.databases, wallets)
    return Played(
        wallets=wallets,
        history=recorder.history,
        ledger=ledger,
        findings=[*stage.findings, *uncounted, *check(recorder.history, ledger)],
        gave_up=load.gave_up(),
    )


async def ask_everything_again(site: Site, recorder: Recorder, shape: Shape, *, patience_s: float) -> None:
    """First what nobody knows the outcome of; then, if all is known, every command once more."""
    retries = patient(min(shape.attempt_deadline_s, patience_s), deadline_s=patience_s)
    undecided = [
        attempts[0].asked
        for attempts in recorder.history.by_key().values()
        if not any(attempt.decision for attempt in attempts)
    ]
    if await ask_again(site, recorder, undecided, retries):
        return
    everything = dict.fromkeys(attempt.asked for attempt in recorder.history.attempts)
    await ask_again(site, recorder, list(everything), retries)
