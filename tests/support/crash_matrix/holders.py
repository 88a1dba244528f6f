"""A vendor with holds, groups and transfers of every kind on wallets of its own, some of which live in the moving unit.

Its commands are of too many kinds for the history checker: it is held to what it was told, to what is recorded where
the wallet lives in the end, and to the sum of the money.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import psycopg
from faults.recording import Recorder
from faults.site import Site, wait_until
from faults.vendors import CURRENCY, OPENING_CREDIT, patient
from history.model import Finding
from sagas.random_vendors import RandomVendor, Said

from cellwallet.client import AsyncClient, accepted
from contract.ids import wallet_id_of
from contract.slots import slot_of

OWNER_TYPE = "holder"
IN_THE_UNIT, ELSEWHERE = 2, 3
PAUSE_MEAN_S = 0.12
OPENING_DEADLINE_S = 60.0
ASKED_AGAIN_MAX = 150
OF_ONE_WALLET = frozenset({"debit", "credit", "capture", "reversal"})
"""What changes the sum of all their wallets; transfers and groups stay among them."""

OPEN = """
SELECT (SELECT count(*) FROM transfers t JOIN wallets w USING (wallet_id) JOIN unit_state u USING (unit)
        WHERE u.state = 'active' AND t.state = 'in_transit')
     + (SELECT count(*) FROM groups g JOIN wallets w USING (wallet_id) JOIN unit_state u USING (unit)
        WHERE u.state = 'active' AND NOT g.is_finished)
     + (SELECT count(*) FROM holds h JOIN wallets w USING (wallet_id) JOIN unit_state u USING (unit)
        WHERE u.state = 'active' AND h.state = 'open'
          AND (h.kind <> 'vendor' OR h.expires_at < clock_timestamp() - interval '1 second'))
"""
"""What is on its way between two cells, or must have ended by itself."""
RECORDED = "SELECT wallet_id::text, transaction_id::text FROM transactions WHERE wallet_id = ANY(%s::uuid[])"
BALANCE = """
SELECT coalesce(sum(w.balance), 0)::bigint FROM wallets w JOIN unit_state u USING (unit)
WHERE u.state = 'active' AND w.wallet_id = ANY(%s::uuid[])
"""
STORED = """
SELECT w.wallet_id::text FROM wallets w JOIN unit_state u USING (unit)
WHERE u.state = 'active' AND w.wallet_id = ANY(%s::uuid[])
"""


class _Leisurely(RandomVendor):
    """Leaves the machine to the moves."""

    async def _decided(self, path: str, body: dict[str, Any]) -> Said:
        await asyncio.sleep(self._dice.expovariate(1 / PAUSE_MEAN_S))
        return await super()._decided(path, body)


class Holders:
    def __init__(self, site: Site, wallet_ids: Sequence[str], *, seed: int, patience_s: float) -> None:
        """`patience_s` bounds how long one of them waits at the end for an answer that decides."""
        self.wallet_ids = list(wallet_ids)
        self._patience_s = patience_s
        self._site = site
        self._vendor = _Leisurely(site.entrances[0], site.token, wallet_ids=self.wallet_ids, seed=seed)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.undecided = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._vendor.work(self._stop))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=0 if kind is not None else self._patience_s)
            for task in late:
                self.undecided = True
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=bool(late))
        if kind is not None:
            await self._vendor.close()

    def summary(self) -> str:
        kinds = Counter(str(one.answer.get("kind", "group")) for one in self._vendor.said if one.status == 201)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))

    async def verdict(self) -> list[Finding]:
        """After the work: what is wrong with what they were told."""
        databases = self._site.databases
        said = self._vendor.said
        try:
            async with asyncio.timeout(self._patience_s):
                await self._vendor.ask_each_again(said[:: max(1, len(said) // ASKED_AGAIN_MAX)])
        except TimeoutError:
            self.undecided = True
        await self._vendor.close()
        settled = await wait_until(lambda: is_settled(databases), deadline_s=self._patience_s)
        contradictions = [_finding("changed_answer", told) for told in self._vendor.contradictions]
        stuck = [] if settled else [_finding("unsettled", "transfers, groups or overdue holds stay open")]
        silent = [_finding("undecided", "a command was not decided at last")] if self.undecided else []
        return [*stuck, *silent, *contradictions, *await asyncio.to_thread(lambda: list(self._judge(databases, said)))]

    def _judge(self, databases: Mapping[str, str], said: Sequence[Said]) -> Iterator[Finding]:
        recorded: set[tuple[str, str]] = set()
        balance = 0
        for url in databases.values():
            with psycopg.connect(url) as connection:
                here = [row[0] for row in connection.execute(STORED, (self.wallet_ids,))]
                recorded |= {(row[0], row[1]) for row in connection.execute(RECORDED, (here,))}
                balance += sum(row[0] for row in connection.execute(BALANCE, (here,)))
        for one in said:
            if one.key not in recorded:
                detail = f"{one.path} was answered with {one.status} and is not recorded where its wallet lives"
                yield Finding(check="lost", wallet_id=one.key[0], transaction_id=one.key[1], detail=detail)
        posted = {one.key: one for one in said if one.status == 201 and one.answer.get("kind") in OF_ONE_WALLET}
        expected = OPENING_CREDIT * len(self.wallet_ids) + sum(one.answer["delta"] for one in posted.values())
        if balance != expected:
            yield _finding("minted", f"the wallets hold {balance}, and what was told makes {expected}")


async def open_holders(site: Site, *, slot: int, label: str) -> list[str]:
    """Wallets with money, some of them in this slot."""
    refs = [*_refs_in(slot, label), *(f"{label}-elsewhere-{number}" for number in range(ELSEWHERE))]
    url = site.entrances[0]
    wallet_ids = []
    retries = patient(10.0, deadline_s=OPENING_DEADLINE_S)
    async with AsyncClient(url, site.token, retries=retries, http=Recorder().http(url)) as client:
        for ref in refs:
            opened = accepted(await client.open_wallet(owner_type=OWNER_TYPE, owner_ref=ref, currency=CURRENCY))
            accepted(await client.credit(opened.wallet_id, amount=OPENING_CREDIT, currency=CURRENCY))
            wallet_ids.append(opened.wallet_id)
    return wallet_ids


def _refs_in(slot: int, label: str) -> list[str]:
    """An owner's wallet is where its name falls: names are tried until enough fall into the slot."""
    found: list[str] = []
    dice = random.Random(label)
    while len(found) < IN_THE_UNIT:
        ref = f"{label}-{dice.getrandbits(64):x}"
        if slot_of(wallet_id_of(owner_type=OWNER_TYPE, owner_ref=ref, kind="main", currency=CURRENCY)) == slot:
            found.append(ref)
    return found


async def is_settled(databases: Mapping[str, str]) -> bool:
    """Whether nothing is on its way between the cells any more."""
    return not await asyncio.to_thread(_still_open, databases)


def _still_open(databases: Mapping[str, str]) -> int:
    still_open = 0
    for url in databases.values():
        with psycopg.connect(url) as connection:
            still_open += sum(row[0] for row in connection.execute(OPEN))
    return still_open


def _finding(check: str, detail: str) -> Finding:
    return Finding(check=check, wallet_id="", detail=detail)
