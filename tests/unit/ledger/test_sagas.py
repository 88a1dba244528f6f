"""Transfers and groups over several cells, whatever happens to their messages: each ends once, whole or not at all."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from ledger_fleet import Fleet, Mutant

from cell.ledger.commands import StartGroup
from cell.ledger.model import Instant
from contract.ids import WalletId

HOMES = {"alice": 0, "bob": 0, "carol": 1, "dave": 1, "erin": 2, "frank": 2}
FUNDS = {"alice": 100, "carol": 100, "bob": 20}
"""Erin and Frank have not opened their wallets yet."""
CELLS = 3
anyone = st.sampled_from(sorted(HOMES))
numbers = st.integers(0, 1_000)


class LateMessages(RuleBasedStateMachine):
    """Messages come late, twice and in any order."""

    mutant: Mutant | None = None

    @initialize()
    def begin(self) -> None:
        self.fleet = Fleet(HOMES, cells=CELLS, mutant=self.mutant)
        for ref in ("alice", "bob", "carol", "dave"):
            self.open(ref)
            if ref in FUNDS:
                self.fleet.decide(self.fleet.client.credit(self.id_of(ref), FUNDS[ref]))

    def id_of(self, ref: str) -> WalletId:
        return self.fleet.refs[ref]

    @rule(ref=anyone)
    def open(self, ref: str) -> None:
        self.fleet.decide(self.fleet.client.opening(ref))

    @rule(pair=st.permutations(sorted(HOMES)), amount=st.integers(1, 60))
    def send(self, pair: list[str], amount: int) -> None:
        sender, target = (self.id_of(ref) for ref in pair[:2])
        self.fleet.start(self.fleet.client.transfer(sender, target, amount))

    @rule(refs=st.permutations(sorted(HOMES)), amounts=st.lists(st.integers(1, 40), min_size=1, max_size=4))
    def start_group(self, refs: list[str], amounts: list[int]) -> None:
        """One pays all others, or one is paid by all others; the first leg's wallet is the anchor."""
        sign = 1 if sum(amounts) % 2 else -1
        others = [(self.id_of(ref), sign * amount) for ref, amount in zip(refs[1:], amounts, strict=False)]
        legs = [(self.id_of(refs[0]), -sum(amount for _, amount in others)), *others]
        self.fleet.start(self.fleet.client.group(legs, within_us=1_000))

    @rule(which=numbers, stale=st.one_of(st.none(), st.integers(0, CELLS - 1)))
    def pursue(self, which: int, stale: int | None) -> None:
        """A router that is behind sends to a cell that does not own the wallet."""
        still_open = self.fleet.open_sagas()
        if still_open:
            saga = still_open[which % len(still_open)]
            self.fleet.pursue(saga, route=None if stale is None else lambda _: stale)

    @rule(which=numbers)
    def deliver(self, which: int) -> None:
        if self.fleet.messages:
            self.fleet.deliver(self.fleet.messages.pop(which % len(self.fleet.messages)))

    @rule(which=numbers)
    def deliver_and_keep(self, which: int) -> None:
        """It will come again."""
        if self.fleet.messages:
            self.fleet.deliver(self.fleet.messages[which % len(self.fleet.messages)])

    @rule(which=numbers)
    def try_once(self, which: int) -> None:
        """One saga is asked for and answered; what was asked arrives a second time, some day."""
        still_open = self.fleet.open_sagas()
        if still_open:
            waiting, self.fleet.messages = self.fleet.messages, []
            self.fleet.pursue(still_open[which % len(still_open)])
            requests = list(self.fleet.messages)
            while self.fleet.messages:
                self.fleet.deliver(self.fleet.messages.pop())
            self.fleet.messages = waiting + requests

    @rule(time_us=st.sampled_from([1, 600, 5_000]))
    def wait(self, time_us: int) -> None:
        self.fleet.now_us = Instant(self.fleet.now_us + time_us)

    @invariant()
    def money_is_where_it_is_said_to_be(self) -> None:
        if hasattr(self, "fleet"):
            self.fleet.assert_consistent()

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            self.fleet.quiesce()
            self.fleet.assert_finished()


class Sagas(LateMessages):
    """And are lost; cells crash, wallets move, their vendors go on, and legs ask by themselves."""

    @rule(ref=anyone, status=st.sampled_from(["active", "suspended", "closed"]))
    def change(self, ref: str, status: str) -> None:
        self.fleet.decide(self.fleet.client.change(self.id_of(ref), status=status))

    @rule(ref=anyone, amount=st.integers(1, 60))
    def debit(self, ref: str, amount: int) -> None:
        self.fleet.decide(self.fleet.client.debit(self.id_of(ref), amount))

    @rule(which=numbers)
    def lose(self, which: int) -> None:
        if self.fleet.messages:
            self.fleet.messages.pop(which % len(self.fleet.messages))

    @rule(cell=st.integers(0, CELLS - 1))
    def crash(self, cell: int) -> None:
        self.fleet.crash(cell)

    @rule(ref=anyone, to=st.integers(0, CELLS - 1))
    def move(self, ref: str, to: int) -> None:
        self.fleet.move(self.id_of(ref), to)

    @rule(which=numbers, leg=numbers)
    def ask_coordinator(self, which: int, leg: int) -> None:
        groups = [saga for saga in self.fleet.sagas if isinstance(saga, StartGroup)]
        if groups:
            group = groups[which % len(groups)]
            self.fleet.ask_coordinator(group, group.legs[leg % len(group.legs)].wallet_id)


TestLateMessages = LateMessages.TestCase
TestSagas = Sagas.TestCase
TestLateMessages.settings = TestSagas.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

MUTANTS: tuple[Mutant, ...] = ("refunds on a bare 404", "forgets receipts", "forgets cancellations")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_saga_is_found(mutant: Mutant) -> None:
    """Late messages alone are enough to find that any one of the three protections is gone."""
    broken = type("Broken", (LateMessages,), {"mutant": mutant})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            broken,
            settings=settings(
                max_examples=1_000,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
