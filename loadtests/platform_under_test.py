"""A whole platform as people run it: `cellwallet up` as our child, in a folder of its own.

Known by its stack file, its HTTP and its SQL only. It is on a leash: when we die, it stops.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

import cellwallet
from cellwallet.local.control import request
from cellwallet.local.folder import DataFolder
from cellwallet.local.identity import leashed
from cellwallet.local.keys import load_keys
from cellwallet.local.programs import quiet_environment
from cellwallet.local.stack import StackMustExistError, read_stack
from contract.directory import DirectoryDocument
from contract.scopes import VENDOR_SCOPES
from loadtests.cutovers import Cutover, Undone
from loadtests.figures import Check
from loadtests.load import Target
from loadtests.usage import cpu_of_cluster, cpu_s

CELLS = ("cell-1", "cell-2")
SHARED_BUFFERS_MB = 256
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 120.0
AUDIT_TIMEOUT_S = 3_600.0
ANSWER_TIMEOUT_S = 30.0
ANSWER_PATIENCE_S = 60.0
MOVE_TIMEOUT_S = 1_800.0
"""A first copy of a million entries takes minutes, because it is throttled."""
MOVE_POLL_S = 0.1
PROTECTION_TIMEOUT_S = 300.0
"""A standby that is made anew is a copy of everything."""
POLL_S = 0.05
TOKEN_S = 24 * 3_600
LOG_SHOWN = 2_000


class PlatformMustRunError(Exception):
    """`cellwallet up`, `down` or `audit` failed, or the platform does not answer any more."""


class MoveMustEndError(Exception):
    """A move was refused, or took longer than anything may take."""


class PlatformUnderTest:
    """Made by `platform_under_test`."""

    def __init__(self, data: Path, client: httpx.Client) -> None:
        self._folder = DataFolder(data)
        self._stack = read_stack(data)
        self._keys = load_keys(data / "keys")
        self._client = client
        self.router = _target(self._stack.router_url)
        self.databases: Mapping[str, str] = {cell.id: cell.database_url for cell in self._stack.cells}

    def doors_of(self, cell: str) -> tuple[Target, ...]:
        """Of the cell's own API processes."""
        return tuple(_target(api.url) for entry in self._stack.cells if entry.id == cell for api in entry.api)

    def vendor_token(self, vendor: str) -> str:
        return self._keys.issued_token(vendor, VENDOR_SCOPES, expires_in_s=TOKEN_S)

    def cells_of_slots(self) -> list[str | None]:
        """By the numbers of the slots."""
        signed = self._ask("GET", "/v1/directory")
        signed.pop("signature", None)
        return [*DirectoryDocument.model_validate(signed).slot_cells()]

    def isolated(self, wallet_id: str) -> int:
        """The wallet's unit, which from now on is its own."""
        return int(self._ask("POST", f"/v1/wallets/{wallet_id}/isolate")["unit"])

    def moved(self, unit: int, *, to_cell: str) -> Cutover | Undone:
        """Order it and wait for its end.

        Raises:
            MoveMustEndError: see there.

        """
        began_s = time.monotonic()
        move_id = str(uuid.uuid4())
        self._ask("POST", "/v1/moves", {"unit": unit, "to_cell": to_cell, "move_id": move_id})
        while (move := self._ask("GET", f"/v1/moves/{move_id}"))["ended_at"] is None:
            if time.monotonic() > began_s + MOVE_TIMEOUT_S:
                raise MoveMustEndError(
                    f"{move['state']} after {MOVE_TIMEOUT_S:.0f} s: {move['reason']} {move['detail']}"
                )
            time.sleep(MOVE_POLL_S)
        ended_s = time.monotonic()
        if move["state"] != "done" or move["pause_ms_max"] is None:
            why = f"to {to_cell}: {move['state']}, {move['reason']} {move['detail']}"
            return Undone(ordered_at_s=began_s, ended_at_s=ended_s, why=why)
        return Cutover(
            ordered_at_s=began_s,
            ended_at_s=ended_s,
            fenced_at_s=self._fenced_at_s(move_id),
            pause_ms=move["pause_ms_max"],
            rows=move["copied_rows"],
            copy_ms=move["copy_ms"],
        )

    def standby(self, cell: str) -> dict[str, Any]:
        """How the two databases of the cell are, by the platform's own account."""
        told = request(self._folder.control_socket, "status")["standbys"]
        return next(one for one in told if one["cell"] == cell)

    def wait_until_protected(self, cell: str, *, promotions: int) -> None:
        """Until the roles have changed so often, and what is acknowledged is in two places again.

        Raises:
            PlatformMustRunError: that takes longer than anything may take.

        """
        patience_ends_s = time.monotonic() + PROTECTION_TIMEOUT_S
        while not ((told := self.standby(cell))["is_protected"] and told["promotions"] >= promotions):
            if time.monotonic() > patience_ends_s:
                raise PlatformMustRunError(f"{cell} is not protected: {told}")
            time.sleep(POLL_S)

    def kill_primary(self, cell: str) -> None:
        """The main process of its database; what the others still do is part of the fault."""
        pid = next(one for one in read_stack(self._folder.path).cells if one.id == cell).pids.postgres
        os.kill(pid, signal.SIGKILL)

    def switch_over(self, cell: str) -> float:
        """How long the platform says that services had no primary, in seconds."""
        answer = request(self._folder.control_socket, "switch_over", cell=cell)
        if "error" in answer:
            raise PlatformMustRunError(f"switch-over of {cell}: {answer['error']}")
        return float(answer["pause_s"])

    def audit(self) -> Check:
        """Of every cell in full, and of the fleet."""
        command = _command("audit", "--full", "--json", "--data", str(self._folder.path))
        answer = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, check=False, env=_environment(), timeout=AUDIT_TIMEOUT_S
        )
        try:
            report = json.loads(answer.stdout)
        except ValueError as error:
            raise PlatformMustRunError(f"cellwallet audit\n{answer.stdout}{answer.stderr}") from error
        told = "; ".join(str(finding) for finding in report["findings"][:3])
        return Check(name="full audit of the fleet", has_passed=answer.returncode == 0 and report["clean"], detail=told)

    def cpu_s(self) -> float:
        """Of everything that runs, so far."""
        stack = self._stack
        pids = (
            *(stack.supervisor_pid, *stack.router.pids, *stack.control_plane.pids, *stack.mover.pids),
            *(pid for cell in stack.cells for pid in cell.pids.api),
        )
        clusters = (self._folder.postgres(name) / "pgdata" for name in ("control-plane", *self.databases))
        return sum(map(cpu_s, pids)) + sum(map(cpu_of_cluster, clusters))

    # Below: how.

    def _fenced_at_s(self, move_id: str) -> float:
        """When the fence was ordered that led to the grant; the mover's clock is this machine's."""
        steps = self._ask("GET", f"/v1/moves/{move_id}/steps?limit=500")["steps"]
        fence = next(step for step in steps if step["step"] == "take_fence")
        ago_s = time.time() - datetime.fromisoformat(fence["at"]).timestamp()
        return time.monotonic() - ago_s

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Again for a while, as all that is asked here may be: half an hour of moves is not lost to a hiccup."""
        patience_ends_s = time.monotonic() + ANSWER_PATIENCE_S
        while True:
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.TransportError as error:
                if time.monotonic() > patience_ends_s:
                    told = f"{method} {path}: the control plane does not answer ({error!r})"
                    raise PlatformMustRunError(told) from error
            else:
                document: dict[str, Any] = answer.json()
                if answer.is_success:
                    return document
                if answer.status_code != 503 or time.monotonic() > patience_ends_s:
                    raise MoveMustEndError(f"{method} {path}: {document.get('reason')} {document.get('detail')}")
            time.sleep(MOVE_POLL_S)


@contextmanager
def platform_under_test(
    data: Path, *, cells: int = len(CELLS), options: Sequence[str] = ()
) -> Iterator[PlatformUnderTest]:
    """On whatever the folder holds; serves while the context lasts."""
    data.mkdir(parents=True, exist_ok=True)
    log = data.with_suffix(".log")
    command = _command("up", "--data", str(data), "--cells", str(cells), "--port", "0", *options)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            leashed([*command, "--shared-buffers-mb", str(SHARED_BUFFERS_MB)], parent_signal=signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,  # an interrupt is for us, who then end it in order
        )
    try:
        token = _wait_until_ready(process, data, log)
        with httpx.Client(
            base_url=read_stack(data).control_plane_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
        ) as client:
            yield PlatformUnderTest(data, client)
    finally:
        _end(process, data)


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> str:
    """Returns the operator's token: the stack file is there when everything is ready."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            return read_stack(data).tokens.operator
        except StackMustExistError:
            pass
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise PlatformMustRunError(f"cellwallet up\n{log.read_text(errors='replace')[-LOG_SHOWN:]}")
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes], data: Path) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        DataFolder(data).end_leftovers()


def _command(verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cellwallet", verb, *arguments]


def _environment() -> dict[str, str]:
    return quiet_environment({"PYTHONPATH": str(Path(cellwallet.__file__).parent.parent)})


def _target(url: str) -> Target:
    parts = urlsplit(url)
    return Target(host=parts.hostname or "", port=parts.port or 0)
