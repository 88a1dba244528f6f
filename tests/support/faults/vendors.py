"""Concurrent vendors: closed-loop workers that use the platform's own client and are never content with one cell.

Each works on the wallets of one cell, so that a cell that stands still does not still the others. They debit, credit,
reverse, transfer within the cell, ask for more than there is, send the same twice at once and again later, send other
content under a known id, and read balances. Half of them are patient (they send the same id until it is decided), half
give up after one attempt and go on.
"""

import asyncio
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from faults.recording import Recorder
from faults.site import Site, wait_until
from history.model import Asked

from cellwallet.client import AsyncClient, Posting, Refused, Retries, TryAgainLaterError, accepted
from cellwallet.client import CallFailedError as CallFailed
from cellwallet.client.calls import Call, balance, credit, debit, reverse, transfer
from contract.values import value

CURRENCY = "EUR"
OPENING_CREDIT = 3_000
AMOUNT_MAX = 400
"""Small against the opening credit, so that wallets are nearly empty again and again and refusals depend on order."""
FAR_TOO_MUCH = 1_000_000_000
OPENING_DEADLINE_S = 60.0
REMEMBERED = 60
DISAPPOINTED_MEAN_S = 0.2
"""Pause after giving up, so that an outage leaves some undecided commands and not thousands."""


@value
class Shape:
    """How hard the vendors work."""

    workers_per_cell: int = 6
    is_half_patient: bool = True
    hot_share: float = 0.4
    """Of the commands: on one wallet of each cell."""
    pause_mean_s: float = 0.02
    attempt_deadline_s: float = 25.0
    """Long, so that only errors are errors; a slow machine is none."""


@value
class LoadWallet:
    wallet_id: str
    cell: str


class Purse:
    """What the vendors of one cell know together."""

    def __init__(self, wallet_ids: Sequence[str]) -> None:
        self.wallet_ids = tuple(wallet_ids)
        self.hot = self.wallet_ids[0]
        self.sent: list[Asked] = []
        self.accepted: list[Asked] = []


class Vendor:
    def __init__(
        self, site: Site, recorder: Recorder, purse: Purse, shape: Shape, *, name: str, patience_s: float | None
    ) -> None:
        """None = no patience: one attempt per command."""
        self.gave_up: list[Asked] = []
        self.is_patient = patience_s is not None
        self._purse = purse
        self._shape = shape
        self._dice = random.Random(name)
        deadline_s = shape.attempt_deadline_s
        retries = impatient(deadline_s) if patience_s is None else patient(deadline_s, deadline_s=patience_s)
        self._clients = [
            AsyncClient(url, site.token, retries=retries, http=recorder.http(url)) for url in site.entrances
        ]

    async def work(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                await self._do_one()
                await asyncio.sleep(self._dice.expovariate(1 / self._shape.pause_mean_s))
        finally:
            for client in self._clients:
                await client.aclose()

    async def _do_one(self) -> None:
        dice, purse = self._dice.random(), self._purse
        if dice < 0.06:
            await self._read()
        elif dice < 0.16 and purse.sent:
            await self._send(self._dice.choice(purse.sent[-REMEMBERED:]))
        elif dice < 0.24:
            asked = self._invent()
            await asyncio.gather(self._send(asked), self._send(asked, turn=1))
        elif dice < 0.27 and purse.accepted:
            known = self._dice.choice(purse.accepted[-REMEMBERED:])
            await self._send(replace(known, amount=(known.amount or 0) + 1))
        else:
            await self._send(self._invent())

    def _invent(self) -> Asked:
        dice, purse = self._dice.random(), self._purse
        amount = self._dice.randint(1, AMOUNT_MAX)
        if dice < 0.3:
            asked = self._new("credit", amount)
        elif dice < 0.62:
            asked = self._new("debit", amount)
        elif dice < 0.7:
            asked = self._new("debit", FAR_TOO_MUCH)
        elif dice < 0.86 and purse.accepted:
            original = self._dice.choice(purse.accepted[-REMEMBERED:])
            part = None if self._dice.random() < 0.5 else self._dice.randint(1, AMOUNT_MAX)
            new = self._new("reversal", part, subject_id=original.transaction_id)
            asked = replace(new, wallet_id=original.wallet_id, currency=None)
        else:
            asked = self._new("transfer_out", amount)
            others = [one for one in purse.wallet_ids if one != asked.wallet_id]
            asked = replace(asked, subject_id=self._dice.choice(others))
        purse.sent.append(asked)
        return asked

    def _new(self, kind: str, amount: int | None, *, subject_id: str | None = None) -> Asked:
        is_hot = self._dice.random() < self._shape.hot_share
        return Asked(
            wallet_id=self._purse.hot if is_hot else self._dice.choice(self._purse.wallet_ids),
            transaction_id=str(uuid.UUID(int=self._dice.getrandbits(128), version=4)),
            kind=kind,  # type: ignore[arg-type]  # the callers name kinds
            amount=amount,
            currency=CURRENCY,
            subject_id=subject_id,
        )

    async def _send(self, asked: Asked, *, turn: int = 0) -> None:
        try:
            outcome = await self._client(turn).send(call_of(asked))
        except TryAgainLaterError:
            self.gave_up.append(asked)
            await asyncio.sleep(self._dice.expovariate(1 / DISAPPOINTED_MEAN_S))
        except CallFailed:
            return  # recorded as it came: the checker judges it
        else:
            if isinstance(outcome, Posting) and outcome.kind in {"debit", "credit"}:
                self._purse.accepted.append(asked)

    async def _read(self) -> None:
        try:
            await self._client(0).send(balance(self._dice.choice(self._purse.wallet_ids)))
        except TryAgainLaterError:
            return

    def _client(self, turn: int) -> AsyncClient:
        """Any entrance; the second of a pair of sendings takes the next one."""
        first = self._dice.randrange(len(self._clients)) if turn == 0 else turn
        return self._clients[first % len(self._clients)]


class Load:
    """All vendors of a scenario at work."""

    def __init__(
        self,
        site: Site,
        recorder: Recorder,
        wallets: Sequence[LoadWallet],
        shape: Shape,
        *,
        name: str,
        patience_s: float,
    ) -> None:
        self._recorder = recorder
        self._wallet_ids = by_cell(wallets)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.vendors = [
            Vendor(
                site,
                recorder,
                purse,
                shape,
                name=f"{name}:{cell}:{number}",
                patience_s=patience_s if shape.is_half_patient and number % 2 == 0 else None,
            )
            for cell, purse in ((cell, Purse(ids)) for cell, ids in self._wallet_ids.items())
            for number in range(shape.workers_per_cell)
        ]

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(vendor.work(self._stop)) for vendor in self.vendors]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Everybody finishes what is under way; after an exception nobody does."""
        self._stop.set()
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=kind is not None)

    async def wait_for_decisions(self, more: int, *, deadline_s: float, cells: Sequence[str] = ()) -> bool:
        """Whether the vendors of each of these cells (or of all) were told so many more decisions."""

        def decisions() -> dict[str, int]:
            ids = {cell: ids for cell, ids in self._wallet_ids.items() if not cells or cell in cells}
            return {cell: self._recorder.decisions_on(ids[cell]) for cell in ids}

        wanted = {cell: count + more for cell, count in decisions().items()}

        async def are_told() -> bool:
            return all(count >= wanted[cell] for cell, count in decisions().items())

        return await wait_until(are_told, deadline_s=deadline_s)

    def gave_up(self) -> list[Asked]:
        """What patient vendors were not told."""
        return [asked for vendor in self.vendors if vendor.is_patient for asked in vendor.gave_up]


async def open_wallets(site: Site, recorder: Recorder, *, label: str, per_cell: int) -> list[LoadWallet]:
    """So many wallets in every cell, each with its opening credit."""
    found: dict[str, list[str]] = {cell: [] for cell in site.databases}
    url = site.entrances[0]
    async with AsyncClient(
        url, site.token, retries=patient(10.0, deadline_s=OPENING_DEADLINE_S), http=recorder.http(url)
    ) as client:
        number = 0
        while any(len(ids) < per_cell for ids in found.values()):
            opened = accepted(
                await client.open_wallet(owner_type="tester", owner_ref=f"{label}-{number}", currency=CURRENCY)
            )
            number += 1
            if opened.cell in found and len(found[opened.cell]) < per_cell:
                found[opened.cell].append(opened.wallet_id)
        wallets = [LoadWallet(wallet_id=one, cell=cell) for cell, ids in found.items() for one in ids]
        for wallet in wallets:
            accepted(await client.credit(wallet.wallet_id, amount=OPENING_CREDIT, currency=CURRENCY))
    return wallets


def by_cell(wallets: Sequence[LoadWallet]) -> Mapping[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for wallet in wallets:
        grouped.setdefault(wallet.cell, []).append(wallet.wallet_id)
    return grouped


def call_of(asked: Asked) -> Call[Posting]:
    wallet_id, transaction_id = asked.wallet_id, asked.transaction_id
    if asked.kind == "reversal":
        original = str(asked.subject_id)
        return reverse(wallet_id, original_transaction_id=original, amount=asked.amount, transaction_id=transaction_id)
    amount, currency = int(asked.amount or 0), str(asked.currency)
    if asked.kind == "transfer_out":
        target = str(asked.subject_id)
        return transfer(wallet_id, to_wallet_id=target, amount=amount, currency=currency, transaction_id=transaction_id)
    build = debit if asked.kind == "debit" else credit
    return build(wallet_id, amount=amount, currency=currency, transaction_id=transaction_id)


async def ask_again(
    site: Site,
    recorder: Recorder,
    commands: Sequence[Asked],
    retries: Retries,
    *,
    workers: int = 6,
    entrances: Sequence[str] = (),
) -> list[Asked]:
    """Send commands once more, whatever came of them before, until one is not decided: those that were not."""
    urls = entrances or site.entrances
    waiting: list[Asked] = list(reversed(commands))
    undecided: list[Asked] = []

    async def work(url: str) -> None:
        async with AsyncClient(url, site.token, retries=retries, http=recorder.http(url)) as client:
            while waiting and not undecided:
                asked = waiting.pop()
                try:
                    outcome = await client.send(call_of(asked))
                except TryAgainLaterError:
                    undecided.append(asked)
                except CallFailed:
                    continue  # recorded as it came: the checker judges it
                else:
                    assert isinstance(outcome, Posting | Refused)

    await asyncio.gather(*(work(urls[number % len(urls)]) for number in range(workers)))
    return undecided


def patient(attempt_deadline_s: float, *, deadline_s: float) -> Retries:
    return Retries(attempts_max=1_000, deadline_s=deadline_s, attempt_deadline_s=attempt_deadline_s, wait_max_s=0.5)


def impatient(attempt_deadline_s: float) -> Retries:
    return Retries(attempts_max=1, deadline_s=attempt_deadline_s, attempt_deadline_s=attempt_deadline_s)
