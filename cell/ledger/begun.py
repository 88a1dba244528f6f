"""Sagas and the entries that began them: a transfer that left the cell, a group.

How a saga stands now no log tells: settlements and the answers of legs are marks without an entry. But what was begun
every row must say as its entry does; so that a row which comes with its entry need not be believed. Both kinds of
stores use this for units that move.
"""

import json
from typing import Any, Final

from cell.ledger.derived_ids import GROUP_VENDOR, group_id_of, transfer_id_of
from cell.ledger.model import Group, TransactionKey, Transfer
from cell.ledger.posting import IN_TRANSIT, InvariantBrokenError
from contract.chain import CanonicalEntry

Saga = Transfer | Group

GROUP_KIND: Final = "group"
TRANSFER_KIND: Final = "transfer_out"


def begins_group(entry: CanonicalEntry) -> bool:
    """Also one that was refused at once: its legs are told for ever."""
    return (entry.requested_kind or entry.kind) == GROUP_KIND


def begins_transfer(entry: CanonicalEntry, key: TransactionKey) -> bool:
    """Money that leaves for a leg of a group is that group's affair; within the cell nothing is on its way."""
    is_asked = (entry.requested_kind or entry.kind) == TRANSFER_KIND and entry.kind == TRANSFER_KIND
    return is_asked and entry.counter_account == IN_TRANSIT and key.vendor_id != GROUP_VENDOR


def saga_begun_by(entry: CanonicalEntry, key: TransactionKey, terms: str | None, told: Saga | None) -> Saga | None:
    """What was told of the saga that this entry began, `key` and `terms` as recorded for it; None where it began none.

    Raises:
        InvariantBrokenError: nothing was told, or something else than the entry says.

    """
    if begins_transfer(entry, key):
        stated = _stated_transfer(entry, key, _read(terms))
        matches = isinstance(told, Transfer) and stated == _of_transfer(told)
    elif begins_group(entry):
        stated = _stated_group(entry, key, _read(terms))
        matches = isinstance(told, Group) and stated == _of_group(told)
    else:
        matches, told = told is None, None
    if not matches:
        raise InvariantBrokenError(f"P7: what entry {entry.seq} of {entry.wallet_id} began is told otherwise")
    return told


def _stated_transfer(entry: CanonicalEntry, key: TransactionKey, terms: dict[str, Any]) -> tuple[object, ...]:
    return key, transfer_id_of(*key), terms.get("target"), -entry.delta, entry.currency


def _of_transfer(one: Transfer) -> tuple[object, ...]:
    return one.key, one.transfer_id, one.to_wallet_id, one.amount, one.currency


def _stated_group(entry: CanonicalEntry, key: TransactionKey, terms: dict[str, Any]) -> tuple[object, ...]:
    del entry
    return key, group_id_of(*key), terms.get("legs")


def _of_group(one: Group) -> tuple[object, ...]:
    return one.key, one.group_id, [[leg.wallet_id, leg.amount] for leg in one.legs]


def _read(terms: str | None) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(terms or "{}")
    return read
