"""How each case is brought about: a move is ordered, somebody comes by a point, and somebody is killed.

Each strike returns the move and the instant of the blow; how it went on from there is looked at by session.py.
"""

import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping

import psycopg
from crash_matrix.crash_file import CrashFile
from crash_matrix.fleet import MatrixFleet
from crash_matrix.pairs import SOURCE_PARTS, Case, Pair, Part, Place, Special
from crash_matrix.watch import Watch
from faults.site import wait_until
from moving.orders import Operator

from contract.values import value

COMES_BY_S = 60.0
"""Bounds the waiting for somebody to come by a point; a busy machine may take a while."""
CLEANED_S = 200.0
"""A mover looks every minute for what is to be deleted, a cell's own duty every half."""
WRITTEN_MIN = 2
"""Commands that are decided in the unit between a fence and a grant that comes too late."""
NOW = "0.0"
TAMPER = """UPDATE wallets SET metadata = '{"written": "by nobody"}' WHERE unit = %s"""
LEFT = """
SELECT (SELECT count(*) FROM wallets WHERE unit = %(unit)s)
     + (SELECT count(*) FROM cleanups WHERE unit = %(unit)s)
"""
RETAINED = "SELECT count(*) FROM wallets JOIN unit_state USING (unit) WHERE state = 'moved'"
STATE = "SELECT state FROM unit_state WHERE unit = %s"


class CaseFailedError(Exception):
    """Something that must have happened did not; the message says what."""


@value
class Scene:
    """Where the unit is, where it is to go, and the hands to do it."""

    fleet: MatrixFleet
    operator: Operator
    watch: Watch
    unit: int
    source: str
    target: str
    decisions: Callable[[], int]
    """How many commands have been decided in the unit."""

    def kill(self, *parts: Part) -> None:
        self.fleet.kill(*parts, source=self.source, target=self.target)

    async def order(self) -> str:
        return await self.operator.start(units=[self.unit], to_cell=self.target)


@value
class Struck:
    move_id: str
    at_s: float
    """On the monotonic clock."""


async def strike(scene: Scene, case: Case) -> Struck:
    """Raises CaseFailedError: nobody came by."""
    try:
        match case:
            case Pair():
                return await _strike_pair(scene, case)
            case Special.LATE_GRANT:
                return await _grant_late(scene, blow=None)
            case Special.DIGESTS_DIFFER:
                return await _tamper(scene)
            case Special.WHOLE_SOURCE:
                return await _at_the_mover(scene, "move.granted", SOURCE_PARTS)
            case Special.NO_STANDBY:
                return await _without_standby(scene)
    finally:
        scene.fleet.disarm()


async def _strike_pair(scene: Scene, pair: Pair) -> Struck:
    if pair.point == "move.cleaned":
        return await _clean(scene, pair.victim)
    if pair.point == "move.granting":
        return await _grant_late(scene, blow=pair.victim)
    if pair.place is Place.MOVER:
        if pair.point == "move.fence_taken_down":
            return await _after_a_lapse(scene, pair)
        if pair.point in {"move.discarded", "move.withdrawn"}:
            return await _on_the_way_back(scene, pair)
        if not pair.dies_itself:
            return await _at_the_mover(scene, pair.point, (pair.victim,))
    file = scene.fleet.of_mover if pair.place is Place.MOVER else scene.fleet.of_cells
    return await _come_by(scene, file, pair, scene.order)


async def _come_by(scene: Scene, file: CrashFile, pair: Pair, order: Callable[[], Awaitable[str]]) -> Struck:
    """The one that comes by dies there, or waits while the victim is killed."""
    if pair.dies_itself:
        file.arm(pair.point)
        move_id = await order()
        await _until(scene, lambda: not file.is_armed, f"nobody came by {pair.point}")
        return Struck(move_id=move_id, at_s=time.monotonic())
    file.arm(f"{pair.point} hold")
    move_id = await order()
    await _until(scene, lambda: file.held_pid() is not None, f"nobody came by {pair.point}")
    scene.kill(pair.victim)
    file.release()
    return Struck(move_id=move_id, at_s=time.monotonic())


async def _at_the_mover(scene: Scene, point: str, victims: tuple[Part, ...]) -> Struck:
    mover = scene.fleet.of_mover
    mover.arm(f"{point} hold")
    move_id = await scene.order()
    await _until(scene, lambda: mover.held_pid() is not None, f"nobody came by {point}")
    scene.kill(*victims)
    mover.release()
    return Struck(move_id=move_id, at_s=time.monotonic())


async def _after_a_lapse(scene: Scene, pair: Pair) -> Struck:
    """The mover waits under its fence until the watchdog has taken it down; then it sees that it is late."""
    mover = scene.fleet.of_mover
    mover.arm("move.fenced hold")
    move_id = await scene.order()
    await _until(scene, lambda: mover.held_pid() is not None, "nobody came by move.fenced")
    await _until_fence_is_gone(scene)

    async def go_on() -> str:
        mover.release()
        return move_id

    return await _come_by(scene, mover, pair, go_on)


async def _on_the_way_back(scene: Scene, pair: Pair) -> Struck:
    mover = scene.fleet.of_mover
    mover.arm("move.copied hold")
    move_id = await scene.order()
    await _until(scene, lambda: mover.held_pid() is not None, "nobody came by move.copied")
    status, told = await scene.operator.ask("POST", f"/v1/moves/{move_id}/cancel")
    if status != 200:
        raise CaseFailedError(f"the move cannot be cancelled: {told}")

    async def go_on() -> str:
        mover.release()
        return move_id

    return await _come_by(scene, mover, pair, go_on)


async def _grant_late(scene: Scene, *, blow: Part | None) -> Struck:
    """The order of a grant waits in the source until its fence has fallen and vendors have written again; then it
    goes on, or dies there. `blow`: who is killed while it waits.
    """
    cells = scene.fleet.of_cells
    cells.arm("move.granting hold")
    move_id = await scene.order()
    await _until(scene, lambda: cells.held_pid() is not None, "nobody came by move.granting")
    at_s = time.monotonic()
    if blow is Part.MOVER:
        scene.kill(Part.MOVER)
    await _until_fence_is_gone(scene)
    before = scene.decisions()
    await _until(scene, lambda: scene.decisions() >= before + WRITTEN_MIN, "nobody wrote after the fence")
    if blow is Part.SOURCE_API:
        at_s = time.monotonic()
        scene.kill(Part.SOURCE_API)
    cells.release()
    return Struck(move_id=move_id, at_s=at_s)


async def _tamper(scene: Scene) -> Struck:
    """A row of the target changes before it seals: what no copy may survive."""
    mover = scene.fleet.of_mover
    mover.arm("move.delta_sent hold")
    move_id = await scene.order()
    await _until(scene, lambda: mover.held_pid() is not None, "nobody came by move.delta_sent")
    with psycopg.connect(scene.fleet.platform.databases[scene.target]) as connection:
        changed = connection.execute(TAMPER, (scene.unit,)).rowcount
    mover.release()
    if not changed:
        raise CaseFailedError("there was no row to tamper with")
    return Struck(move_id=move_id, at_s=time.monotonic())


async def _without_standby(scene: Scene) -> Struck:
    """A mover that is told to insist on standbys waits and touches nothing; the platform's own then does the move."""
    with scene.fleet.another_mover(CONTROL_PLANE_MOVES_NEED_STANDBYS="true"):
        move_id = await scene.order()
        told: dict[str, object] = {}

        async def waits() -> bool:
            nonlocal told
            _, told = await scene.operator.ask("GET", f"/v1/moves/{move_id}")
            return told["reason"] == "standbys_must_be_synchronous"

        if not await wait_until(waits, deadline_s=COMES_BY_S):
            raise CaseFailedError(f"a source without a standby was not refused: {told['state']} {told['reason']}")
        if told["state"] != "planned" or _state(scene, scene.source) != "active":
            raise CaseFailedError(f"the move has begun without a standby: {told['state']}")
    return Struck(move_id=move_id, at_s=time.monotonic())


async def _clean(scene: Scene, victim: Part) -> Struck:
    """A whole move first; then a mover that keeps nothing, and a death while the source deletes. Over when all is gone:
    deleted on by that mover's next round or by the cell's own duty. What earlier moves have left is deleted before, so
    that it is this unit that somebody is about when he dies.
    """
    databases = scene.fleet.platform.databases
    with scene.fleet.another_mover(CONTROL_PLANE_MOVE_RETENTION_H=NOW):
        await _until(scene, lambda: not _retained(databases), "rows of earlier moves are left", deadline_s=CLEANED_S)
    move = await scene.operator.ended(await scene.order())
    if move["state"] != "done":
        raise CaseFailedError(f"the move before is {move['state']}")
    cells = scene.fleet.of_cells
    cells.arm("move.cleaned hold")
    with scene.fleet.another_mover(CONTROL_PLANE_MOVE_RETENTION_H=NOW) as mover_pid:
        await _until(scene, lambda: cells.held_pid() is not None, "nobody came by move.cleaned", deadline_s=CLEANED_S)
        at_s = time.monotonic()
        if victim is Part.MOVER:
            os.kill(mover_pid, signal.SIGKILL)
        else:
            scene.kill(victim)
        cells.release()
        await _until(scene, lambda: not _left(scene), "rows of the unit are left in the source", deadline_s=CLEANED_S)
    return Struck(move_id=move["move_id"], at_s=at_s)


async def _until(scene: Scene, holds: Callable[[], bool], complaint: str, *, deadline_s: float = COMES_BY_S) -> None:
    async def does() -> bool:
        return holds()

    if not await wait_until(does, deadline_s=deadline_s):
        raise CaseFailedError(complaint)


async def _until_fence_is_gone(scene: Scene) -> None:
    await _until(scene, lambda: _state(scene, scene.source) == "active", "the fence does not fall")


def _state(scene: Scene, cell: str) -> str | None:
    with psycopg.connect(scene.fleet.platform.databases[cell]) as connection:
        rows = connection.execute(STATE, (scene.unit,)).fetchall()
    return rows[0][0] if rows else None


def _retained(databases: Mapping[str, str]) -> int:
    retained = 0
    for url in databases.values():
        with psycopg.connect(url) as connection:
            retained += sum(row[0] for row in connection.execute(RETAINED))
    return retained


def _left(scene: Scene) -> int:
    try:
        with psycopg.connect(scene.fleet.platform.databases[scene.source], connect_timeout=2) as connection:
            ((left,),) = connection.execute(LEFT, {"unit": scene.unit}).fetchall()
    except psycopg.OperationalError:
        return 1
    return int(left)
