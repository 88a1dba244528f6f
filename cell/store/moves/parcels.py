r"""What travels between cells: sections of rows in PostgreSQL's COPY text format, each between its name and `\.`.

Owns which columns travel and in which order. Computed figures (balance, held, seq, hashes of the wallet row, pins) do
not: the target folds the entries and computes them. A recorded outcome is an entry with five columns more; what it has
begun (the terms of a leg, a saga) are two more. So nothing that has ended travels but with its entry, or once more for
a target that has it as open.
"""

from collections.abc import Iterator
from typing import Final

END: Final = b"\\.\n"

WALLETS: Final = "wallets"
ENTRIES: Final = "entries"

ENTRY_COLUMNS: Final = (
    "wallet_id, seq, posted_at, kind, amount, held_delta, balance_after, held_after, overdraft_limit_after, "
    "status_after, transaction_id, vendor_id, counter_account, subject_id, subject_vendor_id, expires_at, "
    "requested_kind, requested_amount, reason, sealed, hash, salt, details, context"
)
"""In the order of cell/store/audit.py, whose reader takes them."""
RECORD_COLUMNS: Final = "recorded_under, asked_amount, recorded_amount, recorded_currency, terms"
BEGUN_COLUMNS: Final = "leg_terms, saga"
NAME_COLUMNS: Final = "wallet_id, owner_type, owner_ref, kind, currency, opened_at, blocked_by, metadata"
"""What of a wallet no entry states, or only an erasable text."""

INSTANTS: Final = frozenset({"sent_at", "started_at", "decide_by"})
"""Of sagas; in JSON they are microseconds."""

TRANSFER_IS_OPEN: Final = "t.state NOT IN ('settled', 'refunded')"
GROUP_IS_OPEN: Final = "NOT t.is_finished"
"""As the indexes of what is open have it: how much has ended does not matter to who asks by these."""

RECENT_DAY: Final = "(w.posted_at AT TIME ZONE 'UTC')::date - 2"
"""Sums of earlier days nobody reads again: a wallet's last entry is no older than its last sum, and no limit looks
further back than to the day before. By the wallet's own log, so that both cells mean the same days."""

ARRIVED: Final = """
CREATE TEMP TABLE IF NOT EXISTS arrived_wallets (
    wallet_id uuid, owner_type text, owner_ref text, kind text, currency text, opened_at timestamptz, blocked_by text,
    metadata text) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_entries (
    wallet_id uuid, seq bigint, posted_at timestamptz, kind text, amount bigint, held_delta bigint,
    balance_after bigint, held_after bigint, overdraft_limit_after bigint, status_after text, transaction_id uuid,
    vendor_id text, counter_account text, subject_id uuid, subject_vendor_id text, expires_at timestamptz,
    requested_kind text, requested_amount bigint, reason text, sealed bytea, hash bytea, salt bytea, details text,
    context text, recorded_under text, asked_amount bigint, recorded_amount bigint, recorded_currency text,
    terms text, leg_terms text, saga json) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_legs (
    wallet_id uuid, vendor_id text, hold_id uuid, terms text) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_transfers (LIKE transfers) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_groups (LIKE groups) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_spent (LIKE spent) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS arrived_isolated (LIKE isolated) ON COMMIT DELETE ROWS;
"""
"""Where arriving rows are typed and checked before anything is done with them."""

SECTIONS: Final = {
    "entries": (WALLETS, ENTRIES),
    "state": (WALLETS, "legs", "transfers", "groups", "spent", "isolated"),
}


class ParcelBrokenError(Exception):
    """The bytes are no sections of rows of this part."""


def section(name: str, lines: bytes) -> bytes:
    return b"%b\n%b%b" % (name.encode(), lines, END)


def sections(body: bytes, *, part: str) -> Iterator[tuple[str, bytes]]:
    """Each section's name and rows; every section of the part, in order.

    Raises:
        ParcelBrokenError: something else was sent.

    """
    at = 0
    for name in SECTIONS[part]:
        head = f"{name}\n".encode()
        if not body.startswith(head, at):
            raise ParcelBrokenError(f"section {name} must follow at byte {at}")
        start = at + len(head)
        stop = start if body.startswith(END, start) else body.find(b"\n" + END, start) + 1
        if stop < start or not body.startswith(END, stop):
            raise ParcelBrokenError(f"section {name} must end")
        yield name, body[start:stop]
        at = stop + len(END)
    if at != len(body):
        raise ParcelBrokenError(f"nothing may follow at byte {at}")
