"""A whole cell in front of a real database, on a real socket, in a thread of its own; and the hands of a vendor."""

import asyncio
import io
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from cell_databases import CELL_KEY, CellDatabase
from cell_stores import postgres_ledger
from cell_waiting import until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from platform_keys import bearer, token

from cell.api.admission import Admission
from cell.api.application import vendor_application
from cell.api.proofs import PublishedKeys
from cell.api.tokens import vendor_tokens
from cell.cell_tokens import CellTokens, CellTokenVerifier
from cell.crash_points import CrashPoints
from cell.lanes import LaneLimits, Lanes
from cell.policy import LimitPolicy
from cell.queries import Queries
from cell.sagas import Sagas
from cell.store.dead_letters import DeadLetters
from cell.telemetry import AccessLog, Metrics, Telemetry
from contract.configuration import CellConfiguration, PublicKey
from contract.ids import wallet_id_of
from contract.scopes import AUDIENCE, VENDOR_SCOPES
from contract.signing import public_jwk
from lean_http.protocol import LeanProtocol

EVERY_SCOPE = " ".join(VENDOR_SCOPES)
CELL = "cell-a"


class RunningCell:
    """`database_url` may lead through a proxy; the database itself is asked directly."""

    def __init__(self, database: CellDatabase, *, database_url: str | None = None, **limits: Any) -> None:
        self.database = database
        self.issuer = Ed25519PrivateKey.generate()
        self._database_url = database_url or database.app_url
        self._limits = limits
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cell under test")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lanes: Lanes
        self._stop: asyncio.Event
        self._admission = Admission()
        self._tokens = vendor_tokens(audience=AUDIENCE)
        self._keys = PublishedKeys()
        self._policy = LimitPolicy()
        self._cells = CellTokenVerifier(audience=AUDIENCE)
        self._version = 0
        self.configuration: CellConfiguration | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30), "the cell did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._listener.close()

    def configure(self, **fields: Any) -> None:
        """A new configuration, in effect when this returns."""

        async def apply() -> None:
            self._configure(**fields)

        asyncio.run_coroutine_threadsafe(apply(), self._loop).result(10)

    def token(self, scope: str = EVERY_SCOPE, *, vendor: str = "acme", **claims: Any) -> str:
        return token(self.issuer, "issuer-1", subject=vendor, scope=scope, **claims)

    def client(self, scope: str = EVERY_SCOPE, *, vendor: str = "acme", **claims: Any) -> httpx.Client:
        headers = bearer(self.token(scope, vendor=vendor, **claims))
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, verify=False, timeout=40)  # noqa: S501 - no TLS here

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        metrics = Metrics(cell_id=CELL, zone="zone-1", software_version="1")
        log = AccessLog(cell_id=CELL, lines_max=100, period_ms=50, on_drop=metrics.lines_dropped, stream=io.BytesIO())
        limits = {"batch_max": 100, "queue_max": 1_000, "patience_s": 2.0, **self._limits}
        self.lanes = Lanes(
            postgres_ledger(self._database_url),
            lanes=2,
            money=LaneLimits(**limits),
            openings=LaneLimits(**limits),
            metrics=metrics,
        )
        queries = Queries(
            self._database_url,
            connections_max=4,
            wait_max_ms=1_000,
            statement_timeout_ms=3_000,
            connect_timeout_s=3,
        )
        self._sagas = Sagas(
            cell_id=CELL,
            tokens=CellTokens(CELL, CELL_KEY, audience=AUDIENCE),
            cells=self._cells,
            router_url="",
            database_url=self._database_url,
            period_s=0.5,
            crash_points=CrashPoints(None),
            lanes=self.lanes,
            queries=queries,
            limits=self._policy,
            metrics=metrics,
        )
        self._configure()
        app = vendor_application(
            cell_id=CELL,
            version="1",
            tokens=self._tokens,
            admission=self._admission,
            lanes=self.lanes,
            queries=queries,
            keys=self._keys,
            sagas=self._sagas,
            letters=DeadLetters(self._database_url),
            configuration=lambda: self.configuration,
            telemetry=Telemetry(metrics=metrics, access_log=log, tracing=None),
            limits=self._policy,
            may_leave=False,
            is_ready=lambda: self.lanes.are_connected,
            deadline_default_ms=5_000,
            body_timeout_ms=1_000,
        )
        server = uvicorn.Server(_config(app))
        log.start()
        self.lanes.start()
        queries.start()
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        await until(lambda: server.started and self.lanes.are_connected)
        self._ready.set()
        await self._stop.wait()
        server.should_exit = True
        await serving
        await self.lanes.stop()
        await self._sagas.stop()
        await queries.stop()
        await log.stop()

    def _configure(self, **fields: Any) -> None:
        self._version += 1
        configuration = CellConfiguration(
            cell=CELL,
            version=self._version,
            issued_at="2027-01-15T08:00:00.000000Z",
            jwks={"keys": [public_jwk(self.issuer.public_key(), key_id="issuer-1")]},
            peers={CELL: PublicKey.model_validate(public_jwk(CELL_KEY.public_key(), key_id=f"cell:{CELL}"))},
            **fields,
        )
        self.configuration = configuration
        self._tokens.configure(configuration)
        self._keys.configure(configuration)
        self._policy.configure(configuration)
        self._cells.configure(configuration)
        self._admission.configure(configuration, time.monotonic())


def _config(app: Any) -> uvicorn.Config:
    """As cell/serving.py has it."""
    return uvicorn.Config(
        app,
        http=LeanProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )


@contextmanager
def running_cell(database: CellDatabase, **options: Any) -> Iterator[RunningCell]:
    cell = RunningCell(database, **options)
    cell.start()
    try:
        yield cell
    finally:
        cell.stop()


class Vendor:
    """A vendor's side of the API: builds bodies, opens wallets of owners that nobody else has."""

    def __init__(self, client: httpx.Client, cell: RunningCell) -> None:
        self.client = client
        self.cell = cell

    def open(self, *, balance: int = 0, currency: str = "EUR", **fields: Any) -> str:
        """The id of a new wallet."""
        body = opening(currency=currency, **fields)
        answer = self.client.post("/v1/wallets", json=body)
        assert answer.status_code == 201, answer.text
        wallet_id: str = answer.json()["wallet_id"]
        if balance:
            assert self.credit(wallet_id, balance, currency=currency).status_code == 201
        return wallet_id

    def credit(self, wallet_id: str, amount: int, **fields: Any) -> httpx.Response:
        return self.client.post(f"/v1/wallets/{wallet_id}/credit", json=posting(amount, **fields))

    def debit(self, wallet_id: str, amount: int, **fields: Any) -> httpx.Response:
        return self.client.post(f"/v1/wallets/{wallet_id}/debit", json=posting(amount, **fields))

    def change(self, wallet_id: str, **fields: Any) -> httpx.Response:
        return self.client.patch(f"/v1/wallets/{wallet_id}", json={"transaction_id": new_id(), **fields})

    def reverse(self, wallet_id: str, original: str, **fields: Any) -> httpx.Response:
        body = {"transaction_id": new_id(), "original_transaction_id": original, **fields}
        return self.client.post(f"/v1/wallets/{wallet_id}/reverse", json=body)

    def transfer(self, sender: str, receiver: str, amount: int = 1, **fields: Any) -> httpx.Response:
        body = {**posting(amount, **fields), "to_wallet_id": receiver}
        return self.client.post(f"/v1/wallets/{sender}/transfers", json=body)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.client.get(path, params=parameters)


def new_id() -> str:
    return str(uuid.uuid4())


def opening(*, currency: str = "EUR", ref: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"owner": {"type": "person", "ref": ref or new_id()}, "currency": currency, **fields}


def id_of(body: dict[str, Any]) -> str:
    owner = body["owner"]
    return wallet_id_of(
        owner_type=owner["type"],
        owner_ref=owner["ref"],
        kind=body.get("kind", "main"),
        currency=body["currency"],
    )


def posting(amount: Any, *, currency: str = "EUR", **fields: Any) -> dict[str, Any]:
    return {"transaction_id": new_id(), "amount": amount, "currency": currency, **fields}
