"""The capacity certificate: what a load test found a cell (or a router) to carry, and everything that it rests on.

Written by `cellwallet loadtest certify`, read by `cellwallet headroom`, put to the control plane by an operator, whose
token vouches for it. A document says what was measured and what was assumed; nothing in it is computed again later.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from contract.directory import CellName

FORM: Final = 1
"""Grows when a field changes its meaning; fields are added without."""
STEPS_MAX, ROUNDS_MAX, ROUTER_ROUNDS_MAX, CHECKS_MAX = 20, 8, 4, 16
"""A certificate fits a request's body."""
RATE_MAX_PER_S = 1_000_000_000.0


def _whole(number: Any) -> Any:
    """`5.0` is an integer to JSON Schema."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Rate = Annotated[float, Field(strict=True, gt=0, le=RATE_MAX_PER_S, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, ge=0, le=RATE_MAX_PER_S, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000), BeforeValidator(_whole)]
Label = Annotated[str, Field(pattern=r"^[ -~]{0,200}$")]
Truth = Annotated[bool, Field(strict=True)]
Assumable = Literal["degraded_loss", "moves_loss", "failover_s"]
DataPlane = Literal["python", "haproxy"]
Part = Literal["normal", "degraded", "router_python", "router_haproxy", "moves", "failover"]
"""What a cell can be measured for; each part is either in the certificate or told to be missing."""
PARTS: Final[tuple[Part, ...]] = ("normal", "degraded", "router_python", "router_haproxy", "moves", "failover")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(_Document):
    """What was measured."""

    kind: Literal["cell", "router"]
    id: CellName
    software_version: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]


class Machine(_Document):
    cpu: Label
    cores: Count
    memory_mb: Count
    kernel: Label


class Versions(_Document):
    python: Label
    postgresql: Label


class Topology(_Document):
    api_processes: Annotated[int, Field(strict=True, ge=1, le=1_000), BeforeValidator(_whole)]
    standbys: Count = 0
    """Synchronous ones that were there."""


class Objective(_Document):
    """What has to hold for a rate to count as carried."""

    p99_ms_max: Rate
    error_share_max: Share
    late_share_max: Share
    """Of the requests, those that the generator itself sent late: more, and the figure says nothing."""


class Step(_Document):
    """One rate, offered for a while in an open loop; latencies count from the intended instants."""

    rate_per_s: Rate
    duration_s: Rate
    p50_ms: Amount
    p99_ms: Amount
    answered: Count
    errors: Count
    late: Count
    dropped: Count
    others_cores: Amount
    """Cores that were busy with nothing of ours."""
    held: Truth
    broke: tuple[Label, ...] = Field(default=(), max_length=8)
    """What did not hold, in words."""


class Round(_Document):
    topology: Literal["normal", "degraded"]
    limit_per_s: Amount
    """The highest rate that held; 0 = none did."""
    steps: tuple[Step, ...] = Field(min_length=1, max_length=STEPS_MAX)


class RouterLimit(_Document):
    """Through one router process, with the cell behind it on the same machine: whichever of the two gives way first."""

    data_plane: DataPlane
    limit_per_s: Rate
    rounds: tuple[Round, ...] = Field(min_length=1, max_length=ROUTER_ROUNDS_MAX)
    """In the topology that they name of the cell."""


class Unmeasured(_Document):
    part: Part
    why: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]


class CheckResult(_Document):
    """What must hold of the ledger after the load: conservation, chains, exactly once."""

    name: Annotated[str, Field(pattern=r"^[ -~]{1,80}$")]
    passed: Truth
    detail: Label = ""


class CapacityCertificate(_Document):
    form: Literal[1]
    made_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
    subject: Subject
    versions: Versions
    machine: Machine
    topology: Topology
    degraded_topology: Topology | None = None
    limit_per_s: Rate
    """L: commands per second that the cell carries; what its admission holds it to."""
    degraded_loss: Share | None = None
    """Delta: share of the limit that is gone in the degraded topology."""
    moves_loss: Share | None = None
    """m: share of the limit that two concurrent moves take."""
    failover_s: Amount | None = None
    """F: until a standby writes."""
    assumed: tuple[Assumable, ...] = Field(default=(), max_length=3)
    """Which of the three above somebody wrote down without measuring; what is absent was not even assumed."""
    routers: tuple[RouterLimit, ...] = Field(default=(), max_length=2)
    unmeasured: tuple[Unmeasured, ...] = Field(default=(), max_length=len(PARTS))
    objective: Objective
    rounds: tuple[Round, ...] = Field(min_length=1, max_length=ROUNDS_MAX)
    checks: tuple[CheckResult, ...] = Field(min_length=1, max_length=CHECKS_MAX)
    is_quick: Truth = False
    """Made to see that it works, and not to be relied on."""
    is_noisy: Truth = False
    """Others kept the machine busy meanwhile."""

    def flaw(self) -> str | None:
        """What the form alone does not rule out: why nobody may rely on it, in words."""
        failed = [check.name for check in self.checks if not check.passed]
        if failed:
            return f"what must hold after the load did not: {', '.join(failed)}"
        if (self.degraded_loss or 0) + (self.moves_loss or 0) >= 1:
            return "degraded_loss and moves_loss leave nothing together"
        invented = [one.part for one in self.unmeasured if one.part in self.measured]
        if invented:
            return f"both measured and not: {', '.join(invented)}"
        normal, degraded = self._rounds("normal"), self._rounds("degraded")
        found = [_flaw_of(self.limit_per_s, normal), _flaw_of(0.0, degraded)]
        found += [_flaw_of(one.limit_per_s, one.rounds) for one in self.routers]
        return next((flaw for flaw in found if flaw is not None), None)

    @property
    def measured(self) -> tuple[Part, ...]:
        """Of the parts, those whose figures are here and not assumed."""
        routers = {one.data_plane for one in self.routers}
        is_measured: dict[Part, bool] = {
            "normal": bool(self._rounds("normal")),
            "degraded": bool(self._rounds("degraded")),
            "router_python": "python" in routers,
            "router_haproxy": "haproxy" in routers,
            "moves": self.moves_loss is not None and "moves_loss" not in self.assumed,
            "failover": self.failover_s is not None and "failover_s" not in self.assumed,
        }
        return tuple(part for part in PARTS if is_measured[part])

    def router_limit_per_s(self) -> float | None:
        """Of the data plane for production where it was measured, else of the other."""
        by_data_plane = {one.data_plane: one.limit_per_s for one in self.routers}
        return by_data_plane.get("haproxy", by_data_plane.get("python"))

    def text(self) -> str:
        """As it is kept in a file."""
        return self.model_dump_json(indent=1) + "\n"

    def _rounds(self, topology: str) -> tuple[Round, ...]:
        return tuple(one for one in self.rounds if one.topology == topology)


class CertificateMustBeValidError(Exception):
    """The bytes are no certificate, or one that nobody may rely on; the message says why."""


def certificate_of(document: bytes) -> CapacityCertificate:
    """Read one back.

    Raises:
        CertificateMustBeValidError: it is none, or has a flaw.

    """
    try:
        certificate = CapacityCertificate.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(map(str, first["loc"]))
        raise CertificateMustBeValidError(
            f"no capacity certificate: {place or 'the document'}: {first['msg']}"
        ) from error
    flaw = certificate.flaw()
    if flaw is not None:
        raise CertificateMustBeValidError(f"not to be relied on: {flaw}")
    return certificate


def _flaw_of(limit_per_s: float, rounds: tuple[Round, ...]) -> str | None:
    """A limit is one that a round found, and a round's is one that held."""
    best_per_s = max((one.limit_per_s for one in rounds), default=0.0)
    if limit_per_s > best_per_s:
        return f"no round held limit_per_s; the best held {best_per_s:g}/s"
    if any(one.limit_per_s not in {0.0, *_held(one)} for one in rounds):
        return "a round's limit_per_s must be the rate of one of its steps that held"
    return None


def _held(one: Round) -> set[float]:
    return {step.rate_per_s for step in one.steps if step.held}
