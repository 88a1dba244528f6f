"""The check of a history: a true one passes, and any one change of it is caught at its place."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwallet.client import Entry, Owner, Wallet
from cellwallet.client.history import Broken, Verified, canonical_entry, verify_history
from contract.chain import ZERO_HASH, entry_hash
from contract.checkpoints import Checkpoint, Proof
from contract.ids import wallet_id_of
from contract.merkle import Leaf

WALLET_ID = wallet_id_of(owner_type="customer", owner_ref="c-1", kind="main", currency="EUR")
START = datetime(2027, 1, 15, 8, tzinfo=UTC)
LIMIT = 10_000
UNCOVERED = {"description", "reference", "metadata", "context", "to_wallet_id"}
"""Texts that may be erased, and what only repeats the counter account."""

STEPS = st.lists(
    st.tuples(st.integers(min_value=-500, max_value=500), st.integers(min_value=0, max_value=5_000_000)),
    min_size=2,
    max_size=12,
)


def _history(steps: list[tuple[int, int]]) -> list[Entry]:
    """A log as a cell writes it: an opening, then credits, debits, and a refusal wherever the step is zero."""
    entries: list[Entry] = []
    balance, posted_at, previous = 0, START, ZERO_HASH
    for seq, (delta, gap_us) in enumerate([(0, 0), *steps], start=1):
        balance, posted_at = balance + delta, posted_at + timedelta(microseconds=gap_us)
        draft = Entry(
            transaction_id=f"0190a0b0-0000-7000-8000-{seq:012d}",
            wallet_id=WALLET_ID,
            kind="opened" if seq == 1 else "refused" if delta == 0 else "credit" if delta > 0 else "debit",
            amount=abs(delta),
            currency="EUR",
            delta=delta,
            held_delta=0,
            balance_after=balance,
            held_after=0,
            available=balance + LIMIT,
            overdraft_limit_after=LIMIT,
            status_after="active",
            seq=seq,
            posted_at=posted_at,
            vendor_id="shop",
            counter_account="clearing:shop",
            entry_hash="",
            sealed="5e" * 32,
            reason="available_balance_must_cover_amount" if delta == 0 and seq > 1 else None,
            requested_kind="debit" if delta == 0 and seq > 1 else None,
        )
        previous = entry_hash(previous, canonical_entry(draft))
        entries.append(dataclasses.replace(draft, entry_hash=previous.hex()))
    return entries


def _wallet(entry: Entry, **other: Any) -> Wallet:
    fields: dict[str, Any] = {
        "balance": entry.balance_after,
        "held": entry.held_after,
        "overdraft_limit": entry.overdraft_limit_after,
        "status": entry.status_after,
        "seq": entry.seq,
        **other,
    }
    return Wallet(
        wallet_id=WALLET_ID,
        owner=Owner(type="customer", ref="c-1"),
        kind="main",
        currency="EUR",
        available=0,
        opened_at=START,
        updated_at=START,
        metadata={},
        **fields,
    )


def _changed(found: Any) -> Any:
    match found:
        case int():
            return found + 1
        case str():
            return found[:-1] + ("0" if not found.endswith("0") else "1")
        case datetime():
            return found + timedelta(microseconds=1)
        case _:
            return "0190a0b0-0000-7000-8000-00000000ffff"


@given(STEPS)
def test_a_true_history_passes(steps: list[tuple[int, int]]) -> None:
    entries = _history(steps)
    verdict = verify_history(_wallet(entries[-1]), entries)
    assert isinstance(verdict, Verified)
    assert (verdict.entries, verdict.balance) == (len(entries), entries[-1].balance_after)
    assert verdict.head_hash == entries[-1].entry_hash


@given(STEPS, st.data())
def test_a_changed_field_is_caught_at_its_entry(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    entries = _history(steps)
    place = data.draw(st.integers(min_value=0, max_value=len(entries) - 1), label="place")
    names = [field.name for field in dataclasses.fields(Entry) if field.name not in UNCOVERED]
    name = data.draw(st.sampled_from(names), label="field")
    if name == "expires_at":
        other: Any = START
    elif name == "requested_amount":
        other = 7
    else:
        other = _changed(getattr(entries[place], name))
    forged = dataclasses.replace(entries[place], **{name: other})
    verdict = verify_history(_wallet(entries[-1]), [*entries[:place], forged, *entries[place + 1 :]])
    assert isinstance(verdict, Broken)
    assert verdict.seq == place + 1


@given(STEPS, st.data())
def test_a_dropped_entry_is_caught_by_its_number(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    entries = _history(steps)
    place = data.draw(st.integers(min_value=0, max_value=len(entries) - 1), label="place")
    verdict = verify_history(_wallet(entries[-1]), [*entries[:place], *entries[place + 1 :]])
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (place + 1, "seq")


@given(STEPS, st.data())
def test_swapped_entries_are_caught_at_the_first(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    entries = _history(steps)
    place = data.draw(st.integers(min_value=0, max_value=len(entries) - 2), label="place")
    entries[place], entries[place + 1] = entries[place + 1], entries[place]
    verdict = verify_history(_wallet(max(entries, key=lambda entry: entry.seq)), entries)
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (place + 1, "seq")


@given(STEPS, st.data())
def test_a_rewritten_past_with_fresh_hashes_is_caught_by_the_next_link(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whoever changes an entry and its hash breaks the entry after it."""
    entries = _history(steps)
    place = data.draw(st.integers(min_value=0, max_value=len(entries) - 2), label="place")
    previous = bytes.fromhex(entries[place - 1].entry_hash) if place else ZERO_HASH
    forged = dataclasses.replace(entries[place], vendor_id="somebody")
    forged = dataclasses.replace(forged, entry_hash=entry_hash(previous, canonical_entry(forged)).hex())
    verdict = verify_history(_wallet(entries[-1]), [*entries[:place], forged, *entries[place + 1 :]])
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (place + 2, "entry_hash")


@pytest.mark.parametrize(
    ("field", "other"), [("balance", 8), ("held", 1), ("overdraft_limit", 3), ("status", "closed")]
)
def test_a_wallet_that_is_not_its_last_entry_is_caught(field: str, other: Any) -> None:
    entries = _history([(5, 1), (2, 1)])
    verdict = verify_history(_wallet(entries[-1], **{field: other}), entries)
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (3, f"wallet.{field}")


def test_entries_after_the_wallet_was_read_are_no_fault() -> None:
    entries = _history([(5, 1), (2, 1), (-3, 1)])
    assert isinstance(verify_history(_wallet(entries[1]), entries), Verified)


def test_texts_may_be_erased() -> None:
    entries = _history([(5, 1)])
    described = dataclasses.replace(entries[1], description="coffee", metadata={"till": 4})
    assert isinstance(verify_history(_wallet(entries[-1]), [entries[0], described]), Verified)


# What the cell signed.


def _proof(entry: Entry, **other: Any) -> Proof:
    """A proof that was verified: how the wallet stood after this entry."""
    fields: dict[str, Any] = {
        "wallet_id": WALLET_ID,
        "seq": entry.seq,
        "head_hash": bytes.fromhex(entry.entry_hash),
        "balance": entry.balance_after,
        "held": entry.held_after,
        **other,
    }
    checkpoint = Checkpoint(
        cell="cell-1",
        number=4,
        taken_at="2027-01-15T08:00:00.000000Z",
        wallets=1,
        totals={},
        merkle_root="",
        previous_hash="",
        public_key="",
        document={},
    )
    return Proof(leaf=Leaf(**fields), position=0, path=(), checkpoint=checkpoint)


@given(STEPS, st.data())
def test_a_history_passes_through_what_was_signed(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    entries = _history(steps)
    signed = data.draw(st.sampled_from(entries))
    verdict = verify_history(_wallet(entries[-1]), entries, _proof(signed))
    assert isinstance(verdict, Verified)
    assert verdict.checkpoint is not None
    assert (verdict.checkpoint.number, verdict.checkpoint.seq) == (4, signed.seq)


@given(STEPS, st.integers(-3, 3).filter(bool))
def test_a_past_that_was_written_again_from_the_first_entry_on_is_caught(
    steps: list[tuple[int, int]], more: int
) -> None:
    """Every hash fits, and yet it is not the history that was signed."""
    signed, forged = _history(steps), _history([(steps[0][0] + more, steps[0][1]), *steps[1:]])
    verdict = verify_history(_wallet(forged[-1]), forged, _proof(signed[-1]))
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (len(signed), "checkpoint.entry_hash")
    assert str(verdict).startswith(f"entry {len(signed)}: checkpoint.entry_hash must be {signed[-1].entry_hash}")


@pytest.mark.parametrize(("field", "other"), [("balance", 8), ("held", 1)])
def test_a_leaf_of_other_figures_is_caught(field: str, other: int) -> None:
    entries = _history([(5, 1)])
    verdict = verify_history(_wallet(entries[-1]), entries, _proof(entries[-1], **{field: other}))
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (2, f"checkpoint.{field}_after")


def test_a_log_shorter_than_what_was_signed_is_caught() -> None:
    entries = _history([(5, 1), (2, 1)])
    verdict = verify_history(_wallet(entries[1]), entries[:2], _proof(entries[2]))
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field, verdict.found) == (3, "seq", "no entry")


def test_a_proof_of_another_wallet_is_none() -> None:
    entries = _history([(5, 1)])
    verdict = verify_history(_wallet(entries[-1]), entries, _proof(entries[-1], wallet_id="another"))
    assert isinstance(verdict, Broken)
    assert verdict.field == "checkpoint.wallet_id"


def test_a_refusal_before_the_opening_has_no_currency() -> None:
    draft = dataclasses.replace(_history([(5, 1)])[0], kind="refused", status_after="unopened", currency="XXX")
    early = dataclasses.replace(draft, entry_hash=entry_hash(ZERO_HASH, canonical_entry(draft)).hex())
    assert isinstance(verify_history(_wallet(early, status="unopened"), [early]), Verified)
    in_euro = dataclasses.replace(early, currency="EUR")
    verdict = verify_history(_wallet(in_euro, status="unopened"), [in_euro])
    assert isinstance(verdict, Broken)
    assert (verdict.seq, verdict.field) == (1, "currency")
