"""The relay loses no late commit and keeps each wallet's order, whatever the order of xids; a naive one does not."""

import random

import pytest
from cell_databases import CellDatabase
from event_log import EventLog, Listener, event_metrics, event_store, relay_of

from cell.background.relay import Line, Relay
from cell.store.events import EventStore, RelayOutpacedError, StoredEvent


class NewestSeen(EventStore):
    """The mutant: everything up to the newest visible entry counts as read, as if nothing could commit below it."""

    async def horizon(self) -> int:
        return int(await self._one("SELECT coalesce(max(xid::text::bigint), 0) + 1 FROM entries"))


async def late_commit(log: EventLog, store: EventStore) -> tuple[list[int], list[int]]:
    """What was heard of a wallet that commits late, and of one that did not wait."""
    late, early, listener = log.wallet(), log.wallet(), Listener()
    relay = relay_of(store, listener)
    await relay.round()
    with log.transaction() as slow:
        log.post(late, on=slow)
        log.post(early)
        await relay.round()
        slow.commit()
    await relay.round()
    return listener.of(late), listener.of(early)


async def test_a_late_commit_is_not_skipped(log: EventLog, store: EventStore) -> None:
    assert await late_commit(log, store) == ([1], [1])


async def test_the_mutant_that_reads_up_to_the_newest_loses_it(log: EventLog, database: CellDatabase) -> None:
    mutant = event_store(database, kind=NewestSeen)
    assert await late_commit(log, mutant) == ([], [1])
    await mutant.close()


async def test_nothing_is_told_before_it_is_committed(log: EventLog, store: EventStore) -> None:
    wallet, listener = log.wallet(), Listener()
    with log.transaction() as given_up:
        log.post(wallet, on=given_up)
        await relay_of(store, listener).round()
        given_up.rollback()
    await relay_of(store, listener).round()
    assert listener.heard == []


class WindowOnly(Relay):
    """The mutant: what a window does not hold is not looked for."""

    async def _whole(self, line: Line, **_: int) -> list[StoredEvent]:
        return list(line)


async def entangled(log: EventLog, store: EventStore, kind: type[Relay]) -> list[int]:
    """A batch takes its xid, waits for a wallet that a younger xid has; a third one, older than that, is still open."""
    wallet, other, third, listener = log.wallet(), log.wallet(), log.wallet(), Listener()
    relay = kind(store=store, sink=listener, name="broker", metrics=event_metrics())
    await relay.round()
    with log.transaction() as oldest, log.transaction() as open_, log.transaction() as younger:
        log.post(other, on=oldest)  # has its xid now
        log.post(third, on=open_)
        log.post(wallet, on=younger)
        younger.commit()
        log.post(wallet, on=oldest)
        oldest.commit()
        await relay.round()
        open_.commit()
    await relay.round()
    assert (listener.of(other), listener.of(third)) == ([1], [1])
    return listener.of(wallet)


async def test_the_order_of_a_wallet_is_not_that_of_xids(log: EventLog, store: EventStore) -> None:
    assert await entangled(log, store, Relay) == [1, 2], "the predecessor is brought forward, and not told again"


async def test_the_mutant_that_brings_nothing_forward_loses_one(log: EventLog, store: EventStore) -> None:
    assert await entangled(log, store, WindowOnly) == [2]


async def test_copied_rows_are_not_told(log: EventLog, database: CellDatabase, store: EventStore) -> None:
    wallet, listener = log.wallet(), Listener()
    with log.transaction() as move:
        log.post(wallet, on=move)
        log.post(wallet, on=move)
        move.execute("SET LOCAL session_replication_role = replica")
        move.execute("UPDATE entries SET xid = '0'")
        move.commit()
    log.post(wallet)
    await relay_of(store, listener).round()
    assert listener.of(wallet) == [3]


async def test_windows_are_whole_however_small(log: EventLog, store: EventStore) -> None:
    wallets, listener = [log.wallet() for _ in range(4)], Listener()
    with log.transaction() as giant:
        for _ in range(7):
            log.post(wallets[0], on=giant)
        giant.commit()
    for _ in range(40):
        log.post(random.choice(wallets))
    await relay_of(store, listener, window_max=3, page=2).round()
    for wallet in wallets:
        told = listener.of(wallet)
        assert told == list(range(1, len(told) + 1))
    assert len(listener.heard) == 47


async def test_what_the_sink_did_not_take_is_told_again(log: EventLog, store: EventStore) -> None:
    wallet, listener = log.wallet(), Listener()
    log.post(wallet)

    def fail() -> None:
        raise OSError("the broker is gone")

    listener.before = fail
    with pytest.raises(OSError, match="gone"):
        await relay_of(store, listener).round()
    listener.before = lambda: None
    await relay_of(store, listener).round()
    assert listener.of(wallet) == [1]


async def test_who_lost_the_duty_moves_no_mark(log: EventLog, database: CellDatabase, store: EventStore) -> None:
    wallet, listener, successor = log.wallet(), Listener(), event_store(database)
    await relay_of(store, listener).round()
    log.post(wallet)
    mark = await store.mark()
    assert mark is not None
    await relay_of(successor, listener).round()
    with pytest.raises(RelayOutpacedError):
        await store.advance(mark, to_xid=mark.next_xid + 100, told={}, deliveries=())
    await successor.close()


async def test_another_history_begins_from_the_cursors(
    log: EventLog, database: CellDatabase, store: EventStore
) -> None:
    """Restored elsewhere: every xid in the log means nothing any more, some are above all that this cluster gives."""
    told, untold, listener = log.wallet(), log.wallet(), Listener()
    log.post(told)
    await relay_of(store, listener).round()
    log.post(told)
    log.post(untold)
    with database.unprotected() as connection:
        connection.execute("UPDATE entries SET xid = (xid::text::bigint + 1000000)::text::xid8")
        connection.execute("UPDATE relay_marks SET history = 'another/00000001', next_xid = '500000'")
    await relay_of(store, listener).round()
    log.post(told)
    await relay_of(store, listener).round()
    assert (listener.of(told), listener.of(untold)) == ([1, 2, 3], [1])
    assert (await store.cursors([told, untold])) == {told: 3, untold: 1}


async def test_while_nobody_listens_nothing_is_written_and_nothing_comes_later(
    log: EventLog, database: CellDatabase, store: EventStore
) -> None:
    wallet, listener = log.wallet(), Listener()
    listener.begins_with_the_log = False
    listener.is_on = False
    log.post(wallet)
    await relay_of(store, listener).round()
    assert (database.count("relay_marks"), database.count("event_cursors")) == (0, 0)
    listener.is_on = True
    await relay_of(store, listener).round()
    log.post(wallet)
    await relay_of(store, listener).round()
    assert listener.of(wallet) == [2]


async def test_a_window_is_found_by_its_index(log: EventLog, database: CellDatabase) -> None:
    wallet = log.wallet()
    log.post(wallet)
    plan = database.sql(
        "EXPLAIN SELECT * FROM entries e WHERE e.xid >= '5'::xid8 AND e.xid < '9'::xid8 AND e.xid <> '0'::xid8 "
        "ORDER BY e.xid LIMIT 100"
    )
    text = "\n".join(row[0] for row in plan)
    assert "xid" in text
    assert "Index Scan" in text
    assert "Seq Scan" not in text
