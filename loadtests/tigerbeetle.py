"""TigerBeetle's own benchmark, where a `tigerbeetle` is on the PATH: another ledger on the same machine.

One replica, batches as large as it takes, its own client; the command formats a data file where it is run, starts a
replica of it on 127.0.0.1 and removes both. No HTTP, no tokens, no log of refusals: a yardstick, not an alternative.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from cellwallet.local.programs import quiet_environment
from contract.values import value
from loadtests.figures import Check

PROGRAM = "tigerbeetle"
TIMEOUT_S = 900.0
TAIL = 500
"""Characters of what it said that are told when it fails."""
SHARE_OFF_MAX = 0.02
"""Its rate times its time, against the transfers that it was asked for; it rounds both."""

_ACCEPTED = re.compile(r"^load accepted = (\d+) tx/s$", re.MULTILINE)
_BATCHES = re.compile(r"^(\d+) batches in (\d+(?:\.\d+)?) s$", re.MULTILINE)
_LATENCY = re.compile(r"^batch latency p(\d+) *= (\d+) ms", re.MULTILINE)


class TigerbeetleMustTellError(Exception):
    """Its benchmark printed something else than is known here."""


@value
class Told:
    """What the benchmark says of its transfers."""

    per_s: int
    batches: int
    elapsed_s: float
    batch_ms: dict[str, float]
    """p50, p99, p100 and so on of a batch."""


@value
class Ran:
    per_s: float
    batch_ms: dict[str, float]
    checks: tuple[Check, ...]


def tigerbeetle_program() -> Path | None:
    found = shutil.which(PROGRAM)
    return Path(found) if found else None


def run_benchmark(program: Path, *, transfers: int) -> Ran:
    """It validates afterwards that every account and transfer is there; for that its ids have to be in order."""
    with tempfile.TemporaryDirectory(prefix="cellwallet-tigerbeetle-") as folder:
        answer = subprocess.run(  # noqa: S603 - our own words
            [str(program), "benchmark", f"--transfer-count={transfers}", "--id-order=sequential", "--validate"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=quiet_environment(),
            timeout=TIMEOUT_S,
        )
    detail = "" if answer.returncode == 0 else f"exit code {answer.returncode}: {answer.stderr[-TAIL:].strip()}"
    valid = Check(name="validated by its own benchmark", has_passed=answer.returncode == 0, detail=detail)
    try:
        told = parse(answer.stdout)
    except TigerbeetleMustTellError as error:
        return Ran(per_s=0.0, batch_ms={}, checks=(valid, Check(name="rate", has_passed=False, detail=str(error))))
    return Ran(per_s=float(told.per_s), batch_ms=told.batch_ms, checks=(valid, check_rate(told, transfers=transfers)))


def parse(output: str) -> Told:
    """Raises `TigerbeetleMustTellError`."""
    accepted, batches = _ACCEPTED.search(output), _BATCHES.search(output)
    if accepted is None or batches is None:
        raise TigerbeetleMustTellError(f"its benchmark tells no rate: {output[-TAIL:].strip()!r}")
    latencies = {f"p{quantile}": float(ms) for quantile, ms in _LATENCY.findall(output)}
    return Told(per_s=int(accepted[1]), batches=int(batches[1]), elapsed_s=float(batches[2]), batch_ms=latencies)


def check_rate(told: Told, *, transfers: int) -> Check:
    """It did what it was asked for, and in the time that it tells."""
    done = told.per_s * told.elapsed_s
    has_passed = told.per_s > 0 and abs(done - transfers) <= transfers * SHARE_OFF_MAX
    detail = f"{told.per_s}/s for {told.elapsed_s} s, {transfers} transfers in {told.batches} batches"
    return Check(name="rate", has_passed=has_passed, detail=detail)
