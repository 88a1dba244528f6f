"""Watches over the two databases of one cell: looks, has the next step planned, does it, records it; says what may run.

Nothing is started in either place without its word (`choose`), so that whoever is not to be the primary stays down.
It may be killed anywhere; the next one goes on from the record. Rules: failover.py; hands: pair_acts.py.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg

from cellwallet.local.failover import Act, Pair, Place, Plan, Role, Seen, plan, role_of
from cellwallet.local.pair_acts import PairActs, Primary, StandbySeen
from cellwallet.local.pair_file import PairFileBrokenError, read_pair, write_pair
from cellwallet.local.postgres import Cluster, PostgresMustEndError
from cellwallet.local.standby import StandbyMustFollowError
from contract.values import value

PERIOD_S: Final = 0.25
TROUBLE_PAUSE_S: Final = 0.2
LOOK_TIMEOUT_S: Final = 5.0
"""A server that accepts a connection and then says nothing for so long is silent."""
SWITCH_TIMEOUT_S: Final = 60.0
TROUBLES: Final = (OSError, psycopg.Error, PairFileBrokenError, PostgresMustEndError, StandbyMustFollowError)
"""What is tried again as it was: everything that is done here may be repeated."""

T = TypeVar("T")
Tell = Callable[[Pair, str], None]
"""Called at every change of the record, with the reason."""


class SwitchOverRefusedError(Exception):
    """The roles have not changed; the message says what must hold."""


@value
class Switched:
    primary: Place
    pause_s: float
    """During which services had no address of a primary."""


class PairWatch:
    """`run` it before anything is started in either place."""

    def __init__(self, file: Path, acts: PairActs, *, is_wanted: bool) -> None:
        """Raises PairFileBrokenError."""
        self._file = file
        self._acts = acts
        self._is_wanted = is_wanted
        self._tell: Tell | None = None
        self.pair = self._recorded()
        self.why = ""
        """What is being waited for; empty when all is as it should be."""
        self.trouble = ""
        """What went wrong with the step that is being tried."""
        self._told = ""
        """Why the record was changed last."""
        self._primary = Primary(answer="silent")
        self._asking: dict[Place, asyncio.Future[Role]] = {}
        self._has_run: set[Place] = set()
        self._wake = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="pair")
        """Own ones: a takeover does not queue behind the copies of other cells."""
        self._is_asked = False
        self.is_running = False
        self._answered_at_s: float | None = None
        self._connected_at_s = self._moved_at_s = time.monotonic()
        self._closed_at_s: float | None = None
        self._pause_s = 0.0

    @property
    def is_changing(self) -> bool:
        """The roles are being changed, or somebody has just asked for it."""
        return self._is_asked or not self.pair.is_settled

    def is_spare(self, place: Place) -> bool:
        """Whether a cell may serve while nothing runs there."""
        return role_of(self.pair, place) != "primary"

    async def choose(self, place: Place) -> Cluster:
        """What to start there; waits until something may be. Whoever asks has nothing running there.

        Raises:
            DataMustFitError: the data there are not what they should be.

        """
        answer: asyncio.Future[Role] = asyncio.get_running_loop().create_future()
        self._asking[place] = answer
        self._wake.set()
        try:
            role = await answer
        finally:
            if self._asking.get(place) is answer:
                del self._asking[place]
        return self._acts.cluster(place, role, self.pair)

    async def run(self, tell: Tell | None = None) -> None:
        """Until cancelled; afterwards it may be run again."""
        self._tell = tell
        self.pair = self._recorded()
        self._has_run.clear()
        self._closed_at_s = None
        self._forget_clocks()
        self._acts.address.close()
        self.is_running = True
        try:
            while True:
                self._wake.clear()
                if not await self._turn():
                    await _wait_for(self._wake, PERIOD_S)
        finally:
            # What was asked of a platform that halts the cell is not done when it is resumed, by surprise.
            self.is_running = self._is_asked = False

    async def switch_over(self) -> Switched:
        """Raises SwitchOverRefusedError."""
        if not self.is_running:
            raise SwitchOverRefusedError("nobody watches over them: the cell is halted")
        if self._is_asked:
            raise SwitchOverRefusedError("a switch-over is under way")
        if self.pair.phase != "synchronous":
            raise SwitchOverRefusedError(f"there must be a synchronous standby: {self.why or self.pair.phase}")
        before = self.pair.promotions
        self._is_asked = True
        self._wake.set()
        try:
            async with asyncio.timeout(SWITCH_TIMEOUT_S):
                while self.pair.promotions == before or not self._serves_again():
                    self._must_be_under_way(before)
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise SwitchOverRefusedError(self.trouble or self.why or "it takes too long") from error
        finally:
            self._is_asked = False
        return Switched(primary=self.pair.primary, pause_s=self._pause_s)

    def _serves_again(self) -> bool:
        """A thread opens the address, a moment before it is noted for how long it had been closed."""
        return self._acts.is_open(self.pair) and self._closed_at_s is None

    def _must_be_under_way(self, before: int) -> None:
        """Raises SwitchOverRefusedError: it was broken off, or given up, and nobody goes on with it."""
        if not self.is_running:
            raise SwitchOverRefusedError("the cell was halted meanwhile")
        if not self.is_changing and self.pair.promotions == before:
            raise SwitchOverRefusedError(f"it was given up: {self._told}")

    def described(self) -> dict[str, Any]:
        """As of the last look."""
        seen = self._primary.replication
        return {
            "phase": self.pair.phase,
            "primary": self.pair.primary,
            "is_protected": self.pair.phase == "synchronous" and seen.is_synchronous,
            "is_streaming": seen.is_streaming,
            "lag_bytes": seen.lag_bytes,
            "lag_s": seen.lag_s,
            "promotions": self.pair.promotions,
            "pause_s": self._pause_s or None,
            "why": self.why,
            "trouble": self.trouble,
        }

    async def why_closed(self) -> str | None:
        """None = services have an address."""
        return None if self._acts.is_open(self.pair) else self._waiting_for("the primary")

    async def why_unprotected(self) -> str | None:
        """None = what is acknowledged is in both places."""
        return None if self.described()["is_protected"] else self._waiting_for("the standby")

    # One turn.

    async def _turn(self) -> bool:
        """Whether something was done or recorded. Those who ask are answered by the record as it is then, and not at
        all if something went wrong: it may have been what has to be done before they run.
        """
        asking = dict(self._asking)
        has_moved = False
        try:
            planned = plan(self.pair, await self._look(asking))
            self.why = planned.why
            has_moved = await self._follow(planned)
            self.trouble = ""
        except TROUBLES as error:
            self.trouble = str(error).strip()
            with contextlib.suppress(PairFileBrokenError):  # whether it was recorded is told by the disk alone
                self.pair = self._recorded()
            await asyncio.sleep(TROUBLE_PAUSE_S)
        else:
            self._answer(asking)
        return has_moved

    async def _follow(self, planned: Plan) -> bool:
        for act in planned.acts:
            await (self._checkpoint() if act == "checkpoint" else _to_its_end(self._do(act)))
            self._note_pause(act)
        if planned.then is not None:
            await _to_its_end(self._in_thread(write_pair, self._file, planned.then))
            self.pair = planned.then
            self._told = planned.why
            self._is_asked = self._is_asked and self.pair.phase == "synchronous"
            self._forget_clocks()
            if self._tell is not None:
                self._tell(self.pair, planned.why)
        self._moved_at_s = time.monotonic() if planned.acts else self._moved_at_s
        return bool(planned.acts or planned.then)

    async def _do(self, act: Act) -> None:
        await self._in_thread(self._acts.do, act, self.pair)

    async def _checkpoint(self) -> None:
        """So that the primary stops fast. With one that takes too long, the order for which it was made is given up."""
        try:
            await self._do("checkpoint")
        except TimeoutError as error:
            self._is_asked, self._told = False, f"the checkpoint before it: {error}"
            raise

    def _answer(self, asking: dict[Place, "asyncio.Future[Role]"]) -> None:
        for place, answer in asking.items():
            role = role_of(self.pair, place)
            is_waiting = self._asking.get(place) is answer and not answer.done()
            if role is None or not is_waiting or (role == "follower" and not self._can_be_copied()):
                continue
            del self._asking[place]  # now, and not when it hears: a place that may run does not ask any more
            answer.set_result(role)
            self._has_run.add(place)
            self._answered_at_s = None if place == self.pair.primary else self._answered_at_s

    def _can_be_copied(self) -> bool:
        """A standby without its copy needs its primary; one that has it starts beside it."""
        return self._acts.has_copy(self.pair) or self._primary.answer == "answers"

    async def _look(self, asking: dict[Place, "asyncio.Future[Role]"]) -> Seen:
        pair, acts = self.pair, self._acts
        is_down = pair.primary in asking
        standby_asked = self._in_thread(acts.look_at_standby, pair, otherwise=StandbySeen())
        if is_down:
            self._primary, standby = Primary(answer="silent"), await standby_asked
        else:
            asked = self._in_thread(acts.look_at_primary, pair, otherwise=Primary(answer="silent"))
            self._primary, standby = await asyncio.gather(asked, standby_asked)
        now_s = time.monotonic()
        self._set_clocks(now_s)
        runs, has_everything = await self._in_thread(_last_of, acts, pair, standby)
        replication = self._primary.replication
        return Seen(
            primary_has_ended=is_down and pair.primary in self._has_run,
            primary_runs=runs,
            primary_answers=self._primary.answer == "answers",
            silent_s=0.0 if is_down or self._answered_at_s is None else now_s - self._answered_at_s,
            standby_answers=standby.answers,
            is_streaming=replication.is_streaming,
            is_synchronous=replication.is_synchronous,
            is_caught_up=self._primary.is_caught_up,
            has_everything=has_everything,
            away_s=now_s - self._connected_at_s,
            waited_s=now_s - self._moved_at_s,
            commits_wait=self._primary.commits_wait,
            has_slot=self._primary.has_slot,
            is_open=acts.is_open(pair),
            is_asked=self._is_asked,
        )

    def _set_clocks(self, now_s: float) -> None:
        """A primary that recovers after a crash is not silent; a standby that is being copied is not away."""
        told = self._primary
        if told.answer == "answers" or (told.answer == "lives" and self._answered_at_s is not None):
            self._answered_at_s = now_s
        if told.answer != "answers" or told.is_connected or not self._acts.has_copy(self.pair):
            self._connected_at_s = now_s

    def _forget_clocks(self) -> None:
        self._answered_at_s = None
        self._connected_at_s = self._moved_at_s = time.monotonic()

    def _note_pause(self, act: Act) -> None:
        if act == "close_address" and self._closed_at_s is None:
            self._closed_at_s = time.monotonic()
        if act == "open_address" and self._closed_at_s is not None:
            self._pause_s, self._closed_at_s = time.monotonic() - self._closed_at_s, None

    def _waiting_for(self, what: str) -> str:
        return f"{what}: {self.trouble or self.why or self.pair.phase}"

    def _recorded(self) -> Pair:
        recorded = read_pair(self._file)
        if recorded is None:
            return Pair(is_wanted=self._is_wanted)
        return replace(recorded, is_wanted=self._is_wanted)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any, otherwise: T | None = None) -> T:
        """With `otherwise`, an answer that takes too long is that one, and the thread is left to itself."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        if otherwise is None:
            return await working
        done, _ = await asyncio.wait({working}, timeout=LOOK_TIMEOUT_S)
        return working.result() if done else otherwise


def _last_of(acts: PairActs, pair: Pair, standby: StandbySeen) -> tuple[bool, bool]:
    """Whether the primary still runs, and if not, whether the standby has its last word; asked while it hands over."""
    if pair.phase != "handing_over":
        return False, False
    if acts.primary_runs(pair):
        return True, False
    word = acts.last_word(pair)
    return False, word is not None and standby.has_up_to is not None and standby.has_up_to > word


async def _to_its_end(doing: Coroutine[Any, Any, None]) -> None:
    """Also when we are cancelled: whoever halts a cell works on its data next, and nobody else may by then."""
    working = asyncio.ensure_future(doing)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        working.exception()  # nobody is left to hear it; the record tells the next one where to go on
        raise


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
