"""What a receiver learns from `verify_webhook`: the event, or that it must not believe it."""

import json

import pytest

from cellwallet.client import DeliveryMustBeGenuineError, verify_webhook
from contract.webhooks import secret_of, signed_headers

SECRET = secret_of(bytes(range(32)))
NOW_S = 1_800_000_000
ENTRY = {
    **dict.fromkeys(("transaction_id", "wallet_id", "currency", "status_after", "posted_at"), "x"),
    **dict.fromkeys(("vendor_id", "counter_account", "entry_hash", "sealed"), "x"),
    **dict.fromkeys(("amount", "delta", "held_delta", "balance_after", "held_after", "available"), 1),
    **dict.fromkeys(("overdraft_limit_after", "seq"), 1),
    "kind": "debit",
}
EVENT = {
    **dict.fromkeys(("event_id", "cell", "wallet_id", "entry_hash", "occurred_at"), "x"),
    "type": "entry.debit",
    "seq": 1,
    "entry": ENTRY,
}
BODY = json.dumps(EVENT).encode()


def headers(body: bytes = BODY) -> dict[str, str]:
    return signed_headers(secrets=[SECRET], event_id="x", timestamp_s=NOW_S, body=body)


def test_a_genuine_delivery_is_its_event() -> None:
    assert verify_webhook(headers(), BODY, SECRET, now_s=NOW_S) == EVENT


@pytest.mark.parametrize("at", range(0, len(BODY), 7))
def test_one_altered_byte_is_enough(at: int) -> None:
    altered = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
    with pytest.raises(DeliveryMustBeGenuineError):
        verify_webhook(headers(), altered, SECRET, now_s=NOW_S)


def test_another_secret_and_an_old_recording_are_not_believed() -> None:
    with pytest.raises(DeliveryMustBeGenuineError):
        verify_webhook(headers(), BODY, secret_of(bytes(32)), now_s=NOW_S)
    with pytest.raises(DeliveryMustBeGenuineError):
        verify_webhook(headers(), BODY, SECRET, now_s=NOW_S + 301)
    with pytest.raises(DeliveryMustBeGenuineError):
        verify_webhook(headers(), BODY, SECRET)
