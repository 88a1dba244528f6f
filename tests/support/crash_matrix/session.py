"""Some cases in a row on one platform, under one load of vendors; then everything that they were told is checked.

The load does not stop between the cases. Of each case its own facts are looked at at once: how the move ended, who owns
the unit, that everybody serves again; of all of them together, at the end, the history, the money and the full audit.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from crash_matrix.fleet import MatrixFleet
from crash_matrix.holders import Holders, is_settled, open_holders
from crash_matrix.pairs import BACK_MAX_S, Case, Pair, Part, Special, expected_ends, name_of
from crash_matrix.results import Result, attributed
from crash_matrix.strikes import CaseFailedError, Scene, strike
from crash_matrix.watch import Watch
from crash_matrix.witness import owner_at_rest
from faults.recording import Recorder
from faults.scenario import ask_everything_again
from faults.site import wait_until
from faults.stored import read_ledger
from faults.vendors import Load, LoadWallet, Shape, open_wallets
from history.checker import check
from history.model import Finding
from history.once import find_uncounted
from moving.orders import Operator

HOME = "cell-1"
WALLETS_PER_CELL = 4
SHAPE = Shape(workers_per_cell=2, pause_mean_s=0.15)
DECISIONS = 8
"""Of each cell, as a sign that it serves."""
PATIENCE_S = 120.0
TRIES_MAX = 3
SLOW = ("unit_must_converge", "attempts_must_succeed")
"""Reasons of a move that is given up, with the unit where it was, when its steps take longer than a fence stands."""

Tell = Callable[[Result], None]


class Session:
    """`tell` hears of each case as it ends, before the common checks."""

    def __init__(
        self, fleet: MatrixFleet, *, seed: int, label: str, tell: Tell, patience_s: float = PATIENCE_S
    ) -> None:
        """`patience_s` bounds the waiting at the end: short where a platform is expected to be broken."""
        self._patience_s = patience_s
        self._fleet = fleet
        self._platform = fleet.platform
        self._seed = seed
        self._label = label
        self._tell = tell
        self._operator = Operator(fleet.platform)
        self._recorder = Recorder()
        self.summary = ""
        """What has been going on, after `play`."""

    async def play(self, cases: Sequence[Case]) -> list[Result]:
        """Their results; after a case that leaves the platform broken the rest is not played."""
        await self._until_whole()
        wallets = await open_wallets(self._platform, self._recorder, label=self._label, per_cell=WALLETS_PER_CELL)
        hot = next(one.wallet_id for one in wallets if one.cell == HOME)
        unit = (await self._operator.units_of([hot]))[0]
        theirs = await open_holders(self._platform, slot=unit, label=self._label)
        holders = Holders(self._platform, theirs, seed=self._seed, patience_s=self._patience_s)
        name = f"{self._label}:{self._seed}"
        load = Load(self._platform, self._recorder, wallets, SHAPE, name=name, patience_s=self._patience_s)
        results: list[Result] = []
        async with Watch(self._platform, [unit]) as watch:
            async with load, holders:
                for case in cases:
                    result = await self._carry_out_patiently(case, unit, hot, watch, load)
                    results.append(result)
                    self._tell(result)
                    if not result.is_clean:
                        break
            findings = [*await self._verdict(wallets), *await holders.verdict()]
            if not watch.witness.looks:
                findings.append(Finding(check="unwatched", wallet_id="", detail="nobody looked at the owners"))
            self.summary = (
                f"{len(self._recorder.history.attempts)} attempts, {holders.summary()}, {watch.witness.looks} looks"
            )
        return attributed(results, findings, self._recorder.history)

    async def _carry_out_patiently(self, case: Case, unit: int, hot: str, watch: Watch, load: Load) -> Result:
        """Once more, where the move gave up because the machine was too slow for it; not without end."""
        for _ in range(TRIES_MAX - 1):
            result = await self._carry_out(case, unit, hot, watch, load)
            if result.is_clean or result.ended != "aborted" or not any(word in result.findings[0] for word in SLOW):
                return result
        return await self._carry_out(case, unit, hot, watch, load)

    async def _carry_out(self, case: Case, unit: int, hot: str, watch: Watch, load: Load) -> Result:
        began_s, findings, watched = time.monotonic(), [], len(watch.findings)
        ended, recovered_s, struck_at_s = "-", float(BACK_MAX_S), time.monotonic()
        sizes, mover = self._fleet.log_sizes(), self._fleet.mover_pid()
        self._fleet.killed.clear()
        try:
            await self._until_served(load)
            source = await self._owner(unit, watch)
            target = next(cell for cell in self._platform.databases if cell != source)
            scene = Scene(
                fleet=self._fleet,
                operator=self._operator,
                watch=watch,
                unit=unit,
                source=source,
                target=target,
                decisions=lambda: self._recorder.decisions_on([hot]),
            )
            struck = await strike(scene, case)
            struck_at_s = struck.at_s
            move = await self._operator.ended(struck.move_id)
            ended = move["state"]
            if ended not in expected_ends(case):
                findings.append(f"the move ended as {ended}: {move['reason']} {move['detail']}")
            await self._until_whole()
            await self._until_served(load)
            recovered_s = time.monotonic() - struck_at_s
            findings += [f"{name} was not killed" for name in self._fleet.unharmed()]
            owner = await self._owner(unit, watch)
            if owner != (target if ended == "done" else source):
                findings.append(f"the move ended as {ended} and the unit is in {owner}")
            located = (await self._operator.locate(hot))["cell"]
            if located != owner:
                findings.append(f"the directory says {located} and {owner} owns the unit")
        except (CaseFailedError, AssertionError) as error:
            findings.append(str(error) or type(error).__name__)
        findings += dict.fromkeys(f"{one.check}: {one.detail}" for one in watch.findings[watched:])
        return Result(
            name=name_of(case),
            ended=ended,
            recovered_by=tuple(self._recoverers(case, sizes, mover)),
            recovery_s=round(recovered_s, 1),
            seed=self._seed,
            began_s=began_s,
            ended_s=time.monotonic(),
            at=time.strftime("%Y-%m-%d", time.gmtime()),
            findings=tuple(findings),
        )

    def _recoverers(self, case: Case, sizes: dict[object, int], mover: int | None) -> list[str]:
        found = self._fleet.recoverers_since(sizes)  # type: ignore[arg-type]  # keyed by path
        if isinstance(case, Pair) and case.point == "move.cleaned":
            return [*found, "leftovers" if case.victim is Part.MOVER else "mover or leftovers"]
        if case is Special.NO_STANDBY:
            return [*found, "mover"]
        return [*found, "mover" if self._fleet.mover_pid() == mover else "next mover"]

    async def _owner(self, unit: int, watch: Watch) -> str:
        look = await watch.look()
        if len(look) < len(self._platform.databases):
            raise CaseFailedError("a cell's database does not answer")
        owner = owner_at_rest(unit, look)
        if isinstance(owner, str):
            return owner
        raise CaseFailedError("; ".join(f"{one.check}: {one.detail}" for one in owner))

    async def _until_whole(self) -> None:
        if not await wait_until(self._platform.is_whole, deadline_s=BACK_MAX_S):
            raise CaseFailedError(f"a part did not come back within {BACK_MAX_S} s")

    async def _until_served(self, load: Load) -> None:
        if not await load.wait_for_decisions(DECISIONS, deadline_s=BACK_MAX_S):
            raise CaseFailedError(f"the vendors of a cell were not served within {BACK_MAX_S} s")

    async def _verdict(self, wallets: Sequence[LoadWallet]) -> list[Finding]:
        """As after any other fault; only that wallets are read where they live now."""
        databases, history = self._platform.databases, self._recorder.history
        living = await self._living(wallets)
        await wait_until(lambda: is_settled(databases), deadline_s=self._patience_s)
        untouched = await asyncio.to_thread(read_ledger, databases, living)
        # Before anything is asked again: that would write what was lost a second time.
        findings = list(find_uncounted(history, untouched))
        await ask_everything_again(self._platform, self._recorder, SHAPE, patience_s=self._patience_s)
        ledger = await asyncio.to_thread(read_ledger, databases, living)
        report = await asyncio.to_thread(self._platform.audit)
        audited = [] if report["clean"] else [_audit_finding(found) for found in report["findings"]]
        return [*findings, *check(history, ledger), *audited]

    async def _living(self, wallets: Sequence[LoadWallet]) -> list[LoadWallet]:
        return [replace(one, cell=(await self._operator.locate(one.wallet_id))["cell"]) for one in wallets]


def _audit_finding(found: object) -> Finding:
    return Finding(check="audit", wallet_id="", detail=str(found))
