"""The digest of a unit: what both cells must agree on before the source lets go, money first.

A wallet's head hash stands for its whole log (the target has computed it by folding), so a digest costs as much as
the unit has wallets and promises, however long their logs are. Of the rest every row enters with its canonical text.
What only one cell knows is left out: marks of moves, attempts, where exiles were last seen.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from cell.store import arrays
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
        "transfers",
        "wallets w JOIN transfers t ON t.wallet_id = w.wallet_id",
        "t.wallet_id, t.vendor_id, t.transaction_id, t.transfer_id, t.to_wallet_id, t.amount, t.currency, t.state, "
        "t.details, t.sent_at",
        't.wallet_id, t.vendor_id COLLATE "C", t.transaction_id',
        figures="count(*), count(*) FILTER (WHERE t.state = 'in_transit'), "
        "coalesce(sum(t.amount) FILTER (WHERE t.state = 'in_transit'), 0)",
    ),
    _rows_of(
        "groups",
        "wallets w JOIN groups g ON g.wallet_id = w.wallet_id",
        "g.wallet_id, g.vendor_id, g.transaction_id, g.group_id, g.currency, g.state, g.is_finished, g.legs, "
        "g.details, g.started_at, g.decide_by",
        'g.wallet_id, g.vendor_id COLLATE "C", g.transaction_id',
        figures="count(*), count(*) FILTER (WHERE NOT g.is_finished)",
    ),
    _rows_of(
        "spent",
        "wallets w JOIN spent s ON s.wallet_id = w.wallet_id",
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
    text = "\n".join(("v1", f"unit {unit}", *lines))
    return hashlib.sha256(text.encode()).hexdigest()
