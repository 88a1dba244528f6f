"""F: how long a cell acknowledges nothing when its primary is killed, and when its roles change by order.

An open load through the router of a whole platform, on one cell whose database has a synchronous standby. One play per
round gives all figures. Primary, standby, cell and router share the machine's cores.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from contract.values import value
from loadtests.cutovers import quantiles_of
from loadtests.figures import Check, Loop, Round
from loadtests.fleet_checks import check_fleet_conservation, check_fleet_postings
from loadtests.load import Load, Openings, Pace, Postings, Tally
from loadtests.outages import Change, errors_around, silence_s
from loadtests.payloads import wallet_of
from loadtests.platform_under_test import PlatformUnderTest, platform_under_test
from loadtests.scale import FailoverScale
from loadtests.stage import OPENING_CONCURRENCY, Measurement, OpeningMustSucceedError, Stage

CELL = "cell-1"
LOAD_MAX_S = 3_600.0
"""A load ends when the changes are made; this is for those that never are."""
SETUP_TIMEOUT_S = 600.0


@value
class Played:
    """What came of the changes of one kind."""

    changes: tuple[Change, ...]
    tally: Tally
    checks: tuple[Check, ...]


class Failovers:
    def __init__(self, stage: Stage, folder: Path, *, told: Callable[[str], object]) -> None:
        self._stage = stage
        self._scale: FailoverScale = stage.scale.failovers
        self._folder = folder
        self._told = told
        self._runs = 0
        self._seen: dict[str, Round] = {}

    def measurements(self) -> list[Measurement]:
        rate = f"{self._scale.per_s:g}/s through the router"
        told: tuple[tuple[str, str, Loop], ...] = (
            ("killed", f"primary killed, {rate}: longest time without acknowledged writes", "open"),
            ("switched", f"planned switch-over, {rate}: longest time without acknowledged writes", "open"),
            ("killed.protected", "primary killed: until what is acknowledged is in two places again, longest", "none"),
            ("switched.protected", "planned switch-over: the same", "none"),
        )
        return [
            Measurement(id=f"failover.{one}", title=title, unit="s", loop=loop, run=self._figure(one), turns="last")
            for one, title, loop in told
        ]

    def _figure(self, name: str) -> Callable[[], Round]:
        def run() -> Round:
            if name not in self._seen:
                self._seen = self._round()
            return self._seen.pop(name)

        return run

    def _round(self) -> dict[str, Round]:
        self._told("failovers: starting a platform whose cell has a standby")
        shutil.rmtree(self._folder, ignore_errors=True)
        with platform_under_test(self._folder, cells=1, options=("--standbys",)) as platform:
            wallets = self._open(platform)
            killed = self._play(platform, wallets, "killed", self._scale.kills, self._kill)
            switched = self._play(platform, wallets, "switched", self._scale.switches, self._switch)
            self._told("failovers: auditing the platform")
            audits = (check_fleet_conservation(platform.databases.values()), platform.audit())
        return rounds_of({"killed": killed, "switched": switched}, audits)

    def _open(self, platform: PlatformUnderTest) -> list[str]:
        self._told("failovers: opening wallets")
        owners = [f"pair {number}" for number in range(self._scale.wallets)]
        limit = self._stage.scale.overdraft_limit
        asks = Openings(owners=owners, token=platform.vendor_token("opener"), overdraft_limit=limit)
        pace = Pace(duration_s=SETUP_TIMEOUT_S, concurrency=OPENING_CONCURRENCY)
        tally = self._stage.generator.run(Load(targets=(platform.router,), asks=asks, pace=pace))
        if tally.accepted != len(owners):
            raise OpeningMustSucceedError(f"{tally.accepted} of {len(owners)}: {tally.statuses} {tally.samples}")
        return [wallet_of(owner) for owner in owners]

    def _play(
        self,
        platform: PlatformUnderTest,
        wallets: Sequence[str],
        name: str,
        count: int,
        change: Callable[[PlatformUnderTest], float | None],
    ) -> Played:
        """The load is there before, between and after the changes."""
        self._runs += 1
        vendor, sender = f"{name}-{self._runs}", self._stage.generator
        asks = Postings(wallets=wallets, token=platform.vendor_token(vendor), seed=self._runs, run=self._runs)
        pace = Pace(duration_s=LOAD_MAX_S, rate_per_s=self._scale.per_s)
        sender.begin(Load(targets=(platform.router,), asks=asks, pace=pace, is_traced=True))
        changes = []
        for number in range(1, count + 1):
            self._told(f"failovers: {name}, {number} of {count}")
            time.sleep(self._scale.still_s)
            changes.append(_changed(platform, change))
        time.sleep(self._scale.still_s)
        sender.end_early()
        tally = sender.collect()
        checks = check_fleet_postings(platform.databases.values(), vendor=vendor, tally=tally)
        return Played(
            changes=tuple(changes),
            tally=tally,
            checks=tuple(replace(check, name=f"{check.name} ({name})") for check in checks),
        )

    def _kill(self, platform: PlatformUnderTest) -> None:
        platform.kill_primary(CELL)

    def _switch(self, platform: PlatformUnderTest) -> float:
        return platform.switch_over(CELL)


def _changed(platform: PlatformUnderTest, change: Callable[[PlatformUnderTest], float | None]) -> Change:
    promotions = platform.standby(CELL)["promotions"] + 1
    began_at_s = time.monotonic()
    told_s = change(platform)
    platform.wait_until_protected(CELL, promotions=promotions)
    return Change(began_at_s=began_at_s, protected_at_s=time.monotonic(), told_s=told_s)


def rounds_of(played: dict[str, Played], audits: tuple[Check, ...]) -> dict[str, Round]:
    found: dict[str, Round] = {}
    for name, one in played.items():
        checks, trace = (*audits, *one.checks), one.tally.trace
        silences = [silence_s(change, trace) for change in one.changes]
        unprotected = [change.unprotected_s for change in one.changes]
        told = [change.told_s for change in one.changes if change.told_s is not None]
        notes = (f"by the platform's own account {max(told):.2f} s at most",) if told else ()
        found[name] = Round(
            value=max(silences, default=0.0),
            checks=checks,
            latency_ms=_in_ms(silences),
            counts={
                "changes": len(one.changes),
                "measured": len(trace),
                "errors": errors_around(one.changes, trace),
                "dropped": one.tally.dropped,
            },
            notes=notes,
        )
        found[f"{name}.protected"] = Round(
            value=max(unprotected, default=0.0), checks=checks, latency_ms=_in_ms(unprotected)
        )
    return found


def _in_ms(seconds: Sequence[float]) -> dict[str, float]:
    return quantiles_of(one * 1_000 for one in seconds)
