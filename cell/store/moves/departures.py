"""What the source tells of its units, and the rows that leave it. Reads only; takes nothing in hand.

A page of entries is read by keyset: above known seqs, wallet after wallet, each log entered near the first wanted
entry. A page ends by rows or by bytes, whichever comes first; what is left is asked for again.
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncClientCursor, IsolationLevel

from cell.store import arrays
from cell.store.moves.parcels import ENTRIES, ENTRY_COLUMNS, NAME_COLUMNS, WALLETS, section
from cell.store.moves.sessions import Connection, Sessions, rows
from cell.store.moves.unit_rows import read_units
from cell.store.revision import SCHEMA_REVISION
from contract.moves import Positions, Survey, Surveys
from contract.values import value

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one page of entries; one more row may stand above it."""

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

ENTRIES_QUESTION: Final = f"""
COPY (
    SELECT {", ".join(f"e.{name}" for name in ENTRY_COLUMNS.split(", "))},
           t.vendor_id, t.requested_amount, t.amount, t.currency, t.terms
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

_OF_UNIT: Final = "WHERE wallet_id IN (SELECT wallet_id FROM wallets WHERE unit = %(unit)s)"

_STATE: Final = {
    "legs": f"SELECT wallet_id, vendor_id, hold_id, terms FROM holds {_OF_UNIT} AND terms IS NOT NULL",  # noqa: S608
    "transfers": f"SELECT * FROM transfers {_OF_UNIT}",  # noqa: S608
    "groups": f"SELECT * FROM groups {_OF_UNIT}",  # noqa: S608
    "spent": f"SELECT * FROM spent {_OF_UNIT}",  # noqa: S608
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

    async def state(self, unit: int) -> Parcel:
        """All that changes in place, in one snapshot."""
        wanted = {"unit": unit}
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
