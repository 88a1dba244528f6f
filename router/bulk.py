"""`POST /v1/bulk`: split by the owners of the wallets and their processes, sent in parallel, merged in order.

A cell that does not answer costs its own operations only. What a cell sends elsewhere is followed once, what is moving
is waited for within the deadline. No operation is judged here: even one that names no wallet goes to a cell.
"""

import asyncio
import copy
import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from contract.bulk import BulkBody
from contract.problems import Problem, problem_document
from contract.reasons import Reason
from router.answers import Answer, json_answer
from router.cell_connections import CellWentSilentError
from router.delivery import Delivery, unreachable
from router.live_map import LiveMap
from router.metrics import RouterMetrics
from router.opening import problem_of
from router.request import Request
from router.routing.journey import AskAgain, Journey
from router.routing.learning import hint_of
from router.routing.parts import Next, Part, next_of, split, wallets_named

MERGING_S = 0.05
"""Of the deadline, kept for putting the parts together; never more than a tenth of it."""

OF_THE_WHOLE = frozenset({401, 429})
"""Refusals that, where every cell asked says them, are of the request and not of its operations."""

Result = dict[str, Any]


def operations_in(body: bytes) -> list[Any] | Problem:
    """The operations of a bulk request, each as it came, or what is wrong with the frame."""
    try:
        return BulkBody.model_validate_json(body).operations
    except ValidationError as error:
        return problem_of(error)


class BulkJourney:
    """One bulk request under way, until each of its operations has its result."""

    def __init__(
        self,
        request: Request,
        operations: Sequence[Any],
        *,
        delivery: Delivery,
        live_map: LiveMap,
        metrics: RouterMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._operations = operations
        self._delivery = delivery
        self._live_map = live_map
        self._metrics = metrics
        self._clock = clock
        self._jitter = random.Random().random  # noqa: S311 - spreads retries, guards nothing
        self._wallets = wallets_named(operations)
        self._results: list[Result] = [{}] * len(operations)
        self._followed: set[int] = set()
        self._cells: dict[str, None] = {}
        self._journey = Journey(request.deadline - min(MERGING_S, (request.deadline - clock()) / 10))

    async def answer(self) -> Answer:
        places: Sequence[int] = range(len(self._operations))
        is_first = True
        while places:
            directory = self._live_map.current
            if directory is None:
                return unreachable(self._request, "The router has no map yet.")
            shares = split(directory, self._wallets, places)
            self._refuse(shares.homeless, Reason.CELL_MUST_BE_REACHABLE, "No cell owns this wallet yet.")
            answers = await asyncio.gather(*(self._ask(part) for part in shares.parts))
            if is_first and not shares.homeless and (whole := _of_the_whole(answers)) is not None:
                return whole
            is_first = False
            for part, answer in zip(shares.parts, answers, strict=True):
                await self._take(part, answer)
            places = await self._places_to_ask_again(shares.parts)
        asked = ",".join(self._cells).encode()
        return json_answer({"results": self._results}, headers=[(b"x-cell", asked)] if asked else None)

    async def _ask(self, part: Part) -> Answer:
        """The cell's answer to its part, which is a request of its own."""
        request = copy.copy(self._request)
        request.sendings = 0
        request.deadline = self._journey.deadline
        if len(part.places) < len(self._operations):
            request.body = _dumped({"operations": [self._operations[place] for place in part.places]})
        self._cells[part.cell.id] = None
        answer = await self._delivery.to_cell(request, part.cell, bucket=part.bucket)
        self._request.sendings += request.sendings
        return answer

    async def _take(self, part: Part, answer: Answer) -> None:
        """Put the results in their places; a cell that gave none has refused each of them."""
        body = await _whole_body(answer)
        if answer.status != 200:
            problem = _problem_in(body)
            if problem is not None:
                for place in part.places:
                    self._results[place] = {"status": answer.status, "body": problem}
                return
        results = _results_in(body) if answer.status == 200 else None
        if results is None or len(results) != len(part.places):
            detail = f"Cell {part.cell.id} gave no whole answer; the same ids are safe to send again."
            self._refuse(part.places, Reason.CELL_MUST_BE_REACHABLE, detail)
            return
        for place, result in zip(part.places, results, strict=True):
            self._results[place] = result

    async def _places_to_ask_again(self, parts: Sequence[Part]) -> list[int]:
        again: list[int] = []
        waits = False
        for part in parts:
            for place in part.places:
                step = next_of(self._results[place])
                if step is Next.FOLLOW and self._follows(place, part):
                    again.append(place)
                elif step is Next.WAIT:
                    waits = True
                    again.append(place)
        now = self._clock()
        if not waits:
            return sorted(again) if now < self._journey.deadline else []
        pause = self._journey.is_moving(now=now, jitter=self._jitter())
        if not isinstance(pause, AskAgain):
            return []
        self._metrics.sent_again("moving")
        await asyncio.sleep(max(0.0, pause.at - now))
        return sorted(again)

    def _follows(self, place: int, part: Part) -> bool:
        """Whether a 421 has told us whom to ask instead; otherwise the operation is to be sent again later."""
        wallet_id, facts = self._wallets[place], self._results[place].get("body")
        hint = hint_of(facts) if isinstance(facts, dict) else None
        if hint is not None and wallet_id is not None:
            self._live_map.learn(hint, asked=wallet_id)
        directory = self._live_map.current
        owner = None if directory is None or wallet_id is None else directory.owner_of(wallet_id).cell
        if place not in self._followed and owner is not None and owner.id != part.cell.id:
            self._followed.add(place)
            self._metrics.sent_again("misdirected")
            return True
        self._refuse([place], Reason.WALLET_IS_MOVING, "The wallet is changing cells.")
        return False

    def _refuse(self, places: Iterable[int], reason: Reason, detail: str) -> None:
        problem = Problem(reason=reason, detail=detail)
        document = problem_document(problem, request_id=self._request.request_id)
        for place in places:
            self._results[place] = {"status": problem.status, "body": document}


def _of_the_whole(answers: Sequence[Answer]) -> Answer | None:
    statuses = {answer.status for answer in answers}
    return answers[0] if len(statuses) == 1 and statuses <= OF_THE_WHOLE else None


async def _whole_body(answer: Answer) -> bytes:
    """Long answers come in pieces; one that ends too early is none."""
    if answer.rest is None:
        return answer.body
    pieces = [answer.body]
    try:
        async for piece in answer.rest:
            pieces.append(piece)  # noqa: PERF401 - what came before the end is dropped with it
    except CellWentSilentError:
        return b""
    return b"".join(pieces)


def _results_in(body: bytes) -> list[Result] | None:
    document = _loaded(body)
    results = document.get("results") if document is not None else None
    return results if isinstance(results, list) and all(isinstance(one, dict) for one in results) else None


def _problem_in(body: bytes) -> Result | None:
    document = _loaded(body)
    return document if document is not None and isinstance(document.get("reason"), str) else None


def _loaded(body: bytes) -> Result | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _dumped(document: dict[str, Any]) -> bytes:
    """Integers that no amount can be are passed on all the same: the cell says what is wrong with them."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return json.dumps(document, separators=(",", ":")).encode()
