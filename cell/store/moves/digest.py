"""The digest of a unit: what both cells must agree on before the source lets go, money first.

A wallet's head hash stands for its whole log (the target has computed it by folding), so a digest costs as much as
the unit has wallets and open promises, however long their logs are. With its entry each saga has come as that entry
says it; which of them are open, and how, enters with its canonical text, and what has ended never changes again. What
only one cell knows is left out: marks of moves, attempts, where exiles were last seen; and sums of days long past.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from cell.store import arrays
from cell.store.moves.parcels import GROUP_IS_OPEN, RECENT_DAY, TRANSFER_IS_OPEN
from cell.store.moves.sessions import Connection, rows

_SUMS: Final = """
SELECT unit, concat_ws(' ', 'money', currency, count(*), sum(balance), sum(held), sum(pinned), sum(seq))
FROM wallets WHERE unit = ANY(%s) GROUP BY unit, currency ORDER BY unit, currency COLLATE "C"
"""


def _rows_of(what: str, source: str, columns: str, key: str, *, figures: str = "count(*)") -> str:
    return f"""
SELECT w.unit, concat_ws(' ', '{what}', {figures}, encode(sha256(convert_to(
    string_agg(ROW({columns})::text, E'\\n' ORDER BY {key}), 'UTF8')), 'hex'))
FROM {source} WHERE w.unit = ANY(%s) GROUP BY w.unit
"""  # noqa: S608 - our own words


_SECTIONS: Final = (
    _SUMS,
    _rows_of(
        "wallets",
        "wallets w",
        "w.wallet_id, w.owner_type, w.owner_ref, w.kind, w.currency, w.status, w.balance, w.held, w.overdraft_limit, "
        "w.seq, w.head_hash, w.opened_at, w.posted_at, w.blocked_by, w.metadata, w.pinned",
        "w.wallet_id",
    ),
    _rows_of(
        "open holds",
        "wallets w JOIN holds h ON h.wallet_id = w.wallet_id AND h.state = 'open'",
        "h.wallet_id, h.vendor_id, h.hold_id, h.kind, h.amount, h.captured, h.remaining, h.placed_at, h.expires_at, "
        "h.terms",
        'h.wallet_id, h.vendor_id COLLATE "C", h.hold_id',
        figures="count(*), sum(h.remaining)",
    ),
    _rows_of(
        "open transfers",
        f"wallets w JOIN transfers t ON t.wallet_id = w.wallet_id AND {TRANSFER_IS_OPEN}",
        "t.wallet_id, t.vendor_id, t.transaction_id, t.transfer_id, t.to_wallet_id, t.amount, t.currency, t.state, "
        "t.details, t.sent_at",
        't.wallet_id, t.vendor_id COLLATE "C", t.transaction_id',
        figures="count(*), sum(t.amount)",
    ),
    _rows_of(
        "open groups",
        f"wallets w JOIN groups t ON t.wallet_id = w.wallet_id AND {GROUP_IS_OPEN}",
        "t.wallet_id, t.vendor_id, t.transaction_id, t.group_id, t.currency, t.state, t.legs, t.details, "
        "t.started_at, t.decide_by",
        't.wallet_id, t.vendor_id COLLATE "C", t.transaction_id',
    ),
    _rows_of(
        "spent",
        f"wallets w JOIN spent s ON s.wallet_id = w.wallet_id AND s.day >= {RECENT_DAY}",
        "s.wallet_id, s.vendor_id, s.day, s.amount",
        's.wallet_id, s.vendor_id COLLATE "C", s.day',
        figures="count(*), sum(s.amount)",
    ),
    _rows_of(
        "exiles",
        "(SELECT wallet_id, slot AS unit, unit AS isolated_as FROM isolated) w",
        "w.wallet_id, w.unit, w.isolated_as",
        "w.wallet_id",
    ),
)


async def digests(connection: Connection, units: Sequence[int]) -> dict[int, str]:
    """By unit; the same in both cells if and only if they say the same of it."""
    lines: defaultdict[int, list[str]] = defaultdict(list)
    for statement in _SECTIONS:
        for unit, line in await rows(connection, statement, arrays.int4s(units)):
            lines[unit].append(line)
    return {unit: _digest(unit, lines[unit]) for unit in units}


def _digest(unit: int, lines: Sequence[str]) -> str:
    text = "\n".join(("v2", f"unit {unit}", *lines))
    return hashlib.sha256(text.encode()).hexdigest()
