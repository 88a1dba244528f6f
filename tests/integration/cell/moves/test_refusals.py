"""Every step that may not be taken is refused by name, and nothing of it is done; a repeated step is answered alike."""

import time
import uuid
from typing import Any

import httpx
import pytest
from ledger_book import Book
from moving_cells import CONTROL_PLANE, KEYS, OPERATOR, Mover, MovingCell, done, mover, refused
from platform_keys import bearer, token

from cell.cell_tokens import CellTokens
from contract.ids import wallet_id_of
from contract.slots import ISOLATED_UNIT_FIRST, slot_of

Cells = tuple[MovingCell, MovingCell]

ALICE = wallet_id_of(owner_type="person", owner_ref="alice", kind="main", currency="EUR")
UNIT = slot_of(ALICE)
OTHER_DIGEST = "0" * 64


def everything(cells: Cells) -> list[Any]:
    return [cell.everything() for cell in cells]


async def test_a_step_that_is_done_is_answered_like_the_first_time(either: Cells, book: Book) -> None:
    cells = a, b = either
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        first = done(await move.stage())
        assert done(await move.stage()) == first
        await move.copy()
        await move.copy_state()
        page = await move.outgoing("rows", {"unit": UNIT, "part": "entries", "positions": [[ALICE, 0]]})
        assert done(await move.put(UNIT, "entries", page.content))["rows"] == 0
        for step in (move.fence, move.seal, move.grant, move.activate, lambda: move.outgoing("tombstone")):
            first = done(await step())
            after = everything(cells)
            assert done(await step()) == first
            if step != move.seal:  # which notes that the mover is alive
                assert everything(cells) == after
        assert move.grants["grants"][0]["epoch"] == 2


async def up_to(move: Mover, last: str) -> None:
    steps = {
        "nothing": (),
        "stage": (move.stage,),
        "fence": (move.stage, move.copy, move.copy_state, move.fence),
        "seal": (move.stage, move.copy, move.copy_state, move.fence, move.seal),
        "grant": (move.stage, move.copy, move.copy_state, move.fence, move.seal, move.grant),
        "activate": (move.stage, move.copy, move.copy_state, move.fence, move.seal, move.grant, move.activate),
    }
    for step in steps[last]:
        await step()


def fences(move: Mover, **changed: Any) -> dict[str, Any]:
    fence = {"unit": UNIT, "epoch": 1, "fence_no": 1, "digest": OTHER_DIGEST}
    known = move.fences["fences"][0] if move.fences else {}
    return {"from_cell": "cell-a", "fences": [{**fence, **known, **changed}]}


def staged(move: Mover, *, to_cell: str = "cell-b", **changed: Any) -> dict[str, Any]:
    one = {"unit": UNIT, "epoch": 2, "fence_no": 1, "digest": OTHER_DIGEST}
    known = move.staged["staged"][0] if move.staged else {}
    return {"to_cell": to_cell, "staged": [{**one, **known, **changed}]}


def grants(move: Mover, **changed: Any) -> dict[str, Any]:
    sealed = staged(move)["staged"][0]
    grant = {**sealed, "move_id": move.id, "from_cell": "cell-a", "to_cell": "cell-b"}
    return {"grants": [{**grant, **changed}]}


def order(move: Mover, *, epoch: int = 2, from_cell: str = "cell-a") -> dict[str, Any]:
    return {"from_cell": from_cell, "source_admin_urls": [move.source.url], "units": [[UNIT, epoch]]}


async def fence_at_b(move: Mover) -> httpx.Response:
    async with mover(move.target, move.source, [UNIT]) as wrong:
        return await wrong.fence()


async def stage_at_a(move: Mover) -> httpx.Response:
    async with mover(move.target, move.source, [UNIT]) as wrong:
        return await wrong.stage()


async def as_another(move: Mover, step: str, body: dict[str, Any] | None = None) -> httpx.Response:
    async with mover(move.source, move.target, [UNIT]) as another:
        return await another.outgoing(step, body)


async def incoming_as_another(move: Mover, step: str) -> httpx.Response:
    async with mover(move.source, move.target, [UNIT]) as another:
        return await another.incoming(step)


async def broken_rows(move: Mover, forgery: str) -> httpx.Response:
    was, becomes = getattr(move.source.forgeries, forgery)
    page = await move.outgoing("rows", {"unit": UNIT, "part": "entries", "positions": [[ALICE, 0]]})
    assert was in page.content
    return await move.put(UNIT, "entries", page.content.replace(was, becomes))


async def rows_above(move: Mover, seq: int) -> httpx.Response:
    page = await move.outgoing("rows", {"unit": UNIT, "part": "entries", "positions": [[ALICE, seq]]})
    return await move.put(UNIT, "entries", page.content)


ANOTHER = "unit_must_not_be_in_another_move"

REFUSALS: dict[str, tuple[str, Any, str]] = {
    "fence what is not here": ("nothing", fence_at_b, "unit_must_be_active"),
    "fence what is granted": ("grant", lambda m: m.fence(), "unit_must_be_active"),
    "fence for another cell": ("fence", lambda m: m.fence(to_cell="cell-c"), ANOTHER),
    "fence twice, by two movers": (
        "fence",
        lambda m: as_another(m, "fence", {"units": [UNIT], "to_cell": "cell-b"}),
        ANOTHER,
    ),
    "grant without a fence": ("stage", lambda m: m.outgoing("grant", staged(m)), "unit_must_be_fenced"),
    "grant for another cell": (
        "seal",
        lambda m: m.outgoing("grant", staged(m, to_cell="cell-c")),
        "grant_must_name_this_cell",
    ),
    "grant another fence": ("seal", lambda m: m.outgoing("grant", staged(m, fence_no=7)), "fence_must_stand"),
    "grant another epoch": ("seal", lambda m: m.outgoing("grant", staged(m, epoch=5)), "epoch_must_follow"),
    "grant another digest": (
        "seal",
        lambda m: m.outgoing("grant", staged(m, digest=OTHER_DIGEST)),
        "digests_must_match",
    ),
    "grant by another move": ("seal", lambda m: as_another(m, "grant", staged(m)), ANOTHER),
    "grant again, otherwise": (
        "grant",
        lambda m: m.outgoing("grant", staged(m, to_cell="cell-c")),
        "unit_must_be_fenced",
    ),
    "tombstone without a grant": ("seal", lambda m: m.outgoing("tombstone"), "unit_must_be_granted"),
    "tombstone by another move": ("grant", lambda m: as_another(m, "tombstone"), ANOTHER),
    "clean without a tombstone": ("activate", lambda m: m.outgoing("clean"), "unit_must_be_moved"),
    "stage what is here": ("nothing", stage_at_a, "unit_must_be_absent"),
    "stage at its first epoch": ("nothing", lambda m: m.incoming("stage", order(m, epoch=1)), "epoch_must_follow"),
    "stage again, otherwise": ("stage", lambda m: m.incoming("stage", order(m, epoch=3)), ANOTHER),
    "stage from two cells": ("stage", lambda m: m.incoming("stage", order(m, from_cell="cell-c")), ANOTHER),
    "rows of nobody": (
        "nothing",
        lambda m: m.put(UNIT, "entries", m.target.forgeries.empty_page),
        "unit_must_be_staging",
    ),
    "positions of nobody": ("nothing", lambda m: m.incoming("positions"), "unit_must_be_staging"),
    "rows that break a chain": (
        "stage",
        lambda m: broken_rows(m, "sum"),
        "rows_must_fold",
    ),
    "rows with another text": ("stage", lambda m: broken_rows(m, "text"), "rows_must_fold"),
    "rows out of the middle": ("stage", lambda m: rows_above(m, 1), "rows_must_fold"),
    "rows that no table takes": ("stage", lambda m: broken_rows(m, "kind"), "rows_must_fold"),
    "seal what is not staged": ("nothing", lambda m: m.incoming("seal", fences(m)), "unit_must_be_staging"),
    "seal another digest": (
        "fence",
        lambda m: m.incoming("seal", fences(m, digest=OTHER_DIGEST)),
        "digests_must_match",
    ),
    "seal another epoch": ("fence", lambda m: m.incoming("seal", fences(m, epoch=4)), "epoch_must_follow"),
    "seal for another source": ("fence", lambda m: m.incoming("seal", {**fences(m), "from_cell": "cell-c"}), ANOTHER),
    "seal an earlier fence": ("seal", lambda m: m.incoming("seal", fences(m, fence_no=0)), "fence_must_stand"),
    "activate what is not staged": ("stage", lambda m: m.incoming("activate", grants(m)), "unit_must_be_granted"),
    "activate by a forged grant": ("seal", lambda m: m.incoming("activate", grants(m)), "unit_must_be_granted"),
    "activate by another's grant": (
        "grant",
        lambda m: m.incoming("activate", grants(m, to_cell="cell-c")),
        "unit_must_be_granted",
    ),
    "activate by an older grant": (
        "grant",
        lambda m: m.incoming("activate", grants(m, fence_no=0)),
        "unit_must_be_granted",
    ),
    "discard under its fence": ("seal", lambda m: m.incoming("discard"), "unit_must_be_staging"),
    "discard after the grant": ("grant", lambda m: m.incoming("discard"), "unit_must_be_staging"),
    "discard after the end": ("activate", lambda m: m.incoming("discard"), "unit_must_be_staging"),
    "discard another's": ("stage", lambda m: incoming_as_another(m, "discard"), ANOTHER),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_is_refused(either: Cells, book: Book, case: str) -> None:
    cells = a, b = either
    before_it, step, reason = REFUSALS[case]
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await up_to(move, before_it)
        before = everything(cells)
        assert refused(await step(move)) == reason
        assert everything(cells) == before
    await a.moves.source.unfence([UNIT], move_id=move.id)


async def test_a_fence_whose_time_is_over_can_neither_be_had_again_nor_granted(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        a.database.sql("UPDATE unit_state SET deadline = now() - interval '1 second' WHERE unit = %s", UNIT)
        assert refused(await move.fence()) == "fence_must_stand"
        assert refused(await move.grant()) == "fence_must_stand"
        await a.duties.watch()
        assert a.state(UNIT) == ("active", 1)
        assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]


async def test_a_mover_that_returns_from_the_dead_cannot_grant_by_an_earlier_fence(cells: Cells, book: Book) -> None:
    """Between its seal and its grant the fence fell, money moved, and another fence stands."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        sleeping = staged(move)
        done(await move.outgoing("unfence"))
        assert await a.running.codes(book.debit(ALICE, 60)) == ["accepted"]
        done(await move.fence())
        assert refused(await move.outgoing("grant", sleeping)) == "fence_must_stand"
        assert refused(await move.seal()) == "digests_must_match"
        await move.copy()
        done(await move.seal())
        await move.granted()
        done(await move.activate())
    assert b.database.one("SELECT balance FROM wallets") == 40


async def test_without_the_number_of_the_fence_the_returned_mover_would_lose_money(cells: Cells, book: Book) -> None:
    """The mutant: the source looks at move and deadline only. It grants what the target has from before the debit."""
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        first = staged(move)
        done(await move.outgoing("unfence"))
        assert await a.running.codes(book.debit(ALICE, 60)) == ["accepted"]
        done(await move.fence())
        now = move.fences["fences"][0]
        forged = staged(move, fence_no=now["fence_no"], digest=now["digest"])
        assert first["staged"][0]["digest"] != now["digest"]
        granted = done(await move.outgoing("grant", forged))
        # Only the target's own comparison is left, and it holds: what it sealed is not what was granted.
        assert refused(await move.incoming("activate", granted)) == "fence_must_stand"
    assert b.state(UNIT) == ("staged", 2)


async def test_a_locked_wallet_keeps_the_fence_off_and_nobody_waits_for_long(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    with a.database.transaction() as stranger:
        stranger.execute("SELECT FROM wallets FOR UPDATE")
        async with mover(a, b, [UNIT]) as move:
            assert refused(await move.fence(lock_wait_ms=50)) == "locks_must_be_free"
    assert a.state(UNIT) == ("active", 1)
    assert await a.running.codes(book.debit(ALICE, 1)) == ["accepted"]


async def test_a_sealed_unit_is_discarded_once_its_source_rules_the_grant_out(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        assert refused(await move.incoming("discard")) == "unit_must_be_staging"
        done(await move.outgoing("unfence"))
        assert done(await move.incoming("discard"))["units"][0]["state"] is None
        assert done(await move.incoming("discard"))["units"][0]["state"] is None
    assert (b.state(UNIT), b.database.count("wallets"), b.database.count("entries")) == (None, 0, 0)


async def test_a_discarded_return_leaves_the_tombstone_and_the_rows(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as there, mover(b, a, [UNIT], epoch=3) as back:
        await there.whole()
        assert await b.running.codes(book.debit(ALICE, 1)) == ["accepted"]
        done(await back.stage())
        await back.copy()
        assert done(await back.incoming("discard"))["units"][0]["state"] == "moved"
        assert done(await there.outgoing("tombstone"))["units"][0]["epoch"] == 2
    assert a.state(UNIT) == ("moved", 2)
    async with mover(b, a, [UNIT], epoch=3) as again:
        await again.whole()
        assert again.copied == 0


# Who may, and what is no request at all.


@pytest.mark.parametrize("scope", ["fleet:read", "wallet:read"])
async def test_only_who_manages_the_fleet_moves_units(cells: Cells, scope: str) -> None:
    a, _ = cells
    headers = bearer(token(CONTROL_PLANE, "cp-1", subject="olga", scope=scope))
    move_id = uuid.uuid4()
    async with httpx.AsyncClient(base_url=a.url, headers=headers) as client:
        for path in ("outgoing/{}/fence", "outgoing/{}/survey", "incoming/{}/discard", "isolate"):
            answer = await client.post(f"/admin/{path.format(move_id)}", json={"units": [1]})
            assert answer.status_code == 403, path
        assert (await client.put(f"/admin/incoming/{move_id}/rows?unit=1&part=state")).status_code == 403


async def test_grants_are_told_to_cells_and_to_operators_and_to_nobody_else(cells: Cells, book: Book) -> None:
    a, b = cells
    await a.running.open(book, ["alice"], balance=100)
    async with mover(a, b, [UNIT]) as move:
        await move.up_to_staged()
        await move.granted()
    path = f"{a.url}/admin/grants/{UNIT}"
    cells_own = {"authorization": CellTokens("cell-b", KEYS["cell-b"]).authorization(time.time())}
    pretended = {"authorization": CellTokens("cell-b", KEYS["cell-c"]).authorization(time.time())}
    async with httpx.AsyncClient() as client:
        for headers, status in ((cells_own, 200), (OPERATOR, 200), (pretended, 401), ({}, 401)):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == status, headers
        granted = (await client.get(path, headers=cells_own)).json()
        assert granted == move.grants["grants"][0]
        nothing = await client.get(f"{a.url}/admin/grants/{UNIT + 1}", headers=cells_own)
        assert (nothing.status_code, nothing.json()["reason"]) == (404, "unit_must_be_granted")
        answer = await client.post(f"{a.url}/admin/outgoing/{move.id}/unfence", headers=cells_own, json={"units": [1]})
        assert answer.status_code == 401


MALFORMED: dict[str, tuple[str, str, Any]] = {
    "no units": ("POST", "outgoing/{}/fence", {"units": [], "to_cell": "cell-b"}),
    "a unit below zero": ("POST", "outgoing/{}/survey", {"units": [-1]}),
    "a unit that no column holds": ("POST", "outgoing/{}/survey", {"units": [2**31]}),
    "an epoch that no column holds": (
        "POST",
        "incoming/{}/stage",
        {"from_cell": "cell-a", "source_admin_urls": ["http://x"], "units": [[1, 2**63]]},
    ),
    "a URL of another kind": (
        "POST",
        "incoming/{}/stage",
        {"from_cell": "cell-a", "source_admin_urls": ["file:///etc/passwd"], "units": [[1, 2]]},
    ),
    "a digest that is none": (
        "POST",
        "incoming/{}/seal",
        {"from_cell": "cell-a", "fences": [{"unit": 1, "epoch": 1, "fence_no": 1, "digest": "x"}]},
    ),
    "versions of two units": ("POST", "outgoing/{}/versions", {"units": [1, 2]}),
    "a wallet that is none": ("POST", "outgoing/{}/rows", {"unit": 1, "part": "entries", "positions": [["x", 0]]}),
    "a part that is none": ("PUT", "incoming/{}/rows?unit=1&part=all", None),
    "no part": ("PUT", "incoming/{}/rows?unit=1", None),
    "no rows": ("PUT", "incoming/{}/rows?unit=1&part=entries", None),
    "a slot as an isolated unit": ("POST", "isolate", {"wallet_id": ALICE, "unit": 5}),
    "a move without a name": ("POST", "outgoing/me/survey", {"units": [1]}),
    "a unit of grants that is none": ("GET", "grants/x", None),
    "an endless unit of grants": ("GET", f"grants/{10**30}", None),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_malformed_is_told_so(cells: Cells, case: str) -> None:
    a, _ = cells
    method, path, body = MALFORMED[case]
    async with httpx.AsyncClient(base_url=a.url, headers=OPERATOR) as client:
        answer = await client.request(method, f"/admin/{path.format(uuid.uuid4())}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_isolating_what_is_not_here(cells: Cells) -> None:
    a, _ = cells
    async with httpx.AsyncClient(base_url=a.url, headers=OPERATOR) as client:
        for verb in ("isolate", "rejoin"):
            answer = await client.post(f"/admin/{verb}", json={"wallet_id": ALICE, "unit": ISOLATED_UNIT_FIRST})
            assert (answer.status_code, answer.json()["reason"]) == (404, "wallet_must_exist")
