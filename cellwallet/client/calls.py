"""One function per call of the vendor API: from arguments to a `Call`, the request and how its answer is read.

Pure but for the default `transaction_id` (uuid7). Does not send, wait or judge a "no": exchange.py does. What is a
valid amount, currency or id is the platform's to say; nothing is checked twice here.
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import uuid_utils
from pydantic import TypeAdapter

from cellwallet.client.results import Balance, Entry, EntryPage, OwnedWallets, Posting, Statement, Wallet
from contract.headers import CELL, IDEMPOTENT_REPLAYED
from contract.ids import wallet_id_of
from contract.values import value

T = TypeVar("T")
Metadata = dict[str, Any]
Document = dict[str, Any]
"""JSON as it came: what is signed must stay as it is."""


@value
class Reply:
    """An HTTP answer as bytes; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_replay(self) -> bool:
        return self.headers.get(IDEMPOTENT_REPLAYED.lower()) == "true"

    @property
    def cell(self) -> str | None:
        return self.headers.get(CELL.lower())


@value
class Call(Generic[T]):
    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    path: str
    read: Callable[[Reply], T]
    """From a successful answer to the result."""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    transaction_id: str | None = None
    accept: str | None = None
    """Media type of the answer; none = JSON."""
    is_open: Callable[[Any], bool] | None = None
    """Whether an answer is not the last one yet, so that the same call is to be sent again; none = every one is."""


def open_wallet(
    *,
    owner_type: str,
    owner_ref: str,
    currency: str,
    kind: str = "main",
    overdraft_limit: int = 0,
    metadata: Metadata | None = None,
) -> Call[Wallet]:
    """Open the one wallet that this owner has of this kind in this currency, or find it (`replayed`)."""
    body = {
        "owner": {"type": owner_type, "ref": owner_ref},
        "currency": currency,
        "kind": kind,
        "overdraft_limit": overdraft_limit,
        "metadata": metadata,
    }
    wallet_id = wallet_id_of(owner_type=owner_type, owner_ref=owner_ref, kind=kind, currency=currency)
    return Call(method="PUT", path=wallet_path(wallet_id), body=_json(body), read=_read_opened)


def wallet(wallet_id: str) -> Call[Wallet]:
    """The wallet as it is now."""
    return Call(method="GET", path=wallet_path(wallet_id), read=_read_wallet)


def wallets_of(
    *, owner_type: str, owner_ref: str, currency: str | None = None, kind: str | None = None
) -> Call[OwnedWallets]:
    """All wallets of an owner; this asks every cell unless currency and kind are given."""
    return Call(
        method="GET",
        path=f"/v1/owners/{_segment(owner_type)}/{_segment(owner_ref)}/wallets",
        query=query_of({"currency": currency, "kind": kind}),
        read=_read_owned,
    )


def change(
    wallet_id: str,
    *,
    status: Literal["active", "suspended", "closed"] | None = None,
    overdraft_limit: int | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
) -> Call[Wallet]:
    """Change status, overdraft limit or (as a whole) metadata; needs `wallet:manage`."""
    fields = {"status": status, "overdraft_limit": overdraft_limit, "metadata": metadata}
    return command_call("PATCH", wallet_path(wallet_id), fields, transaction_id, _read_wallet)


def debit(
    wallet_id: str,
    *,
    amount: int,
    currency: str,
    description: str | None = None,
    reference: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
) -> Call[Posting]:
    """Take money from a wallet."""
    fields = {
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "metadata": metadata,
    }
    return command_call("POST", wallet_path(wallet_id, "debit"), fields, transaction_id, read_posting)


def credit(
    wallet_id: str,
    *,
    amount: int,
    currency: str,
    description: str | None = None,
    reference: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
) -> Call[Posting]:
    """Put money into a wallet."""
    fields = {
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "metadata": metadata,
    }
    return command_call("POST", wallet_path(wallet_id, "credit"), fields, transaction_id, read_posting)


def reverse(
    wallet_id: str,
    *,
    original_transaction_id: str,
    amount: int | None = None,
    original_vendor: str | None = None,
    description: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
) -> Call[Posting]:
    """Undo a debit, credit or capture of the same wallet; without an amount all that is left of it."""
    fields = {
        "original_transaction_id": original_transaction_id,
        "amount": amount,
        "original_vendor": original_vendor,
        "description": description,
        "metadata": metadata,
    }
    return command_call("POST", wallet_path(wallet_id, "reverse"), fields, transaction_id, read_posting)


def transfer(
    wallet_id: str,
    *,
    to_wallet_id: str,
    amount: int,
    currency: str,
    description: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
    wait: bool = False,
) -> Call[Posting]:
    """Move money to another wallet; `state` of the posting tells whether it has arrived.

    To another cell it may be `in_transit`: it will be settled, or refunded, without anybody asking. With `wait` the
    same call is sent again meanwhile, as long as retries allow; it may be in transit still when they end.
    """
    fields = {
        "to_wallet_id": to_wallet_id,
        "amount": amount,
        "currency": currency,
        "description": description,
        "metadata": metadata,
    }
    call = command_call("POST", wallet_path(wallet_id, "transfers"), fields, transaction_id, read_posting)
    return dataclasses.replace(call, is_open=_is_in_transit) if wait else call


def transfer_status(wallet_id: str, transaction_id: str) -> Call[Posting]:
    """How far this vendor's transfer from the wallet has come: `in_transit`, `settled` or `refunded`."""
    return Call(method="GET", path=wallet_path(wallet_id, "transfers", transaction_id), read=read_posting)


def balance(wallet_id: str, *, at: datetime | None = None) -> Call[Balance]:
    """The balance now, or as it was at a past instant."""
    return Call(
        method="GET",
        path=wallet_path(wallet_id, "balance"),
        query=query_of({"at": instant_text(at)}),
        read=_read_balance,
    )


def entries_page(
    wallet_id: str,
    *,
    order: Literal["asc", "desc"] = "desc",
    limit: int | None = None,
    cursor: str | None = None,
    kind: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> Call[EntryPage]:
    """One page of a wallet's log, `from_` inclusive, `to` exclusive, at most 500 entries."""
    fields = {
        "order": order,
        "limit": None if limit is None else str(limit),
        "cursor": cursor,
        "kind": kind,
        "from": instant_text(from_),
        "to": instant_text(to),
    }
    return Call(method="GET", path=wallet_path(wallet_id, "entries"), query=query_of(fields), read=_read_entry_page)


def statement(wallet_id: str, *, from_: datetime | None = None, to: datetime | None = None) -> Call[Statement]:
    """Opening balance, what changed it, closing balance; all of it, unless `from_` (inclusive) or `to` is given."""
    fields = {"from": instant_text(from_), "to": instant_text(to)}
    return Call(method="GET", path=wallet_path(wallet_id, "statement"), query=query_of(fields), read=_read_statement)


def statement_csv(wallet_id: str, *, from_: datetime | None = None, to: datetime | None = None) -> Call[bytes]:
    """The same as CSV (RFC 4180, UTF-8), byte for byte as it came."""
    fields = {"from": instant_text(from_), "to": instant_text(to)}
    path = wallet_path(wallet_id, "statement")
    return Call(method="GET", path=path, query=query_of(fields), read=lambda reply: reply.body, accept="text/csv")


def transaction(wallet_id: str, transaction_id: str) -> Call[Entry]:
    """The entry that decided this vendor's transaction, a refusal included."""
    return Call(method="GET", path=wallet_path(wallet_id, "transactions", transaction_id), read=_read_entry)


def proof(wallet_id: str, *, checkpoint: int | None = None) -> Call[Document]:
    """How the wallet stood in a checkpoint, or in the newest, and that it did: to be verified (history.py)."""
    query = query_of({"checkpoint": "latest" if checkpoint is None else str(checkpoint)})
    return Call(method="GET", path=wallet_path(wallet_id, "proof"), query=query, read=_read_document)


def checkpoints_page(
    *,
    cell: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Document]:
    """One page of what a cell has signed; without a name, of any cell that answers."""
    fields = {"cell": cell, "order": order, "limit": None if limit is None else str(limit), "cursor": cursor}
    return Call(method="GET", path="/v1/checkpoints", query=query_of(fields), read=_read_document)


def keys() -> Call[Document]:
    """The public keys of the fleet (JWKS), as the platform itself tells them."""
    return Call(method="GET", path="/v1/keys", read=_read_document)


def instant_text(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC with microseconds.

    Raises:
        ValueError: a naive datetime, which names no instant.

    """
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone; instants are aware datetimes")
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def command_call(
    method: Literal["POST", "PATCH"],
    path: str,
    fields: dict[str, Any],
    transaction_id: str | None,
    read: Callable[[Reply], T],
) -> Call[T]:
    sent_id = transaction_id or str(uuid_utils.uuid7())
    body = _json({"transaction_id": sent_id, **fields})
    return Call(method=method, path=path, body=body, transaction_id=sent_id, read=read)


def wallet_path(wallet_id: str, *below: str) -> str:
    return "/".join(("/v1/wallets", *map(_segment, (wallet_id, *below))))


def _segment(text: str) -> str:
    """One segment of a path; dots alone would be taken for a way up."""
    escaped = quote(text, safe="")
    return escaped.replace(".", "%2E") if text in {".", ".."} else escaped


def _json(fields: dict[str, Any]) -> bytes:
    given = {name: field for name, field in fields.items() if field is not None}
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def query_of(fields: dict[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, field) for name, field in fields.items() if field is not None)


_WALLET = TypeAdapter(Wallet)
_OWNED = TypeAdapter(OwnedWallets)
_POSTING = TypeAdapter(Posting)
_BALANCE = TypeAdapter(Balance)
_ENTRY = TypeAdapter(Entry)
_ENTRY_PAGE = TypeAdapter(EntryPage)
_DOCUMENT = TypeAdapter(Document)
_STATEMENT = TypeAdapter(Statement)


def _read_wallet(reply: Reply) -> Wallet:
    read = _WALLET.validate_json(reply.body)
    return dataclasses.replace(read, replayed=reply.is_replay, cell=reply.cell)


def _read_opened(reply: Reply) -> Wallet:
    read = _WALLET.validate_json(reply.body)
    return dataclasses.replace(read, replayed=reply.status == 200, cell=reply.cell)


def read_posting(reply: Reply) -> Posting:
    read = _POSTING.validate_json(reply.body)
    return dataclasses.replace(read, replayed=reply.is_replay, cell=reply.cell)


def _is_in_transit(posting: Posting) -> bool:
    return posting.state == "in_transit"


def _read_balance(reply: Reply) -> Balance:
    return dataclasses.replace(_BALANCE.validate_json(reply.body), cell=reply.cell)


def _read_owned(reply: Reply) -> OwnedWallets:
    return _OWNED.validate_json(reply.body)


def _read_entry(reply: Reply) -> Entry:
    return _ENTRY.validate_json(reply.body)


def _read_statement(reply: Reply) -> Statement:
    return dataclasses.replace(_STATEMENT.validate_json(reply.body), cell=reply.cell)


def _read_entry_page(reply: Reply) -> EntryPage:
    return _ENTRY_PAGE.validate_json(reply.body)


def _read_document(reply: Reply) -> Document:
    return _DOCUMENT.validate_json(reply.body)
