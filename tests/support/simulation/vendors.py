"""Vendors of the simulated fleet: what they ask, and every answer that they got.

Half of them are patient (the same id until it is decided), half go on after one attempt. They send the same twice at
once, again later, and other content under a known id.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from history.model import Answer, Asked, Attempt, History, Kind, Read

from contract.values import value
from simulation.network import BrokenError, Network, UnsentError

CURRENCY = "EUR"
AMOUNT_MAX = 60
VERBS: dict[Kind, str] = {
    "debit": "debit",
    "credit": "credit",
    "reversal": "reverse",
    "transfer_out": "transfers",
}
HOT_SHARE = 0.5
"""Of the commands: on the first wallet."""
DEADLINES_MS = (300, 900, 2_500)


@value
class Sent:
    """A command that no independent model judges: what was sent, and each decision that came back."""

    wallet_id: str
    path: str
    body: dict[str, Any]
    decisions: list[Answer]


class Clients:
    """The vendors' way in, and what they remember."""

    def __init__(self, network: Network, routers: Sequence[str], dice: random.Random, authorization: str) -> None:
        self.history = History()
        self.others: list[Sent] = []
        self.dice = dice
        self._network = network
        self._routers = routers
        self._authorization = authorization
        self._numbers = 0

    def new_id(self) -> str:
        return str(UUID(bytes=self.dice.randbytes(16), version=4))

    async def call(self, method: str, path: str, body: Any, *, deadline_ms: int) -> Answer | str:
        """The answer, or why there is none."""
        self._numbers += 1
        headers = [
            (b"authorization", self._authorization.encode()),
            (b"content-type", b"application/json"),
            (b"x-request-id", b"request-%d" % self._numbers),
            (b"x-deadline-ms", b"%d" % deadline_ms),
        ]
        router = self.dice.choice(self._routers)
        try:
            async with asyncio.timeout(deadline_ms / 1_000 + 0.5):
                reply = await self._network.ask(
                    router, method, path, headers, b"" if body is None else orjson.dumps(body)
                )
        except (TimeoutError, UnsentError, BrokenError) as error:
            return type(error).__name__
        is_replay = any((name, text) == (b"idempotent-replayed", b"true") for name, text in reply.headers)
        return Answer(status=reply.status, document=json.loads(reply.body or b"{}"), is_replay=is_replay)

    async def send(self, asked: Asked, *, deadline_ms: int | None = None) -> Answer | None:
        """One attempt of a command that the history judges."""
        loop = asyncio.get_running_loop()
        body: dict[str, Any] = {"transaction_id": asked.transaction_id}
        if asked.amount is not None:
            body["amount"] = asked.amount
        if asked.currency is not None:
            body["currency"] = asked.currency
        if asked.kind == "reversal":
            body["original_transaction_id"] = asked.subject_id
        elif asked.kind == "transfer_out":
            body["to_wallet_id"] = asked.subject_id
        path = f"/v1/wallets/{asked.wallet_id}/{VERBS[asked.kind]}"
        began_s = loop.time()
        told: Answer | str = "the vendor left"
        try:
            told = await self.call("POST", path, body, deadline_ms=deadline_ms or self.dice.choice(DEADLINES_MS))
        finally:
            answer = told if isinstance(told, Answer) else None
            fault = told if isinstance(told, str) else ""
            attempt = Attempt(asked=asked, began_s=began_s, ended_s=loop.time(), answer=answer, fault=fault)
            self.history.attempts.append(attempt)
        return attempt.decision

    async def send_other(self, sent: Sent, *, deadline_ms: int | None = None) -> Answer | None:
        deadline_ms = deadline_ms or self.dice.choice(DEADLINES_MS)
        told = await self.call("POST", sent.path, sent.body, deadline_ms=deadline_ms)
        if not isinstance(told, Answer) or told.status not in {201, 422}:
            return None
        sent.decisions.append(told)
        return told

    async def read(self, wallet_id: str) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        told = await self.call("GET", f"/v1/wallets/{wallet_id}/balance", None, deadline_ms=900)
        if isinstance(told, Answer) and told.status == 200:
            figures = {"seq": told.document["seq"], "balance": told.document["balance"]}
            self.history.reads.append(Read(wallet_id=wallet_id, began_s=began_s, ended_s=loop.time(), **figures))


class Vendor:
    """Works on wallets that the history judges, until it is told to stop."""

    def __init__(self, clients: Clients, wallet_ids: Sequence[str], *, is_patient: bool) -> None:
        self._clients = clients
        self._wallet_ids = wallet_ids
        self._is_patient = is_patient
        self._dice = clients.dice
        self._sent: list[Asked] = []

    async def run(self) -> None:
        while True:
            await self._turn()
            await asyncio.sleep(self._dice.expovariate(1 / 0.03))

    async def _turn(self) -> None:
        chance = self._dice.random()
        if chance < 0.12:
            await self._clients.read(self._dice.choice(self._wallet_ids))
        elif chance < 0.3 and self._sent:
            again = self._dice.choice(self._sent[-20:])
            if self._dice.random() < 0.2 and again.amount is not None:
                again = _with_amount(again, again.amount + 1)
            await self._clients.send(again)
        elif chance < 0.4:
            asked = self._new()
            await asyncio.gather(*(self._clients.send(asked) for _ in range(2)))
        else:
            await self._carry_out(self._new())

    async def _carry_out(self, asked: Asked) -> None:
        while True:
            if await self._clients.send(asked) is not None or not self._is_patient:
                return
            await asyncio.sleep(self._dice.uniform(0.02, 0.3))

    def _new(self) -> Asked:
        wallet_id = self._wallet_ids[0] if self._dice.random() < HOT_SHARE else self._dice.choice(self._wallet_ids)
        kind: Kind = self._dice.choice(("debit", "debit", "credit", "transfer_out", "transfer_out", "reversal"))
        amount: int | None = self._dice.randint(1, AMOUNT_MAX)
        subject_id = None
        if kind == "reversal":
            known = [one for one in self._sent if one.kind in {"debit", "credit"}]
            original = self._dice.choice(known) if known else None
            wallet_id = wallet_id if original is None else original.wallet_id
            subject_id = self._clients.new_id() if original is None else original.transaction_id
            amount = None if self._dice.random() < 0.5 else self._dice.randint(1, AMOUNT_MAX)
        elif kind == "transfer_out":
            subject_id = self._dice.choice([one for one in self._wallet_ids if one != wallet_id])
        asked = Asked(
            wallet_id=wallet_id,
            transaction_id=self._clients.new_id(),
            kind=kind,
            amount=amount,
            currency=None if kind == "reversal" else CURRENCY,
            subject_id=subject_id,
        )
        self._sent.append(asked)
        return asked


class Escrow:
    """Works with holds, groups and transfers that come back, on wallets of its own."""

    def __init__(self, clients: Clients, wallet_ids: Sequence[str], absent_ids: Sequence[str]) -> None:
        self._clients = clients
        self._wallet_ids = wallet_ids
        self._absent_ids = absent_ids
        """Wallets that nobody has opened."""
        self._dice = clients.dice
        self._holds: list[tuple[str, str]] = []

    async def run(self) -> None:
        while True:
            sent = self._new()
            self._clients.others.append(sent)
            for _ in range(self._dice.choice((1, 1, 4))):
                if await self._clients.send_other(sent) is not None:
                    break
                await asyncio.sleep(self._dice.uniform(0.02, 0.3))
            await asyncio.sleep(self._dice.expovariate(1 / 0.1))

    def _new(self) -> Sent:
        dice, wallet_id = self._dice, self._dice.choice(self._wallet_ids)
        transaction_id = self._clients.new_id()
        body: dict[str, Any] = {"transaction_id": transaction_id}
        amount = {"amount": dice.randint(1, AMOUNT_MAX), "currency": CURRENCY}
        verb = dice.choice(("credit", "holds", "holds", "end", "end", "groups", "groups", "transfers", "transfers"))
        if verb == "end" and self._holds:
            wallet_id, hold_id = dice.choice(self._holds[-6:])
            ending = dice.choice(("capture", "capture", "release", "extend"))
            verb = f"holds/{hold_id}/{ending}"
            body |= {"capture": {"final": dice.random() < 0.5}, "release": {}, "extend": {"expires_in_s": 2}}[ending]
        elif verb == "groups":
            legs = dice.sample(self._wallet_ids, k=dice.randint(2, min(3, len(self._wallet_ids))))
            share = dice.randint(1, AMOUNT_MAX)
            amounts = [-share * (len(legs) - 1), *[share] * (len(legs) - 1)]
            wallet_id = dice.choice(legs)
            body |= {"currency": CURRENCY}
            body["legs"] = [{"wallet_id": one, "amount": of} for one, of in zip(legs, amounts, strict=True)]
        elif verb == "transfers":
            others = [one for one in (*self._wallet_ids, *self._absent_ids) if one != wallet_id]
            body |= {**amount, "to_wallet_id": dice.choice(others)}
        elif verb == "holds":
            body |= {**amount, "expires_in_s": dice.randint(1, 5)}
            self._holds.append((wallet_id, transaction_id))
        else:
            verb = "credit"
            body |= amount
        return Sent(wallet_id=wallet_id, path=f"/v1/wallets/{wallet_id}/{verb}", body=body, decisions=[])


def _with_amount(asked: Asked, amount: int) -> Asked:
    return Asked(
        wallet_id=asked.wallet_id,
        transaction_id=asked.transaction_id,
        kind=asked.kind,
        amount=amount,
        currency=asked.currency,
        subject_id=asked.subject_id,
    )
