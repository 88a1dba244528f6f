"""How sessions are told to read: by index, always.

A prepared statement keeps the plan of its first use, and then a cell's tables are empty: a sequential scan or a hash of
the whole table is cheapest there. It stays so until somebody analyses the table, which is minutes later, while every
batch reads every transaction of the cell (measured: 10 µs per command became 150 within 50,000). All statements of
these sessions ask for known keys, so the answer never depends on statistics.
"""

from typing import Final

BY_INDEX: Final = (
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off"
)
"""Options of a connection."""
