"""A wiretap below the client library: every sending and every answer of every attempt, retries included."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
from history.model import Answer, Asked, Attempt, History, Kind, Read

from contract.headers import IDEMPOTENT_REPLAYED

KINDS: dict[str, Kind] = {
    "debit": "debit",
    "credit": "credit",
    "reverse": "reversal",
    "transfers": "transfer_out",
}
SUBJECTS = {"reversal": "original_transaction_id", "transfer_out": "to_wallet_id"}


class Recorder:
    """The growing history, and how many decisions each wallet's clients have seen."""

    def __init__(self) -> None:
        self.history = History()
        self.decided: Counter[str] = Counter()

    def decisions_on(self, wallet_ids: Iterable[str]) -> int:
        return sum(self.decided[wallet_id] for wallet_id in wallet_ids)

    def http(self, url: str) -> httpx.AsyncClient:
        """For an `AsyncClient` of the platform that is to be recorded."""
        return httpx.AsyncClient(base_url=url, transport=_Wiretap(self), trust_env=False)

    def record(self, request: httpx.Request, began_s: float, answer: Answer | None, fault: str) -> None:
        ended_s = time.monotonic()
        wallet_id, _, verb = request.url.path.removeprefix("/v1/wallets/").partition("/")
        if verb in KINDS:
            asked = _asked(wallet_id, KINDS[verb], json.loads(request.content))
            attempt = Attempt(asked=asked, began_s=began_s, ended_s=ended_s, answer=answer, fault=fault)
            self.history.attempts.append(attempt)
            self.decided[wallet_id] += attempt.decision is not None
        elif verb == "balance" and answer is not None and answer.status == 200:
            told = answer.document
            self.history.reads.append(
                Read(
                    wallet_id=wallet_id,
                    began_s=began_s,
                    ended_s=ended_s,
                    seq=told["seq"],
                    balance=told["balance"],
                )
            )


class _Wiretap(httpx.AsyncBaseTransport):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        # Nothing here speaks TLS, and loading the authorities would take longer than some requests may.
        limits = httpx.Limits(max_connections=4)
        self._wire = httpx.AsyncHTTPTransport(limits=limits, verify=False, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began_s = time.monotonic()
        try:
            response = await self._wire.handle_async_request(request)
            body = await response.aread()
        except BaseException as error:  # a cancelled call may have happened like any other
            self._recorder.record(request, began_s, None, f"{type(error).__name__}: {error}")
            raise
        self._recorder.record(request, began_s, _answer(response, body), "")
        return httpx.Response(response.status_code, headers=response.headers, content=body, request=request)

    async def aclose(self) -> None:
        await self._wire.aclose()


def _asked(wallet_id: str, kind: Kind, body: dict[str, Any]) -> Asked:
    return Asked(
        wallet_id=wallet_id,
        transaction_id=body["transaction_id"],
        kind=kind,
        amount=body.get("amount"),
        currency=body.get("currency"),
        subject_id=body.get(SUBJECTS[kind]) if kind in SUBJECTS else None,
    )


def _answer(response: httpx.Response, body: bytes) -> Answer:
    try:
        document = json.loads(body)
    except ValueError:
        document = {"not_json": body.decode(errors="replace")}
    is_replay = response.headers.get(IDEMPOTENT_REPLAYED) == "true"
    return Answer(status=response.status_code, document=document, is_replay=is_replay)
