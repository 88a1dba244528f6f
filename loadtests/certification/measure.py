"""The measuring itself: rounds of steps, each an open loop at a constant rate, until the objective breaks.

The cell whole, then through each router that is here, then degraded; what could not be measured is told with its why.

A short closed loop only tells where to begin. Every step is a vendor of its own, so that the ledger can be held against
what its senders saw; a step whose money is not right makes the certificate worthless, and it is then not written.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from contract.certificate import (
    FORM,
    CapacityCertificate,
    DataPlane,
    Machine,
    Objective,
    Part,
    Round,
    RouterLimit,
    Step,
    Unmeasured,
    Versions,
)
from contract.values import value
from loadtests.calm import busy_cores
from loadtests.certification.judgement import limit_of, loss_of, printable, results_of, step_of
from loadtests.certification.parts import ROUTER_PARTS, TITLES
from loadtests.certification.site import Door, RouterMustBeThereError, Site
from loadtests.checks import check_chains, check_conservation, check_postings
from loadtests.figures import Check
from loadtests.generator import Generator
from loadtests.histogram import Histogram
from loadtests.load import Load, Openings, Pace, Postings, Tally
from loadtests.machine import describe_machine, describe_versions
from loadtests.payloads import wallet_of
from loadtests.router_under_test import RouterMustStartError
from loadtests.search import Search
from loadtests.usage import Meter

PEAK_CONCURRENCY = 64
BELOW_PEAK = 0.6
"""Of a closed loop's peak: where the first round begins."""
BELOW_LIMIT: dict[DataPlane, float] = {"python": 0.5, "haproxy": 0.8}
"""Of the cell's own limit: where the first round through a router begins."""
OPENING_ATTEMPTS_MAX = 5
OPENING_TIMEOUT_S = 600.0
NOT_YET: tuple[Unmeasured, ...] = (
    Unmeasured(part="moves", why="no load was applied while units moved"),
    Unmeasured(part="failover", why="no standby took over under load"),
)


class CertificateMustBeEarnedError(Exception):
    """No rate held, or the money was not right, or the machine is not free: there is no certificate."""


@value
class Plan:
    objective: Objective
    rounds: int
    step_s: float
    warm_up_s: float
    tries: int
    precision: float
    wallets: int
    noise_max_cores: float
    is_strict: bool
    is_quick: bool
    overdraft_limit: int = 1_000_000_000_000


@value
class Measured:
    certificate: CapacityCertificate
    latencies: dict[Part, Histogram]
    """Of the highest step that held, for the picture."""


Tell = Callable[[str], None]


class Certifier:
    def __init__(self, site: Site, generator: Generator, plan: Plan, tell: Tell) -> None:
        self._site, self._generator, self._plan, self._tell = site, generator, plan, tell
        self._wallets: list[str] = []
        self._runs = int(time.time()) & 0x0FFF_FFFF  # ids of a running platform's earlier loads must differ
        self._checks: list[Check] = []
        self._latencies: dict[Part, tuple[float, Histogram]] = {}
        self._unmeasured: list[Unmeasured] = []

    def certify(self) -> Measured:
        """Raises `CertificateMustBeEarnedError`."""
        self._must_be_free()
        self._open_wallets()
        topology, degraded = self._site.topology(), None
        door = self._site.door
        rounds = self._rounds("normal", door, start_per_s=self._peak_per_s() * BELOW_PEAK)
        limit_per_s = limit_of(rounds, "normal")
        if not limit_per_s:
            raise CertificateMustBeEarnedError(f"no rate held: {rounds[-1].steps[-1].broke}")
        routers = self._routers(limit_per_s)
        if topology.api_processes > 1:
            self._site.degrade()
            degraded = self._site.topology()
            rounds += self._rounds("degraded", self._site.door, start_per_s=limit_per_s)
        else:
            self._unmeasured.append(Unmeasured(part="degraded", why="the cell has one API process only"))
        self._check_everything()
        degraded_per_s = limit_of(rounds, "degraded")
        if degraded is not None and not degraded_per_s:
            raise CertificateMustBeEarnedError("no rate held without one of the API processes")
        every_round = (*rounds, *(one for router in routers for one in router.rounds))
        noise_cores = statistics.median(step.others_cores for one in every_round for step in one.steps)
        is_noisy = noise_cores > self._plan.noise_max_cores
        if is_noisy and self._plan.is_strict:
            raise CertificateMustBeEarnedError(f"others kept {noise_cores:.1f} cores busy (median of the steps)")
        certificate = CapacityCertificate(
            form=FORM,
            made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            subject=self._site.subject,
            versions=self._versions(),
            machine=self._machine(),
            topology=topology,
            degraded_topology=degraded,
            limit_per_s=limit_per_s,
            degraded_loss=loss_of(limit_per_s, degraded_per_s) if degraded else None,
            routers=routers,
            unmeasured=(*self._unmeasured, *NOT_YET),
            objective=self._plan.objective,
            rounds=tuple(rounds),
            checks=results_of(self._checks),
            is_quick=self._plan.is_quick,
            is_noisy=is_noisy,
        )
        flaw = certificate.flaw()
        if flaw is not None:
            raise CertificateMustBeEarnedError(flaw)
        return Measured(
            certificate=certificate, latencies={name: latencies for name, (_, latencies) in self._latencies.items()}
        )

    # Getting ready.

    def _must_be_free(self) -> None:
        """Others' load is told, recorded, and with --strict refused before anything is made."""
        cores = busy_cores()
        if cores <= self._plan.noise_max_cores:
            return
        told = f"{cores:.1f} cores are busy before the load begins (at most {self._plan.noise_max_cores:g} may be)"
        if self._plan.is_strict:
            raise CertificateMustBeEarnedError(told)
        self._tell(f"warning: {told}: the figures will say more of others than of the cell")

    def _open_wallets(self) -> None:
        self._tell(f"opening {self._plan.wallets} wallets")
        owners = self._site.owners(self._plan.wallets)
        asks = Openings(
            owners=owners, token=self._site.vendor_token("certifier"), overdraft_limit=self._plan.overdraft_limit
        )
        pace = Pace(duration_s=OPENING_TIMEOUT_S, concurrency=PEAK_CONCURRENCY)
        for _ in range(OPENING_ATTEMPTS_MAX):
            tally = self._generator.run(Load(targets=self._site.door.targets, asks=asks, pace=pace))
            if tally.accepted == len(owners):
                self._wallets = [wallet_of(owner) for owner in owners]
                return
        raise CertificateMustBeEarnedError(f"wallets could not be opened: {dict(tally.statuses)} {tally.samples}")

    def _peak_per_s(self) -> float:
        self._tell("looking where to begin (closed loop)")
        pace = Pace(
            duration_s=self._plan.warm_up_s + min(3.0, self._plan.step_s),
            warm_up_s=self._plan.warm_up_s,
            concurrency=PEAK_CONCURRENCY,
        )
        tally, _ = self._load(pace, self._site.door)
        if not tally.rate_per_s:
            raise CertificateMustBeEarnedError(f"nothing was answered: {dict(tally.statuses)} {tally.samples}")
        return tally.rate_per_s

    # Rounds of steps.

    def _routers(self, limit_per_s: float) -> tuple[RouterLimit, ...]:
        """Of the data planes that are here, while the cell is still whole."""
        found = []
        for data_plane, part in ROUTER_PARTS.items():
            try:
                with self._site.router(data_plane) as door:
                    rounds = self._rounds(part, door, start_per_s=limit_per_s * BELOW_LIMIT[data_plane])
            except (RouterMustBeThereError, RouterMustStartError) as error:
                self._is_missing(part, str(error))
                continue
            router_per_s = limit_of(rounds, "normal")
            if router_per_s:
                found.append(RouterLimit(data_plane=data_plane, limit_per_s=router_per_s, rounds=tuple(rounds)))
            else:
                self._is_missing(part, f"no rate held: {'; '.join(rounds[-1].steps[-1].broke)}")
        return tuple(found)

    def _is_missing(self, part: Part, why: str) -> None:
        self._tell(f"  {TITLES[part]} is not measured: {why}")
        self._unmeasured.append(Unmeasured(part=part, why=printable(why)))

    def _rounds(self, part: Part, door: Door, *, start_per_s: float) -> list[Round]:
        found: list[Round] = []
        for number in range(1, self._plan.rounds + 1):
            self._tell(f"{TITLES[part]}, round {number} of {self._plan.rounds}")
            one = self._round(part, door, start_per_s)
            found.append(one)
            start_per_s = one.limit_per_s or start_per_s
        return found

    def _round(self, part: Part, door: Door, start_per_s: float) -> Round:
        plan = self._plan
        search = Search(start_per_s=start_per_s, precision=plan.precision, tries_left=plan.tries)
        steps: list[Step] = []
        while (wanted_per_s := search.next_per_s) is not None:
            rate_per_s = max(1.0, float(round(wanted_per_s)))
            step, tally = self._step(rate_per_s, door)
            steps.append(step)
            told = "held" if step.held else "broke: " + "; ".join(step.broke)
            self._tell(f"  {rate_per_s:>8,.0f}/s  p50 {step.p50_ms:.1f} ms  p99 {step.p99_ms:.1f} ms  {told}")
            if step.held and rate_per_s >= self._latencies.get(part, (0.0, None))[0]:
                self._latencies[part] = (rate_per_s, tally.latencies)
            search = search.after(rate_per_s, has_held=step.held, served_per_s=tally.served_per_s)
        topology = "degraded" if part == "degraded" else "normal"
        return Round.model_validate(
            {"topology": topology, "limit_per_s": search.held_per_s or 0.0, "steps": tuple(steps)}
        )

    def _step(self, rate_per_s: float, door: Door) -> tuple[Step, Tally]:
        plan = self._plan
        pace = Pace(duration_s=plan.warm_up_s + plan.step_s, warm_up_s=plan.warm_up_s, rate_per_s=rate_per_s)
        tally, others_cores = self._load(pace, door)
        step = step_of(tally, plan.objective, rate_per_s=rate_per_s, duration_s=plan.step_s, others_cores=others_cores)
        return step, tally

    def _load(self, pace: Pace, door: Door) -> tuple[Tally, float]:
        self._runs += 1
        vendor = f"certify-{self._runs}"
        asks = Postings(
            wallets=self._wallets, token=self._site.vendor_token(vendor), seed=self._runs & 0xFFFF, run=self._runs
        )
        meter = Meter(api_pids=door.pids, cluster_folder=self._site.cluster_folder)
        tally = self._generator.run(Load(targets=door.targets, asks=asks, pace=pace))
        usage = meter.read()
        self._checks += check_postings(self._site.database_url, vendor=vendor, tally=tally)
        return tally, usage.others_cores(ours_s=tally.cpu_s)

    # What the certificate says besides.

    def _check_everything(self) -> None:
        self._tell("checking the ledger")
        self._checks.append(check_conservation(self._site.database_url))
        self._checks.append(check_chains(self._site.database_url, wallets=self._wallets[:20]))
        self._checks.extend(self._site.audit())

    def _versions(self) -> Versions:
        found = describe_versions(self._site.database_url)
        return Versions(python=found["python"], postgresql=found["postgresql"] or "")

    def _machine(self) -> Machine:
        found = describe_machine()
        return Machine(
            cpu=printable(found["cpu"]),
            cores=found["cores"],
            memory_mb=found["memory_mb"] or 0,
            kernel=printable(found["kernel"]),
        )
