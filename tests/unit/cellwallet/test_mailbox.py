"""The demo's endpoint believes what the platform has signed, and nothing else."""

import json
import time
from typing import Any

from cellwallet.demo.listening import Mailbox
from contract.webhooks import secret_of, signed_headers

SECRET = secret_of(b"s" * 32)
ANOTHER = secret_of(b"t" * 32)
ID = "0190a0b0-0000-7000-8000-000000000001"
ENTRY: dict[str, Any] = {
    "transaction_id": ID,
    "wallet_id": ID,
    "kind": "credit",
    "amount": 1,
    "currency": "EUR",
    "delta": 1,
    "held_delta": 0,
    "balance_after": 1,
    "held_after": 0,
    "available": 1,
    "overdraft_limit_after": 0,
    "status_after": "active",
    "seq": 2,
    "posted_at": "2027-01-15T08:00:00.123456Z",
    "vendor_id": "shop",
    "counter_account": "clearing:shop",
    "entry_hash": "ab" * 32,
    "sealed": "cd" * 32,
}
EVENT = {
    "event_id": ID,
    "type": "entry.credit",
    "cell": "cell-1",
    "wallet_id": ID,
    "seq": 2,
    "entry_hash": "ab" * 32,
    "occurred_at": "2027-01-15T08:00:00.123456Z",
    "entry": ENTRY,
}
BODY = json.dumps(EVENT).encode()


def _signed(secret: str) -> dict[str, str]:
    return signed_headers(secrets=[secret], event_id=ID, timestamp_s=int(time.time()), body=BODY)


def _mailbox(secret: str | None) -> Mailbox:
    mailbox = Mailbox()
    mailbox.secret = secret
    return mailbox


def test_a_genuine_event_is_taken_once() -> None:
    mailbox = _mailbox(SECRET)
    assert mailbox.take(_signed(SECRET), BODY) == 204
    assert mailbox.take(_signed(SECRET), BODY) == 204
    assert list(mailbox.events) == [ID]
    assert mailbox.forged == 0


def test_a_forged_or_altered_one_is_not() -> None:
    mailbox = _mailbox(SECRET)
    assert mailbox.take(_signed(ANOTHER), BODY) == 400
    assert mailbox.take(_signed(SECRET), BODY.replace(b'"amount": 1', b'"amount": 9')) == 400
    assert mailbox.take({}, b"") == 400
    assert (mailbox.events, mailbox.forged) == ({}, 3)


def test_what_comes_before_the_secret_is_to_come_again() -> None:
    mailbox = _mailbox(None)
    assert mailbox.take(_signed(SECRET), BODY) == 503
    assert (mailbox.events, mailbox.forged) == ({}, 0)
