"""`/v1/webhooks`: the list of a vendor's webhooks is the control plane's, what could not be delivered is the cells'.

The control plane gets the vendor's own token and answers for itself; it is asked with nothing of the router's. Without
it there are no changes to webhooks, and nothing else is missing.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson

from contract.headers import JSON_TYPE, PROBLEM_TYPE
from contract.problems import Problem
from contract.reasons import Reason
from contract.webhooks import LETTERS_DEFAULT, letter_cursor
from router.answers import Answer, json_answer, problem_answer
from router.delivery import Delivery, too_late, unreachable
from router.request import Request
from router.routing.directory import Directory

_PASSED_ON = (b"authorization", b"content-type")
_RELAYED = frozenset({"content-type", "retry-after", "www-authenticate", "allow", "location"})
MISSING_TOKEN = Problem(reason=Reason.TOKEN_MUST_BE_VALID, detail="The Authorization header is missing.")


class ControlPlane:
    """The control plane as vendors reach it: through the router, with their own token."""

    def __init__(self, url: str) -> None:
        """Empty = there is none."""
        self._client = httpx.AsyncClient(base_url=url, trust_env=False) if url else None

    async def answer(self, request: Request, *, now: float) -> Answer:
        """Its answer, or why there is none; what it cannot do at the moment is no fault of the vendor's."""
        if not request.inbound.has_authorization:
            return problem_answer(MISSING_TOKEN, request_id=request.request_id)
        if self._client is None:
            return unreachable(request, "There is no control plane.")
        headers = [pair for pair in request.inbound.forwarded if pair[0] in _PASSED_ON]
        headers.append((b"x-request-id", request.request_id.encode()))
        if request.traceparent is not None:
            headers.append((b"traceparent", request.traceparent))
        try:
            async with asyncio.timeout(max(0.0, request.deadline - now)):
                told = await self._client.request(
                    request.method,
                    httpx.URL(self._client.base_url.copy_with(raw_path=request.target)),
                    headers=headers,
                    content=request.body or None,
                    timeout=None,  # the deadline above bounds the whole
                )
        except TimeoutError:
            return too_late(request)
        except (httpx.HTTPError, httpx.InvalidURL):
            return unreachable(request, "The control plane does not answer.")
        return _relayed(request, told)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _relayed(request: Request, told: httpx.Response) -> Answer:
    """Reasons of its own are for operators: a vendor meets those of the contract only."""
    is_plain = told.headers.get("content-type", "").partition(";")[0] in {JSON_TYPE, PROBLEM_TYPE}
    if told.status_code >= 500 or not is_plain:
        return unreachable(request, "The control plane cannot answer at the moment.")
    headers = [(name.lower().encode(), text.encode()) for name, text in told.headers.items() if name in _RELAYED]
    headers.append((b"content-length", b"%d" % len(told.content)))
    return Answer(status=told.status_code, headers=headers, body=told.content)


async def from_every_cell(request: Request, delivery: Delivery, directory: Directory) -> Answer:
    """The dead letters of all cells as one list, or how many are sent again; all cells must answer.

    A cell that has not heard of the webhook yet has no letters for it, as long as another one knows it.
    """
    cells = directory.owning_cells()
    if not cells:
        return unreachable(request, "No cell owns any wallet yet.")
    answers = await asyncio.gather(*(delivery.to_cell(request, cell) for cell in cells))
    request.cell_id = None
    knowing = [answer for answer in answers if answer.status == 200]
    refusals = [answer for answer in answers if answer.status != 200 and (answer.status != 404 or not knowing)]
    if refusals:
        return min(refusals, key=lambda answer: answer.status >= 500)  # what the vendor can mend comes first
    documents = [_document(answer) for answer in knowing]
    if not all(documents):
        return unreachable(request, "A cell sent no list.")
    try:
        merged = _redelivered(documents) if request.method == "POST" else _letters(documents, _limit(request))
    except (KeyError, TypeError):
        return unreachable(request, "A cell sent no list.")
    return json_answer(merged, headers=[(b"x-cell", b",".join(cell.id.encode() for cell in cells))])


def _redelivered(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"redelivered": sum(document["redelivered"] for document in documents)}


def _letters(documents: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """The first ones of all; the place to go on from is the same in every cell."""
    found = [letter for document in documents for letter in document["dead_letters"]]
    found.sort(key=lambda letter: (letter["dead_at"], letter["wallet_id"], letter["seq"]))
    has_more = len(found) > limit or any(document["next_cursor"] for document in documents)
    shown = found[:limit]
    return {"dead_letters": shown, "next_cursor": letter_cursor(shown[-1]) if has_more and shown else None}


def _limit(request: Request) -> int:
    """As the cells have understood it: they have refused what is none."""
    given = parse_qs(request.target.partition(b"?")[2].decode("latin-1")).get("limit", [""])[-1]
    return int(given) if given.isascii() and given.isdigit() else LETTERS_DEFAULT


def _document(answer: Answer) -> dict[str, Any]:
    """Empty for what is no JSON object."""
    if answer.rest is not None:
        return {}
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
