"""One sender: keeps its connections busy with requests at the pace of the load, and counts what comes back.

Plain sockets and epoll: a few microseconds per request, a third of what an asyncio client costs, because every
microsecond here is taken from the cell on the same machine. One request at a time per connection, as clients do it.
Bounded in count, in connections and in time, and it talks to 127.0.0.1 only.
"""

import gc
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from loadtests.answers import AnswerMustBeHttpError, end_of, is_replay_of, status_of
from loadtests.arrivals import Arrivals
from loadtests.histogram import Histogram
from loadtests.load import LATE_MS, SAMPLES_MAX, Load, Postings, Seen, Tally, Target
from loadtests.payloads import Payload, payloads

RECEIVE_BYTES: Final = 65_536
LOOPBACK: Final = "127.0.0.1"
POLL_MAX_S: Final = 0.05
AHEAD: Final = 64
"""Connections per target that an open loop begins with."""
BACKLOG_S: Final = 1.0
"""Open loop: requests that wait for a connection at most, as seconds of arrivals; more are dropped and counted."""
IDLE_MAX_S: Final = 2.0
"""A connection that rested for longer is not used again, for its peer may be closing it: as the pools of clients do."""
_EXPECTED: Final = {200, 201, 422}


class TargetMustBeLocalError(Exception):
    """Loads are for the machine that they are made on."""


class _Connection:
    """One request at a time. `original` is set on a duplicate, `is_kept` on a request that will be sent again."""

    __slots__ = (
        *("idle_since_s", "intended_at_s", "is_busy", "is_kept"),
        *("original", "partial", "payload", "place", "socket"),
    )

    def __init__(self, place: int, target: Target) -> None:
        if target.host != LOOPBACK:
            raise TargetMustBeLocalError(target.host)
        self.place = place
        self.socket = socket.create_connection((target.host, target.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)  # read only when there is something to read
        self.partial = b""
        self.payload: Payload = (0, b"", 0)
        self.intended_at_s = 0.0
        self.is_busy = False
        self.idle_since_s = time.monotonic()
        self.original: bytes | None = None
        self.is_kept = False


class Sender:
    """`share` of `shares` senders of one load. Instants are those of `time.monotonic`, alike in all processes."""

    def __init__(self, load: Load, *, share: int, shares: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """`is_over` ends an open loop before its time; what was sent is waited for."""
        self._is_over = is_over
        self._targets = load.targets
        self._pace = load.pace
        self._share, self._shares = share, shares
        self._payloads = payloads(load, share=share, shares=shares)
        asks = load.asks
        duplicates = asks.duplicates if isinstance(asks, Postings) else 0.0
        self._kept_every = round(1 / duplicates) if duplicates else 0
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: list[list[_Connection]] = [[] for _ in load.targets]
        self._open = [0 for _ in load.targets]
        self._backlog: list[deque[tuple[Payload, float, bytes | None]]] = [deque() for _ in load.targets]
        self._kept: deque[tuple[Payload, bytes]] = deque()
        self._in_flight = 0
        self._issued = 0
        self._is_exhausted = False
        self._measured_from_s = 0.0
        self._ends_at_s = 0.0
        self._tally = _Counts(is_traced=load.is_traced)
        self._connect_ahead()

    def run(self, starts_at_s: float) -> Tally:
        """Send from the instant on; returns when everything is answered or waited for long enough."""
        self._measured_from_s = starts_at_s + self._pace.warm_up_s
        self._ends_at_s = starts_at_s + self._pace.duration_s
        gc.collect()
        gc.disable()  # nothing here is cyclic, and a pause of the collector would be measured as the cell's
        while time.monotonic() < starts_at_s:
            time.sleep(0.001)
        cpu_before_s = time.process_time()
        try:
            if self._pace.rate_per_s is None:
                last_at_s = self._run_closed(starts_at_s)
            else:
                self._run_open(starts_at_s, self._pace.rate_per_s)
                last_at_s = self._ends_at_s
        finally:
            gc.enable()
            for connection in self._connections.values():
                connection.socket.close()
            self._epoll.close()
        return self._tally.finished(
            unanswered=self._in_flight,
            unsent=sum(map(len, self._backlog)),
            measured_s=min(last_at_s, self._ends_at_s) - self._measured_from_s,
            elapsed_s=time.monotonic() - starts_at_s,
            cpu_s=time.process_time() - cpu_before_s,
        )

    # The two loops.

    def _run_open(self, starts_at_s: float, rate_per_s: float) -> None:
        pace = self._pace
        arrivals = Arrivals(rate_per_s=rate_per_s, duration_s=pace.duration_s, share=self._share, shares=self._shares)
        backlog_max = rate_per_s * BACKLOG_S / self._shares
        total = arrivals.total
        number = 0
        while True:
            now_s = time.monotonic()
            if number < total and self._is_over():
                total, self._ends_at_s = number, now_s
            due = min(arrivals.due(now_s - starts_at_s), total)
            while number < due:
                payload, original = self._next()
                place = payload[0]
                if len(self._backlog[place]) < backlog_max:
                    self._submit(payload, starts_at_s + arrivals.intended_s(number), original)
                else:
                    self._tally.dropped += 1
                number += 1
            if number >= total and not self._in_flight:
                return
            if now_s > self._ends_at_s + pace.drain_s:
                return
            until_next_s = starts_at_s + arrivals.intended_s(number) - now_s if number < total else POLL_MAX_S
            self._receive(min(max(until_next_s, 0.0), POLL_MAX_S))

    def _run_closed(self, starts_at_s: float) -> float:
        pace = self._pace
        concurrency = self._share_of(pace.concurrency or 1)
        count_max = None if pace.count_max is None else self._share_of(pace.count_max)
        now_s = starts_at_s
        while True:
            is_open = now_s < self._ends_at_s and not self._is_exhausted
            while is_open and self._in_flight + self._waiting() < concurrency:
                if count_max is not None and self._issued >= count_max:
                    self._is_exhausted = True
                    break
                self._submit_next(now_s)
                is_open = not self._is_exhausted
            if not is_open and not self._in_flight:
                return now_s
            if now_s > self._ends_at_s + pace.drain_s:
                return now_s
            self._receive(POLL_MAX_S)
            now_s = time.monotonic()

    def _submit_next(self, now_s: float) -> None:
        try:
            payload, original = self._next()
        except StopIteration:
            self._is_exhausted = True
        else:
            self._submit(payload, now_s, original)

    def _share_of(self, everybody: int) -> int:
        return everybody // self._shares + (self._share < everybody % self._shares)

    def _waiting(self) -> int:
        return sum(map(len, self._backlog))

    # Requests on their way out.

    def _next(self) -> tuple[Payload, bytes | None]:
        """The next request, or one that was answered a while ago, again."""
        self._issued += 1
        if self._kept_every and self._issued % self._kept_every == 0 and self._kept:
            return self._kept.popleft()
        return next(self._payloads), None

    def _submit(self, payload: Payload, intended_at_s: float, original: bytes | None) -> None:
        place = payload[0]
        rested = self._rested(place)
        if rested is not None:
            self._send(rested, payload, intended_at_s, original)
        elif self._open[place] < self._pace.connections_max:
            self._send(self._connect(place), payload, intended_at_s, original)
        else:
            self._backlog[place].append((payload, intended_at_s, original))

    def _rested(self, place: int) -> _Connection | None:
        """The one that was used last; when even that rested for too long, all of them did."""
        idle = self._idle[place]
        if idle and time.monotonic() - idle[-1].idle_since_s > IDLE_MAX_S:
            for connection in idle:
                self._close(connection)
            idle.clear()
        return idle.pop() if idle else None

    def _send(self, connection: _Connection, payload: Payload, intended_at_s: float, original: bytes | None) -> None:
        connection.payload = payload
        connection.intended_at_s = intended_at_s
        connection.original = original
        connection.is_kept = self._kept_every > 0 and original is None and self._issued % self._kept_every == 1
        connection.is_busy = True
        self._in_flight += 1
        if self._pace.rate_per_s is not None:
            self._tally.left(time.monotonic() - intended_at_s)
        try:
            connection.socket.sendall(payload[1])
        except OSError as error:
            self._lose(connection, error)

    def _connect_ahead(self) -> None:
        """Most of the connections, so that a run does not begin with a storm of them."""
        wanted = self._share_of(self._pace.concurrency or AHEAD)
        for place, idle in enumerate(self._idle):
            idle.extend(self._connect(place) for _ in range(min(wanted, self._pace.connections_max)))

    def _connect(self, place: int) -> _Connection:
        connection = _Connection(place, self._targets[place])
        number = connection.socket.fileno()
        self._connections[number] = connection
        self._epoll.register(number, select.EPOLLIN)
        self._open[place] += 1
        return connection

    # Answers on their way in.

    def _receive(self, wait_s: float) -> None:
        for number, _ in self._epoll.poll(wait_s):
            connection = self._connections[number]
            try:
                received = connection.socket.recv(RECEIVE_BYTES)
                if connection.partial:
                    received = connection.partial + received
                    connection.partial = b""
                if not received:
                    raise ConnectionResetError("closed by the peer")
                end = end_of(received)
            except (OSError, AnswerMustBeHttpError, ValueError) as error:
                if connection.is_busy:
                    self._lose(connection, error)
                else:
                    self._idle[connection.place].remove(connection)
                    self._close(connection)
                continue
            if end:
                self._take(connection, received[:end])
            else:
                connection.partial = received

    def _take(self, connection: _Connection, answer: bytes) -> None:
        now_s = time.monotonic()
        payload, original, intended_at_s = connection.payload, connection.original, connection.intended_at_s
        self._in_flight -= 1
        connection.is_busy = False
        status = status_of(answer)
        is_measured = self._measured_from_s <= intended_at_s and (
            self._pace.rate_per_s is not None or now_s <= self._ends_at_s
        )
        is_error = self._tally.answered(status, answer, payload, original)
        self._tally.trace(intended_at_s, now_s, is_error=is_error)
        if is_measured and status in _EXPECTED:
            self._tally.latencies.record(int((now_s - intended_at_s) * 1e6))
        elif is_measured and status == 429:
            self._tally.turned_away.record(int((now_s - intended_at_s) * 1e6))
        if connection.is_kept and status == 201:
            self._kept.append((payload, answer))
        backlog = self._backlog[connection.place]
        if backlog:
            self._send(connection, *backlog.popleft())
        else:
            connection.idle_since_s = now_s
            self._idle[connection.place].append(connection)

    def _lose(self, connection: _Connection, error: Exception) -> None:
        """The request may or may not have had its effect: it counts as unanswered."""
        self._close(connection)
        self._in_flight -= 1
        self._tally.lost(error)
        self._tally.trace(connection.intended_at_s, time.monotonic(), is_error=True)

    def _close(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        self._epoll.unregister(number)
        del self._connections[number]
        connection.socket.close()
        self._open[connection.place] -= 1


class _Counts:
    """The tally while it grows."""

    def __init__(self, *, is_traced: bool) -> None:
        self._is_traced = is_traced
        self._trace: list[Seen] = []
        self.latencies = Histogram()
        self.turned_away = Histogram()
        self.dropped = 0
        self._statuses: Counter[int] = Counter()
        self._accepted = self._refused = self._replayed = self._replays_wrong = 0
        self._delta = self._late = self._lost = self._unexpected = 0
        self._lag_max_s = 0.0
        self._samples: list[str] = []

    def left(self, lag_s: float) -> None:
        if lag_s > self._lag_max_s:  # noqa: PLR1730 - cheaper than a call
            self._lag_max_s = lag_s
        if lag_s * 1_000 > LATE_MS:
            self._late += 1

    def answered(self, status: int, answer: bytes, payload: Payload, original: bytes | None) -> bool:
        """Whether it is an error to whom it was sent: neither an acceptance nor a true replay."""
        self._statuses[status] += 1
        if status not in _EXPECTED:
            self._unexpected += 1
            self._sample(answer.decode("latin-1"))
            return True
        if original is not None:
            if is_replay_of(answer, original):
                self._replayed += 1
                return False
            self._replays_wrong += 1
            self._sample(answer.decode("latin-1"))
            return True
        if status == 422:
            self._refused += 1
            return True
        self._accepted += 1
        self._delta += payload[2]
        return False

    def trace(self, intended_at_s: float, now_s: float, *, is_error: bool) -> None:
        if self._is_traced:
            self._trace.append(Seen(intended_at_s, (now_s - intended_at_s) * 1_000, is_error))

    def lost(self, error: Exception) -> None:
        self._lost += 1
        self._sample(repr(error))

    def finished(self, *, unanswered: int, unsent: int, measured_s: float, elapsed_s: float, cpu_s: float) -> Tally:
        return Tally(
            latencies=self.latencies,
            statuses=self._statuses,
            accepted=self._accepted,
            refused=self._refused,
            replayed=self._replayed,
            replays_wrong=self._replays_wrong,
            delta=self._delta,
            late=self._late,
            lag_max_s=self._lag_max_s,
            dropped=self.dropped + unsent,
            unanswered=unanswered + self._lost,
            unexpected=self._unexpected,
            measured_s=max(measured_s, 0.0),
            elapsed_s=elapsed_s,
            cpu_s=cpu_s,
            samples=tuple(self._samples),
            turned_away=self.turned_away,
            trace=tuple(self._trace),
        )

    def _sample(self, text: str) -> None:
        if len(self._samples) < SAMPLES_MAX:
            self._samples.append(text[:500])
