"""Vendors that ask for anything at any time over all cells, send twice, and never give up on an id.

Every request is kept with the answer that decided it, so that afterwards the ledger can be held against what was said.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from contract.values import value

CURRENCY = "EUR"
UNDECIDED = frozenset({202, 404, 421, 429, 500, 502, 503, 504})
"""404: a wallet that is asked for exists, so nothing was decided."""
REMEMBERED = 80
AMOUNT_MAX = 300


@value
class Said:
    """A request, and the answer that decided it."""

    path: str
    body: dict[str, Any]
    status: int
    answer: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """(wallet id, transaction id)."""
        return self.path.split("/")[3], self.body["transaction_id"]


class RandomVendor:
    def __init__(self, url: str, token: str, *, wallet_ids: list[str], seed: int) -> None:
        self.said: list[Said] = []
        self.contradictions: list[str] = []
        self.bulks = 0
        """Answered ones."""
        self._dice = random.Random(seed)
        self._wallet_ids = wallet_ids
        self._holds: list[tuple[str, str]] = []
        self._postings: list[tuple[str, str]] = []
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=40, trust_env=False
        )

    async def work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            dice = self._dice.random()
            if dice < 0.1 and self.said:
                await self.ask_again(self._dice.choice(self.said[-REMEMBERED:]))
            elif dice < 0.2:
                path, body = self._anything()
                first, second = await asyncio.gather(self._decided(path, body), self._decided(path, body))
                self._keep(first)
                self._compare(first, second)
            elif dice < 0.25:
                await self._bulk()
            else:
                self._keep(await self._decided(*self._anything()))

    async def close(self) -> None:
        await self._client.aclose()

    async def ask_each_again(self, known: Sequence[Said]) -> None:
        for one in known:
            await self.ask_again(one)

    async def ask_again(self, known: Said) -> None:
        """What was decided stays so, whatever happened since."""
        self._compare(known, await self._decided(known.path, known.body))

    def _compare(self, known: Said, again: Said) -> None:
        if (known.status, _lasting(known)) != (again.status, _lasting(again)):
            first, then = f"{known.status} {known.answer}", f"{again.status} {again.answer}"
            self.contradictions.append(f"{known.path} {known.body}: {first}, then {then}")

    async def _decided(self, path: str, body: dict[str, Any]) -> Said:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self._client.post(path, json=body, headers={"X-Deadline-Ms": self._deadline_ms()})
                if answer.status_code not in UNDECIDED:
                    return Said(path=path, body=body, status=answer.status_code, answer=answer.json())
            await asyncio.sleep(self._dice.uniform(0.01, 0.2))

    def _deadline_ms(self) -> str:
        """Short ones leave work to the loops."""
        return self._dice.choice(("300", "2000", "5000", "20000"))

    async def _bulk(self) -> None:
        """Several at once; what it left undecided is asked for by itself."""
        asked = [self._anything(only={"credit", "debit", "transfers"}) for _ in range(self._dice.randint(2, 12))]
        operations = [
            {"op": "transfer" if verb == "transfers" else verb, "wallet_id": wallet_id, **body}
            for (wallet_id, verb), body in ((path.split("/")[3:5], body) for path, body in asked)
        ]
        results: list[dict[str, Any]] = []
        with contextlib.suppress(httpx.TransportError):
            answer = await self._client.post("/v1/bulk", json={"operations": operations})
            results = answer.json().get("results", []) if answer.status_code == 200 else []
            self.bulks += bool(results)
        for number, (path, body) in enumerate(asked):
            result = results[number] if number < len(results) else {"status": 503, "body": {}}
            if result["status"] in UNDECIDED:
                self._keep(await self._decided(path, body))
            else:
                self._keep(Said(path=path, body=body, status=result["status"], answer=result["body"]))

    def _keep(self, said: Said) -> None:
        self.said.append(said)
        if said.status != 201:
            return
        wallet_id, transaction_id = said.key
        kind = said.answer.get("kind")
        if kind == "hold":
            self._holds.append((wallet_id, transaction_id))
        elif kind in {"debit", "credit", "capture"}:
            self._postings.append((wallet_id, transaction_id))

    def _anything(self, only: set[str] | None = None) -> tuple[str, dict[str, Any]]:
        makers: list[tuple[str, Callable[[], tuple[str, dict[str, Any]]]]] = [
            *[("credit", lambda: self._posting("credit"))] * 4,
            *[("debit", lambda: self._posting("debit"))] * 5,
            *[("transfers", self._transfer)] * 5,
            ("groups", self._group),
            ("groups", self._group),
            *[("holds", self._hold)] * 3,
        ]
        if only is None and self._holds:
            makers += [("end of a hold", self._end_of_a_hold)] * 4
        if only is None and self._postings:
            makers += [("reverse", self._reversal)] * 2
        return self._dice.choice([make for name, make in makers if only is None or name in only])()

    def _posting(self, verb: str) -> tuple[str, dict[str, Any]]:
        return self._to(self._wallet(), verb, amount=self._amount(), currency=CURRENCY)

    def _transfer(self) -> tuple[str, dict[str, Any]]:
        sender, receiver = self._dice.sample(self._wallet_ids, 2)
        if self._dice.random() < 0.1:
            receiver = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        return self._to(sender, "transfers", to_wallet_id=receiver, amount=self._amount(), currency=CURRENCY)

    def _group(self) -> tuple[str, dict[str, Any]]:
        wallet_ids = self._dice.sample(self._wallet_ids, self._dice.randint(2, 5))
        amounts = [self._dice.choice((-1, 1)) * self._amount() for _ in wallet_ids[1:]]
        amounts.append(-sum(amounts))
        if 0 in amounts:
            return self._group()
        legs = [{"wallet_id": one, "amount": amount} for one, amount in zip(wallet_ids, amounts, strict=True)]
        return self._to(self._dice.choice(wallet_ids), "groups", legs=legs, currency=CURRENCY)

    def _hold(self) -> tuple[str, dict[str, Any]]:
        expires_in_s = self._dice.choice((1, 2, 5, 3_600))
        return self._to(self._wallet(), "holds", amount=self._amount(), currency=CURRENCY, expires_in_s=expires_in_s)

    def _end_of_a_hold(self) -> tuple[str, dict[str, Any]]:
        wallet_id, hold_id = self._dice.choice(self._holds[-REMEMBERED:])
        verb = self._dice.choice(("capture", "capture", "release", "extend"))
        more: dict[str, Any] = {"expires_in_s": 5} if verb == "extend" else {}
        if verb == "capture":
            more = self._dice.choice(({}, {"amount": self._amount()}, {"amount": 1, "final": False}))
        return self._to(wallet_id, f"holds/{hold_id}/{verb}", **more)

    def _reversal(self) -> tuple[str, dict[str, Any]]:
        wallet_id, original = self._dice.choice(self._postings[-REMEMBERED:])
        more: dict[str, Any] = self._dice.choice(({}, {"amount": self._amount()}))
        return self._to(wallet_id, "reverse", original_transaction_id=original, **more)

    def _to(self, wallet_id: str, verb: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        transaction_id = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        return f"/v1/wallets/{wallet_id}/{verb}", {"transaction_id": transaction_id, **fields}

    def _wallet(self) -> str:
        """One of them is hot."""
        return self._wallet_ids[0] if self._dice.random() < 0.3 else self._dice.choice(self._wallet_ids)

    def _amount(self) -> int:
        return self._dice.randint(1, AMOUNT_MAX)


def _lasting(said: Said) -> dict[str, Any]:
    """Of an answer, all but what belongs to the one request, or goes on after the decision (`is_finished`, legs)."""
    return {name: text for name, text in said.answer.items() if name not in {"request_id", "is_finished", "legs"}}
