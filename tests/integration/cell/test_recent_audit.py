"""The audit in rounds: it follows what grows, comes round to every wallet, and names what was changed in either."""

import asyncio

import pytest
from cell_databases import CellDatabase
from cell_stores import postgres_ledger
from cell_waiting import until
from ledger_book import Book

from cell.background.audit_loop import ROUND_ENTRIES_MAX, AuditLoop
from cell.commit import commit
from cell.ledger.commands import Command
from cell.ledger.invariants import Finding
from cell.ledger.outcomes import Accepted
from cell.store.recent_audit import Progress, Round, audit_round
from contract.ids import WalletId, wallet_id_of

REFS = ("alice", "bob", "carol")
ALICE, BOB, CAROL = (wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in REFS)
ENOUGH = 1_000
BEYOND = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""A round that begins here folds no whole log."""


class Growing:
    """A ledger to which things are done between the rounds."""

    def __init__(self, database: CellDatabase) -> None:
        self.database = database
        self.book = Book()
        self.progress = Progress()

    async def do(self, *commands: Command) -> None:
        session = postgres_ledger(self.database.app_url).session("growing")
        await session.connect()
        for outcome in await commit(session, commands):
            assert isinstance(outcome, Accepted), outcome
        await session.close()

    async def round(self, *, entries_max: int = ENOUGH) -> Round:
        done = await audit_round(self.database.app_url, self.progress, entries_max=entries_max)
        self.progress = done.progress
        return done


@pytest.fixture
async def growing(database: CellDatabase) -> Growing:
    growing = Growing(database)
    await growing.do(*(growing.book.opening(ref) for ref in REFS))
    await growing.do(*(growing.book.credit(one, 100) for one in (ALICE, BOB, CAROL)))
    return growing


async def test_a_turn_comes_round_to_every_wallet(growing: Growing) -> None:
    """Each round as many logs as fit, or a piece of one."""
    turn = [await growing.round(entries_max=4) for _ in range(3)]
    assert [done.wallets for done in turn] == [2, 1, 0]
    assert [done.is_turn_over for done in turn] == [False, False, True]
    assert [(await growing.round(entries_max=1)).is_turn_over for _ in range(7)] == [False] * 6 + [True]
    whole = await growing.round()
    assert (whole.wallets, whole.findings) == (3, ())


async def test_only_what_grew_is_followed(growing: Growing) -> None:
    await growing.round()
    await growing.round()
    growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
    hold = growing.book.hold(ALICE, 10)
    await growing.do(hold, growing.book.capture(hold, 3, is_final=False), growing.book.transfer(ALICE, BOB, 5))
    grown = await growing.round()
    assert (grown.wallets, grown.findings) == (2, ())


async def test_a_window_is_bounded_and_nothing_is_left_out(growing: Growing) -> None:
    await growing.round()
    for number in range(4):
        await growing.do(growing.book.credit((ALICE, BOB)[number % 2], 1))
    seen = 0
    for _ in range(4):
        growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
        grown = await growing.round(entries_max=1)
        assert grown.findings == ()
        seen += grown.wallets
    assert seen == 4


ENTRY = "UPDATE entries SET {change} WHERE wallet_id = '{alice}' AND seq = {seq}"
OTHER_HASH = "hash = set_byte(hash, 0, 255 - get_byte(hash, 0))"
THEFTS = {
    "an amount": ENTRY.format(change="amount = amount + 1", alice=ALICE, seq=3),
    "a hash": ENTRY.format(change=OTHER_HASH, alice=ALICE, seq=3),
    "the entry before": ENTRY.format(change=OTHER_HASH, alice=ALICE, seq=2),
    "the balance": f"UPDATE wallets SET balance = balance + 1 WHERE wallet_id = '{ALICE}'",  # noqa: S608
    "a hold's rest": f"UPDATE holds SET remaining = 1 WHERE wallet_id = '{ALICE}'",  # noqa: S608
}


@pytest.mark.parametrize("is_whole", [False, True], ids=["grown end", "whole log"])
@pytest.mark.parametrize("theft", THEFTS)
async def test_what_was_changed_is_found(growing: Growing, theft: str, *, is_whole: bool) -> None:
    if not is_whole:
        await growing.round()
        growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
    await growing.do(growing.book.hold(ALICE, 10))
    with growing.database.unprotected() as thief:
        assert thief.execute(THEFTS[theft].encode()).rowcount == 1
    found = await growing.round()
    assert found.findings
    assert {finding.wallet_id for finding in found.findings} == {ALICE}


BATCH, WINDOW = 5, 10


async def grown_by(growing: Growing, wallet_id: WalletId, entries: int) -> None:
    for _ in range(entries // BATCH):
        await growing.do(*(growing.book.credit(wallet_id, 1) for _ in range(BATCH)))


async def test_a_wallet_that_has_grown_by_far_more_than_a_window_is_read_window_by_window(growing: Growing) -> None:
    """However much is new, a round takes no more memory and time than it may."""
    await growing.round()
    await grown_by(growing, ALICE, 60)
    growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
    await grown_by(growing, BOB, 15)
    rounds = []
    while not rounds or rounds[-1].is_behind:
        rounds.append(await growing.round(entries_max=WINDOW))
        assert rounds[-1].entries <= WINDOW + 2 * BATCH  # the batch before, which is followed, and the end of the last
        growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
    assert len(rounds) > 75 // (WINDOW + BATCH)
    assert [done.findings for done in rounds] == [()] * len(rounds)
    assert (await growing.round()).entries == 0


@pytest.mark.parametrize("seq", [8, 33, 62])
async def test_what_was_changed_in_the_midst_of_much_that_is_new_is_found(growing: Growing, seq: int) -> None:
    await growing.round()
    await grown_by(growing, ALICE, 60)
    with growing.database.unprotected() as thief:
        assert thief.execute(ENTRY.format(change="amount = amount + 1", alice=ALICE, seq=seq).encode()).rowcount == 1
    found: list[Finding] = []
    is_behind = True
    while is_behind:
        growing.progress = Progress(next_xid=growing.progress.next_xid, after_wallet=BEYOND)
        done = await growing.round(entries_max=WINDOW)
        found, is_behind = [*found, *done.findings], done.is_behind
    assert {(finding.wallet_id, finding.invariant) for finding in found} >= {(ALICE, "L6")}
    assert min(finding.seq or 99 for finding in found) == seq


async def test_a_log_that_is_longer_than_a_round_is_read_in_pieces_and_the_turn_goes_on(growing: Growing) -> None:
    await grown_by(growing, ALICE, 40)
    growing.progress = Progress()
    turn = [await growing.round(entries_max=WINDOW)]
    while not turn[-1].is_turn_over:
        turn.append(await growing.round(entries_max=WINDOW))
    assert [done.findings for done in turn] == [()] * len(turn)
    assert sum(done.wallets for done in turn) == 3
    assert max(done.entries for done in turn) <= WINDOW + 1
    assert len(turn) > 40 // WINDOW


@pytest.mark.parametrize("theft", ["seq = 2", "seq = 21", "seq = 41"])
async def test_what_was_changed_in_a_long_log_is_found_piece_by_piece(growing: Growing, theft: str) -> None:
    await grown_by(growing, ALICE, 40)
    statement = f"UPDATE entries SET {OTHER_HASH} WHERE wallet_id = '{ALICE}' AND {theft}"  # noqa: S608
    with growing.database.unprotected() as thief:
        assert thief.execute(statement.encode()).rowcount == 1
    growing.progress = Progress()
    found: list[Finding] = []
    is_over = False
    while not is_over:
        done = await growing.round(entries_max=WINDOW)
        found, is_over = [*found, *done.findings], done.is_turn_over
    assert {finding.wallet_id for finding in found} == {ALICE}


async def test_a_loop_that_is_behind_does_not_wait_for_its_period(growing: Growing) -> None:
    figures = Figures()
    loop = AuditLoop(database_url=growing.database.app_url, entries_max=WINDOW, metrics=figures)
    await loop.work()
    await grown_by(growing, ALICE, 60)
    duty = asyncio.create_task(loop.duty(period_s=3_600).run())
    await until(lambda: figures.entries >= 60)
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)
    assert figures.findings == 0


async def test_the_rounds_of_a_period_follow_one_another(growing: Growing) -> None:
    """Long logs get a period's share of reading although a round is short."""
    await grown_by(growing, ALICE, 3 * ROUND_ENTRIES_MAX)
    figures = Figures()
    loop = AuditLoop(database_url=growing.database.app_url, entries_max=2 * ROUND_ENTRIES_MAX, metrics=figures)
    duty = asyncio.create_task(loop.duty(period_s=3_600).run())
    await until(lambda: figures.entries >= 2 * ROUND_ENTRIES_MAX)
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)
    assert figures.findings == 0


async def test_another_history_begins_anew(growing: Growing) -> None:
    """After a restore or a promotion xids may be lower than what was seen."""
    growing.progress = Progress(next_xid=2**60)
    assert (await growing.round()).findings == ()
    assert growing.progress.next_xid is not None
    assert growing.progress.next_xid < 2**60


class Figures:
    def __init__(self) -> None:
        self.wallets, self.findings, self.turns, self.entries = 0, 0, 0, 0

    def audited(self, wallets: int, *, findings: int, entries: int, is_behind: bool) -> None:
        del is_behind
        self.wallets += wallets
        self.findings += findings
        self.entries += entries

    def audit_turn_over(self) -> None:
        self.turns += 1

    def duty_held(self, duty: str, *, is_held: bool) -> None: ...

    def duty_round(self, duty: str) -> None: ...

    def duty_failed(self, duty: str) -> None: ...


async def test_the_loop_reports_and_stops_nothing(growing: Growing) -> None:
    figures = Figures()
    loop = AuditLoop(database_url=growing.database.app_url, entries_max=ENOUGH, metrics=figures)
    await loop.work()
    await loop.work()
    assert (figures.wallets, figures.findings, figures.turns) == (3, 0, 1)
    with growing.database.unprotected() as thief:
        thief.execute(f"UPDATE wallets SET balance = 7 WHERE wallet_id = '{BOB}'".encode())  # noqa: S608
    await loop.work()
    assert figures.findings > 0
    assert growing.database.one("SELECT count(*) FROM wallets WHERE blocked_by IS NOT NULL") == 0
