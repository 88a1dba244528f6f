"""Rows that only some commands touch: holds, transfers, groups and daily sums; their statements, columns and values.

A batch asks for them only where its footprint names some, so that a debit pays nothing for them.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final

from psycopg.rows import TupleRow

from cell.ledger.footprint import Footprint
from cell.ledger.limits import DAY_US, SpentKey
from cell.ledger.model import Group, Hold, Leg, TransactionKey, Transfer
from cell.ledger.outcomes import Changes, Spending
from cell.ledger.view import Loaded
from cell.store.arrays import Array, instants, int4s, int8s, texts, uuids

Question = tuple[str, tuple[Array, ...], Callable[[Loaded, TupleRow], None]]
"""A statement, its columns, and where each of its rows goes."""

HOLD_COLUMNS = "wallet_id, vendor_id, hold_id, kind, amount, captured, remaining, state, placed_at, expires_at, terms"
"""In the order that `hold_of` reads."""

TRANSFER_COLUMNS = (
    "wallet_id, vendor_id, transaction_id, transfer_id, to_wallet_id, amount, currency, state, details, sent_at"
)
"""In the order that `transfer_of` reads."""

GROUP_COLUMNS = (
    "wallet_id, vendor_id, transaction_id, group_id, currency, state, is_finished, legs, details, started_at, decide_by"
)
"""In the order that `group_of` reads."""

SELECT_HOLDS = f"""
SELECT {HOLD_COLUMNS}
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, hold_id) JOIN holds USING (wallet_id, vendor_id, hold_id)
"""  # noqa: S608 - our own words

UPSERT_HOLDS = f"""
INSERT INTO holds ({HOLD_COLUMNS})
SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (wallet_id, vendor_id, hold_id) DO UPDATE
SET captured = excluded.captured, remaining = excluded.remaining, state = excluded.state,
    expires_at = excluded.expires_at
"""  # noqa: S608 - our own words

SELECT_TRANSFERS = f"""
SELECT {TRANSFER_COLUMNS}
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, transaction_id)
JOIN transfers USING (wallet_id, vendor_id, transaction_id)
"""  # noqa: S608 - our own words

UPSERT_TRANSFERS = f"""
INSERT INTO transfers ({TRANSFER_COLUMNS})
SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (wallet_id, vendor_id, transaction_id) DO UPDATE SET state = excluded.state, details = excluded.details
"""  # noqa: S608 - our own words

SELECT_GROUPS = f"""
SELECT {GROUP_COLUMNS}
FROM unnest(%s, %s, %s) AS k (wallet_id, vendor_id, transaction_id)
JOIN groups USING (wallet_id, vendor_id, transaction_id)
"""  # noqa: S608 - our own words

UPSERT_GROUPS = """
INSERT INTO groups (wallet_id, vendor_id, transaction_id, group_id, currency, state, is_finished, legs, details,
                    started_at, decide_by)
SELECT wallet_id, vendor_id, transaction_id, group_id, currency, state, is_finished = 1, legs, details,
       started_at, decide_by
FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
     AS b (wallet_id, vendor_id, transaction_id, group_id, currency, state, is_finished, legs, details,
           started_at, decide_by)
ON CONFLICT (wallet_id, vendor_id, transaction_id) DO UPDATE
SET state = excluded.state, is_finished = excluded.is_finished, legs = excluded.legs, details = excluded.details
"""

SELECT_SPENT = """
SELECT s.wallet_id, s.vendor_id, s.day, s.amount
FROM unnest(%s, %s) AS k (wallet_id, vendor_id) JOIN spent s USING (wallet_id, vendor_id)
WHERE s.day >= (clock_timestamp() AT TIME ZONE 'UTC')::date - 1
"""
"""Of yesterday too: the batch's clock is read in another statement, and midnight may lie between the two."""

ADD_SPENT = """
INSERT INTO spent (wallet_id, vendor_id, day, amount)
SELECT wallet_id, vendor_id, (day AT TIME ZONE 'UTC')::date, amount
FROM unnest(%s, %s, %s, %s) AS b (wallet_id, vendor_id, day, amount)
ON CONFLICT (wallet_id, vendor_id, day) DO UPDATE SET amount = spent.amount + excluded.amount
"""

_EPOCH: Final = date(1970, 1, 1)


def questions(footprint: Footprint) -> Iterator[Question]:
    if footprint.holds:
        yield SELECT_HOLDS, key_columns(footprint.holds), _take_hold
    if footprint.transfers:
        yield SELECT_TRANSFERS, key_columns(footprint.transfers), _take_transfer
    if footprint.groups:
        yield SELECT_GROUPS, key_columns(footprint.groups), _take_group
    if footprint.spendings:
        wallet_ids, vendor_ids = zip(*footprint.spendings, strict=True)
        yield SELECT_SPENT, (uuids(wallet_ids), texts(vendor_ids)), _take_spent


def writes(changes: Sequence[Changes]) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """The statements that write them: of each row as the last decision of the batch left it."""
    holds = {hold.key: hold for change in changes for hold in change.holds}
    if holds:
        yield UPSERT_HOLDS, _hold_columns(list(holds.values()))
    transfers = {one.key: one for change in changes for one in change.transfers}
    if transfers:
        yield UPSERT_TRANSFERS, _transfer_columns(list(transfers.values()))
    groups = {group.key: group for change in changes for group in change.groups}
    if groups:
        yield UPSERT_GROUPS, _group_columns(list(groups.values()))
    spendings = [one for change in changes for one in change.spendings]
    if spendings:
        yield ADD_SPENT, _spent_columns(spendings)


def key_columns(keys: Sequence[TransactionKey]) -> tuple[Array, ...]:
    return (
        uuids([key.wallet_id for key in keys]),
        texts([key.vendor_id for key in keys]),
        uuids([key.transaction_id for key in keys]),
    )


def hold_of(row: TupleRow) -> Hold:
    """A row of SELECT_HOLDS, ids as texts and instants in microseconds."""
    return Hold(
        key=TransactionKey(row[0], row[1], row[2]),
        kind=row[3],
        amount=row[4],
        captured=row[5],
        remaining=row[6],
        state=row[7],
        placed_at_us=row[8],
        expires_at_us=row[9],
        terms=row[10],
    )


def transfer_of(row: TupleRow) -> Transfer:
    """A row of SELECT_TRANSFERS."""
    return Transfer(
        key=TransactionKey(row[0], row[1], row[2]),
        transfer_id=row[3],
        to_wallet_id=row[4],
        amount=row[5],
        currency=row[6],
        state=row[7],
        details=row[8],
        sent_at_us=row[9],
    )


def group_of(row: TupleRow) -> Group:
    """A row of SELECT_GROUPS."""
    return Group(
        key=TransactionKey(row[0], row[1], row[2]),
        group_id=row[3],
        currency=row[4],
        state=row[5],
        is_finished=row[6],
        legs=tuple(
            Leg(wallet_id=wallet_id, amount=amount, state=state, reason=reason)
            for wallet_id, amount, state, reason in json.loads(row[7])
        ),
        details=row[8],
        started_at_us=row[9],
        decide_by_us=row[10],
    )


def _take_hold(loaded: Loaded, row: TupleRow) -> None:
    hold = hold_of(row)
    loaded.holds[hold.key] = hold


def _take_transfer(loaded: Loaded, row: TupleRow) -> None:
    transfer = transfer_of(row)
    loaded.transfers[transfer.key] = transfer


def _take_group(loaded: Loaded, row: TupleRow) -> None:
    group = group_of(row)
    loaded.groups[group.key] = group


def _take_spent(loaded: Loaded, row: TupleRow) -> None:
    wallet_id, vendor_id, day, amount = row
    loaded.spent[(wallet_id, vendor_id), (day - _EPOCH).days] = amount


def _hold_columns(holds: Sequence[Hold]) -> tuple[Array, ...]:
    return (
        *key_columns([hold.key for hold in holds]),
        texts([hold.kind for hold in holds]),
        int8s([hold.amount for hold in holds]),
        int8s([hold.captured for hold in holds]),
        int8s([hold.remaining for hold in holds]),
        texts([hold.state for hold in holds]),
        instants([hold.placed_at_us for hold in holds]),
        instants([hold.expires_at_us for hold in holds]),
        texts([hold.terms for hold in holds]),
    )


def _transfer_columns(transfers: Sequence[Transfer]) -> tuple[Array, ...]:
    return (
        *key_columns([one.key for one in transfers]),
        uuids([one.transfer_id for one in transfers]),
        uuids([one.to_wallet_id for one in transfers]),
        int8s([one.amount for one in transfers]),
        texts([one.currency for one in transfers]),
        texts([one.state for one in transfers]),
        texts([one.details for one in transfers]),
        instants([one.sent_at_us for one in transfers]),
    )


def _group_columns(groups: Sequence[Group]) -> tuple[Array, ...]:
    return (
        *key_columns([group.key for group in groups]),
        uuids([group.group_id for group in groups]),
        texts([group.currency for group in groups]),
        texts([group.state for group in groups]),
        int4s([int(group.is_finished) for group in groups]),
        texts([_legs_text(group.legs) for group in groups]),
        texts([group.details for group in groups]),
        instants([group.started_at_us for group in groups]),
        instants([group.decide_by_us for group in groups]),
    )


def _legs_text(legs: Sequence[Leg]) -> str:
    return json.dumps([[leg.wallet_id, leg.amount, leg.state, leg.reason] for leg in legs])


def _spent_columns(spendings: Sequence[Spending]) -> tuple[Array, ...]:
    """Summed by key and day: one statement may not meet a row twice."""
    sums: defaultdict[tuple[SpentKey, int], int] = defaultdict(int)
    for one in spendings:
        sums[one.key, one.day] += one.amount
    return (
        uuids([wallet_id for (wallet_id, _), _ in sums]),
        texts([vendor_id for (_, vendor_id), _ in sums]),
        instants([day * DAY_US for _, day in sums]),
        int8s(list(sums.values())),
    )
