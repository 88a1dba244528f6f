"""Two cells with databases, write paths and admin APIs of their own on real sockets; and a mover's hands.

The mover here goes straight through the steps, one call each, so that a test can stop between any two of them.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cell_databases import CELL_KEY, CellDatabase
from cell_lanes import RunningLanes, running_lanes
from cell_stores import postgres_ledger
from cell_waiting import until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from platform_keys import bearer, token

from cell.api.admin import admin_application
from cell.api.responses import Responder
from cell.api.tokens import admin_tokens, usable_keys
from cell.background.checkpoints import Checkpoints
from cell.background.move_duties import MoveDuties
from cell.cell_tokens import CellTokens, CellTokenVerifier
from cell.closed import ClosedCell
from cell.crash_points import MOVE_POINTS, CrashPoints
from cell.event_order import EventOrder
from cell.ledger.footprint import Footprint
from cell.ledger.view import Loaded
from cell.moves import Moves
from cell.peer_events import PeerEvents
from cell.peer_grants import PeerGrants
from cell.store.audit import AuditReport, audit
from cell.store.event_waits import EventWaits
from cell.store.moves.sessions import Sessions
from cell.store.moves.store import PostgresMoves
from cell.store.unit_load import UnitLoads
from cell.store.units import UnitStore
from cell.telemetry.event_metrics import EventMetrics
from contract.configuration import CellConfiguration, PublicKey
from contract.moves import Fences, Grants, StagedUnits
from contract.scopes import AUDIENCE
from contract.signing import public_jwk
from contract.values import value

CONTROL_PLANE = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
"""The key of another cell of the fleet."""
OPERATOR = bearer(token(CONTROL_PLANE, "cp-1", subject="control-plane", scope="fleet:read fleet:manage"))
NO_MEMORY = "/nonexistent"
"""State folder of a process that has none."""
KEYS = {"cell-a": CELL_KEY, "cell-b": Ed25519PrivateKey.generate(), "cell-c": STRANGER}


class Passing(CrashPoints):
    """Nobody dies; what was passed is told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.passed: list[str] = []

    async def reach(self, point: str) -> None:
        assert point in MOVE_POINTS
        self.passed.append(point)


@value
class Forgeries:
    """What a page of rows looks like here: an empty one, and texts in it with what a forger makes of them."""

    empty_page: bytes
    sum: tuple[bytes, bytes]
    text: tuple[bytes, bytes]
    kind: tuple[bytes, bytes]
    saga: tuple[bytes, bytes]
    """A transfer of 25 that is on its way."""


class MovingCell:
    """One cell; `url` is that of its admin API."""

    is_in_memory = False
    forgeries = Forgeries(
        empty_page=b"wallets\n\\.\nentries\n\\.\n",
        sum=(b"\tcredit\t100\t", b"\tcredit\t900\t"),
        text=(b"\tacme\t", b"\tevil\t"),
        kind=(b"\tcredit\t", b"\tcredit\tx"),
        saga=(b', 25, "EUR", "in_transit"', b', 95, "EUR", "in_transit"'),
    )

    def __init__(self, name: str, database: CellDatabase, running: RunningLanes) -> None:
        self.name = name
        self.database = database
        self.running = running
        self.points = Passing()
        self.moves = Moves(
            PostgresMoves(database.app_url, cell_id=name, crash_points=self.points),
            peers=PeerGrants(CellTokens(name, KEYS[name])),
            crash_points=self.points,
        )
        self.duties = MoveDuties(self.moves, database_url=database.app_url, metrics=running.metrics)
        self.loads = UnitLoads(database.app_url, cell_id=name)
        self.configuration = _configuration(name)
        self.event_order = EventOrder(
            EventWaits(Sessions(database.app_url)),
            cell_id=name,
            peers=PeerEvents(CellTokens(name, KEYS[name])),
            configuration=lambda: self.configuration,
            metrics=EventMetrics(running.metrics.registry),
        )
        running.on_moving = self.moves.look_for_grants
        keys = {f"cell:{name}": KEYS[name].public_key()}
        self.closed = ClosedCell(database.app_url, cell_id=name, checkpoint_keys=keys, state_dir=Path(NO_MEMORY))
        self.url = ""

    def application(self) -> Any:
        jwks = {"keys": [public_jwk(CONTROL_PLANE.public_key(), key_id="cp-1")]}
        cells = CellTokenVerifier()
        cells.configure(_configuration(self.name))
        return admin_application(
            cell_id=self.name,
            database_url=self.database.app_url,
            tokens=admin_tokens(audience=AUDIENCE, control_plane_keys=usable_keys(jwks)),
            units=UnitStore(self.database.app_url, cell_id=self.name),
            loads=self.loads,
            checkpoints=Checkpoints(self.database.app_url, cell=self.name, key=KEYS[self.name], kept=2),
            checkpoint_keys={f"cell:{self.name}": KEYS[self.name].public_key()},
            responder=Responder(cell_id=self.name),
            status=dict,
            metrics_text=bytes,
            moves=self.moves,
            event_order=self.event_order,
            cells=cells,
            closed=self.closed,
        )

    def state(self, unit: int) -> tuple[str, int] | None:
        found = self.database.sql("SELECT state, epoch FROM unit_state WHERE unit = %s", unit)
        return (found[0][0], found[0][1]) if found else None

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=OPERATOR)

    def everything(self) -> list[Any]:
        """But the rows of logs."""
        tables = ("unit_state", "wallets", "cleanups", "account_deltas", "isolated")
        return [self.database.sql(f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608

    def forget_fence(self) -> None:
        """Its time is over."""
        self.database.sql("UPDATE unit_state SET deadline = clock_timestamp() WHERE state = 'fenced'")

    def count_entries(self) -> int:
        return self.database.count("entries")

    def migrated(self) -> int:
        question = "SELECT coalesce(sum(delta), 0)::bigint FROM account_deltas WHERE account = 'migrated'"
        return int(self.database.one(question))

    async def load(self, footprint: Footprint) -> Loaded:
        session = postgres_ledger(self.database.app_url).session("test")
        await session.connect()
        loaded = await session.load(footprint)
        await session.close()
        return loaded

    async def audit(self, *, is_full: bool = True) -> AuditReport:
        keys = {f"cell:{self.name}": KEYS[self.name].public_key()}
        return await audit(self.database.app_url, cell=self.name, is_full=is_full, checkpoint_keys=keys)

    async def assert_clean(self) -> None:
        for is_full in (False, True):
            report = await self.audit(is_full=is_full)
            assert report.findings == (), f"{self.name}: {report.findings}"


def _configuration(cell: str) -> CellConfiguration:
    return CellConfiguration(
        cell=cell,
        version=1,
        issued_at="2027-01-15T08:00:00.000000Z",
        jwks={"keys": []},
        peers={
            name: PublicKey.model_validate(public_jwk(key.public_key(), key_id=f"cell:{name}"))
            for name, key in KEYS.items()
        },
    )


@asynccontextmanager
async def moving_cell(name: str, database: CellDatabase, **lanes: Any) -> AsyncIterator[MovingCell]:
    async with running_lanes(database, **lanes) as running:
        cell = MovingCell(name, database, running)
        server = uvicorn.Server(
            uvicorn.Config(cell.application(), port=0, lifespan="off", log_config=None, access_log=False)
        )
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        cell.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield cell
        finally:
            server.should_exit = True
            await serving
            await cell.moves.close()
            await cell.event_order.close()
            await cell.closed.close()
            await cell.loads.close()


@asynccontextmanager
async def two_cells(first: CellDatabase, second: CellDatabase) -> AsyncIterator[tuple[MovingCell, MovingCell]]:
    """The first owns every slot, the second none."""
    async with moving_cell("cell-a", first) as a, moving_cell("cell-b", second) as b:
        yield a, b


class Mover:
    """One move of units from one cell to the other."""

    def __init__(self, source: MovingCell, target: MovingCell, units: Sequence[int], *, epoch: int = 2) -> None:
        self.source, self.target = source, target
        self.units = list(units)
        self.epoch = epoch
        self.id = str(uuid.uuid4())
        self.copied = 0
        self.fences: dict[str, Any] = {}
        self.staged: dict[str, Any] = {}
        self.grants: dict[str, Any] = {}
        self._clients = {one.name: one.client() for one in (source, target)}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def outgoing(self, step: str, body: dict[str, Any] | None = None) -> httpx.Response:
        path = f"/admin/outgoing/{self.id}/{step}"
        return await self._clients[self.source.name].post(path, json=body or {"units": self.units})

    async def incoming(self, step: str, body: dict[str, Any] | None = None) -> httpx.Response:
        path = f"/admin/incoming/{self.id}/{step}"
        return await self._clients[self.target.name].post(path, json=body or {"units": self.units})

    async def put(self, unit: int, part: str, content: bytes) -> httpx.Response:
        path = f"/admin/incoming/{self.id}/rows"
        return await self._clients[self.target.name].put(path, params={"unit": unit, "part": part}, content=content)

    async def stage(self) -> httpx.Response:
        body = {
            "from_cell": self.source.name,
            "source_admin_urls": [self.source.url],
            "units": [[unit, self.epoch] for unit in self.units],
        }
        return await self.incoming("stage", body)

    async def copy(self, *, rows_max: int = 5_000) -> int:
        """Entries until the target has what the source had when it was asked; the number of them."""
        copied = 0
        for unit in await self._filled():
            here = dict(done(await self.incoming("positions", {"units": [unit]}))["positions"])
            there = done(await self.outgoing("versions", {"units": [unit]}))["positions"]
            wanted = [[wallet_id, here.get(wallet_id, 0)] for wallet_id, seq in there if seq > here.get(wallet_id, 0)]
            while wanted:
                body = {"unit": unit, "part": "entries", "positions": wanted, "rows_max": rows_max}
                page = await self.outgoing("rows", body)
                assert page.status_code == 200, page.text
                taken = done(await self.put(unit, "entries", page.content))
                copied += taken["rows"]
                here |= dict(taken["positions"])
                wanted = [[one, here.get(one, 0)] for one, seq in there if seq > here.get(one, 0)]
        self.copied += copied
        return copied

    async def _filled(self) -> list[int]:
        surveyed = done(await self.outgoing("survey"))["units"]
        return [one["unit"] for one in surveyed if one["wallets"]]

    async def copy_state(self) -> None:
        for unit in await self._filled():
            open_sagas = done(await self.incoming("positions", {"units": [unit]}))["open_sagas"]
            page = await self.outgoing("rows", {"unit": unit, "part": "state", "open_sagas": open_sagas})
            assert page.status_code == 200, page.text
            done(await self.put(unit, "state", page.content))

    async def fence(self, **more: Any) -> httpx.Response:
        answer = await self.outgoing("fence", {"units": self.units, "to_cell": self.target.name, **more})
        if answer.is_success:
            self.fences = Fences.model_validate_json(answer.content).model_dump()
        return answer

    async def seal(self) -> httpx.Response:
        answer = await self.incoming("seal", self.fences)
        if answer.is_success:
            self.staged = StagedUnits.model_validate_json(answer.content).model_dump()
        return answer

    async def grant(self) -> httpx.Response:
        answer = await self.outgoing("grant", {"to_cell": self.target.name, **self.staged})
        if answer.is_success:
            self.grants = Grants.model_validate_json(answer.content).model_dump()
        return answer

    async def activate(self) -> httpx.Response:
        return await self.incoming("activate", self.grants)

    async def up_to_staged(self) -> None:
        done(await self.stage())
        await self.copy()
        await self.copy_state()
        done(await self.fence())
        await self.follow()

    async def follow(self) -> None:
        """What changed until the fence, and the target's seal of it."""
        await self.copy()
        await self.copy_state()
        done(await self.seal())

    async def granted(self) -> None:
        """From the fence to the grant. A fence that fell on a slow machine is set again, as any mover does."""
        while refused_or_none(answer := await self.grant()) == "fence_must_stand":
            done(await self.outgoing("unfence"))
            done(await self.fence())
            await self.follow()
        done(answer)

    async def whole(self) -> None:
        await self.up_to_staged()
        await self.granted()
        done(await self.activate())
        done(await self.outgoing("tombstone"))


async def give_away(away: Mover) -> None:
    """To a cell that is not there: fenced, sealed by nobody, granted."""
    fence = done(await away.outgoing("fence", {"units": away.units, "to_cell": "cell-z"}))["fences"][0]
    staged = {"unit": fence["unit"], "epoch": 2, "fence_no": fence["fence_no"], "digest": fence["digest"]}
    done(await away.outgoing("grant", {"to_cell": "cell-z", "staged": [staged]}))


@asynccontextmanager
async def mover(source: MovingCell, target: MovingCell, units: Sequence[int], **more: Any) -> AsyncIterator[Mover]:
    one = Mover(source, target, units, **more)
    with contextlib.ExitStack():
        try:
            yield one
        finally:
            await one.close()


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def refused_or_none(answer: httpx.Response) -> str | None:
    return None if answer.is_success else refused(answer)


def refused(answer: httpx.Response) -> str:
    """The reason of a refusal, as the contract has it."""
    assert answer.status_code == 409, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    reason: str = answer.json()["reason"]
    return reason
