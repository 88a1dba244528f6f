"""Signed directory documents, and a small server that publishes them as the control plane does."""

import asyncio
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument, run_lengths
from contract.ids import WalletId
from contract.signing import public_jwk, sign
from contract.slots import SLOTS, slot_of

TOKEN = "router-token"


class Signer:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    @property
    def jwks(self) -> bytes:
        return json.dumps({"keys": [public_jwk(self._key.public_key(), key_id="cp-1")]}).encode()

    def signed(self, document: DirectoryDocument, **more: Any) -> bytes:
        """`more` is what the document says besides, to whoever can read it."""
        return json.dumps(sign(document.model_dump(mode="json") | more, key_id="cp-1", key=self._key)).encode()


def directory_document(
    cells: dict[str, list[str]], *, version: int = 1, zones: tuple[str, ...] = ("zone-1",), **members: Any
) -> DirectoryDocument:
    """Cells by their URLs; the slots are shared evenly unless `slot_cells` names the cell of each."""
    names = list(cells)
    slot_cells = members.pop("slot_cells", None) or [names[slot * len(names) // SLOTS] for slot in range(SLOTS)]
    listed = {
        name: DirectoryCell(
            api=tuple(ApiInstance(url=url, zone=zones[number % len(zones)]) for number, url in enumerate(urls)),
            state="active",
        )
        for name, urls in cells.items()
    }
    return DirectoryDocument.model_validate(
        {
            "version": version,
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "cells": listed,
            "slots": run_lengths(slot_cells),
            **members,
        }
    )


def wallet_in(document: DirectoryDocument, cell: str, *, number: int = 0) -> WalletId:
    """The `number`-th wallet id, in an order that never changes, whose slot the cell owns."""
    slot_cells = document.slot_cells()
    found = 0
    for candidate in range(1_000_000):
        wallet = WalletId(f"{candidate:08x}-0000-4000-8000-000000000000")
        if slot_cells[slot_of(wallet)] == cell:
            if found == number:
                return wallet
            found += 1
    raise LookupError(cell)


class DirectoryServer:
    """`GET /v1/directory` of a control plane: ETag, If-None-Match, long poll, acknowledgements."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.polls = 0
        self.status = 200
        self._published: tuple[int, bytes] | None = None
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._news.set()
        serving = list(self._serving.items())
        for task, writer in serving:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in serving), return_exceptions=True)

    def publish(self, version: int, raw: bytes) -> None:
        self._published = (version, raw)
        self._news.set()
        self._news = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                writer.write(await self._answer(head))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the other side left, or this server was stopped
        finally:
            del self._serving[task]
            writer.transport.abort()

    async def _answer(self, head: str) -> bytes:
        self.polls += 1
        line, *lines = head.split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (one.partition(":") for one in lines)}
        path, _, query = line.split(" ")[1].partition("?")
        question = dict(pair.split("=") for pair in query.split("&"))
        if path != "/v1/directory" or headers.get("authorization") != f"Bearer {TOKEN}":
            return _rendered(401, b"{}")
        if "applied" in question:
            self.acknowledged.append(int(question["applied"]))
        if self._published is None or self.status != 200:
            return _rendered(503 if self.status == 200 else self.status, b"{}")
        if headers.get("if-none-match") == f'"{self._published[0]}"':
            try:
                await asyncio.wait_for(self._news.wait(), timeout=float(question["wait"]))
            except TimeoutError:
                return _rendered(304, b"")
        version, raw = self._published
        return _rendered(200, raw, etag=f'"{version}"')


def _rendered(status: int, body: bytes, **headers: str) -> bytes:
    lines = "".join(f"{name}: {text}\r\n" for name, text in {"content-length": str(len(body)), **headers}.items())
    return f"HTTP/1.1 {status} Told\r\n{lines}\r\n".encode() + body
