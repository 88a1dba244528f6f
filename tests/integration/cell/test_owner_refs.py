"""Wallets of an owner: a ref is any text, a slash included."""

from urllib.parse import quote

import httpx
from cell_databases import CellDatabase
from cell_lanes import running_lanes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from ledger_book import Book
from platform_keys import bearer, token

from cell.api.admission import Admission
from cell.api.history import history_routes
from cell.api.tokens import vendor_tokens
from cell.queries import Queries
from contract.configuration import CellConfiguration
from contract.signing import public_jwk

REFS = ["alice", "a/b", "a/wallets", "/", "50%", "ä b?#"]


def application(queries: Queries, key: Ed25519PrivateKey) -> FastAPI:
    jwks = {"keys": [public_jwk(key.public_key(), key_id="issuer-1")]}
    tokens = vendor_tokens(audience="cellwallet")
    tokens.configure(CellConfiguration(cell="cell-a", version=1, issued_at="2027-01-15T08:00:00Z", jwks=jwks))
    app = FastAPI()
    app.include_router(history_routes(tokens=tokens, admission=Admission(), queries=queries))
    return app


async def test_an_owner_is_found_by_any_ref(database: CellDatabase, book: Book) -> None:
    async with running_lanes(database) as running:
        await running.open(book, REFS)
    queries = Queries(
        database.app_url, connections_max=2, wait_max_ms=2_000, statement_timeout_ms=5_000, connect_timeout_s=3
    )
    queries.start()
    key = Ed25519PrivateKey.generate()
    headers = bearer(token(key, "issuer-1", subject="shop", scope="wallet:read"))
    transport = httpx.ASGITransport(application(queries, key))
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as client:
        answers = [await client.get(f"/v1/owners/person/{quote(ref, safe='')}/wallets") for ref in REFS]
    await queries.stop()
    assert [answer.status_code for answer in answers] == [200] * len(REFS)
    assert [[wallet["owner"]["ref"] for wallet in answer.json()["wallets"]] for answer in answers] == [
        [ref] for ref in REFS
    ]
