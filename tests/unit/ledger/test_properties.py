"""Whatever is asked, in whatever order: money is conserved, ids count once, the log explains the wallet."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ledger_book import Book

from cell.ledger.commands import Command
from cell.ledger.model import Instant, Wallet
from cell.ledger.outcomes import Accepted, Refused, Replayed
from cell.ledger.posting import fold
from contract.chain import ZERO_HASH
from contract.money import AMOUNT_MAX

REFS = ("alice", "bob", "carol")
amounts = st.one_of(st.integers(1, 200), st.sampled_from([AMOUNT_MAX, AMOUNT_MAX - 1]))


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.wallets = [
            self.book.wallet(ref, overdraft_limit=limit) for ref, limit in zip(REFS, (0, 50, 0), strict=True)
        ]
        self.decided: list[tuple[Command, Any]] = []

    def _decide(self, command: Command) -> None:
        outcome = self.book.decide(command)
        if isinstance(outcome, Accepted | Refused):
            self.decided.append((command, outcome.recorded))

    @rule(who=st.integers(0, 2), amount=amounts)
    def debit(self, who: int, amount: int) -> None:
        self._decide(self.book.debit(self.wallets[who], amount))

    @rule(who=st.integers(0, 2), amount=amounts)
    def credit(self, who: int, amount: int) -> None:
        self._decide(self.book.credit(self.wallets[who], amount))

    @rule(who=st.integers(0, 2), to=st.integers(0, 2), amount=amounts)
    def transfer(self, who: int, to: int, amount: int) -> None:
        self._decide(self.book.transfer(self.wallets[who], self.wallets[to], amount))

    @rule(which=st.integers(0, 10_000), amount=st.one_of(st.none(), st.integers(1, 200)))
    def reverse(self, which: int, amount: int | None) -> None:
        if self.decided:
            original = self.decided[which % len(self.decided)][0]
            self._decide(self.book.reverse(original.wallet_id, original, amount))

    @rule(who=st.integers(0, 2), status=st.sampled_from(["active", "suspended"]), limit=st.integers(0, 60))
    def change(self, who: int, status: str, limit: int) -> None:
        self._decide(self.book.change(self.wallets[who], status=status, overdraft_limit=limit))

    @rule(which=st.integers(0, 10_000))
    def again(self, which: int) -> None:
        if self.decided:
            command, recorded = self.decided[which % len(self.decided)]
            before = len(self.book.entries)
            outcome = self.book.decide(command)
            assert isinstance(outcome, Replayed)
            assert outcome.recorded == recorded
            assert len(self.book.entries) == before

    @invariant()
    def money_is_conserved(self) -> None:
        wallets = sum(wallet.balance for wallet in self.book.loaded.wallets.values())
        assert wallets + sum(delta for _, _, delta in self.book.account_deltas) == 0

    @invariant()
    def nobody_spends_what_is_not_there(self) -> None:
        for wallet in self.book.loaded.wallets.values():
            assert wallet.available >= 0

    @invariant()
    def the_log_explains_every_wallet(self) -> None:
        for wallet in self.book.loaded.wallets.values():
            state = Wallet(
                wallet_id=wallet.wallet_id,
                unit=wallet.unit,
                owner_type=wallet.owner_type,
                currency=wallet.currency,
                status="active",
                balance=0,
                held=0,
                overdraft_limit=0,
                seq=0,
                head_hash=ZERO_HASH,
                posted_at_us=Instant(0),
            )
            for entry in self.book.entries:
                if entry.wallet_id == wallet.wallet_id:
                    state = fold(state, entry)
            assert state == wallet


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
