"""Units and transfers that a restored cell has lost: given back, asked again, on record, and refused by name."""

import uuid
from typing import Any

import httpx
import pytest
from admin_cell import AdminCell, NewCell
from platform_keys import bearer
from running_platform import RunningPlatform, until

from contract.quarantine import Adjudication, QuarantineNow
from contract.resending import Resent
from contract.slots import SLOTS

Cells = dict[str, AdminCell]
HALF = SLOTS // 2
OPENED = QuarantineNow(
    cell="cell-2",
    is_quarantined=False,
    adjudication=Adjudication(cell="cell-2", kept=0, units=(), newest_entry_at="2026-05-01T10:00:00.500000Z"),
)


@pytest.fixture
async def cells(platform: RunningPlatform, new_cell: NewCell) -> Cells:
    """`cell-1` has the lower half of the slots, `cell-2` the upper one."""
    started: Cells = {}
    for name in ("cell-1", "cell-2"):
        started[name] = await new_cell(name)
        await platform.register(name, started[name].admin_url)
    await until(platform.directory)
    return started


def lose(cells: Cells, first: int, last: int) -> None:
    """As if cell-1 had once given these units of cell-2 to it, and a restore had taken them back out of it."""
    numbers = range(first, last + 1)
    cells["cell-1"].given |= dict.fromkeys(numbers, ("moved", 1))
    cells["cell-2"].given |= dict.fromkeys(numbers, ("moved", 2))


async def ask(platform: RunningPlatform, path: str, body: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
    headers = bearer(platform.keys.operator(**more))
    return await platform.client.post(f"/v1/cells/{path}", headers=headers, json=body)


async def owners(platform: RunningPlatform) -> dict[str, int]:
    return {cell["id"]: cell["units"] for cell in (await platform.get("/v1/cells")).json()["cells"]}


async def test_lost_units_go_back_to_their_giver_and_into_the_directory(
    platform: RunningPlatform, cells: Cells
) -> None:
    lose(cells, HALF, HALF + 2_000)  # more than a directory may change without somebody who means it
    before = (await platform.directory())["version"]
    answer = await ask(platform, "cell-2/revive")
    assert answer.status_code == 200, answer.text
    revived = answer.json()["revived"]
    assert (len(revived), revived[0]) == (2_001, {"unit": HALF, "cell": "cell-1", "epoch": 2})
    assert answer.json()["left"] == []
    assert await owners(platform) == {"cell-1": HALF + 2_001, "cell-2": HALF - 2_001}
    after = await platform.directory()
    assert after["version"] > before
    assert after["slots"] == [[HALF + 2_001, "cell-1"], [HALF - 2_001, "cell-2"]]
    trail = (await platform.get("/v1/changes?subject=cell:cell-2")).json()["changes"]
    assert sum(len(one["after"]["revived"]["units"]) for one in trail) == 2_001
    again = await ask(platform, "cell-2/revive")
    assert again.json() == {"revived": [], "left": []}


async def test_a_giver_that_cannot_refuses_and_nothing_changes(platform: RunningPlatform, cells: Cells) -> None:
    lose(cells, HALF, HALF + 3)
    cells["cell-1"].refuses_to_revive = True
    answer = await ask(platform, "cell-2/revive")
    assert (answer.status_code, answer.json()["reason"]) == (409, "cell_must_accept")
    assert "rows_must_be_retained" in answer.json()["detail"]
    assert await owners(platform) == {"cell-1": HALF, "cell-2": HALF}


async def test_what_nobody_gave_is_left_with_a_word_why(platform: RunningPlatform, cells: Cells) -> None:
    cells["cell-2"].given |= {HALF: ("moved", 2)}
    answer = await ask(platform, "cell-2/revive")
    assert answer.json() == {
        "revived": [],
        "left": [{"unit": HALF, "epoch": 1, "why": "0 cells say that they gave it"}],
    }


async def test_every_cell_must_answer_before_anything_is_revived(platform: RunningPlatform, cells: Cells) -> None:
    lose(cells, HALF, HALF)
    await cells["cell-1"].stop()
    answer = await ask(platform, "cell-2/revive")
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_answer")


async def test_who_may_not_manage_the_fleet_revives_nothing(platform: RunningPlatform, cells: Cells) -> None:
    del cells
    for path, body in (("cell-2/revive", None), ("cell-2/resend", {"from_cell": "cell-1"})):
        answer = await platform.client.post(
            f"/v1/cells/{path}", headers=bearer(platform.keys.operator("fleet:read")), json=body
        )
        assert (answer.status_code, answer.json()["reason"]) == (403, "scope_must_allow_manage")


async def test_quarantines_are_told_by_the_cells_themselves(platform: RunningPlatform, cells: Cells) -> None:
    cells["cell-2"].quarantine = QuarantineNow(
        cell="cell-2", is_quarantined=True, cause="restored", detail="a test", began_at="2026-05-01T10:00:00+00:00"
    )
    await cells["cell-1"].stop()
    told = {one["cell"]: one for one in (await platform.get("/v1/quarantines")).json()["cells"]}
    assert (told["cell-1"]["is_quarantined"], told["cell-2"]["is_quarantined"]) == (None, True)
    assert (told["cell-2"]["cause"], told["cell-2"]["is_adjudicated"]) == ("restored", False)


async def test_transfers_are_asked_again_from_a_while_before_the_restored_past(
    platform: RunningPlatform, cells: Cells
) -> None:
    cells["cell-2"].quarantine = OPENED
    key = (str(uuid.uuid4()), "shop", str(uuid.uuid4()))
    cells["cell-1"].resent = [
        Resent(cell="cell-1", asked=500, taken=500, after=key),
        Resent(cell="cell-1", asked=2, taken=2),
    ]
    first = await ask(platform, "cell-2/resend", {"from_cell": "cell-1"})
    assert (first.status_code, first.json()["after"]) == (200, list(key)), first.text
    second = await ask(platform, "cell-2/resend", {"from_cell": "cell-1", "after": first.json()["after"]})
    assert (second.json()["asked"], second.json()["after"]) == (2, None)
    assert [order.since for order in cells["cell-1"].resendings] == ["2026-05-01T09:50:00.500000Z"] * 2
    assert [order.after for order in cells["cell-1"].resendings] == [None, key]
    trail = (await platform.get("/v1/changes?subject=cell:cell-2")).json()["changes"]
    assert [one["after"]["resend"]["from_cell"] for one in trail] == ["cell-1"]


async def test_a_cell_that_is_closed_or_was_never_restored_is_sent_nothing(
    platform: RunningPlatform, cells: Cells
) -> None:
    never = await ask(platform, "cell-2/resend", {"from_cell": "cell-1"})
    assert (never.status_code, never.json()["reason"]) == (409, "restore_must_be_known")
    cells["cell-2"].quarantine = QuarantineNow(cell="cell-2", is_quarantined=True)
    closed = await ask(platform, "cell-2/resend", {"from_cell": "cell-1"})
    assert (closed.status_code, closed.json()["reason"]) == (409, "cell_must_not_be_quarantined")
    strange = await ask(platform, "cell-2/resend", {"from_cell": "cell-9"})
    assert (strange.status_code, strange.json()["reason"]) == (404, "cell_must_exist")
    for since in ("yesterday", "2026-13-01T00:00:00Z", "2026-12-01T00:00:00"):
        malformed = await ask(platform, "cell-2/resend", {"from_cell": "cell-1", "since": since})
        assert malformed.status_code == 400
    assert cells["cell-1"].resendings == []
