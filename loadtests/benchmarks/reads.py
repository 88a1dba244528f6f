"""P5: balances, balances of the past and pages of history, of a wallet with ten entries and of one with very many.

The two wallets are asked in turn, one request at a time: what is compared is how long an answer takes. A page has as
many entries as the short wallet, for a longer page is more work in any ledger.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, LiteralString
from urllib.parse import quote

import httpx
import psycopg

from contract.values import value
from loadtests.figures import Check, Round
from loadtests.load import Pace
from loadtests.stage import Measurement, Stage

SHORT_ENTRIES = 10
MOMENTS = 200
"""Different instants that are asked for, spread over the whole log."""
COMPARED = 5
"""Answers that are compared with what the database says."""
FILL_TIMEOUT_S = 1_800.0
BALANCES_MAX = 20_000

MOMENTS_OF_LOG: LiteralString = """
SELECT posted_at FROM entries WHERE wallet_id = %(wallet)s AND seq IN (
    SELECT 1 + (i * (w.seq - 1) / %(count)s) FROM wallets w, generate_series(1, %(count)s) i
    WHERE w.wallet_id = %(wallet)s)
ORDER BY random()
"""

BALANCE_THEN: LiteralString = """
SELECT sum(amount)::bigint FROM entries WHERE wallet_id = %s AND posted_at <= %s
"""

LAST_HASHES: LiteralString = """
SELECT encode(hash, 'hex') FROM entries WHERE wallet_id = %s ORDER BY seq DESC LIMIT %s
"""


@value
class _Log:
    """A wallet whose history is read."""

    name: str
    wallet: str
    entries: int
    moments: tuple[datetime, ...]


class Histories:
    """The short log and the long one; `make` before anything else."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._logs: dict[str, _Log] = {}

    def make(self) -> None:
        """Posted like all money, through the API."""
        short, long = self._stage.open_wallets(["short history", "long history"])
        self._logs = {
            "short": self._filled("short", short, SHORT_ENTRIES),
            "long": self._filled("long", long, self._stage.scale.history),
        }

    def measurements(self) -> list[Measurement]:
        titles = {
            "at": "balance at a past moment",
            "page": f"page of {SHORT_ENTRIES} entries",
            "deep": "page within the log",
        }
        wanted = (("at", "short"), ("at", "long"), ("page", "short"), ("page", "long"), ("deep", "long"))
        return [
            Measurement(
                id="read.balance",
                title="balances of all wallets, peak",
                unit="reads/s",
                loop="closed",
                run=self._balances,
            ),
            *(
                Measurement(
                    id=f"read.{what}.{name}",
                    title=f"{titles[what]}, {name} history, one at a time",
                    unit="ms",
                    loop="closed",
                    run=self._history_run(what, name),
                    turns="one" if what == "deep" else "brief",  # the former is told, and compared with nothing
                )
                for what, name in wanted
            ),
        ]

    def describe(self) -> dict[str, int]:
        return {f"{name}_history_entries": log.entries for name, log in self._logs.items()}

    # Making the logs.

    def _filled(self, name: str, wallet: str, entries: int) -> _Log:
        count = entries - self._sequence(wallet)
        scale = self._stage.scale
        pace = Pace(duration_s=FILL_TIMEOUT_S, concurrency=min(scale.concurrency, count), count_max=count)
        self._stage.post_unmeasured([wallet], pace)
        with psycopg.connect(self._stage.cell.database_url) as connection:
            rows = connection.execute(MOMENTS_OF_LOG, {"wallet": wallet, "count": MOMENTS}).fetchall()
        return _Log(name=name, wallet=wallet, entries=self._sequence(wallet), moments=tuple(row[0] for row in rows))

    def _sequence(self, wallet: str) -> int:
        with psycopg.connect(self._stage.cell.database_url) as connection:
            row = connection.execute("SELECT seq FROM wallets WHERE wallet_id = %s", [wallet]).fetchone()
        return int(row[0]) if row else 0

    # Reading them.

    def _balances(self) -> Round:
        stage = self._stage
        wallets = stage.wallets[:BALANCES_MAX]
        pace = stage.closed(concurrency=stage.scale.read_concurrency)
        return stage.read([f"/v1/wallets/{one}/balance" for one in wallets], wallets, pace, (self._check_balances(),))

    def _history_run(self, what: str, name: str) -> Callable[[], Round]:
        def run() -> Round:
            log = self._logs[name]
            paths = _paths(what, log)
            pace = self._stage.closed(concurrency=1)
            check = self._check_past(log) if what == "at" else self._check_page(log)
            one = self._stage.read(paths, [log.wallet] * len(paths), pace, (check,))
            # In milliseconds, and not as a rate: what is compared is how long an answer takes.
            return Round(
                value=1_000 / one.value if one.value else 0.0,
                checks=one.checks,
                latency_ms=one.latency_ms,
                counts=one.counts,
                costs=one.costs,
                others_cores=one.others_cores,
            )

        return run

    # Whether the answers are true.

    def _check_balances(self) -> Check:
        wrong = []
        with psycopg.connect(self._stage.cell.database_url) as connection:
            for wallet in self._stage.wallets[:COMPARED]:
                row = connection.execute("SELECT balance, seq FROM wallets WHERE wallet_id = %s", [wallet]).fetchone()
                answer = self._get(f"/v1/wallets/{wallet}/balance")
                if (answer["balance"], answer["seq"]) != row:
                    wrong.append(f"{answer} is {row}")
        return Check(name="balances are the ledger's", has_passed=not wrong, detail="; ".join(wrong))

    def _check_past(self, log: _Log) -> Check:
        wrong = []
        with psycopg.connect(self._stage.cell.database_url) as connection:
            for moment in log.moments[:COMPARED]:
                row = connection.execute(BALANCE_THEN, [log.wallet, moment]).fetchone()
                answer = self._get(_at(log.wallet, moment))
                if (answer["balance"],) != row:
                    wrong.append(f"{answer} is {row}")
        return Check(name="past balances are the sums of their entries", has_passed=not wrong, detail="; ".join(wrong))

    def _check_page(self, log: _Log) -> Check:
        with psycopg.connect(self._stage.cell.database_url) as connection:
            stored = [row[0] for row in connection.execute(LAST_HASHES, [log.wallet, SHORT_ENTRIES])]
        answer = self._get(_page(log.wallet))
        answered = [entry["entry_hash"] for entry in answer["entries"]]
        return Check(
            name="the page is the end of the log", has_passed=answered == stored, detail=f"{len(answered)} entries"
        )

    def _get(self, path: str) -> dict[str, Any]:
        cell = self._stage.cell
        url = f"http://{cell.targets[0].host}:{cell.targets[0].port}{path}"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {cell.vendor_token('reader')}"})
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def _paths(what: str, log: _Log) -> list[str]:
    match what:
        case "at":
            return [_at(log.wallet, moment) for moment in log.moments]
        case "page":
            return [_page(log.wallet)]
        case _:
            return [f"{_page(log.wallet)}&to={_instant(moment)}" for moment in log.moments]


def _at(wallet: str, moment: datetime) -> str:
    return f"/v1/wallets/{wallet}/balance?at={_instant(moment)}"


def _page(wallet: str) -> str:
    return f"/v1/wallets/{wallet}/entries?limit={SHORT_ENTRIES}"


def _instant(moment: datetime) -> str:
    return quote(moment.isoformat(timespec="microseconds"))
