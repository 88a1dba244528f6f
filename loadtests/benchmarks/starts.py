"""P11: how long a cold start takes, of one API process and of the whole platform on this machine.

The platform is the real `cellwallet up`, on nothing and on the data of its first start, in a folder of its own.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

import cellwallet
from cellwallet.local.ports import HOST
from cellwallet.local.programs import quiet_environment
from cellwallet.local.stack import read_stack
from loadtests.figures import Check, Round
from loadtests.platform_under_test import PlatformMustRunError
from loadtests.stage import Measurement, Stage
from loadtests.usage import machine_busy_s, memory_mb

COMMAND_TIMEOUT_S = 300.0


class Starts:
    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._starts = 0

    def measurements(self) -> list[Measurement]:
        told: tuple[tuple[str, str, Callable[[], Round]], ...] = (
            ("start.api", "API process until /readyz", self._start_api),
            ("start.up.fresh", "`cellwallet up` on nothing until ready", self._up_fresh),
            ("start.up.again", "`cellwallet up` on its data until ready", self._up_again),
        )
        return [Measurement(id=one, title=title, unit="s", loop="none", run=run) for one, title, run in told]

    def _start_api(self) -> Round:
        """One more process of the cell that is there."""
        self._starts += 1
        busy_before_s = machine_busy_s()
        cell = self._stage.cell
        api = cell.start_api(f"api-cold-{self._starts}", processes=len(cell.apis) + 1)
        busy_s = machine_busy_s() - busy_before_s
        try:
            url = f"http://{HOST}:{api.target.port}/v1/wallets/{self._stage.wallets[0]}/balance"
            answer = httpx.get(url, headers={"Authorization": f"Bearer {cell.vendor_token('reader')}"})
            return Round(
                value=api.ready_after_s,
                checks=(Check(name="serves", has_passed=answer.status_code == 200, detail=answer.text),),
                costs={"machine_cpu_s": busy_s, "api_memory_mb": memory_mb(api.pid)},
            )
        finally:
            cell.stop_api(api)

    def _up_fresh(self) -> Round:
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._up()

    def _up_again(self) -> Round:
        if not self._folder.exists():
            self._up()
        return self._up()

    def _up(self) -> Round:
        busy_before_s, began_s = machine_busy_s(), time.monotonic()
        self._command("up", "--detach")
        elapsed_s, busy_s = time.monotonic() - began_s, machine_busy_s() - busy_before_s
        try:
            stack = read_stack(self._folder)
            answer = httpx.get(f"{stack.router_url}/readyz")
            cells = [httpx.get(f"{api.url}/readyz").status_code for cell in stack.cells for api in cell.api]
            return Round(
                value=elapsed_s,
                checks=(
                    Check(name="router is ready", has_passed=answer.status_code == 200, detail=answer.text),
                    Check(name="cells are ready", has_passed=set(cells) == {200}, detail=f"{len(stack.cells)} cells"),
                ),
                costs={"machine_cpu_s": busy_s},
            )
        finally:
            self._command("down")

    def _command(self, *arguments: str) -> None:
        answer = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-P", "-m", "cellwallet", *arguments, "--data", str(self._folder)],
            capture_output=True,
            text=True,
            check=False,
            env=quiet_environment({"PYTHONPATH": str(Path(cellwallet.__file__).parent.parent)}),
            timeout=COMMAND_TIMEOUT_S,
        )
        if answer.returncode != 0:
            raise PlatformMustRunError(f"cellwallet {arguments[0]}\n{answer.stdout}{answer.stderr}")
