"""Whatever is asked, in whatever order: money is conserved, ids count once, the log explains the wallet."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ledger_book import Book

from cell.ledger.commands import Command, PlaceHold, SendTransfer, StartGroup
from cell.ledger.footprint import footprint
from cell.ledger.holding import fold_hold, subject_of
from cell.ledger.model import Hold, Instant, TransactionKey
from cell.ledger.outcomes import Accepted, Refused, Replayed
from cell.ledger.posting import fold, unopened
from contract.ids import WalletId, wallet_id_of
from contract.money import AMOUNT_MAX

REFS = ("alice", "bob", "carol")
FAR = wallet_id_of(owner_type="person", owner_ref="far", kind="main", currency="EUR")
"""Another cell's."""
LATE = wallet_id_of(owner_type="person", owner_ref="late", kind="main", currency="EUR")
"""Nobody has opened it at first."""
amounts = st.one_of(st.integers(1, 200), st.sampled_from([AMOUNT_MAX, AMOUNT_MAX - 1]))
small = st.integers(1, 60)
who = st.integers(0, 2)
which = st.integers(0, 10_000)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.book.lose_unit(FAR)
        self.wallets = [
            self.book.wallet(ref, overdraft_limit=limit) for ref, limit in zip(REFS, (0, 50, 0), strict=True)
        ]
        self.decided: list[tuple[Command, Any]] = []

    def _decide(self, command: Command) -> None:
        outcome = self.book.decide(command)
        if isinstance(outcome, Accepted | Refused):
            self.decided.append((command, outcome.recorded))

    def _asked(self, kind: type[Any], number: int) -> Any:
        mine = [command for command, _ in self.decided if isinstance(command, kind)]
        return mine[number % len(mine)] if mine else None

    @rule(who=who, amount=amounts)
    def debit(self, who: int, amount: int) -> None:
        self._decide(self.book.debit(self.wallets[who], amount))

    @rule(who=who, amount=amounts)
    def credit(self, who: int, amount: int) -> None:
        self._decide(self.book.credit(self.wallets[who], amount))

    @rule(who=who, to=st.integers(0, 4), amount=amounts)
    def transfer(self, who: int, to: int, amount: int) -> None:
        self._decide(self.book.transfer(self.wallets[who], [*self.wallets, FAR, LATE][to], amount))

    @rule(number=which, is_settled=st.booleans())
    def end_transfer(self, number: int, *, is_settled: bool) -> None:
        sent = self._asked(SendTransfer, number)
        if sent is not None:
            self._decide(self.book.settle(sent) if is_settled else self.book.refund(sent))

    @rule(who=st.integers(0, 3), amount=amounts)
    def receive(self, who: int, amount: int) -> None:
        self._decide(self.book.receive(self.book.transfer(FAR, [*self.wallets, LATE][who], amount)))

    @rule(which=which, amount=st.one_of(st.none(), st.integers(1, 200)))
    def reverse(self, which: int, amount: int | None) -> None:
        if self.decided:
            original = self.decided[which % len(self.decided)][0]
            self._decide(self.book.reverse(original.wallet_id, original, amount))

    @rule(who=who, status=st.sampled_from(["active", "suspended", "closed"]), limit=st.integers(0, 60))
    def change(self, who: int, status: str, limit: int) -> None:
        self._decide(self.book.change(self.wallets[who], status=status, overdraft_limit=limit))

    @rule()
    def open_late(self) -> None:
        self._decide(self.book.opening("late"))

    @rule(who=who, amount=small, time_s=st.integers(1, 3))
    def hold(self, who: int, amount: int, time_s: int) -> None:
        self._decide(self.book.hold(self.wallets[who], amount, expires_in_s=time_s))

    @rule(number=which, amount=st.one_of(st.none(), small), is_final=st.booleans())
    def capture(self, number: int, amount: int | None, *, is_final: bool) -> None:
        if (hold := self._asked(PlaceHold, number)) is not None:
            self._decide(self.book.capture(hold, amount, is_final=is_final))

    @rule(number=which, how=st.sampled_from(["release", "extend", "expire"]))
    def end_hold(self, number: int, how: str) -> None:
        if (hold := self._asked(PlaceHold, number)) is not None:
            self._decide(getattr(self.book, how)(hold))

    @rule(time_us=st.sampled_from([1, 1_000_000, 2_000_000]))
    def wait(self, time_us: int) -> None:
        self.book.loaded = replace(self.book.loaded, now_us=Instant(self.book.loaded.now_us + time_us))

    @rule(others=st.permutations([0, 1, 2, 3, 4]), amount=small, other_amount=small, is_paid=st.booleans())
    def start_group(self, others: list[int], amount: int, other_amount: int, *, is_paid: bool) -> None:
        sign = 1 if is_paid else -1
        all_wallets = [*self.wallets, FAR, LATE]
        first, second, third = (all_wallets[number] for number in others[:3])
        legs = [(first, sign * (amount + other_amount)), (second, -sign * amount), (third, -sign * other_amount)]
        self._decide(self.book.group(legs))

    @rule(number=which, is_prepared=st.booleans())
    def decide_group(self, number: int, *, is_prepared: bool) -> None:
        if (group := self._asked(StartGroup, number)) is not None:
            legs = [leg.wallet_id for leg in group.legs]
            refused = [] if is_prepared else [(one, "wallet_must_be_active") for one in legs]
            self._decide(self.book.decide_group(group, prepared=legs if is_prepared else [], refused=refused))

    @rule(who=st.integers(0, 3), amount=small, sign=st.sampled_from([1, -1]))
    def prepare(self, who: int, amount: int, sign: int) -> None:
        """A leg of another cell's group."""
        wallet = [*self.wallets, LATE][who]
        self._decide(self.book.prepare(self.book.group([(FAR, -sign * amount), (wallet, sign * amount)]), wallet))

    @rule(number=which, is_confirmed=st.booleans())
    def end_leg(self, number: int, *, is_confirmed: bool) -> None:
        legs = [hold.key for hold in self.book.loaded.holds.values() if hold.key.vendor_id == "@group"]
        if legs:
            self._end_leg(legs[number % len(legs)], is_confirmed=is_confirmed)

    def _end_leg(self, leg: TransactionKey, *, is_confirmed: bool) -> None:
        group = replace(self.book.group([(FAR, -1), (leg.wallet_id, 1)]), group_id=leg.transaction_id)
        end = self.book.confirm if is_confirmed else self.book.cancel
        self._decide(end(group, leg.wallet_id))

    @rule(who=st.integers(0, 3))
    def cancel_unknown_leg(self, who: int) -> None:
        wallet = [*self.wallets, LATE][who]
        self._decide(self.book.cancel(self.book.group([(FAR, -1), (wallet, 1)]), wallet))

    @rule(which=which)
    def again(self, which: int) -> None:
        if self.decided:
            command, recorded = self.decided[which % len(self.decided)]
            before = len(self.book.entries)
            outcome = self.book.decide(command)
            assert isinstance(outcome, Replayed)
            assert outcome.recorded == recorded
            assert len(self.book.entries) == before

    @rule(first=which, second=which, amount=small)
    def independent_commands_commute(self, first: int, second: int, amount: int) -> None:
        """What touches different wallets may happen in either order."""
        one, other = self._any_command(first, 0, amount), self._any_command(second, 1, amount)
        if set(footprint(one).wallet_ids) & set(footprint(other).wallet_ids):
            return
        there, back = self.book.copy(), self.book.copy()
        outcomes = [there.decide(one), there.decide(other)]
        assert [back.decide(other), back.decide(one)] == outcomes[::-1]
        assert there.loaded == back.loaded
        assert sorted(there.account_deltas) == sorted(back.account_deltas)

    def _any_command(self, number: int, who: int, amount: int) -> Command:
        book, mine = self.book, self.wallets[who]
        new = [
            book.debit(mine, amount),
            book.credit(mine, amount),
            book.hold(mine, amount),
            book.transfer(mine, self.wallets[2], amount),
            book.transfer(mine, FAR, amount),
            book.group([(mine, -amount), (FAR, amount)]),
            book.change(mine, status="suspended"),
        ]
        holds = [command for command, _ in self.decided if isinstance(command, PlaceHold)]
        return [*new, *(book.capture(hold, 1, is_final=False) for hold in holds)][number % (len(new) + len(holds))]

    @invariant()
    def money_is_conserved(self) -> None:
        wallets = sum(wallet.balance for wallet in self.book.loaded.wallets.values())
        assert wallets + sum(delta for _, _, delta in self.book.account_deltas) == 0

    @invariant()
    def nobody_spends_what_is_not_there(self) -> None:
        for wallet in self.book.loaded.wallets.values():
            assert wallet.available >= 0
            assert wallet.balance + wallet.pinned <= AMOUNT_MAX

    @invariant()
    def what_is_set_aside_is_set_aside_for_something(self) -> None:
        for wallet_id, wallet in self.book.loaded.wallets.items():
            holds = [hold for hold in self.book.loaded.holds.values() if hold.key.wallet_id == wallet_id]
            sent = [one for one in self.book.loaded.transfers.values() if one.key.wallet_id == wallet_id]
            assert wallet.held == sum(hold.remaining for hold in holds if hold.kind != "pin")
            pins = sum(hold.remaining for hold in holds if hold.kind == "pin")
            assert wallet.pinned == pins + sum(one.amount for one in sent if one.state == "in_transit")
            assert all((hold.remaining > 0) == (hold.state == "open") for hold in holds)

    @invariant()
    def the_log_explains_every_wallet_and_hold(self) -> None:
        holds: dict[TransactionKey, Hold] = {}
        for wallet in self.book.loaded.wallets.values():
            state = unopened(WalletId(wallet.wallet_id))
            for entry in self.book.log(wallet.wallet_id):
                state = fold(state, entry)
                if (key := subject_of(entry)) is not None:
                    terms = self.book.loaded.holds[key].terms
                    holds[key] = fold_hold(holds.get(key), entry, terms=terms)
            known = replace(state, owner_type=wallet.owner_type, currency=wallet.currency, pinned=wallet.pinned)
            assert known == wallet
        assert holds == self.book.loaded.holds


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
