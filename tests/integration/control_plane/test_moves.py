"""Orders of moves at the platform API: what is taken up, what is refused and why, and what is told of it.

No mover runs here: an order is a record, and everything that can be wrong with one is told at once.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from platform_keys import bearer
from running_platform import RunningPlatform
from sqlalchemy import update

from control_plane.moves.model import MoveRecord
from control_plane.moves.states import MoveEvent
from control_plane.store.changes import latest_changes
from control_plane.store.database import Database
from control_plane.store.moves import MoveStep, Recorded, advance, move_of, moves_to_clean, note, record_steps
from control_plane.store.tables import cells

PAST = (
    MoveEvent.ROUTERS_ACKNOWLEDGED,
    MoveEvent.TARGET_STAGED,
    MoveEvent.DIGESTS_AGREED,
)


@pytest.fixture
def slots(born: RunningPlatform) -> "Slots":
    return Slots(born)


class Slots:
    def __init__(self, platform: RunningPlatform) -> None:
        self.platform = platform

    async def order(self, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = await self.platform.client.post(
            "/v1/moves", json={"to_cell": "cell-2", **body}, headers=bearer(self.platform.keys.operator())
        )
        return answer.status_code, answer.json()

    async def cancel(self, move_id: str) -> tuple[int, dict[str, Any]]:
        path = f"/v1/moves/{move_id}/cancel"
        answer = await self.platform.client.post(path, headers=bearer(self.platform.keys.operator()))
        return answer.status_code, answer.json()


async def test_an_order_is_recorded_and_told(slots: Slots) -> None:
    status, move = await slots.order(units=[7, 3])
    assert status == 202
    assert (move["state"], move["from_cell"], move["to_cell"], move["units"]) == ("planned", "cell-1", "cell-2", 2)
    shown = (await slots.platform.get(f"/v1/moves/{move['move_id']}")).json()
    assert {**move, "difference": None, "steps": []} == shown
    units = (await slots.platform.get(f"/v1/moves/{move['move_id']}/units")).json()
    assert [(unit["unit"], unit["result"]) for unit in units["units"]] == [(3, "waiting"), (7, "waiting")]
    listed = (await slots.platform.get("/v1/moves?open=true")).json()
    assert [one["move_id"] for one in listed["moves"]] == [move["move_id"]]
    assert listed["moves"][0] == move


async def test_moves_are_listed_in_pages_newest_first(slots: Slots) -> None:
    ordered = [(await slots.order(unit=unit))[1]["move_id"] for unit in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await slots.platform.get(f"/v1/moves?limit=2{cursor}")).json()
        seen += [move["move_id"] for move in page["moves"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ordered[::-1]


async def test_a_named_order_may_be_sent_again(slots: Slots) -> None:
    named = str(uuid.uuid4())
    first = await slots.order(unit=3, move_id=named)
    assert first == await slots.order(unit=3, move_id=named)
    status, other = await slots.order(unit=4, move_id=named)
    assert (status, other["reason"]) == (409, "move_exists_with_different_units")
    status, other = await slots.order(unit=3, to_cell="cell-1", move_id=named)
    assert (status, other["reason"]) == (409, "move_exists_with_different_target")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"unit": 3, "to_cell": "cell-9"}, 404, "cell_must_exist"),
        ({"unit": 20_000}, 404, "unit_must_have_an_owner"),
        ({"unit": 65_536}, 404, "unit_must_have_an_owner"),
        ({"unit": 3, "to_cell": "cell-1"}, 409, "target_cell_must_be_another"),
        ({"units": [3, 16_383]}, 409, "units_must_be_in_one_cell"),
        ({"unit": -1}, 400, "request_must_be_well_formed"),
        ({"unit": "3"}, 400, "request_must_be_well_formed"),
        ({"units": []}, 400, "request_must_be_well_formed"),
        ({"units": [3, 3]}, 400, "request_must_be_well_formed"),
        ({"unit": 3, "units": [3]}, 400, "request_must_be_well_formed"),
        ({}, 400, "request_must_be_well_formed"),
        ({"unit": 3, "speed": "fast"}, 400, "request_must_be_well_formed"),
        ({"wallet_id": "not-a-wallet"}, 400, "request_must_be_well_formed"),
    ],
)
async def test_what_cannot_be_ordered_is_refused(slots: Slots, body: dict[str, Any], status: int, reason: str) -> None:
    answer = await slots.order(**body)
    assert (answer[0], answer[1]["reason"]) == (status, reason)
    assert (await slots.platform.get("/v1/moves")).json()["moves"] == []


async def test_a_unit_is_in_one_move_at_a_time(slots: Slots) -> None:
    _, first = await slots.order(units=[3, 4])
    status, refused = await slots.order(units=[4, 5])
    assert (status, refused["reason"]) == (409, "unit_must_not_be_in_another_move")
    assert (refused["unit"], refused["move_id"]) == (4, first["move_id"])
    await slots.cancel(first["move_id"])


@pytest.mark.parametrize("state", ["draining", "empty", "ready", "retired"])
async def test_only_an_active_cell_is_given_units(slots: Slots, database: Database, state: str) -> None:
    await in_state(database, "cell-2", state)
    status, refused = await slots.order(unit=3)
    assert (status, refused["reason"], refused["state"]) == (409, "target_cell_must_be_active", state)


async def test_a_draining_cell_gives_units(slots: Slots, database: Database) -> None:
    await in_state(database, "cell-1", "draining")
    assert (await slots.order(unit=3))[0] == 202


async def test_a_move_may_be_cancelled_until_its_last_grant(slots: Slots, database: Database) -> None:
    _, move = await slots.order(unit=3)
    status, cancelled = await slots.cancel(move["move_id"])
    assert (status, cancelled["stop"]) == (200, "cancelled")
    assert (status, cancelled) == await slots.cancel(move["move_id"]), "the same again changes nothing"


async def test_a_move_that_may_have_been_granted_is_not_cancelled(slots: Slots, database: Database) -> None:
    _, move = await slots.order(unit=3)
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        for event in PAST:
            following = await advance(connection, record, event)
            assert following is not None
            record = following
    status, refused = await slots.cancel(move["move_id"])
    assert (status, refused["reason"], refused["state"]) == (409, "move_must_be_before_its_grant", "sealed")


async def test_a_stop_and_the_agreement_exclude_one_another(slots: Slots, database: Database) -> None:
    """Whoever commits first wins: a move that was cancelled is never granted."""
    _, move = await slots.order(unit=3)
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        for event in PAST[:2]:
            following = await advance(connection, record, event)
            assert following is not None
            record = following
    assert (await slots.cancel(move["move_id"]))[0] == 200
    async with database.transaction() as connection:
        assert await advance(connection, record, MoveEvent.DIGESTS_AGREED) is None
        again = await move_of(connection, record.id)
    assert again is not None
    assert (again.state, again.stop) == ("copying", "cancelled")


async def test_a_mover_that_was_outpaced_writes_nothing(slots: Slots, database: Database) -> None:
    _, move = await slots.order(unit=3)
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        assert await advance(connection, record, MoveEvent.ROUTERS_ACKNOWLEDGED) is not None
    async with database.transaction() as connection:
        assert await advance(connection, record, MoveEvent.ROUTERS_ACKNOWLEDGED) is None
        assert await note(connection, record, Recorded(move={"copied_rows": 9})) is None


async def test_what_is_recorded_is_what_is_read(slots: Slots, database: Database) -> None:
    _, move = await slots.order(units=[3, 4, 5])
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        facts = Recorded(move={"copied_rows": 9}, units={4: {"wallets": 2}}, all_in_hand={"fence_no": 1})
        written = await note(connection, record, facts)
        assert written == await move_of(connection, move["move_id"])
    assert [(unit.wallets, unit.fence_no) for unit in written.units] == [(0, 1), (2, 1), (0, 1)]


async def test_a_move_of_thousands_of_units_is_told_in_few_words(slots: Slots, database: Database) -> None:
    _, move = await slots.order(units=list(range(4_096)))
    path = f"/v1/moves/{move['move_id']}"
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        facts = {0: {"result": "moved", "wallets": 3, "pause_ms": 41.5}, 4_095: {"result": "left"}}
        assert await note(connection, record, Recorded(move={"copied_rows": 9}, units=facts)) is not None
        steps = [
            MoveStep(at=move_began(), portion=1, step=f"step-{number}", duration_ms=number, facts={"units": 1})
            for number in range(70)
        ]
        await record_steps(connection, move["move_id"], steps)
    answer = await slots.platform.get(path)
    shown = answer.json()
    assert len(answer.content) < 4_096
    figures = {name: shown[name] for name in ("units", "units_in_hand", "units_moved", "units_left", "copied_rows")}
    assert figures == {"units": 4_096, "units_in_hand": 4_094, "units_moved": 1, "units_left": 1, "copied_rows": 9}
    assert (shown["units_with_wallets_moved"], shown["pause_ms_max"]) == (1, 41.5)
    assert [step["step"] for step in shown["steps"]] == [f"step-{number}" for number in range(50, 70)]
    seen = await every_page(slots, f"{path}/units?limit=500", "units")
    assert [unit["unit"] for unit in seen] == list(range(4_096))
    (moved,) = await every_page(slots, f"{path}/units?state=moved", "units")
    assert (moved["unit"], moved["wallets"], moved["pause_ms"]) == (0, 3, 41.5)
    assert await every_page(slots, f"{path}/units?state=waiting", "units") == []
    told = await every_page(slots, f"{path}/steps?limit=25", "steps")
    assert [step["step"] for step in told] == [f"step-{number}" for number in reversed(range(70))]
    assert (await slots.platform.get(f"{path}/units?state=flying")).status_code == 400
    assert (await slots.platform.get(f"{path}/units?cursor=-1")).status_code == 400


def move_began() -> datetime:
    return datetime(2027, 1, 15, 8, tzinfo=UTC)


async def every_page(slots: Slots, path: str, member: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await slots.platform.get(f"{path}{cursor}")).json()
        found += page[member]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_a_retired_cell_is_not_asked_to_clean_up(slots: Slots, database: Database) -> None:
    """Nobody is there any more; its rows are on a disk that somebody keeps or deletes."""
    _, move = await slots.order(unit=3)
    async with database.transaction() as connection:
        record = await taken_up(connection, move["move_id"])
        gone = {3: {"result": "moved", "tombstoned_at": move_began()}}
        assert await note(connection, record, Recorded(units=gone)) is not None
    later = move_began() + timedelta(days=4)
    for state, due in (("active", [move["move_id"]]), ("retired", [])):
        await in_state(database, "cell-1", state)
        async with database.transaction() as connection:
            assert [one.id for one in await moves_to_clean(connection, before=later)] == due


async def test_an_unknown_move_is_not_found(slots: Slots) -> None:
    nobody = str(uuid.uuid4())
    for path in (f"/v1/moves/{nobody}", f"/v1/moves/{nobody}/units", f"/v1/moves/{nobody}/steps"):
        assert (await slots.platform.get(path)).json()["reason"] == "move_must_exist"
    assert (await slots.cancel(nobody))[0] == 404
    assert (await slots.platform.get("/v1/moves/nonsense")).status_code == 400


async def test_every_order_and_stop_is_in_the_audit_trail(slots: Slots, database: Database) -> None:
    _, move = await slots.order(unit=3)
    await slots.cancel(move["move_id"])
    async with database.transaction() as connection:
        told = await latest_changes(connection, subject=f"move:{move['move_id']}", below_id=None, limit=10)
    assert told[0].after == {"stop": "cancelled"}
    assert told[1].after == {"from_cell": "cell-1", "to_cell": "cell-2", "units": 1, "purpose": "order"}


async def test_only_who_may_manage_the_fleet_orders_moves(slots: Slots) -> None:
    token = slots.platform.keys.operator(scope="fleet:read")
    answer = await slots.platform.client.post("/v1/moves", json={"unit": 3, "to_cell": "cell-2"}, headers=bearer(token))
    assert (answer.status_code, answer.json()["reason"]) == (403, "scope_must_allow_manage")


async def taken_up(connection: Any, move_id: str) -> MoveRecord:
    move = await move_of(connection, move_id)
    assert move is not None
    facts = {unit.unit: {"result": "in_hand", "portion": 1, "wallets": 0} for unit in move.units}
    record = await note(connection, move, Recorded(move={"portion": 1}, units=facts))
    assert record is not None
    return record


async def in_state(database: Database, cell: str, state: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(update(cells).where(cells.c.id == cell).values(state=state))
