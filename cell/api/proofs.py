"""Routes by which anybody with `wallet:read` can hold the cell to what it signed: proofs, checkpoints, public keys.

Parses and answers; cell/proofs.py finds. Documents go out as they were signed.
"""

import base64
import binascii
import re
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.reading import Readers, WalletIdInPath
from cell.api.responses import json_response
from cell.api.tokens import Principal, TokenVerifier
from cell.proofs import Proofs, WalletProof
from cell.queries import Queries, malformed
from cell.store.reads import Order
from contract.answers import CheckpointsAnswer, KeysAnswer, ProofAnswer
from contract.configuration import CellConfiguration
from contract.ids import CELL_PATTERN, WalletId
from contract.problems import Problem

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
LATEST: Final = "latest"

_NUMBER: Final = re.compile("[0-9]{1,18}")

Wanted = Annotated[
    str, Query(pattern=r"^(latest|[1-9][0-9]{0,17})$", description="Number of a checkpoint, or the newest.")
]
CellInQuery = Annotated[
    str | None, Query(pattern=CELL_PATTERN, description="The router asks this cell; none = any cell that answers.")
]


class PublishedKeys:
    """The public keys of the fleet as the configuration last told them."""

    def __init__(self) -> None:
        self._jwks: dict[str, Any] = {"keys": []}

    def configure(self, configuration: CellConfiguration) -> None:
        cells = [key.model_dump() for _, key in sorted(configuration.peers.items())]
        self._jwks = {"keys": [*cells, *configuration.jwks.get("keys", [])]}

    def jwks(self) -> dict[str, Any]:
        return self._jwks


def proof_routes(
    *, cell_id: str, tokens: TokenVerifier, admission: Admission, queries: Queries, keys: PublishedKeys
) -> APIRouter:
    router = APIRouter()
    proofs = Proofs(queries)
    readers = Readers(tokens=tokens, admission=admission, queries=queries)
    Reader = Annotated[Principal, Depends(readers.caller)]  # noqa: N806 - a type

    @router.get(
        "/v1/wallets/{wallet_id}/proof", response_model=ProofAnswer, summary="Proof that a checkpoint has the wallet"
    )
    async def show_proof(wallet_id: WalletIdInPath, principal: Reader, checkpoint: Wanted = LATEST) -> Response:
        await readers.wallet(wallet_id, principal)
        proof = await proofs.proof(WalletId(wallet_id), None if checkpoint == LATEST else int(checkpoint))
        if isinstance(proof, Problem):
            raise ProblemRaised(proof)
        return json_response(_answer_of(proof))

    @router.get(
        "/v1/checkpoints",
        response_model=CheckpointsAnswer,
        summary="Checkpoints of a cell, by pages",
    )
    async def list_checkpoints(
        principal: Reader,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=200, description="Of the same cell.")] = None,
        order: Order = "desc",
        cell: CellInQuery = None,
    ) -> Response:
        readers.admit(principal)
        if cell not in {None, cell_id}:
            raise ProblemRaised(malformed("cell", f"must be {cell_id}, whom you ask"))
        page = await proofs.checkpoints(
            limit=limit, order=order, after=None if cursor is None else _number(cursor, cell_id)
        )
        documents = [orjson.Fragment(document) for document in page.documents]
        return json_response(
            {"cell": cell_id, "checkpoints": documents, "next_cursor": _cursor(page.last_number, cell_id)}
        )

    @router.get("/v1/keys", response_model=KeysAnswer, summary="Public keys of the fleet")
    async def list_keys(principal: Reader) -> Response:
        readers.admit(principal)
        return json_response(keys.jwks())

    return router


def _answer_of(proof: WalletProof) -> dict[str, Any]:
    leaf = proof.tree.leaf
    return {
        "leaf": {
            "wallet_id": leaf.wallet_id,
            "seq": leaf.seq,
            "head_hash": leaf.head_hash.hex(),
            "balance": leaf.balance,
            "held": leaf.held,
        },
        "position": proof.tree.position,
        "path": [sibling.hex() for sibling in proof.tree.path],
        "checkpoint": orjson.Fragment(proof.document),
    }


def _cursor(number: int | None, cell_id: str) -> str | None:
    """Names its cell: behind a router, the next page could be asked of another."""
    return None if number is None else base64.urlsafe_b64encode(f"{cell_id}.{number}".encode()).rstrip(b"=").decode()


def _number(cursor: str, cell_id: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    maker, _, number = text.partition(".")
    if maker != cell_id or _NUMBER.fullmatch(number) is None:
        raise ProblemRaised(malformed("cursor", "must be a next_cursor of an earlier page of this cell"))
    return int(number)
