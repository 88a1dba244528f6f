"""`GET …/statement`: a wallet's balance at the beginning, what changed it, and its balance at the end.

A short statement is one answer; a longer one is streamed, a page in memory at a time. Whatever goes wrong after its
first bytes breaks the answer off: a client that counts the bytes, as every HTTP client does, cannot take it for whole.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.responses import Response, StreamingResponse

from cell.api.admission import Admission
from cell.api.errors import ProblemRaised
from cell.api.reading import From, Readers, To, WalletIdInPath, moment_of, shows_details
from cell.api.statement_text import CsvStatement, JsonStatement, StatementText, wants_csv
from cell.api.tokens import Principal, TokenVerifier
from cell.queries import Queries
from cell.statement import Statement, StatementPage, Statements, must_add_up
from contract.answers import StatementAnswer
from contract.ids import WalletId
from contract.problems import Problem


def statement_routes(*, tokens: TokenVerifier, admission: Admission, queries: Queries) -> APIRouter:
    router = APIRouter()
    readers = Readers(tokens=tokens, admission=admission, queries=queries)
    statements = Statements(queries)
    Reader = Annotated[Principal, Depends(readers.caller)]  # noqa: N806 - a type

    @router.get(
        "/v1/wallets/{wallet_id}/statement",
        response_model=StatementAnswer,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
        summary="Opening balance, what changed it, closing balance",
    )
    async def show_statement(
        wallet_id: WalletIdInPath,
        principal: Reader,
        from_: From = None,
        to: To = None,
        accept: Annotated[str, Header(include_in_schema=False, max_length=1_000)] = "",
    ) -> Response:
        from_at, to_at = moment_of(from_, "from"), moment_of(to, "to")
        await readers.wallet(wallet_id, principal)
        statement = await statements.begin(WalletId(wallet_id), from_at, to_at)
        if isinstance(statement, Problem):
            raise ProblemRaised(statement)
        page = await statements.page(statement, None)
        form = CsvStatement if wants_csv(accept) else JsonStatement
        text: StatementText = form(lambda entry: shows_details(principal, entry))
        pieces = _pieces(statements, statement, page, text)
        headers = {"vary": "accept"}
        if page.next_after is not None:
            return StreamingResponse(pieces, media_type=text.media_type, headers=headers)
        whole = b"".join([piece async for piece in pieces])
        return Response(whole, media_type=text.media_type, headers=headers)

    return router


async def _pieces(
    statements: Statements, statement: Statement, page: StatementPage, text: StatementText
) -> AsyncIterator[bytes]:
    """The lines are added up on their way: the end is not told unless they lead to the closing balance."""
    yield text.begin(statement)
    moved = 0
    while True:
        moved += sum(line.amount for line in page.lines)
        yield text.lines(page.lines)
        if page.next_after is None:
            break
        page = await statements.page(statement, page.next_after)
    must_add_up(statement, moved)
    yield text.end(statement)
