"""A sender against a peer that misbehaves: nothing that went wrong may be missing from the tally."""

import itertools
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadtests import sender
from loadtests.histogram import bucket_of
from loadtests.load import Load, Pace, Reads, Tally, Target
from loadtests.sender import AHEAD, IDLE_MAX_S, Sender

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SLOW_US = 100_000


class Peer(socketserver.ThreadingTCPServer):
    """Answers every request, but none for `closed_s` after the load began; hangs up each `hangs_up_every`-th time.

    `idle_s`: closes a connection that rests for so long.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, *, closed_s: float = 0.0, hangs_up_every: int = 0, idle_s: float | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.closed_s = closed_s
        self.opens_at_s = 0.0
        self.hangs_up_every = hangs_up_every
        self.idle_s = idle_s
        self.closed_idle = 0
        self.connections = 0
        self.asked = 0
        self.counting = threading.Lock()
        self.is_open = threading.Event()

    def wait_until_open(self) -> None:
        self.is_open.wait(max(0.0, self.opens_at_s - time.monotonic()))


class Conversation(socketserver.BaseRequestHandler):
    server: Peer

    def handle(self) -> None:
        self.request.settimeout(self.server.idle_s)
        with self.server.counting:
            self.server.connections += 1
        while self._has_request():
            self.server.wait_until_open()
            with self.server.counting:
                self.server.asked += 1
                is_last = self.server.hangs_up_every and self.server.asked % self.server.hangs_up_every == 0
            if is_last:
                return
            self.request.sendall(ANSWER)

    def _has_request(self) -> bool:
        try:
            return bool(self.request.recv(4_096))
        except TimeoutError:
            with self.server.counting:
                self.server.closed_idle += 1
            return False


@contextmanager
def running(peer: Peer) -> Iterator[Peer]:
    thread = threading.Thread(target=peer.serve_forever)
    thread.start()
    try:
        yield peer
    finally:
        peer.shutdown()
        peer.server_close()
        thread.join()


def send(peer: Peer, pace: Pace, *, is_traced: bool = False, is_over: Callable[[], bool] = lambda: False) -> Tally:
    target = Target(port=peer.server_address[1])
    asks = Reads(paths=["/"], wallets=["wallet"], token="token")
    load = Load(targets=(target,), asks=asks, pace=pace, is_traced=is_traced)
    sender = Sender(load, share=0, shares=1, is_over=is_over)
    starts_at_s = time.monotonic()
    peer.opens_at_s = starts_at_s + peer.closed_s
    return sender.run(starts_at_s)


def slow(tally: Tally) -> int:
    return sum(count for bucket, count in tally.latencies.counts.items() if bucket > bucket_of(SLOW_US))


def test_an_open_loop_feels_a_pause_in_every_request_that_it_delays() -> None:
    """80 of 200 requests arrive while nobody answers; those of the first 300 ms wait for more than 100 ms."""
    with running(Peer(closed_s=0.4)) as peer:
        tally = send(peer, Pace(duration_s=1, rate_per_s=200))
    assert (tally.measured, tally.unanswered, tally.dropped) == (200, 0, 0)
    assert slow(tally) >= 50
    assert tally.latencies.max_us > 300_000


def test_a_closed_loop_hides_the_same_pause() -> None:
    """Which is why its latencies are labelled."""
    with running(Peer(closed_s=0.4)) as peer:
        tally = send(peer, Pace(duration_s=1, concurrency=1))
    assert tally.measured > 20
    assert slow(tally) < tally.measured / 4


def test_requests_that_wait_for_a_connection_are_late_and_too_many_are_dropped() -> None:
    """Of 150, four are under way and a second's worth waits while nobody answers."""
    with running(Peer(closed_s=1.7)) as peer:
        tally = send(peer, Pace(duration_s=1.5, rate_per_s=100, connections_max=4))
    assert tally.dropped == 150 - 4 - 100
    assert tally.measured == 104
    assert tally.late >= 90


def test_a_peer_that_hangs_up_leaves_requests_unanswered() -> None:
    with running(Peer(hangs_up_every=10)) as peer:
        tally = send(peer, Pace(duration_s=0.5, rate_per_s=200))
    assert tally.unanswered == 10
    assert tally.measured == 90
    assert tally.samples


def test_a_peer_that_never_answers_does_not_hold_the_sender() -> None:
    with running(Peer(closed_s=60)) as peer:
        try:
            tally = send(peer, Pace(duration_s=0.2, rate_per_s=50, drain_s=0.2))
        finally:
            peer.is_open.set()
    assert (tally.measured, tally.unanswered) == (0, 10)


def test_an_open_loop_ends_early_when_it_is_told_to_and_waits_for_its_answers() -> None:
    """Of an hour of requests, some; all that were sent are answered, though nobody answers at first."""
    looks = itertools.count()
    with running(Peer(closed_s=0.3)) as peer:
        tally = send(peer, Pace(duration_s=3_600, rate_per_s=200), is_over=lambda: next(looks) >= 20)
    assert 0 < tally.measured < 1_000
    assert (tally.measured, tally.unanswered, tally.dropped) == (peer.asked, 0, 0)
    assert tally.elapsed_s < 60


def test_a_traced_load_keeps_each_answer_with_its_instant_and_what_had_none_as_an_error() -> None:
    with running(Peer(hangs_up_every=10)) as peer:
        tally = send(peer, Pace(duration_s=0.5, rate_per_s=200), is_traced=True)
    instants = sorted(seen.intended_at_s for seen in tally.trace)
    assert [round((after - before) * 1_000) for before, after in itertools.pairwise(instants)] == [5] * 99
    assert sum(seen.is_error for seen in tally.trace) == tally.unanswered == 10
    assert max(seen.latency_ms for seen in tally.trace if not seen.is_error) >= tally.latencies.max_us / 1_000


def test_a_load_that_is_not_traced_keeps_nothing() -> None:
    with running(Peer()) as peer:
        assert send(peer, Pace(duration_s=0.1, rate_per_s=100)).trace == ()


def test_connections_that_rest_are_closed_by_the_peer_and_nobody_misses_them() -> None:
    """One connection is enough for a request per second; the others are no lost requests when their peer is done."""
    with running(Peer(idle_s=IDLE_MAX_S + 1)) as peer:
        tally = send(peer, Pace(duration_s=IDLE_MAX_S + 3, rate_per_s=1))
    assert peer.closed_idle > 0
    assert (tally.measured, tally.unanswered, tally.dropped) == (peer.asked, 0, 0)
    assert tally.samples == ()


def test_a_connection_that_rested_for_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "IDLE_MAX_S", 0.0)
    with running(Peer()) as peer:
        tally = send(peer, Pace(duration_s=0.5, rate_per_s=20))
    assert (tally.measured, tally.unanswered) == (peer.asked, 0) == (10, 0)
    assert peer.connections == AHEAD + 10


def test_a_connection_that_rested_for_a_moment_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "IDLE_MAX_S", 60.0)
    with running(Peer()) as peer:
        tally = send(peer, Pace(duration_s=0.5, rate_per_s=20))
    assert (tally.measured, tally.unanswered) == (peer.asked, 0) == (10, 0)
    assert peer.connections == AHEAD
