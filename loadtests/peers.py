"""The ledgers that the cell is compared with, run by PostgreSQL's own pgbench next to it in the same cluster.

Two plain postings (a conversation of six round trips, and one statement), and a ledger as SQL functions. All without
HTTP, tokens, chains and idempotency: they are the floor of cost, not alternatives. Scripts: loadtests/pgbench/.
"""

import re
import resource
import subprocess
from pathlib import Path

import psycopg

from cellwallet.local.binaries import postgres_bin_folder
from cellwallet.local.postgres import SOCKET_PORT, SUPERUSER, Cluster
from cellwallet.local.programs import quiet_environment
from contract.values import value
from loadtests.figures import Check

SCRIPTS = Path(__file__).with_name("pgbench")
DATABASE = "peers"
RUN_MARGIN_S = 120.0
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([0-9.]+) ms", re.MULTILINE)
_DONE = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


class PgbenchMustRunError(Exception):
    """It ended with an error, or said what nobody here understands."""


@value
class Peer:
    """One script of pgbench, and how its tables are held to what it claims."""

    name: str
    script: str
    entries: str
    """Table with its entries."""
    accounts: str
    entries_per_transaction: int
    conserves: bool
    """Whether the balances add up to nothing (else to the sum of the entries only)."""


PEERS = (
    Peer(
        name="interactive",
        script="interactive.sql",
        entries="entry",
        accounts="account",
        entries_per_transaction=1,
        conserves=False,
    ),
    Peer(
        name="one_statement",
        script="one_statement.sql",
        entries="entry",
        accounts="account",
        entries_per_transaction=1,
        conserves=False,
    ),
    Peer(
        name="sql_ledger",
        script="sql_transfer.sql",
        entries="ledger_entry",
        accounts="ledger_account",
        entries_per_transaction=2,
        conserves=True,
    ),
)


@value
class PeerRun:
    per_s: float
    latency_mean_ms: float
    transactions: int
    client_cpu_s: float
    checks: tuple[Check, ...]


class Peers:
    """Their database, with so many accounts in each ledger."""

    def __init__(self, cluster: Cluster, *, accounts: int) -> None:
        self._cluster = cluster
        self._accounts = accounts

    @property
    def database_url(self) -> str:
        return self._cluster.url(database=DATABASE)

    def make(self) -> None:
        self._cluster.ensure_database(DATABASE, owner=SUPERUSER)
        for script in ("tables.sql", "sql_ledger.sql"):
            self._cluster.run_script((SCRIPTS / script).read_text(), database=DATABASE)
        with self._cluster.superuser(DATABASE) as connection:
            for table in ("account", "ledger_account"):
                connection.execute(f"INSERT INTO {table} (id) SELECT generate_series(1, %s)", [self._accounts])
            connection.execute("VACUUM ANALYZE")

    def run(self, peer: Peer, *, is_hot: bool, clients: int, duration_s: float) -> PeerRun:
        """Raises `PgbenchMustRunError`."""
        entries_before = self._count(peer)
        cpu_before_s = _children_cpu_s()
        told = self._pgbench(peer, is_hot=is_hot, clients=clients, duration_s=duration_s)
        transactions = int(_number(_DONE, told))
        return PeerRun(
            per_s=_number(_TPS, told),
            latency_mean_ms=_number(_LATENCY, told),
            transactions=transactions,
            client_cpu_s=_children_cpu_s() - cpu_before_s,
            checks=(
                Check(name="no failed transactions", has_passed=_number(_FAILED, told) == 0),
                self._check_entries(peer, transactions, entries_before),
                self._check_sums(peer),
            ),
        )

    def _pgbench(self, peer: Peer, *, is_hot: bool, clients: int, duration_s: float) -> str:
        command = [
            str(postgres_bin_folder() / "pgbench"),
            *("--host", str(self._cluster.socket_folder), "--port", str(SOCKET_PORT), "--username", SUPERUSER),
            *("--no-vacuum", "--protocol", "prepared", "--file", str(SCRIPTS / peer.script)),
            *("--client", str(clients), "--jobs", "2", "--time", str(max(1, round(duration_s)))),
            *("--define", f"accounts={1 if is_hot else self._accounts}", "--define", f"population={self._accounts}"),
            DATABASE,
        ]
        answer = subprocess.run(  # noqa: S603 - our own words
            command,
            capture_output=True,
            text=True,
            check=False,
            env=quiet_environment(),
            timeout=duration_s + RUN_MARGIN_S,
        )
        if answer.returncode != 0:
            raise PgbenchMustRunError(f"pgbench {peer.name}\n{answer.stdout}{answer.stderr}")
        return answer.stdout

    def _check_entries(self, peer: Peer, transactions: int, entries_before: int) -> Check:
        written = self._count(peer) - entries_before
        wanted = transactions * peer.entries_per_transaction
        return Check(
            name="acknowledged is in the ledger", has_passed=written == wanted, detail=f"{written} entries of {wanted}"
        )

    def _check_sums(self, peer: Peer) -> Check:
        statement = f"SELECT (SELECT sum(balance) FROM {peer.accounts}), (SELECT sum(amount) FROM {peer.entries})"  # noqa: S608 - our own names
        balances, amounts = self._ask(statement)
        return Check(
            name="conservation",
            has_passed=balances == amounts and (balances == 0 or not peer.conserves),
            detail=f"balances {balances}, entries {amounts}",
        )

    def _count(self, peer: Peer) -> int:
        return int(self._ask(f"SELECT count(*) FROM {peer.entries}")[0])  # noqa: S608 - our own names

    def _ask(self, statement: str) -> tuple[int, ...]:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return tuple(int(one or 0) for one in row or ())


def _number(pattern: re.Pattern[str], told: str) -> float:
    found = pattern.search(told)
    if found is None:
        raise PgbenchMustRunError(f"pgbench does not tell {pattern.pattern!r}\n{told}")
    return float(found[1])


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
