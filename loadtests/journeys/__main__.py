"""`make loadtest`: vendor journeys against a platform that runs on this machine, with locust.

    python -m loadtests.journeys --stack .data --shape lose-a-cell --users 60 --seconds 120 --workers 2

Ends with 0 if latency, failures and every vendor's money are as they must be, with 1 if not, with 2 if it cannot begin.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cellwallet.local.stack import StackMustExistError, read_stack
from loadtests.journeys.shapes import Shape, ShapeMustBeWholeError, as_json, named, parsed
from loadtests.journeys.slo import Slo

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LOOPBACK = "127.0.0.1"
STOP_TIMEOUT_S = 60
"""For vendors to be told the end of what they have begun."""


class JourneysMustBeginError(Exception):
    """Nothing was loaded; the message says what must hold."""


def main() -> int:
    options = _options()
    try:
        shape = _shape_of(options)
        _check(options.stack)
    except (JourneysMustBeginError, ShapeMustBeWholeError) as error:
        print(error, file=sys.stderr)
        return 2
    slo = Slo(p99_ms_max=options.p99_ms, failed_share_max=options.failed_share)
    options.html.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        verdict = Path(folder) / "verdict.json"
        passed_on = {
            "stack": str(options.stack.resolve()),
            "shape": json.loads(as_json(shape)),
            "slo": asdict(slo),
            "verdict": str(verdict),
        }
        code = _run(options, passed_on)
        return _tell(verdict, code, is_json=options.json)


def _run(options: argparse.Namespace, passed_on: dict[str, Any]) -> int:
    command = [
        *(sys.executable, "-m", "locust", "--headless", "-f", str(LOCUSTFILE), "--html", str(options.html)),
        *("--stop-timeout", str(STOP_TIMEOUT_S), "--only-summary", "--exit-code-on-error", "0"),
        *(("--processes", str(options.workers)) if options.workers > 1 else ()),
    ]
    environment = {**os.environ, "JOURNEYS": json.dumps(passed_on)}
    output = sys.stderr if options.json else None
    try:
        return subprocess.run(command, env=environment, stdout=output, check=False).returncode  # noqa: S603 - our own words
    except KeyboardInterrupt:
        return 130


def _tell(verdict: Path, code: int, *, is_json: bool) -> int:
    if not verdict.exists():
        print(f"the run ended without a verdict (locust ended with {code})", file=sys.stderr)
        return 1
    report = json.loads(verdict.read_text())
    if is_json:
        print(json.dumps(report))
    else:
        print(f"{report['shape']}: {report['requests']:,} requests, {'passed' if report['passed'] else 'failed'}")
        for found in report["found"]:
            print(f"  {found}")
    return 0 if report["passed"] else 1


def _shape_of(options: argparse.Namespace) -> Shape:
    if options.shape.endswith(".json"):
        try:
            return parsed(Path(options.shape).read_text())
        except OSError as error:
            raise JourneysMustBeginError(f"{options.shape} must be a file that can be read: {error}") from error
    return named(options.shape, users=options.users, duration_s=options.seconds)


def _check(stack: Path) -> None:
    if find_spec("locust") is None:
        raise JourneysMustBeginError("locust must be installed: pip install 'cellwallet[loadtests]'")
    try:
        router_url = read_stack(stack).router_url
    except StackMustExistError as error:
        raise JourneysMustBeginError(f"a platform must run in {stack}: {error}") from error
    if urlsplit(router_url).hostname != LOOPBACK:
        raise JourneysMustBeginError(f"load goes to {LOOPBACK} only, and the router is at {router_url}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtests.journeys", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stack", type=Path, default=Path(".data"), help="folder of `cellwallet up`")
    parser.add_argument("--shape", default="steady", help="steady, ramp, spike, lose-a-cell, or a JSON file")
    parser.add_argument("--users", type=int, default=40, help="vendors at the shape's height")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1, help="processes that the vendors are spread over")
    parser.add_argument("--html", type=Path, default=Path("build/journeys.html"), help="locust's report")
    parser.add_argument("--p99-ms", type=float, default=Slo().p99_ms_max)
    parser.add_argument("--failed-share", type=float, default=Slo().failed_share_max)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
