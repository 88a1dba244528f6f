"""What the source tells of its units, and the rows that leave it. Reads only; takes nothing in hand.

A page of entries is read by keyset: above known seqs, wallet after wallet, each log entered near the first wanted
entry. A page ends by rows or by bytes, whichever comes first; what is left is asked for again.
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncClientCursor, IsolationLevel

from cell.store import arrays
from cell.store.moves.parcels import (
    ENTRIES,
    ENTRY_COLUMNS,
    GROUP_IS_OPEN,
    INSTANTS,
    NAME_COLUMNS,
    RECENT_DAY,
    TRANSFER_IS_OPEN,
    WALLETS,
    section,
)
from cell.store.moves.sessions import Connection, Sessions, rows
from cell.store.moves.unit_rows import read_units
from cell.store.promises import GROUP_COLUMNS, TRANSFER_COLUMNS
from cell.store.revision import SCHEMA_REVISION
from contract.moves import Positions, SagaName, Survey, Surveys
from contract.values import value

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one page of entries; one more row may stand above it."""


def _as_json(columns: str) -> str:
    """Instants as microseconds."""
    instants = {name: f"(extract(epoch FROM s.{name}) * 1000000)::bigint" for name in INSTANTS}
    return ", ".join(instants.get(name, f"s.{name}") for name in columns.split(", "))


_SIZES: Final = "SELECT unit, count(*), sum(seq)::bigint FROM wallets WHERE unit = ANY(%s) GROUP BY unit"

_CLOCK: Final = """
SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       current_setting('synchronous_standby_names') <> ''
"""

_POSITIONS: Final = "SELECT wallet_id, seq FROM wallets WHERE unit = %s ORDER BY wallet_id"

_WANTED: Final = """
(SELECT * FROM (
    SELECT k.wallet_id, k.after_seq, k.place,
           sum(w.seq - k.after_seq) OVER (ORDER BY k.place) - (w.seq - k.after_seq) AS ahead
    FROM unnest(%(wallets)s::uuid[], %(seqs)s::bigint[]) WITH ORDINALITY AS k (wallet_id, after_seq, place)
    JOIN wallets w ON w.wallet_id = k.wallet_id AND w.unit = %(unit)s AND w.seq > k.after_seq
 ) every WHERE ahead < %(rows_max)s)
"""
"""As many wallets as fill a page: the logs of the others are not touched."""

_LEG_TERMS: Final = """
CASE WHEN e.kind = 'hold' AND e.subject_vendor_id = '@group' THEN (
    SELECT h.terms FROM holds h WHERE (h.wallet_id, h.vendor_id, h.hold_id) = (e.wallet_id, '@group', e.subject_id)
) END"""

_SAGA: Final = f"""
CASE WHEN t.kind = 'transfer_out' AND e.kind = 'transfer_out' AND e.counter_account = 'in_transit'
          AND t.vendor_id <> '@group' THEN (
    SELECT json_build_array({_as_json(TRANSFER_COLUMNS)}) FROM transfers s
    WHERE (s.wallet_id, s.vendor_id, s.transaction_id) = (t.wallet_id, t.vendor_id, t.transaction_id)
) WHEN t.kind = 'group' THEN (
    SELECT json_build_array({_as_json(GROUP_COLUMNS)}) FROM groups s
    WHERE (s.wallet_id, s.vendor_id, s.transaction_id) = (t.wallet_id, t.vendor_id, t.transaction_id)
) END"""  # noqa: S608 - our own words
"""What an entry has begun, as it stands now (cell/ledger/begun.py), in the order of cell/store/promises.py."""

ENTRIES_QUESTION: Final = f"""
COPY (
    SELECT {", ".join(f"e.{name}" for name in ENTRY_COLUMNS.split(", "))},
           t.vendor_id, t.requested_amount, t.amount, t.currency, t.terms, {_LEG_TERMS}, {_SAGA}
    FROM {_WANTED} k, LATERAL (
        SELECT * FROM entries
        WHERE wallet_id = k.wallet_id AND posted_at >= entries_begin_at(k.wallet_id, k.after_seq) AND seq > k.after_seq
        ORDER BY posted_at, seq LIMIT %(rows_max)s
    ) e JOIN transactions t ON t.wallet_id = e.wallet_id AND t.transaction_id = e.transaction_id AND t.seq = e.seq
         AND t.vendor_id = ANY (ARRAY[e.vendor_id, '@cell', '@transfer', '@group'])
    ORDER BY k.place, e.posted_at, e.seq LIMIT %(rows_max)s
) TO STDOUT
"""  # noqa: S608 - our own words

_NAMES: Final = f"COPY (SELECT {NAME_COLUMNS} FROM wallets WHERE unit = %(unit)s{{more}} ORDER BY wallet_id) TO STDOUT"  # noqa: S608

_ASKED: Final = """
SELECT t.* FROM unnest(%(wallets)s::uuid[], %(vendors)s::text[], %(transactions)s::uuid[])
    AS k (wallet_id, vendor_id, transaction_id)
JOIN {table} t USING (wallet_id, vendor_id, transaction_id) JOIN wallets w USING (wallet_id)
WHERE w.unit = %(unit)s AND NOT ({is_open})
"""

_OPEN_OF_UNIT: Final = (
    "SELECT t.* FROM wallets w JOIN {table} t USING (wallet_id) WHERE w.unit = %(unit)s AND {is_open}"
)
_SAGAS: Final = f"{_OPEN_OF_UNIT} UNION ALL {_ASKED}"

_STATE: Final = {
    "legs": (
        "SELECT h.wallet_id, h.vendor_id, h.hold_id, h.terms FROM wallets w JOIN holds h USING (wallet_id) "
        "WHERE w.unit = %(unit)s AND h.state = 'open' AND h.terms IS NOT NULL"
    ),
    "transfers": _SAGAS.format(table="transfers", is_open=TRANSFER_IS_OPEN),
    "groups": _SAGAS.format(table="groups", is_open=GROUP_IS_OPEN),
    "spent": (
        "SELECT s.* FROM wallets w JOIN spent s USING (wallet_id) "  # noqa: S608 - our own words
        f"WHERE w.unit = %(unit)s AND (s.day >= {RECENT_DAY} OR s.day >= (now() AT TIME ZONE 'UTC')::date - 2)"
    ),
    "isolated": "SELECT * FROM isolated WHERE slot = %(unit)s OR unit = %(unit)s",
}


@value
class Parcel:
    """Rows as they travel; `rows` counts entries, or the rows of all sections of a state."""

    content: bytes
    rows: int


class Departures:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def survey(self, units: Sequence[int]) -> Surveys:
        async with self._sessions.transaction() as connection:
            known = await read_units(connection, units)
            sizes = {row[0]: row[1:] for row in await rows(connection, _SIZES, arrays.int4s(units))}
            ((now, is_synchronous),) = await rows(connection, _CLOCK)
        return Surveys(
            schema_revision=SCHEMA_REVISION,
            database_now=now,
            is_synchronous=is_synchronous,
            units=tuple(
                Survey(
                    unit=one.unit,
                    state=one.state,
                    epoch=one.epoch or None,
                    wallets=sizes.get(one.unit, (0, 0))[0],
                    entries=sizes.get(one.unit, (0, 0))[1],
                )
                for one in known
            ),
        )

    async def positions(self, unit: int) -> Positions:
        async with self._sessions.transaction() as connection:
            found = await rows(connection, _POSITIONS, unit)
        return Positions(unit=unit, positions=tuple((wallet_id, seq) for wallet_id, seq in found))

    async def entries(self, unit: int, positions: Sequence[tuple[str, int]], *, rows_max: int) -> Parcel:
        """Entries above the positions with what was recorded for them, and the names of their wallets."""
        wanted: dict[str, Any] = {
            "unit": unit,
            "wallets": [wallet_id for wallet_id, _ in positions],
            "seqs": [seq for _, seq in positions],
            "rows_max": rows_max,
        }
        async with self._sessions.transaction(isolation=IsolationLevel.REPEATABLE_READ) as connection:
            lines = await _copy(connection, ENTRIES_QUESTION, wanted, bytes_max=PAGE_BYTES_MAX)
            wanted["named"] = list({line[:36].decode(): None for line in lines})
            names = await _copy(connection, _NAMES.format(more=" AND wallet_id = ANY(%(named)s::uuid[])"), wanted)
        content = section(WALLETS, b"".join(names)) + section(ENTRIES, b"".join(lines))
        return Parcel(content=content, rows=len(lines))

    async def state(self, unit: int, open_sagas: Sequence[SagaName] = ()) -> Parcel:
        """All that changes in place, in one snapshot; of the sagas those that are open here, and those asked for."""
        wallets, vendors, transactions = map(list, zip(*open_sagas, strict=True)) if open_sagas else ([], [], [])
        wanted = {"unit": unit, "wallets": wallets, "vendors": vendors, "transactions": transactions}
        async with self._sessions.transaction(isolation=IsolationLevel.REPEATABLE_READ) as connection:
            found = {WALLETS: await _copy(connection, _NAMES.format(more=""), wanted)}
            for name, question in _STATE.items():
                found[name] = await _copy(connection, f"COPY ({question}) TO STDOUT", wanted)
        content = b"".join(section(name, b"".join(lines)) for name, lines in found.items())
        return Parcel(content=content, rows=sum(map(len, found.values())))


async def _copy(
    connection: Connection, statement: str, wanted: dict[str, Any], *, bytes_max: int | None = None
) -> list[bytes]:
    """The rows, one line each; beyond `bytes_max` they are read and let go."""
    lines: list[bytes] = []
    size = 0
    async with AsyncClientCursor(connection).copy(statement.encode(), wanted) as copy:
        async for line in copy:
            if bytes_max is None or size <= bytes_max:
                lines.append(bytes(line))
                size += len(line)
    return lines
