"""Golden vectors: forms that are fixed for ever, because others computed with them."""

import hashlib

import pycountry
import pytest

from contract.chain import ZERO_HASH, CanonicalEntry, canonical_text, entry_hash, sealed_hash
from contract.ids import wallet_id_of
from contract.money import MINOR_UNIT_DIGITS, amount_text
from contract.slots import slot_of


@pytest.mark.parametrize(
    ("owner_type", "ref", "currency", "wallet_id", "slot"),
    [
        ("person", "alice", "EUR", "53785e27-b4fe-59d8-ade4-f2c23944cb1f", 12_838),
        ("merchant", "Café Ñandú", "JPY", "3675797a-9d4b-5d22-8cae-44fd1c78f8b2", 10_441),
        ("bank_account", "704", "CZK", "3fb6d9dc-343e-50fe-82d1-492c9d7679c4", 14_369),
    ],
)
def test_wallet_ids_and_slots(owner_type: str, ref: str, currency: str, wallet_id: str, slot: int) -> None:
    computed = wallet_id_of(owner_type=owner_type, owner_ref=ref, kind="main", currency=currency)
    assert (computed, slot_of(computed)) == (wallet_id, slot)


def entry(**more: object) -> CanonicalEntry:
    fields: dict[str, object] = {
        "wallet_id": "53785e27-b4fe-59d8-ade4-f2c23944cb1f",
        "seq": 2,
        "posted_at_us": 1_700_000_000_123_456,
        "kind": "debit",
        "currency": "EUR",
        "delta": -500,
        "held_delta": 0,
        "balance_after": 1_500,
        "held_after": 0,
        "overdraft_limit_after": 0,
        "status_after": "active",
        "transaction_id": "0190b0f0-0000-7000-8000-000000000001",
        "vendor_id": "acme",
        "counter_account": "clearing:acme",
        "subject_id": None,
        "subject_vendor_id": None,
        "expires_at_us": None,
        "requested_kind": None,
        "requested_amount": None,
        "reason": None,
        "sealed": "1d947f7f073d9f047602befb539470fa212fbb108f1bcd8844162021e3d9158b",
    }
    return CanonicalEntry(**fields | more)  # type: ignore[arg-type]


TEXT = (
    "v1\n53785e27-b4fe-59d8-ade4-f2c23944cb1f\n2\n1700000000123456\ndebit\nEUR\n-500\n0\n1500\n0\n0\nactive\n"
    "0190b0f0-0000-7000-8000-000000000001\nacme\nclearing:acme\n\n\n\n\n\n\n"
    "1d947f7f073d9f047602befb539470fa212fbb108f1bcd8844162021e3d9158b"
)


def test_the_canonical_form_v1() -> None:
    assert canonical_text(entry()) == TEXT
    by_hand = hashlib.sha256(bytes(32) + TEXT.encode())
    assert entry_hash(ZERO_HASH, entry()) == by_hand.digest()
    assert by_hand.hexdigest() == "331bef04ad0f89e7c48c6eec40318c9bb9003e10232ef3de05f2ffe8cf49ba8c"


def test_the_seal() -> None:
    salt, details, context = bytes(range(16)), '{"description":"čaj"}', '{"client_ip":"127.0.0.1"}'
    by_hand = hashlib.sha256(salt + b"22\n" + details.encode() + context.encode()).hexdigest()
    assert sealed_hash(salt=salt, details=details, context=context) == by_hand == entry().sealed
    moved = sealed_hash(salt=salt, details=details + context[:1], context=context[1:])
    assert moved != by_hand, "the border between details and context is sealed too"


@pytest.mark.parametrize("field", [name for name in CanonicalEntry.__slots__ if name != "wallet_id"])
def test_every_field_changes_the_hash(field: str) -> None:
    before = getattr(entry(), field)
    after = before + 1 if isinstance(before, int) else "other" if before else "7"
    assert entry_hash(ZERO_HASH, entry(**{field: after})) != entry_hash(ZERO_HASH, entry())


def test_currencies_are_those_of_iso_4217() -> None:
    no_money = {"XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
    assert set(MINOR_UNIT_DIGITS) == {currency.alpha_3 for currency in pycountry.currencies} - no_money


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(123_456, "EUR", "1,234.56"), (-5, "EUR", "-0.05"), (1_234, "JPY", "1,234"), (1_234, "KWD", "1.234")],
)
def test_amounts_for_people(amount: int, currency: str, text: str) -> None:
    assert amount_text(amount, currency) == text
