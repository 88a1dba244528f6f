"""P8: what vendors see of units that are moved there and back while they send, and what their neighbours see.

A slot with many wallets, one hot wallet alone, and a slot with a long past, each under an open load through the router
of a whole platform. One play per round gives all figures; the platform is new in each, so that the first move of a unit
carries all of it in every round.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from contract.values import value
from loadtests.cutovers import (
    Cutover,
    Undone,
    errors_of,
    longest_silence_ms,
    longest_wait_ms,
    p99_of,
    quantiles_of,
    series_around,
    still_and_moving,
    typical,
)
from loadtests.figures import Check, Loop, Round
from loadtests.fleet_checks import check_fleet_conservation, check_fleet_postings
from loadtests.generator import Generator, generator
from loadtests.load import Bulks, Load, Openings, Pace, Postings, Seen, Tally
from loadtests.owners import owners_beside, owners_in_slots
from loadtests.payloads import wallet_of
from loadtests.platform_under_test import CELLS, PlatformMustRunError, PlatformUnderTest, platform_under_test
from loadtests.scale import MoveScale
from loadtests.stage import OPENING_CONCURRENCY, Measurement, OpeningMustSucceedError, Stage
from loadtests.usage import machine_busy_s

HOME, AWAY = CELLS
LOAD_MAX_S = 6 * 3_600.0
"""A load ends when the moves are done; this is for those that never are."""
SETUP_TIMEOUT_S = 1_800.0
BULK_OPERATIONS, BULK_CONCURRENCY = 100, 8
FILLINGS_MAX = 5
"""Of a long past: operations that a busy cell turned away are sent again as new ones."""

ENTRIES = "SELECT coalesce(sum(seq), 0)::bigint FROM wallets WHERE wallet_id = ANY(%s::uuid[])"


@value
class Subject:
    """A unit that is moved, and who sends to it meanwhile."""

    name: str
    told: str
    unit: int
    wallets: Sequence[str]
    rate_per_s: float
    moves: int


@value
class Sending:
    """One vendor's load while units move."""

    sender: Generator
    vendor: str
    run: int
    wallets: Sequence[str]
    rate_per_s: float

    def begin(self, platform: PlatformUnderTest) -> None:
        token = platform.vendor_token(self.vendor)
        asks = Postings(wallets=self.wallets, token=token, seed=self.run, run=self.run)
        pace = Pace(duration_s=LOAD_MAX_S, rate_per_s=self.rate_per_s)
        self.sender.begin(Load(targets=(platform.router,), asks=asks, pace=pace, is_traced=True))


@value
class Played:
    """What came of the moves of one subject."""

    cutovers: tuple[Cutover, ...]
    undone: tuple[Undone, ...]
    moved: Tally
    beside: Tally
    began_s: float
    """When everybody was warm."""
    checks: tuple[Check, ...]

    def were_done(self) -> Check:
        """Quantiles without the moves that failed would be kinder than the truth."""
        told = "; ".join(one.why for one in self.undone)
        return Check(name="moves are done", has_passed=not self.undone and bool(self.cutovers), detail=told)

    def is_warm(self, seen: Seen) -> bool:
        return seen.intended_at_s >= self.began_s


class Moves:
    def __init__(self, stage: Stage, folder: Path, *, told: Callable[[str], object]) -> None:
        self._stage = stage
        self._scale: MoveScale = stage.scale.moves
        self._folder = folder
        self._told = told
        self._owners: dict[int, list[str]] = {}
        self._runs = 0
        self._seen: dict[str, Round] = {}
        self.cutovers: dict[str, Mapping[str, Any]] = {}
        """Latency around a typical move of each subject, of the latest round."""

    def measurements(self) -> list[Measurement]:
        return [
            Measurement(id=f"moves.{one}", title=title, unit=unit, loop=loop, run=self._figure(one), turns="last")
            for one, title, unit, loop in figures_told(self._scale)
        ]

    def _figure(self, name: str) -> Callable[[], Round]:
        def run() -> Round:
            if name not in self._seen:
                self._seen = self._round()
            return self._seen.pop(name)

        return run

    def _round(self) -> dict[str, Round]:
        self._told("moves: starting a platform with two cells")
        shutil.rmtree(self._folder, ignore_errors=True)
        with platform_under_test(self._folder) as platform, generator(1) as beside:
            subjects, neighbours, checks = self._prepare(platform)
            busy_s, ours_s, began_s = machine_busy_s(), platform.cpu_s(), time.monotonic()
            played = {one.name: self._play(platform, beside, one, neighbours) for one in subjects}
            elapsed_s = time.monotonic() - began_s
            ours_s = platform.cpu_s() - ours_s + sum(one.moved.cpu_s + one.beside.cpu_s for one in played.values())
            others_cores = max(0.0, machine_busy_s() - busy_s - ours_s) / elapsed_s
            self._told("moves: auditing the platform")
            checks += (check_fleet_conservation(platform.databases.values()), platform.audit())
        self.cutovers = _pictured(subjects, played)
        rounds = rounds_of(played, checks)
        return {name: replace(one, others_cores=others_cores) for name, one in rounds.items()}

    # Getting ready.

    def _prepare(self, platform: PlatformUnderTest) -> tuple[list[Subject], list[str], tuple[Check, ...]]:
        scale = self._scale
        slots = [slot for slot, cell in enumerate(platform.cells_of_slots()) if cell == HOME][:3]
        if len(slots) < 3:
            raise PlatformMustRunError(f"{HOME} has {len(slots)} slots: no unit could be moved")
        wanted = dict(zip(slots, (scale.wallets, 1, scale.long_wallets), strict=True))
        if set(self._owners) != set(wanted):
            self._told(f"moves: looking for {scale.wallets} wallets that share a slot")
            self._owners = owners_in_slots(wanted)
        self._told("moves: opening wallets")
        neighbours = self._open(platform, owners_beside(slots, scale.neighbours))
        slot, hot, long = (self._open(platform, self._owners[number]) for number in slots)
        check = self._fill(platform, long)
        subjects = [
            _subject("slot", scale, unit=slots[0], wallets=slot),
            _subject("hot", scale, unit=platform.isolated(hot[0]), wallets=hot),
            _subject("long", scale, unit=slots[2], wallets=long),
        ]
        return subjects, neighbours, (check,)

    def _open(self, platform: PlatformUnderTest, owners: Sequence[str]) -> list[str]:
        limit = self._stage.scale.overdraft_limit
        asks = Openings(owners=owners, token=platform.vendor_token("opener"), overdraft_limit=limit)
        pace = Pace(duration_s=SETUP_TIMEOUT_S, concurrency=OPENING_CONCURRENCY)
        tally = self._stage.generator.run(Load(targets=(platform.router,), asks=asks, pace=pace))
        if tally.accepted != len(owners):
            raise OpeningMustSucceedError(f"{tally.accepted} of {len(owners)}: {tally.statuses} {tally.samples}")
        return [wallet_of(owner) for owner in owners]

    def _fill(self, platform: PlatformUnderTest, wallets: Sequence[str]) -> Check:
        """A long past, posted like all money, in bulk and at the cell itself."""
        wanted = self._scale.long_entries
        self._told(f"moves: posting a past of {wanted:,} entries")
        for _ in range(FILLINGS_MAX):
            missing = wanted - _entries(platform, wallets)
            if missing <= 0:
                break
            vendor = self._next_vendor("past")
            asks = Bulks(
                wallets=wallets,
                token=platform.vendor_token(vendor),
                operations=min(BULK_OPERATIONS, missing),
                run=self._runs,
            )
            requests = math.ceil(missing / asks.operations)
            pace = Pace(duration_s=SETUP_TIMEOUT_S, concurrency=min(BULK_CONCURRENCY, requests), count_max=requests)
            self._stage.generator.run(Load(targets=platform.doors_of(HOME), asks=asks, pace=pace))
        there = _entries(platform, wallets)
        return Check(name="the long past is there", has_passed=there >= wanted, detail=f"{there} of {wanted} entries")

    # Moving.

    def _play(
        self, platform: PlatformUnderTest, beside: Generator, subject: Subject, neighbours: Sequence[str]
    ) -> Played:
        """The load is there before, between and after the moves."""
        sendings = (
            self._sending(subject.name, self._stage.generator, subject.wallets, subject.rate_per_s),
            self._sending("neighbours", beside, neighbours, self._scale.neighbours_per_s),
        )
        self._told(f"moves: {subject.told}, not moving yet")
        for one in sendings:
            one.begin(platform)
        time.sleep(self._stage.scale.warm_up_s)
        began_s = time.monotonic()
        time.sleep(self._scale.still_s)
        ended = self._there_and_back(platform, subject)
        for one in sendings:
            one.sender.end_early()
        moved, besides = (one.sender.collect() for one in sendings)
        return Played(
            cutovers=tuple(one for one in ended if isinstance(one, Cutover)),
            undone=tuple(one for one in ended if isinstance(one, Undone)),
            moved=moved,
            beside=besides,
            began_s=began_s,
            checks=tuple(
                replace(check, name=f"{check.name} ({one.vendor})")
                for one, tally in zip(sendings, (moved, besides), strict=True)
                for check in check_fleet_postings(platform.databases.values(), vendor=one.vendor, tally=tally)
            ),
        )

    def _there_and_back(self, platform: PlatformUnderTest, subject: Subject) -> list[Cutover | Undone]:
        ended: list[Cutover | Undone] = []
        away = False
        for number in range(1, subject.moves + 1):
            self._told(f"moves: {subject.told}, move {number} of {subject.moves}")
            one = platform.moved(subject.unit, to_cell=HOME if away else AWAY)
            ended.append(one)
            away = away != isinstance(one, Cutover)
            time.sleep(self._scale.rest_s)
        return ended

    def _sending(self, name: str, sender: Generator, wallets: Sequence[str], rate_per_s: float) -> Sending:
        return Sending(
            sender=sender, vendor=self._next_vendor(name), run=self._runs, wallets=wallets, rate_per_s=rate_per_s
        )

    def _next_vendor(self, name: str) -> str:
        self._runs += 1
        return f"{name}-{self._runs}"


def figures_told(scale: MoveScale) -> list[tuple[str, str, str, Loop]]:
    """Every figure: its name, its title, its unit and its loop."""
    told: list[tuple[str, str, str, Loop]] = []
    for subject in ("slot", "hot", "long"):
        what = _told_of(subject, scale)
        told += [
            (f"{subject}.pause", f"{what}: pause of a move, fence to activation, p99", "ms", "none"),
            (f"{subject}.wait", f"{what}: longest wait of a vendor around the cut-over, p99", "ms", "open"),
            (f"{subject}.duration", f"{what}: time of a move, median", "s", "none"),
        ]
    return [
        *told,
        ("errors", "answers during all moves that are neither success nor replay", "errors", "open"),
        ("copied", f"first copy of {scale.long_entries:,} entries, throttled", "rows/s", "none"),
        ("neighbours.still", "wallets that do not move: p99 while nothing moves", "ms", "open"),
        ("neighbours.moving", "wallets that do not move: p99 while a unit moves", "ms", "open"),
        ("neighbours.ratio", "wallets that do not move: p99 while a unit moves over while nothing does", "x", "open"),
    ]


def _told_of(subject: str, scale: MoveScale) -> str:
    return {
        "slot": f"slot of {scale.wallets:,} wallets, {scale.slot_per_s:g}/s",
        "hot": f"hot wallet, {scale.hot_per_s:g}/s",
        "long": f"slot of {scale.long_entries:,} entries, {scale.long_per_s:g}/s",
    }[subject]


def _subject(name: str, scale: MoveScale, *, unit: int, wallets: Sequence[str]) -> Subject:
    rate_per_s = {"slot": scale.slot_per_s, "hot": scale.hot_per_s, "long": scale.long_per_s}[name]
    moves = scale.long_moves if name == "long" else scale.moves_each
    told = _told_of(name, scale)
    return Subject(name=name, told=told, unit=unit, wallets=wallets, rate_per_s=rate_per_s, moves=moves)


def _entries(platform: PlatformUnderTest, wallets: Sequence[str]) -> int:
    with psycopg.connect(platform.databases[HOME]) as connection:
        row = connection.execute(ENTRIES, [list(wallets)]).fetchone()
    return int(row[0]) if row else 0


def _pictured(subjects: Iterable[Subject], played: Mapping[str, Played]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for subject in subjects:
        of_subject = played[subject.name]
        one = typical(of_subject.cutovers)
        if one is not None:
            found[subject.name] = {"title": subject.told, **series_around(one, of_subject.moved.trace)}
    return found


def rounds_of(played: Mapping[str, Played], checks: tuple[Check, ...]) -> dict[str, Round]:
    found: dict[str, Round] = {}
    for name, one in played.items():
        of_subject = _of_subject(one, (*checks, one.were_done(), *one.checks))
        found |= {f"{name}.{figure}": of_one for figure, of_one in of_subject.items()}
    every = (*checks, *(check for one in played.values() for check in one.checks))
    return found | {
        "errors": _errors(played.values(), every),
        "copied": _copied(played["long"], (*checks, played["long"].were_done())),
        **_neighbours(played.values(), every),
    }


def _of_subject(played: Played, checks: tuple[Check, ...]) -> dict[str, Round]:
    cutovers, trace = played.cutovers, played.moved.trace
    waits = [wait for one in cutovers if (wait := longest_wait_ms(one, trace)) is not None]
    silence_ms = p99_of(longest_silence_ms(one, trace) for one in cutovers)
    pauses = quantiles_of(one.pause_ms for one in cutovers)
    duration_s = quantiles_of(one.duration_s for one in cutovers).get("p50", 0.0)
    counts = {"moves": len(cutovers)}
    asked = {"measured": len(trace), "late": played.moved.late, "dropped": played.moved.dropped}
    return {
        "pause": Round(value=pauses.get("p99", 0.0), latency_ms=pauses, checks=checks, counts=counts),
        "wait": Round(
            value=p99_of(waits),
            latency_ms=quantiles_of(waits),
            checks=checks,
            counts=counts | asked,
            notes=(f"{len(cutovers)} moves; p99 of the longest silence {silence_ms:.0f} ms",),
        ),
        "duration": Round(value=duration_s, checks=checks, counts=counts),
    }


def _errors(played: Iterable[Played], checks: tuple[Check, ...]) -> Round:
    """Of those whose wallets moved and of their neighbours: nobody may see any."""
    counts: dict[str, int] = {}
    samples: tuple[str, ...] = ()
    for tally in (tally for one in played for tally in (one.moved, one.beside)):
        samples += tally.samples
        for kind, count in errors_of(tally).items():
            counts[kind] = counts.get(kind, 0) + count
    errors = sum(counts.values())
    nobody = Check(name="answers", has_passed=not errors, detail=" ".join([str(counts), *samples[:3]]))
    return Round(value=errors, checks=(*checks, nobody), counts=counts)


def _copied(long: Played, checks: tuple[Check, ...]) -> Round:
    """The first move carries everything; those back carry what is new."""
    first = max(long.cutovers, key=lambda one: one.rows, default=None)
    if first is None:
        return Round(value=0.0, checks=checks)
    note = f"{first.rows:,} rows in {first.copy_ms / 1_000:.1f} s of copying"
    return Round(value=first.rows_per_s, checks=checks, counts={"rows": first.rows}, notes=(note,))


def _neighbours(played: Iterable[Played], checks: tuple[Check, ...]) -> dict[str, Round]:
    still: list[float] = []
    moving: list[float] = []
    for one in played:
        stood, moved = still_and_moving((*one.cutovers, *one.undone), filter(one.is_warm, one.beside.trace))
        still, moving = still + stood, moving + moved
    told = {"still": still, "moving": moving}
    found = {
        f"neighbours.{name}": Round(
            value=p99_of(seen), latency_ms=quantiles_of(seen), checks=checks, counts={"measured": len(seen)}
        )
        for name, seen in told.items()
    }
    ratio = p99_of(moving) / p99_of(still) if still else 0.0
    return found | {"neighbours.ratio": Round(value=ratio, checks=checks)}
