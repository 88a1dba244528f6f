"""Windows and lines as pure rules: whole, in order, nothing twice; who hears of what, and when it is tried again."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cell.events.event import receivers, retry_after_s, secrets_in_force
from cell.events.window import brought_forward, cut, has_hole, lines
from contract.configuration import Webhook, WebhookSecret


@dataclass(frozen=True)
class Entry:
    wallet_id: str
    seq: int
    xid: int
    kind: str = "debit"
    vendor_id: str = "acme"
    subject_vendor_id: str | None = None
    hash: bytes = b""


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 10))
def test_a_window_holds_whole_transactions_only(xids: list[int], at_most: int) -> None:
    log = [Entry("w", number, xid) for number, xid in enumerate(sorted(xids), start=1)]
    window = cut(log[: at_most + 1], from_xid=1, horizon=10, at_most=at_most)
    below = [entry for entry in log if entry.xid < window.to_xid]
    assert list(window.entries) == below, "nothing below the end is left out, nothing above it is in"
    assert window.to_xid == 10 or len(log) > at_most


def test_a_line_is_in_the_order_of_the_wallet_and_begins_above_its_cursor() -> None:
    told = lines([Entry("a", 3, 5), Entry("b", 1, 5), Entry("a", 2, 6), Entry("a", 1, 4)], {"a": 1})
    assert {wallet: [entry.seq for entry in line] for wallet, line in told.items()} == {"a": [2, 3], "b": [1]}
    assert not has_hole(told["a"], 1)
    assert has_hole(told["a"], 0)


def test_what_was_told_ends_what_is_brought_forward() -> None:
    older = [Entry("a", 5, 20), Entry("a", 4, 30), Entry("a", 3, 9), Entry("a", 2, 40)]
    untold, is_end = brought_forward(older, cursor=0, from_xid=10)
    assert ([entry.seq for entry in untold], is_end) == ([5, 4], True)
    untold, is_end = brought_forward(older[:2], cursor=0, from_xid=10)
    assert ([entry.seq for entry in untold], is_end) == ([5, 4], False)
    assert brought_forward(older, cursor=4, from_xid=0)[0] == older[:1]


def webhook(vendor: str, *secrets: WebhookSecret, kinds: tuple[str, ...] | None = None) -> Webhook:
    given_ = secrets or (WebhookSecret(secret="s"),)
    hook = "00000000-0000-4000-8000-000000000001"
    return Webhook(id=hook, vendor_id=vendor, url="https://x.example/", kinds=kinds, secrets=given_)


def test_a_vendor_hears_of_what_it_asked_and_of_what_is_its_own() -> None:
    acme, other = webhook("acme"), webhook("other", kinds=("expire",))
    assert receivers(Entry("a", 1, 1), (acme, other)) == [acme]
    assert receivers(Entry("a", 1, 1, "expire", "@cell", "other"), (acme, other)) == [other]
    assert receivers(Entry("a", 1, 1, "refund", "@cell", "other"), (acme, other)) == []


def test_former_secrets_sign_until_their_end() -> None:
    present, former = WebhookSecret(secret="new"), WebhookSecret(secret="old", until="2026-01-02T00:00:00.000000Z")
    rotated = webhook("acme", present, former)
    assert secrets_in_force(rotated, "2026-01-01T23:59:59.999999Z") == ("new", "old")
    assert secrets_in_force(rotated, "2026-01-02T00:00:00.000000Z") == ("new",)


def test_pauses_double_are_spread_and_end_somewhere() -> None:
    pauses = [retry_after_s(attempts, first_s=1, longest_s=100, jitter=1) for attempts in (1, 2, 3, 9, 10_000)]
    assert pauses == [1, 2, 4, 100, 100]
    assert retry_after_s(3, first_s=1, longest_s=100, jitter=0) == 2
