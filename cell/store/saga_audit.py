"""The audit of what is set aside or on its way: holds, transfers to other cells, groups; and what stays open too long.

Reads through the snapshot of the audit that calls it, and tells it what does not hold. Folding holds from entries is
cell/ledger/invariants.py's.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Container, Sequence
from typing import Any, Protocol

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cell.ledger.derived_ids import group_id_of, transfer_id_of
from cell.ledger.grouping import GROUP_TRANSITIONS
from cell.ledger.invariants import STUCK
from cell.ledger.model import Hold
from cell.ledger.transferring import TRANSFER_TRANSITIONS
from cell.store import arrays
from cell.store.promises import hold_of

HOLDS_OF_WALLETS = """
SELECT wallet_id, vendor_id, hold_id, kind, amount, captured, remaining, state, placed_at, expires_at, terms
FROM holds WHERE wallet_id = ANY(%s)
"""

SET_ASIDE = """
SELECT w.wallet_id, w.seq, w.held, coalesce(h.held, 0)::bigint, w.pinned,
       (coalesce(h.pins, 0) + coalesce(t.away, 0))::bigint
FROM owned_wallets w
LEFT JOIN (
    SELECT wallet_id, sum(remaining) FILTER (WHERE kind <> 'pin') AS held,
           sum(remaining) FILTER (WHERE kind = 'pin') AS pins
    FROM holds WHERE state = 'open' GROUP BY wallet_id
) h USING (wallet_id)
LEFT JOIN (SELECT wallet_id, sum(amount) AS away FROM transfers WHERE state = 'in_transit' GROUP BY wallet_id) t
    USING (wallet_id)
WHERE w.held <> coalesce(h.held, 0) OR w.pinned <> coalesce(h.pins, 0) + coalesce(t.away, 0)
LIMIT 100
"""

WITHOUT_WALLET = """
SELECT wallet_id, 'hold' FROM holds WHERE wallet_id NOT IN (SELECT wallet_id FROM wallets)
UNION ALL SELECT wallet_id, 'transfer' FROM transfers WHERE wallet_id NOT IN (SELECT wallet_id FROM wallets)
UNION ALL SELECT wallet_id, 'group' FROM groups WHERE wallet_id NOT IN (SELECT wallet_id FROM wallets)
LIMIT 100
"""

TRANSFERS = """
SELECT coalesce(o.wallet_id, t.wallet_id), o.seq, coalesce(o.vendor_id, t.vendor_id),
       coalesce(o.transaction_id, t.transaction_id), o.amount, o.currency, o.terms,
       t.transfer_id, t.to_wallet_id, t.amount, t.currency, t.state, r.seq, r.amount, t.details IS NULL
FROM (
    SELECT x.wallet_id, x.vendor_id, x.transaction_id, x.seq, -e.amount AS amount, x.currency, x.terms
    FROM transactions x JOIN entries e ON e.wallet_id = x.wallet_id AND e.posted_at = x.posted_at AND e.seq = x.seq
    WHERE x.kind = 'transfer_out' AND x.reason IS NULL AND x.vendor_id <> '@group'
      AND e.counter_account = 'in_transit' AND x.wallet_id IN (SELECT wallet_id FROM owned_wallets)
) o
FULL JOIN (SELECT t.* FROM transfers t JOIN owned_wallets USING (wallet_id)) t
    USING (wallet_id, vendor_id, transaction_id)
LEFT JOIN (SELECT wallet_id, subject_vendor_id, subject_id, seq, amount FROM entries WHERE kind = 'refund') r
    ON r.wallet_id = coalesce(o.wallet_id, t.wallet_id)
   AND r.subject_vendor_id = coalesce(o.vendor_id, t.vendor_id)
   AND r.subject_id = coalesce(o.transaction_id, t.transaction_id)
"""

GROUPS = """
SELECT coalesce(x.wallet_id, g.wallet_id), x.seq, coalesce(x.vendor_id, g.vendor_id),
       coalesce(x.transaction_id, g.transaction_id), x.currency, x.terms, x.reason,
       g.group_id, g.currency, g.state, g.is_finished, g.legs, g.details IS NULL
FROM (SELECT wallet_id, vendor_id, transaction_id, seq, currency, terms, reason FROM transactions
      WHERE kind = 'group' AND wallet_id IN (SELECT wallet_id FROM owned_wallets)) x
FULL JOIN (SELECT g.* FROM groups g JOIN owned_wallets USING (wallet_id)) g
    USING (wallet_id, vendor_id, transaction_id)
"""

LEGS = """
SELECT h.wallet_id, h.hold_id, h.state
FROM unnest(%s, %s) AS k (wallet_id, hold_id) JOIN holds h USING (wallet_id, hold_id)
JOIN owned_wallets USING (wallet_id)
WHERE h.vendor_id = '@group'
"""

TOO_OLD = """
SELECT what, wallet_id, name, extract(epoch FROM now() - since)::bigint
FROM (
    SELECT 'transfer' AS what, wallet_id, transaction_id::text AS name, sent_at AS since
    FROM transfers WHERE state = 'in_transit'
    UNION ALL SELECT 'group', wallet_id, transaction_id::text, started_at FROM groups WHERE NOT is_finished
    UNION ALL SELECT 'leg', wallet_id, hold_id::text, placed_at FROM holds WHERE state = 'open' AND kind <> 'vendor'
    UNION ALL SELECT 'expired hold', wallet_id, hold_id::text, expires_at FROM holds WHERE state = 'open'
) still_open JOIN owned_wallets USING (wallet_id)
WHERE since < now() - make_interval(secs => %(older_s)s)
LIMIT 100
"""

SENT_AWAY = """
SELECT t.currency, sum(t.amount)::text FROM transfers t JOIN owned_wallets USING (wallet_id)
WHERE t.state = 'in_transit' GROUP BY t.currency
"""

UNFINISHED = """
SELECT g.currency, g.legs FROM groups g JOIN owned_wallets USING (wallet_id)
WHERE g.state = 'confirmed' AND NOT g.is_finished
"""

_HOLD_AFTER = {"confirmed": "captured", "cancelled": "released"}


class Audit(Protocol):
    """The snapshot of cell/store/audit.py."""

    connection: AsyncConnection[TupleRow]

    def find(self, invariant: str, field: str, expected: object, found: object, **place: Any) -> None: ...

    def pages(self, statement: str) -> AsyncIterator[list[TupleRow]]: ...


async def holds_of(connection: AsyncConnection[TupleRow], wallet_ids: Sequence[str]) -> dict[str, list[Hold]]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(HOLDS_OF_WALLETS, (arrays.uuids(wallet_ids),))
    holds: defaultdict[str, list[Hold]] = defaultdict(list)
    async for row in cursor:
        holds[row[0]].append(hold_of(row))
    return holds


async def check_set_aside(audit: Audit) -> None:
    """L2 by sums, and no row without its wallet."""
    for wallet_id, seq, held, open_holds, pinned, needed in await _all(audit, SET_ASIDE):
        place = {"wallet_id": wallet_id, "seq": seq}
        audit.find("L2", "open holds", open_holds, held, **place)
        audit.find("L2", "pinned", needed, pinned, **place)
    for wallet_id, what in await _all(audit, WITHOUT_WALLET):
        audit.find("L9", f"wallet row of a {what}", "present", "absent", wallet_id=wallet_id)


async def check_transfers(audit: Audit) -> int:
    """P7: each transfer that left is the debit that started it, and ended as its wallet's log says."""
    checked = 0
    async for rows in audit.pages(TRANSFERS):
        for row in rows:
            _check_transfer(audit, row)
        checked += len(rows)
    return checked


def _check_transfer(audit: Audit, row: TupleRow) -> None:
    wallet_id, seq, vendor_id, transaction_id, sent, currency, terms = row[:7]
    transfer_id, target, amount, stored_currency, state, refund_seq, refunded, is_bare = row[7:]
    place, name = {"wallet_id": wallet_id, "seq": seq}, f"transfer {transaction_id} of {vendor_id}"
    if seq is None or transfer_id is None:
        found = "entry without transfer" if transfer_id is None else "transfer without entry"
        audit.find("P7", name, "both", found, **place)
        return
    is_refunded = refund_seq is not None
    audit.find("P7", f"{name}: transfer_id", transfer_id_of(wallet_id, vendor_id, transaction_id), transfer_id, **place)
    audit.find("P7", f"{name}: to_wallet_id", json.loads(terms or "{}").get("target"), target, **place)
    audit.find("P7", f"{name}: amount", sent, amount, **place)
    audit.find("P7", f"{name}: currency", currency, stored_currency, **place)
    audit.find("P7", f"{name}: state", is_refunded, state == "refunded", **place)
    audit.find("P7", f"{name}: state", "known", _known(state, TRANSFER_TRANSITIONS), **place)
    audit.find("P7", f"{name}: details", state != "in_transit", is_bare, **place)
    if is_refunded:
        audit.find("P7", f"{name}: refund", sent, refunded, wallet_id=wallet_id, seq=refund_seq)


async def check_groups(audit: Audit) -> int:
    """P7: each group is what its anchor's transaction asked, and the legs of this cell follow its decision."""
    checked = 0
    async for rows in audit.pages(GROUPS):
        legs_here = await _legs_here(audit, rows)
        for row in rows:
            _check_group(audit, row, legs_here)
        checked += len(rows)
    return checked


async def _legs_here(audit: Audit, rows: list[TupleRow]) -> dict[tuple[str, str], str]:
    """(wallet, group) to the state of the hold or pin of the leg, where it is in this cell."""
    named = [(leg[0], row[7]) for row in rows if row[7] is not None for leg in _legs_of(row[11])]
    if not named:
        return {}
    wallet_ids, group_ids = zip(*named, strict=True)
    cursor = audit.connection.cursor(binary=True)
    await cursor.execute(LEGS, (arrays.uuids(wallet_ids), arrays.uuids(group_ids)))
    return {(wallet_id, group_id): state for wallet_id, group_id, state in await cursor.fetchall()}


def _check_group(audit: Audit, row: TupleRow, legs_here: dict[tuple[str, str], str]) -> None:
    wallet_id, seq, vendor_id, transaction_id, currency, terms, reason = row[:7]
    group_id, stored_currency, state, is_finished, legs_text, is_bare = row[7:]
    place, name = {"wallet_id": wallet_id, "seq": seq}, f"group {transaction_id} of {vendor_id}"
    if seq is None or group_id is None:
        found = "transaction without group" if group_id is None else "group without transaction"
        audit.find("P7", name, "both", found, **place)
        return
    legs = _legs_of(legs_text)
    audit.find("P7", f"{name}: group_id", group_id_of(wallet_id, vendor_id, transaction_id), group_id, **place)
    audit.find("P7", f"{name}: currency", currency, stored_currency, **place)
    audit.find("P7", f"{name}: legs", json.loads(terms or "{}").get("legs"), [leg[:2] for leg in legs], **place)
    audit.find("P7", f"{name}: state", "known", _known(state, GROUP_TRANSITIONS), **place)
    if reason is not None:
        audit.find("P7", f"{name}: state", ["cancelled", True], [state, is_finished], **place)
        return
    ended = all(leg[2] in {"confirmed", "cancelled"} for leg in legs)
    audit.find("P7", f"{name}: is_finished", state != "preparing" and ended, is_finished, **place)
    audit.find("P7", f"{name}: details", state != "preparing", is_bare, **place)
    for leg_wallet, _, leg_state, _ in legs:
        hold_state = legs_here.get((leg_wallet, group_id))
        contrary = {"confirmed", "cancelled"} - {state}
        audit.find("P7", f"{name}: leg {leg_wallet}", "as decided", _verdict(leg_state in contrary), **place)
        if leg_wallet == wallet_id and state != "preparing":  # it was ended by the decision itself
            audit.find("P7", f"{name}: leg of the anchor", state, leg_state, **place)
        if hold_state is not None and leg_state in _HOLD_AFTER:
            after = _HOLD_AFTER[leg_state]
            audit.find("P7", f"{name}: hold of leg {leg_wallet}", after, hold_state, **place)
        if hold_state not in {None, "open"}:
            is_contrary = hold_state != _HOLD_AFTER.get(state)
            audit.find("P7", f"{name}: end of leg {leg_wallet}", "as decided", _verdict(is_contrary), **place)


def _known(state: str, states: Container[Any]) -> str:
    return "known" if state in states else state


def _verdict(is_contrary: bool) -> str:  # noqa: FBT001 - the fact itself
    return "otherwise" if is_contrary else "as decided"


async def on_its_way(audit: Audit) -> dict[str, int]:
    """Per currency the most that may be between cells: open transfers, and legs that have yet to follow."""
    sums: defaultdict[str, int] = defaultdict(int)
    for currency, amount in await _all(audit, SENT_AWAY):
        sums[currency] += int(amount)
    for currency, legs in await _all(audit, UNFINISHED):
        sums[currency] += sum(abs(leg[1]) for leg in _legs_of(legs) if leg[2] != "confirmed")
    return sums


async def find_stuck(audit: Audit, *, older_s: float) -> None:
    """What has been open for longer than any fault should last: no broken invariant, but somebody should look."""
    cursor = audit.connection.cursor(binary=True)
    await cursor.execute(TOO_OLD, {"older_s": older_s})
    for what, wallet_id, name, age_s in await cursor.fetchall():
        audit.find(STUCK, f"{what} {name}", f"over within {older_s:g} s", f"open for {age_s} s", wallet_id=wallet_id)


def _legs_of(text: str | None) -> list[list[Any]]:
    """A damaged text is a group without legs, which is not what was asked."""
    try:
        legs = json.loads(text or "[]")
        return [leg for leg in legs if len(leg) == len(("wallet_id", "amount", "state", "reason"))]
    except (ValueError, TypeError):
        return []


async def _all(audit: Audit, statement: str) -> list[TupleRow]:
    cursor = audit.connection.cursor(binary=True)
    await cursor.execute(statement)
    return await cursor.fetchall()
