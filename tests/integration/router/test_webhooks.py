"""`/v1/webhooks` at the router: changes go to the control plane as the vendor, letters come from all cells."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest
from running_haproxy import both_data_planes
from signed_directory import directory_document
from stand_in_cell import Reply, Seen, StandInCell, refusal

from contract.directory import DirectoryDocument
from contract.reasons import Reason
from contract.slots import SLOTS

pytestmark = both_data_planes

HOOK = "/v1/webhooks/00000000-0000-4000-8000-000000000001"
VENDOR = {"authorization": "Bearer of-the-vendor"}

Cells = dict[str, StandInCell]


def saying(document: object) -> Callable[[Seen], object]:
    async def tell(_: Seen) -> Reply:
        return Reply(document=document)

    return tell


def refusing(reason: Reason) -> Callable[[Seen], object]:
    async def tell(_: Seen) -> Reply:
        return refusal(reason)

    return tell


def letter(number: int, cell: str) -> dict[str, object]:
    wallet = f"00000000-0000-4000-8000-{number:012d}"
    return {"dead_at": f"2026-01-01T00:00:{number:02d}.000000Z", "wallet_id": wallet, "seq": 1, "cell": cell}


@pytest.fixture
async def cells(new_cell: NewCell) -> Cells:
    return {name: await new_cell(name) for name in ("a", "b")}


@pytest.fixture
def document(cells: Cells) -> DirectoryDocument:
    half = SLOTS // 2
    return directory_document(
        {name: [cell.url] for name, cell in cells.items()}, slot_cells=["a"] * half + ["b"] * half
    )


@pytest.fixture
async def control_plane(new_cell: NewCell) -> AsyncIterator[StandInCell]:
    """Speaks HTTP as cells do; polls for the directory are answered as anything else."""
    return await new_cell("control-plane")


@pytest.fixture
async def router(new_router: NewRouter, document: DirectoryDocument, control_plane: StandInCell) -> RouterUnderTest:
    return await new_router(document=document, control_plane_url=control_plane.url)


def asked(control_plane: StandInCell) -> list[Seen]:
    return [seen for seen in control_plane.seen if seen.target.startswith("/v1/webhooks")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/webhooks"),
        ("POST", "/v1/webhooks"),
        ("DELETE", "/v1/webhooks?id=x"),
        ("DELETE", HOOK),
        ("POST", f"{HOOK}/rotate"),
    ],
)
async def test_changes_go_to_the_control_plane_with_the_vendors_token(
    router: RouterUnderTest, cells: Cells, control_plane: StandInCell, method: str, path: str
) -> None:
    body = b'{"url":"https://vendor.example/"}' if (method, path) == ("POST", "/v1/webhooks") else b""
    json = {"content-type": "application/json"} if body else {}
    answer = await router.client.request(
        method, path, content=body, headers={**VENDOR, **json, "x-request-id": "mine", "x-forwarded-for": "9.9.9.9"}
    )
    assert answer.status_code == 200
    (seen,) = asked(control_plane)
    assert (seen.method, seen.target, seen.body) == (method, path, body)
    assert (seen.header("authorization"), seen.header("x-request-id")) == ("Bearer of-the-vendor", "mine")
    assert seen.header("x-forwarded-for") is None
    assert answer.headers["x-request-id"] == "mine"
    assert not any(cell.seen for cell in cells.values())


async def test_without_a_token_the_routers_own_is_not_lent(router: RouterUnderTest, control_plane: StandInCell) -> None:
    answer = await router.client.get("/v1/webhooks")
    assert (answer.status_code, answer.json()["reason"]) == (401, "token_must_be_valid")
    assert asked(control_plane) == []


async def test_a_refusal_of_the_control_plane_is_the_answer(
    router: RouterUnderTest, control_plane: StandInCell
) -> None:
    control_plane.script = refusing(Reason.WEBHOOK_MUST_EXIST)
    answer = await router.client.delete(HOOK, headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (404, "webhook_must_exist")


async def test_without_the_control_plane_only_webhooks_are_missing(
    router: RouterUnderTest, control_plane: StandInCell
) -> None:
    await control_plane.kill()
    answer = await router.client.get("/v1/webhooks", headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")
    assert answer.headers["retry-after"]
    wallet = "/v1/wallets/00000000-0000-4000-8000-000000000001"
    assert (await router.get(wallet)).status_code == 200


async def test_a_control_plane_that_breaks_is_out_of_reach(router: RouterUnderTest, control_plane: StandInCell) -> None:
    async def broken(_: Seen) -> Reply:
        return Reply(status=503, document={"reason": "database_must_be_ready"})

    control_plane.script = broken
    answer = await router.client.get("/v1/webhooks", headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


async def test_a_control_plane_that_hangs_is_not_waited_for(
    router: RouterUnderTest, control_plane: StandInCell
) -> None:
    async def hang(seen: Seen) -> Reply:
        if seen.target.startswith("/v1/webhooks"):
            await asyncio.Event().wait()
        return Reply(document={})

    control_plane.script = hang
    answer = await router.client.get("/v1/webhooks", headers={**VENDOR, "x-deadline-ms": "300"})
    assert (answer.status_code, answer.json()["reason"]) == (504, "deadline_must_not_pass")


async def test_a_router_without_a_control_plane_says_so(new_router: NewRouter, document: DirectoryDocument) -> None:
    router = await new_router(document=document)
    answer = await router.client.get("/v1/webhooks", headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


async def test_dead_letters_of_all_cells_are_one_list(router: RouterUnderTest, cells: Cells) -> None:
    cells["a"].script = saying({"dead_letters": [letter(1, "a"), letter(4, "a")], "next_cursor": None})
    cells["b"].script = saying({"dead_letters": [letter(2, "b"), letter(3, "b")], "next_cursor": None})
    answer = await router.get(f"{HOOK}/dead_letters")
    assert [one["cell"] for one in answer.json()["dead_letters"]] == ["a", "b", "b", "a"]
    assert answer.json()["next_cursor"] is None
    page = (await router.get(f"{HOOK}/dead_letters?limit=3")).json()
    assert (len(page["dead_letters"]), bool(page["next_cursor"])) == (3, True)


async def test_redelivery_is_asked_of_all_cells(router: RouterUnderTest, cells: Cells) -> None:
    cells["a"].script = saying({"redelivered": 2})
    cells["b"].script = refusing(Reason.WEBHOOK_MUST_EXIST)
    answer = await router.client.post(f"{HOOK}/redeliver", headers=VENDOR)
    assert (answer.status_code, answer.json()) == (200, {"redelivered": 2}), "a cell that has not heard has no letters"
    cells["a"].script = refusing(Reason.WEBHOOK_MUST_EXIST)
    answer = await router.client.post(f"{HOOK}/redeliver", headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (404, "webhook_must_exist")


async def test_a_missing_cell_means_no_list(router: RouterUnderTest, cells: Cells) -> None:
    cells["a"].script = saying({"dead_letters": [], "next_cursor": None})
    await cells["b"].kill()
    answer = await router.get(f"{HOOK}/dead_letters", x_deadline_ms="200")
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"dead_letters":5,"next_cursor":null}', b'{"redelivered":1}'])
async def test_a_cell_that_sends_no_list_means_no_list(router: RouterUnderTest, cells: Cells, body: bytes) -> None:
    async def babble(_: Seen) -> Reply:
        return Reply(body=body)

    cells["a"].script = cells["b"].script = babble
    answer = await router.get(f"{HOOK}/dead_letters")
    assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")


@pytest.mark.parametrize("path", ["/v1/webhooks/X", "/v1/webhooks/X/rotate", "/v1/webhooks/%41/dead_letters"])
async def test_an_id_that_is_none_reaches_nobody(
    router: RouterUnderTest, cells: Cells, control_plane: StandInCell, path: str
) -> None:
    method = "POST" if path.endswith("rotate") else "GET" if path.endswith("letters") else "DELETE"
    answer = await router.client.request(method, path, headers=VENDOR)
    assert (answer.status_code, answer.json()["reason"]) == (400, "path_must_be_well_formed")
    assert asked(control_plane) == []
    assert not any(cell.seen for cell in cells.values())
