"""Routes by which anybody with `wallet:read` can hold the cell to what it signed: proofs, checkpoints, public keys.

Parses and answers; cell/proofs.py finds. Documents go out as they were signed.
"""

import asyncio
import base64
import binascii
import re
import time
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.tokens import Principal, TokenVerifier, scope_problem
from cell.proofs import Proofs, WalletProof
from cell.queries import Queries
from cell.store.reads import Order
from contract.answers import CheckpointsAnswer, KeysAnswer, ProofAnswer
from contract.configuration import CellConfiguration
from contract.ids import CELL_PATTERN, UUID_PATTERN, WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.scopes import Scope

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
LATEST: Final = "latest"

_WALLET_ID: Final = re.compile(UUID_PATTERN)
_NUMBER: Final = re.compile("[0-9]{1,18}")

WalletIdInPath = Annotated[str, Path(pattern=UUID_PATTERN, description="The wallet's computed id.")]
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

    async def reader(request: Request) -> Principal:
        """The caller, with `wallet:read`. FastAPI asks this before it looks at path and query."""
        wallet_id = request.path_params.get("wallet_id")
        if wallet_id is not None and (b"%" in request.scope["raw_path"] or not _WALLET_ID.fullmatch(wallet_id)):
            raise ProblemRaised(_MALFORMED_PATH)
        authorization = request.headers.get("authorization")
        principal = tokens.verify(None if authorization is None else authorization.encode("latin-1"), time.time())
        if isinstance(principal, Problem):
            raise ProblemRaised(principal)
        problem = scope_problem(principal, Scope.WALLET_READ) or admission.admit(
            principal.vendor_id, asyncio.get_running_loop().time(), commands=0
        )
        if problem is not None:
            raise ProblemRaised(problem)
        return principal

    Reader = Annotated[Principal, Depends(reader)]  # noqa: N806 - a type

    @router.get(
        "/v1/wallets/{wallet_id}/proof", response_model=ProofAnswer, summary="Proof that a checkpoint has the wallet"
    )
    async def show_proof(wallet_id: WalletIdInPath, principal: Reader, checkpoint: Wanted = LATEST) -> Response:
        wallet = await queries.wallet(WalletId(wallet_id), principal.owner_types)
        if isinstance(wallet, Problem):
            raise ProblemRaised(wallet)
        proof = await proofs.proof(WalletId(wallet_id), None if checkpoint == LATEST else int(checkpoint))
        if isinstance(proof, Problem):
            raise ProblemRaised(proof)
        return _json(_answer_of(proof))

    @router.get(
        "/v1/checkpoints",
        response_model=CheckpointsAnswer,
        summary="Checkpoints of a cell, by pages",
        dependencies=[Depends(reader)],
    )
    async def list_checkpoints(
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=200, description="Of the same cell.")] = None,
        order: Order = "desc",
        cell: CellInQuery = None,
    ) -> Response:
        if cell not in {None, cell_id}:
            raise ProblemRaised(_malformed("cell", f"must be {cell_id}, whom you ask"))
        page = await proofs.checkpoints(
            limit=limit, order=order, after=None if cursor is None else _number(cursor, cell_id)
        )
        documents = [orjson.Fragment(document) for document in page.documents]
        return _json({"cell": cell_id, "checkpoints": documents, "next_cursor": _cursor(page.last_number, cell_id)})

    @router.get(
        "/v1/keys", response_model=KeysAnswer, summary="Public keys of the fleet", dependencies=[Depends(reader)]
    )
    async def list_keys() -> Response:
        return _json(keys.jwks())

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


def _json(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


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
        raise ProblemRaised(_malformed("cursor", "must be a next_cursor of an earlier page of this cell"))
    return int(number)


def _malformed(parameter: str, message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{parameter}: {message}",
        facts={"errors": [{"pointer": "", "parameter": parameter, "message": message}]},
    )


_MALFORMED_PATH: Final = Problem(
    reason=Reason.PATH_MUST_BE_WELL_FORMED, detail="Ids in the path must be UUIDs in canonical form."
)
