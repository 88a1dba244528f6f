"""Failover and switch-over with two real databases under load: nothing that was acknowledged is lost, and at any time
there is one primary. Mutants show that this would be found.
"""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from running_pair import CELL, DEADLINE_S, RunningPair, clients, lost, more_acknowledged, running_pair

from cell.quarantine import DatabaseWatch
from cell.store.migrate import migrate
from cellwallet.local import cell_pair, failover, pair_acts, pair_watch
from cellwallet.local.backups import back_up, restore
from cellwallet.local.databases import CELL_APP, CELL_DATABASE, CELL_OWNER, provision_cell
from cellwallet.local.failover import Act, Pair, Plan, Seen, plan
from cellwallet.local.folder import DataFolder
from cellwallet.local.pair_acts import ASIDE
from cellwallet.local.pair_file import forget_standby, primary_folder, write_pair
from cellwallet.local.pair_watch import SwitchOverRefusedError
from cellwallet.local.postgres import Cluster
from cellwallet.local.supervisor import START_ATTEMPTS_MAX

pytestmark = pytest.mark.timeout(600)

ROUNDS = 3
FAILOVER_ACTS, SWITCH_ACTS = 9, 10
"""At least as many acts as there are until services reach a primary again."""
FAILOVER_ACTS_TO_PUT_ASIDE = 4
THREADS = 5
"""More than a watch has."""
STARTUP = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'"
CHECKPOINTER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"


async def test_whoever_is_killed_nothing_is_lost_and_the_roles_go_round(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        with clients(pair) as working:
            for round_ in range(1, ROUNDS + 1):
                await more_acknowledged(pair, working, 20)
                await asyncio.sleep(random.uniform(0, 0.3))
                before = pair.watch.pair.primary
                # The main process alone dies as well as all of them: its children may go on for a while.
                pair.signal(pair.primary, signal.SIGKILL, main_only=round_ % 2 == 1)
                await pair.until(lambda was=round_: pair.watch.pair.promotions == was, "the standby has taken over")
                assert pair.watch.pair.primary != before
                await more_acknowledged(pair, working, 20)
                await pair.until_protected(promotions=round_)
                assert pair.writable() == [pair.watch.pair.primary]
            await more_acknowledged(pair, working, 20)
        assert lost(pair, working) == []
        await pair.until(lambda: not list(tmp_path.rglob(ASIDE)), "what was fenced is removed")


async def test_a_primary_that_hangs_is_ended_before_the_standby_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "SILENT_MAX_S", 0.5)
    async with running_pair(tmp_path) as pair:
        with clients(pair) as working:
            await more_acknowledged(pair, working, 20)
            hung = pair.primary
            pair.signal(hung, signal.SIGSTOP)
            await pair.until_protected(promotions=1)
            pair.signal(hung, signal.SIGCONT)
            assert pair.writable() == [pair.watch.pair.primary]
            await more_acknowledged(pair, working, 20)
        assert lost(pair, working) == []


async def test_mutant_an_old_primary_that_is_not_ended_comes_back_beside_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant of the test before: without the fence."""
    monkeypatch.setattr(failover, "SILENT_MAX_S", 0.5)
    async with running_pair(tmp_path, left_out=("end_primary", "put_aside", "clear_standby", "end_standby")) as pair:
        hung = pair.primary
        pair.signal(hung, signal.SIGSTOP)
        await pair.until(lambda: pair.watch.pair.promotions == 1, "the standby has taken over")
        pair.signal(hung, signal.SIGCONT)
        await pair.until(lambda: len(pair.writable()) == 2, "there are two primaries")


async def test_mutant_a_standby_that_commits_do_not_wait_for_loses_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant of the first test: whoever merely follows is promoted."""

    def careless(pair: Pair, seen: Seen) -> Plan:
        if pair.phase == "following" and seen.is_open and seen.has_slot:
            if seen.primary_has_ended and seen.standby_answers:
                return Plan(then=Pair(phase="fencing"))
            return Plan(why="nobody waits")
        if pair.phase == "following" and seen.primary_has_ended and seen.standby_answers:
            return Plan(then=Pair(phase="fencing"))
        return plan(pair, seen)

    monkeypatch.setattr(pair_watch, "plan", careless)
    pair = RunningPair(tmp_path)
    pair.watching = asyncio.create_task(pair.watch.run())
    pair.supervisor.add(pair.pair.parts()[:2])
    try:
        await pair.until(lambda: pair.watch.described()["is_streaming"], "the standby follows")
        with clients(pair) as working:
            await more_acknowledged(pair, working, 20)
            for pid in senders_of(pair):  # they die with what they have not sent
                os.kill(pid, signal.SIGSTOP)
            await more_acknowledged(pair, working, 20)
            pair.signal(pair.primary, signal.SIGKILL)
            await pair.until(lambda: pair.watch.pair.promotions == 1, "the standby has taken over")
            told = [list(client.acknowledged) for client in working]
        there = set(pair.numbers())
        assert [number for numbers in told for number in numbers if number not in there]
    finally:
        for client in working:
            client.thread.join(DEADLINE_S)
        await pair.stop()


def senders_of(pair: RunningPair) -> list[int]:
    with pair.primary.superuser() as connection:
        return [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_replication")]


async def test_a_switch_over_loses_nothing_and_copies_nothing(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        inodes = {place: cluster.data_folder.stat().st_ino for place, cluster in pair.clusters.items()}
        with clients(pair) as working:
            for promotions, place in enumerate(("second", "first", "second"), start=1):
                await more_acknowledged(pair, working, 20)
                switched = await pair.watch.switch_over()
                assert switched.primary == place
                assert switched.pause_s > 0
                await more_acknowledged(pair, working, 20)
                await pair.until_protected(promotions=promotions)
                assert pair.writable() == [place]
        assert lost(pair, working) == []
        assert {place: cluster.data_folder.stat().st_ino for place, cluster in pair.clusters.items()} == inodes
        with pair.standby.superuser() as connection:
            assert connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []


async def test_without_a_synchronous_standby_there_is_no_switch_over(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        pair.signal(pair.primary, signal.SIGKILL)
        await pair.until(lambda: pair.watch.pair.promotions == 1, "the standby has taken over")
        if pair.watch.pair.phase != "synchronous":
            with pytest.raises(SwitchOverRefusedError, match="there must be a synchronous standby"):
                await pair.watch.switch_over()
        await pair.until_protected(promotions=1)
        assert (await pair.watch.switch_over()).primary == "first"


# Broken off at every step.


@pytest.mark.parametrize("order", ["failover", "switch_over"])
async def test_wherever_the_supervisor_is_killed_the_next_one_ends_it(tmp_path: Path, order: str) -> None:
    killed = 0
    for killed_after in range(1, (FAILOVER_ACTS if order == "failover" else SWITCH_ACTS) + 1):
        data = tmp_path / str(killed_after)
        pair = RunningPair(data, killed_after=killed_after)
        await pair.start()
        try:
            with clients(pair, count=2) as working:
                await more_acknowledged(pair, working, 10)
                pair.acts.arm()
                switching = None
                if order == "failover":
                    pair.signal(pair.primary, signal.SIGKILL)
                else:
                    switching = asyncio.create_task(pair.watch.switch_over())
                assert pair.watching is not None
                await asyncio.wait({pair.watching}, timeout=DEADLINE_S)
                assert pair.watching.done(), f"only {pair.acts.done} were done"
                killed += 1
                if switching is not None:
                    switching.cancel()
        finally:
            await pair.stop()
        async with running_pair(data) as again:
            assert again.writable() == [again.watch.pair.primary]
            assert lost(again, working) == [], pair.acts.done
    assert killed


async def test_who_is_killed_while_the_old_primary_is_made_anew_begins_again_with_it(tmp_path: Path) -> None:
    """The next start finds a standby without data and a primary that is not there yet."""
    pair = RunningPair(tmp_path, killed_after=FAILOVER_ACTS)
    await pair.start()
    try:
        pair.acts.arm()
        pair.signal(pair.primary, signal.SIGKILL)
        assert pair.watching is not None
        await asyncio.wait({pair.watching}, timeout=DEADLINE_S)
        assert pair.acts.done[-1] == "end_standby"
    finally:
        await pair.stop()
    write_pair(DataFolder(tmp_path).pair(CELL), Pair(primary="second", phase="following", promotions=1))
    assert not pair.clusters["first"].data_folder.exists()
    async with running_pair(tmp_path) as again:
        assert again.writable() == ["second"]


async def test_data_of_an_old_primary_that_somebody_puts_back_are_not_started(tmp_path: Path) -> None:
    """Nobody's word but the record's makes a primary, and a standby's data say what they are."""
    async with running_pair(tmp_path) as pair:
        pair.signal(pair.primary, signal.SIGKILL)
        await pair.until_protected(promotions=1)
    old, new = pair.clusters["first"].data_folder, pair.clusters["second"].data_folder
    (old / "standby.signal").unlink()
    again = RunningPair(tmp_path)
    with pytest.raises(Exception, match="must be a standby's"):
        await again.start()
    assert again.writable() in ([], ["second"])
    await again.stop()
    for data in (old, new):
        (data / "standby.signal").touch()
    third = RunningPair(tmp_path)
    with pytest.raises(Exception, match="must be a primary's"):
        await third.start()
    await third.stop()


async def test_what_was_begun_is_over_when_the_watch_has_been_stopped(tmp_path: Path) -> None:
    """Whoever halts a cell to put a backup in its place must not find somebody at work on its data."""
    async with running_pair(tmp_path) as pair:
        await halted_while_the_primary_is_stopped(pair)
        assert pair.acts.done[-1] == "stop_primary"
        pair.watching = asyncio.create_task(pair.watch.run())
        await pair.until(lambda: pair.watch.described()["is_protected"], "it goes on from its record")
        assert pair.writable() == [pair.watch.pair.primary]


async def test_mutant_who_waits_for_nobody_leaves_somebody_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def plainly(doing: Coroutine[Any, Any, None]) -> None:
        await doing

    monkeypatch.setattr(pair_watch, "_to_its_end", plainly)
    async with running_pair(tmp_path) as pair:
        await halted_while_the_primary_is_stopped(pair)
        assert "stop_primary" not in pair.acts.done
        pair.watching = None
        await pair.until(lambda: "stop_primary" in pair.acts.done, "it is done although nobody watches")
        pair.watching = asyncio.create_task(pair.watch.run())


async def halted_while_the_primary_is_stopped(pair: RunningPair) -> None:
    begun = threading.Event()

    def linger(act: Act) -> None:
        if act == "stop_primary":
            begun.set()
            time.sleep(1.0)

    pair.acts.before = linger
    switching = asyncio.create_task(pair.watch.switch_over())
    assert await asyncio.to_thread(begun.wait, DEADLINE_S)
    assert "stop_primary" not in pair.acts.done
    assert pair.watching is not None
    pair.watching.cancel()
    await asyncio.gather(pair.watching, return_exceptions=True)
    with pytest.raises(SwitchOverRefusedError, match="the cell was halted"):
        await switching


# What hangs.


async def test_a_checkpoint_that_never_ends_keeps_nobody_from_taking_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a thread, which those who look at it later would lack."""
    monkeypatch.setattr(pair_acts, "ACT_LIMIT_S", 1.0)
    async with running_pair(tmp_path) as pair:
        checkpointer_stands_still(pair)
        for _ in range(THREADS):
            with pytest.raises(SwitchOverRefusedError, match="given up: the checkpoint before it: it takes longer"):
                await pair.watch.switch_over()
        assert pair.watch.pair.promotions == 0
        pair.signal(pair.primary, signal.SIGKILL)
        await pair.until(lambda: pair.watch.pair.promotions == 1, "the standby has taken over")


async def test_a_primary_that_hangs_in_the_middle_of_an_answer_is_ended_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own time limits stand still with it."""
    monkeypatch.setattr(pair_acts, "ACT_LIMIT_S", 1.0)
    monkeypatch.setattr(failover, "SILENT_MAX_S", 0.5)
    async with running_pair(tmp_path) as pair:
        stops_in_the_middle(pair, "checkpoint")
        with pytest.raises(SwitchOverRefusedError):
            await pair.watch.switch_over()
        await pair.until(lambda: pair.watch.pair.promotions == 1, "the standby has taken over")


async def test_a_cell_is_halted_although_its_primary_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is told that commits wait, which whoever halts does not break off."""
    monkeypatch.setattr(pair_acts, "ACT_LIMIT_S", 1.0)
    pair = RunningPair(tmp_path)
    stopped = stops_in_the_middle(pair, "demand")
    pair.watching = asyncio.create_task(pair.watch.run())
    pair.supervisor.add(pair.pair.parts())
    try:
        assert await asyncio.to_thread(stopped.wait, DEADLINE_S)
        pair.watching.cancel()
        await asyncio.wait({pair.watching}, timeout=DEADLINE_S / 4)
        assert pair.watching.done()
    finally:
        pair.signal(pair.primary, signal.SIGKILL)
        await pair.stop()


async def test_a_standby_that_hangs_while_it_is_promoted_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_acts, "PROMOTION_LIMIT_S", 1.0)
    async with running_pair(tmp_path) as pair:
        becoming = pair.standby
        stopped = threading.Event()

        def stand_still(act: Act) -> None:
            if act == "promote" and not stopped.is_set():
                with becoming.superuser() as connection:
                    ((pid,),) = connection.execute(STARTUP).fetchall()
                os.kill(pid, signal.SIGSTOP)
                stopped.set()

        pair.acts.before = stand_still
        pair.signal(pair.primary, signal.SIGKILL)
        assert await asyncio.to_thread(stopped.wait, DEADLINE_S)
        await pair.until(lambda: "takes longer than" in pair.watch.trouble, "it is given up")
        assert pair.watch.pair.phase == "promoting"
        pair.signal(becoming, signal.SIGCONT)
        await pair.until_protected(promotions=1)


def checkpointer_stands_still(pair: RunningPair) -> None:
    with pair.primary.superuser() as connection:
        ((pid,),) = connection.execute(CHECKPOINTER).fetchall()
    os.kill(pid, signal.SIGSTOP)


def stops_in_the_middle(pair: RunningPair, act: Act) -> threading.Event:
    """Every process of the primary, while it is at work on a checkpoint that somebody waits for."""
    stopped = threading.Event()

    def stop_all() -> None:
        pair.signal(pair.primary, signal.SIGSTOP)
        stopped.set()

    def stand_still(next_: Act) -> None:
        if next_ == act and not stopped.is_set():
            checkpointer_stands_still(pair)
            threading.Timer(0.5, stop_all).start()

    pair.acts.before = stand_still
    return stopped


async def test_a_dead_primary_is_not_let_run_while_the_record_cannot_be_written(tmp_path: Path) -> None:
    """It would show what nobody waited for, at the address that services have, until the standby takes over."""
    async with running_pair(tmp_path) as pair:
        with clients(pair) as working:
            await more_acknowledged(pair, working, 20)
            in_the_way = DataFolder(tmp_path).pair(CELL).with_name(f"{CELL}.json.new")
            in_the_way.mkdir()
            pair.signal(pair.primary, signal.SIGKILL)
            await pair.until(lambda: "Is a directory" in pair.watch.trouble, "the record cannot be written")
            for _ in range(10):
                assert not pair.supervisor.parts["first-postgres"].pid
                assert not pair.acts.is_open(pair.watch.pair)
                await asyncio.sleep(0.1)
            in_the_way.rmdir()
            await pair.until_protected(promotions=1)
            await more_acknowledged(pair, working, 20)
        assert lost(pair, working) == []


# A start.


async def test_a_cell_starts_while_its_standby_is_copied_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_pair(tmp_path, is_wanted=False) as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
    monkeypatch.setattr(cell_pair, "STANDBY_PATIENCE_S", 0.5)
    pair = RunningPair(tmp_path)
    try:
        await starts_without_its_standby(pair)
        assert pair.watch.pair == Pair(phase="synchronous")
    finally:
        await pair.stop()


async def test_a_cell_whose_start_ends_a_failover_does_not_wait_for_the_copy_of_its_old_primary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is to be the primary was another when the parts were drawn."""
    await broken_off_in_promoting(tmp_path)
    monkeypatch.setattr(cell_pair, "STANDBY_PATIENCE_S", 0.5)
    pair = RunningPair(tmp_path)
    assert pair.watch.pair.phase == "promoting"
    try:
        await starts_without_its_standby(pair)
        assert pair.watch.pair == Pair(primary="second", phase="synchronous", promotions=1)
    finally:
        await pair.stop()


async def test_what_was_begun_with_a_standby_is_ended_by_a_start_that_wants_none(tmp_path: Path) -> None:
    await broken_off_in_promoting(tmp_path)
    async with running_pair(tmp_path, is_wanted=False) as pair:
        assert pair.watch.pair == Pair(primary="second", phase="alone", promotions=1, is_wanted=False)
        assert pair.writable() == ["second"]


async def test_an_address_is_there_for_services_when_what_they_need_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roles and the database, and not only an open link: whoever needs the address migrates at once."""
    begun, goes_on = threading.Event(), threading.Event()

    def slowly(cluster: Cluster) -> None:
        begun.set()
        goes_on.wait(DEADLINE_S)
        provision_cell(cluster)

    monkeypatch.setattr(cell_pair, "provision_cell", slowly)
    pair = RunningPair(tmp_path)
    pair.watching = asyncio.create_task(pair.watch.run())
    pair.supervisor.add(pair.pair.parts())
    try:
        assert await asyncio.to_thread(begun.wait, DEADLINE_S)
        await pair.until_protected(promotions=0)
        assert await pair.watch.why_closed() is None
        assert not pair.supervisor.parts[pair.pair.address_name].became_ready.is_set()
        goes_on.set()
        await pair.supervisor.wait_until_ready(timeout_s=DEADLINE_S)
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
    finally:
        goes_on.set()
        await pair.stop()


async def starts_without_its_standby(pair: RunningPair) -> None:
    """The primary's checkpointer stands still, and a copy begins with a checkpoint."""
    is_stopped = threading.Event()

    def stand_still(act: Act) -> None:
        if act == "clear_standby" and not is_stopped.is_set():
            checkpointer_stands_still(pair)
            is_stopped.set()

    pair.acts.before = stand_still
    pair.watching = asyncio.create_task(pair.watch.run())
    pair.supervisor.add(pair.pair.parts())
    try:
        (missing,) = await pair.supervisor.wait_until_ready(timeout_s=DEADLINE_S / 4)
        assert missing.part.name == f"{CELL}-standby"
        assert "the standby" in missing.missing
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        assert pair.watch.pair.phase == "following"
        assert not pair.standby.data_folder.exists()
    finally:
        pair.signal(pair.primary, signal.SIGCONT)
    await pair.until_protected(promotions=pair.watch.pair.promotions)


async def broken_off_in_promoting(data: Path) -> None:
    pair = RunningPair(data, killed_after=FAILOVER_ACTS_TO_PUT_ASIDE + 1)
    await pair.start()
    try:
        pair.acts.arm()
        pair.signal(pair.primary, signal.SIGKILL)
        assert pair.watching is not None
        await asyncio.wait({pair.watching}, timeout=DEADLINE_S)
        assert pair.watch.pair.phase == "promoting", pair.acts.done
    finally:
        await pair.stop()


async def test_a_start_does_not_end_with_a_standby_whose_data_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits wait for it at first: it fails more often than anything else may before it is made anew."""
    async with running_pair(tmp_path) as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
    (pair.standby.data_folder / "global" / "pg_control").write_bytes(b"")
    monkeypatch.setattr(failover, "AWAY_MAX_S", 8.0)
    async with running_pair(tmp_path) as again:
        assert again.watch.pair == Pair(phase="synchronous")
        assert again.supervisor.parts["second-postgres"].restarts >= START_ATTEMPTS_MAX


async def test_a_standby_that_cannot_be_copied_yet_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_pair(tmp_path, is_wanted=False) as pair:
        with pair.primary.superuser() as connection:
            connection.execute("ALTER SYSTEM SET max_wal_senders = 0")
    monkeypatch.setattr(cell_pair, "STANDBY_PATIENCE_S", 3.0)
    pair = RunningPair(tmp_path)
    pair.watching = asyncio.create_task(pair.watch.run())
    pair.supervisor.add(pair.pair.parts())
    try:
        assert await pair.supervisor.wait_until_ready(timeout_s=DEADLINE_S)
        place = pair.supervisor.parts["second-postgres"]
        await pair.until(lambda: place.restarts > 1, "it is tried again")
        assert "max_wal_senders" in place.missing
        with pair.primary.superuser() as connection:
            connection.execute("ALTER SYSTEM RESET max_wal_senders")
        pair.signal(pair.primary, signal.SIGKILL)
        await pair.until_protected(promotions=0)
        assert place.missing == ""
    finally:
        await pair.stop()


# What is believed of a standby.


async def test_a_standby_that_has_confirmed_nothing_has_not_caught_up(tmp_path: Path) -> None:
    """It streams, and how far it is behind is not known."""
    async with running_pair(tmp_path) as pair:
        assert pair.acts.look_at_primary(pair.watch.pair).is_caught_up
        await without_its_standby(pair)
        with replicating(pair) as connection:
            begin = connection.pgconn.exec_(b"START_REPLICATION 0/3000000")
            assert begin.status == psycopg.pq.ExecStatus.COPY_BOTH
            await pair.until(
                lambda: pair.acts.look_at_primary(pair.watch.pair).replication.is_streaming, "somebody is sent the log"
            )
            seen = pair.acts.look_at_primary(pair.watch.pair)
            assert (seen.commits_wait, seen.is_connected, seen.is_caught_up) == (True, True, False)


async def without_its_standby(pair: RunningPair) -> None:
    assert pair.watching is not None
    pair.watching.cancel()
    await asyncio.gather(pair.watching, return_exceptions=True)
    pair.watching = None
    await pair.supervisor.remove([pair.pair.name_of(pair.watch.pair.standby)])


async def test_a_standby_that_is_always_turned_away_is_not_there(tmp_path: Path) -> None:
    """As one whose data have gone another way: it connects, and never gets anything."""
    async with running_pair(tmp_path) as pair:
        await without_its_standby(pair)
        with replicating(pair):
            with pair.primary.superuser() as connection:
                states = connection.execute("SELECT state FROM pg_stat_replication").fetchall()
            assert states == [("startup",)]
            assert not pair.acts.look_at_primary(pair.watch.pair).is_connected


def replicating(pair: RunningPair) -> closing[psycopg.Connection[Any]]:
    """Under the name of the standby, and without ever saying what it has."""
    name = f"{CELL}-{pair.watch.pair.standby}"
    return closing(psycopg.connect(pair.primary.url(), replication="true", application_name=name, autocommit=True))


# When the standby is away.


async def test_commits_wait_for_a_standby_that_comes_back(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        with clients(pair) as working:
            for _ in range(ROUNDS):
                await more_acknowledged(pair, working, 10)
                pair.signal(pair.standby, signal.SIGKILL)
                await more_acknowledged(pair, working, 10)
                await pair.until_protected(promotions=0)
        assert lost(pair, working) == []
        assert pair.watch.pair.promotions == 0


async def test_a_standby_that_does_not_come_back_is_given_up_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "AWAY_MAX_S", 1.0)
    phases: list[str] = []
    async with running_pair(tmp_path) as pair:
        with clients(pair) as working:
            await more_acknowledged(pair, working, 10)
            broken = pair.standby.data_folder / "global" / "pg_control"
            pair.signal(pair.standby, signal.SIGSTOP)
            broken.write_bytes(b"")
            pair.signal(pair.standby, signal.SIGKILL)
            await pair.until(lambda: phases.append(pair.watch.pair.phase) or "alone" in phases, "it is given up")
            await more_acknowledged(pair, working, 10)
            await pair.until_protected(promotions=0)
        assert lost(pair, working) == []


async def test_a_standby_that_nobody_wants_any_more_is_given_up_and_may_be_wanted_again(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        await pair.watch.switch_over()
        await pair.until_protected(promotions=1)
    async with running_pair(tmp_path, is_wanted=False) as pair:
        with clients(pair) as working:
            await more_acknowledged(pair, working, 10)
        assert lost(pair, working) == []
        assert pair.watch.pair.phase == "alone"
        assert not pair.standby.data_folder.exists()
        with pair.primary.superuser() as connection:
            assert connection.execute("SHOW synchronous_standby_names").fetchone() == ("",)
    async with running_pair(tmp_path) as pair:
        assert lost(pair, working) == []
        assert pair.watch.pair.primary == "second"


async def test_a_restored_primary_gets_a_standby_of_its_own(tmp_path: Path) -> None:
    """Of the place where the primary is now; and both are closed."""
    data, backup = DataFolder(tmp_path / "data"), tmp_path / "backup"
    async with running_pair(data.path) as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        await asyncio.to_thread(back_up, pair.primary, backup, cell=CELL, tell=lambda *_: None)
        await change_roles(pair, "switched")
    forget_standby(data, CELL)
    restore(Cluster(primary_folder(data, CELL)), backup, cell=CELL, tell=lambda *_: None)
    async with running_pair(data.path) as again:
        assert again.watch.pair.primary == "second"
        for cluster in again.clusters.values():
            with cluster.superuser(CELL_DATABASE) as connection:
                causes = connection.execute("SELECT cause FROM quarantines WHERE opened_at IS NULL").fetchall()
            assert causes == [("restored",)]


# What the cell makes of it.


def looked(pair: RunningPair, folder: Path) -> bool:
    """One look of an API process; whether the cell is closed then."""

    async def look() -> bool:
        watch = DatabaseWatch(pair.pair.url(CELL_APP, CELL_DATABASE), state_dir=folder)
        try:
            await watch.remember()
        finally:
            await watch.close()
        return watch.is_quarantined

    return asyncio.run(look())


@pytest.fixture(params=["killed", "switched"])
def how(request: pytest.FixtureRequest) -> str:
    told: str = request.param
    return told


async def test_the_cell_goes_on_after_a_change_of_roles(tmp_path: Path, how: str) -> None:
    async with running_pair(tmp_path / "data") as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        assert not await asyncio.to_thread(looked, pair, tmp_path / "state")
        await change_roles(pair, how)
        assert not await asyncio.to_thread(looked, pair, tmp_path / "state")
        assert not await asyncio.to_thread(looked, pair, tmp_path / "new process")
        with pair.primary.superuser(CELL_DATABASE) as connection:
            causes = connection.execute("SELECT cause FROM database_eras ORDER BY timeline").fetchall()
        assert causes == [("first",), ("promotion",)]


async def test_mutant_a_change_of_roles_that_is_not_recorded_closes_the_cell(tmp_path: Path, how: str) -> None:
    async with running_pair(tmp_path / "data", left_out=("vouch",)) as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        assert not await asyncio.to_thread(looked, pair, tmp_path / "state")
        await change_roles(pair, how)
        assert await asyncio.to_thread(looked, pair, tmp_path / "state")


async def test_a_past_that_nobody_vouched_for_is_not_vouched_for_by_a_change_of_roles(tmp_path: Path, how: str) -> None:
    """As if somebody had put a backup in the primary's place by hand, and it failed before a process had a look."""
    async with running_pair(tmp_path / "data") as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        await forget_eras(pair)
        await change_roles(pair, how)
        assert await asyncio.to_thread(looked, pair, tmp_path / "state")


async def test_mutant_who_vouches_for_whatever_is_promoted_opens_a_past_that_nobody_knows(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record_blindly(cluster: Cluster) -> None:
        with cluster.superuser(CELL_DATABASE) as connection:
            connection.execute("SELECT record_era('promotion')")

    monkeypatch.setattr(pair_acts, "record_promotion", record_blindly)
    async with running_pair(tmp_path / "data") as pair:
        await asyncio.to_thread(migrate, pair.pair.url(CELL_OWNER, CELL_DATABASE))
        await forget_eras(pair)
        await change_roles(pair, how)
        assert not await asyncio.to_thread(looked, pair, tmp_path / "state")


async def forget_eras(pair: RunningPair) -> None:
    with pair.primary.superuser(CELL_DATABASE) as connection:
        connection.execute("DELETE FROM database_eras")


async def change_roles(pair: RunningPair, how: str) -> None:
    if how == "killed":
        pair.signal(pair.primary, signal.SIGKILL)
    else:
        await pair.watch.switch_over()
    await pair.until_protected(promotions=1)


async def test_services_find_the_primary_by_one_address(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        url = pair.url
        for promotions in (1, 2):
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
            await pair.watch.switch_over()
            assert pair.url == url
            await pair.until_protected(promotions=promotions)
    assert CELL in url
