"""The system under test: one cell as it is run for real, without the rest of the fleet.

Its own durable PostgreSQL, migrated by `python -m cell migrate`, served by `python -m cell serve` processes with every
check on; configuration and tokens are signed as the control plane would. Known to this package by its HTTP and its
SQL only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

import cellwallet
from cellwallet.local.databases import CELL_APP, CELL_DATABASE, CELL_OWNER, provision_cell
from cellwallet.local.identity import leashed
from cellwallet.local.keys import CONTROL_PLANE_KEY_ID, Keys, ensure_keys
from cellwallet.local.ports import HOST, Ports
from cellwallet.local.postgres import Cluster
from cellwallet.local.probe import get
from cellwallet.local.programs import quiet_environment
from contract.configuration import CellConfiguration, PublicKey
from contract.scopes import OPERATOR_SCOPES, VENDOR_SCOPES
from contract.signing import sign
from contract.slots import SLOTS
from contract.values import value
from loadtests.load import Target

CELL = "bench"
ZONE = "zone-a"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
AUDIT_TIMEOUT_S = 3_600.0
TOKEN_S = 24 * 3_600
POLL_S = 0.01


class AuditMustBeMadeError(Exception):
    """The cell did not audit itself; the message is its answer."""


class CellMustStartError(Exception):
    """A process of the cell ended or was not ready in time; the message ends with what it logged."""


@value
class ApiProcess:
    name: str
    pid: int
    target: Target
    admin_url: str
    log: Path
    ready_after_s: float
    """From its start until /readyz said yes."""


class CellUnderTest:
    """Made by `cell_under_test`."""

    def __init__(self, cluster: Cluster, folder: Path, *, database: str, lanes: int, settings: dict[str, str]) -> None:
        self.cluster = cluster
        self.database = database
        self.apis: list[ApiProcess] = []
        self._folder = folder
        self._keys: Keys = ensure_keys(folder / "keys")
        self._ports = Ports(folder / "ports.json")
        self._lanes = lanes
        self._settings = settings
        self._processes: list[subprocess.Popen[bytes]] = []
        self._admin_token = self._keys.machine_token("control-plane", OPERATOR_SCOPES)

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(api.target for api in self.apis)

    @property
    def database_url(self) -> str:
        """Of the superuser, for checks: it sees everything."""
        return self.cluster.url(database=self.database)

    def vendor_token(self, vendor: str) -> str:
        return self._keys.issued_token(vendor, VENDOR_SCOPES, expires_in_s=TOKEN_S)

    def start(self, processes: int) -> None:
        """From nothing: database (what an earlier run left is no part of it), schema, processes, units."""
        self.cluster.drop_database(self.database)
        provision_cell(self.cluster, database=self.database)
        self._migrate()
        self.serve(processes)
        answer = httpx.put(
            f"{self.apis[0].admin_url}/admin/units/first", json={"runs": [[0, SLOTS - 1]]}, headers=self._headers()
        )
        answer.raise_for_status()

    def serve(self, processes: int) -> None:
        """From the database that is there."""
        for number in range(1, processes + 1):
            self.start_api(f"api-{number}", processes=processes)

    def start_api(self, name: str, *, processes: int = 1, capacity_per_s: float | None = None) -> ApiProcess:
        """One process more, held to its share of the capacity; returns when it is ready."""
        environment = self._environment(name)
        self._write_configuration(
            Path(environment["CELL_STATE_DIR"]), processes=processes, capacity_per_s=capacity_per_s
        )
        log = self._folder / f"{name}.log"
        began_s = time.monotonic()
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own words
                leashed([sys.executable, "-P", "-m", "cell", "serve"], parent_signal=signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=quiet_environment(environment),
                start_new_session=True,
            )
        self._processes.append(process)
        port, admin_port = int(environment["CELL_PORT"]), int(environment["CELL_ADMIN_PORT"])
        _wait_until_ready(process, f"http://{HOST}:{port}/readyz", log)
        api = ApiProcess(
            name=name,
            pid=process.pid,
            target=Target(port=port),
            admin_url=f"http://{HOST}:{admin_port}",
            log=log,
            ready_after_s=time.monotonic() - began_s,
        )
        self.apis.append(api)
        return api

    def stop_api(self, api: ApiProcess) -> None:
        process = next(one for one in self._processes if one.pid == api.pid)
        _end([process])
        self._processes.remove(process)
        self.apis.remove(api)

    def stop(self) -> None:
        """The database stays, and `serve` begins again."""
        _end(self._processes)
        self._processes.clear()
        self.apis.clear()

    def audit(self, *, is_full: bool) -> dict[str, Any]:
        """The cell's own audit; in full it folds every log and recomputes every hash."""
        answer = httpx.post(
            f"{self.apis[0].admin_url}/admin/audit",
            json={"full": is_full},
            headers=self._headers(),
            timeout=AUDIT_TIMEOUT_S,
        )
        if answer.is_error:
            raise AuditMustBeMadeError(f"{answer.status_code}: {answer.text}")
        report: dict[str, Any] = answer.json()
        return report

    @property
    def keys(self) -> Keys:
        """With which whatever stands in front of the cell is made to trust its directory."""
        return self._keys

    def access_lines(self) -> int:
        """Lines that tell of a posting or a read in the access logs since they were last forgotten."""
        return sum(api.log.read_bytes().count(b'"path":"/v1/') for api in self.apis)

    def forget_logs(self) -> None:
        """They grow by some hundred bytes per request."""
        for api in self.apis:
            os.truncate(api.log, 0)

    # Below: how.

    def _migrate(self) -> None:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "cell", "migrate"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=quiet_environment(self._environment("migrate")),
        )
        if answer.returncode != 0:
            raise CellMustStartError(f"the migration failed\n{answer.stdout}{answer.stderr}")

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PYTHONPATH": str(Path(cellwallet.__file__).parent.parent),
            "CELL_ID": CELL,
            "CELL_ZONE": ZONE,
            "CELL_HOME_ZONE": ZONE,
            "CELL_HOST": HOST,
            "CELL_PORT": str(self._ports.claim(name)),
            "CELL_ADMIN_PORT": str(self._ports.claim(f"{name}-admin")),
            "CELL_DATABASE_URL": self.cluster.url(CELL_APP, self.database),
            "CELL_OWNER_DATABASE_URL": self.cluster.url(CELL_OWNER, self.database),
            "CELL_CONTROL_PLANE_JWKS_FILE": str(self._keys.control_plane_jwks_file),
            "CELL_SIGNING_KEY_FILE": str(self._keys.cell_key_file(CELL)),
            "CELL_STATE_DIR": str(self._folder / name),
            "CELL_LANES": str(self._lanes),
            **self._settings,
        }

    def _write_configuration(self, state: Path, *, processes: int, capacity_per_s: float | None) -> None:
        """What the control plane would have sent; the cell reads it from its disk and needs nobody."""
        configuration = CellConfiguration(
            cell=CELL,
            version=1,
            issued_at=datetime.now(UTC).isoformat(),
            jwks=json.loads(self._keys.issuer_jwks_file.read_text()),
            capacity_per_s=capacity_per_s,
            api_processes=processes,
            peers={CELL: PublicKey.model_validate(self._keys.cell_public_key(CELL))},
        )
        signed = sign(configuration.model_dump(mode="json"), key_id=CONTROL_PLANE_KEY_ID, key=self._keys.control_plane)
        state.mkdir(parents=True, exist_ok=True)
        (state / "configuration.json").write_text(json.dumps(signed))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._admin_token}"}


@contextmanager
def cell_under_test(
    cluster: Cluster,
    folder: Path,
    *,
    processes: int,
    lanes: int,
    settings: dict[str, str] | None = None,
    is_new: bool = True,
) -> Iterator[CellUnderTest]:
    """Serves while the context lasts; one that is not new has its database, and the keys of its folder, from before."""
    folder.mkdir(parents=True, exist_ok=True)
    cell = CellUnderTest(cluster, folder, database=CELL_DATABASE, lanes=lanes, settings=settings or {})
    try:
        if is_new:
            cell.start(processes)
        else:
            cell.serve(processes)
        yield cell
    finally:
        cell.stop()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (answer := get(url)) is None or answer.status != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            _end([process])
            raise CellMustStartError(f"{url} was not ready\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(POLL_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
