"""HAProxy and its agent: maps that change while it runs, reloads that nobody notices, and life without the agent."""

import asyncio
import json
import shutil
import uuid
from pathlib import Path

import httpx
import pytest
from raw_http import connect
from router_under_test import JSON, NewCell, NewRouter, RouterUnderTest, running_router, unused_port, wait_until
from running_haproxy import RunningHaproxy, needs_haproxy, only_haproxy
from signed_directory import DirectoryServer, Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell, misdirected, refusal

from contract.directory import DirectoryDocument
from contract.headers import PROBLEM_TYPE
from contract.ids import WalletId
from contract.reasons import Reason
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS, slot_of
from router.routing.haproxy_maps import SLOT_EXPRESSION, SLOTS_MAP

HOT = ISOLATED_UNIT_FIRST + 1
GOLDEN = 500

pytestmark = needs_haproxy


class Fleet:
    """Two cells behind HAProxy, and the control plane that publishes their map."""

    def __init__(
        self, cells: dict[str, StandInCell], router: RouterUnderTest, publisher: DirectoryServer, signer: Signer
    ) -> None:
        self.cells = cells
        self.router = router
        self._publisher = publisher
        self._signer = signer
        self.version = 1
        self.wallet = wallet_in(self.document(), "a")
        self.slot = slot_of(self.wallet)

    def document(self, **members: object) -> DirectoryDocument:
        urls = members.pop("urls", None) or {name: [cell.url] for name, cell in self.cells.items()}
        return directory_document(urls, version=self.version, **members)

    async def publish(self, **members: object) -> None:
        """Returns when the router has acknowledged it: from then on vendors are served by it."""
        self.version += 1
        document = self.document(**members)
        self._publisher.publish(document.version, self._signer.signed(document))
        await wait_until(lambda: self._publisher.acknowledged[-1:] == [self.version])

    async def asked(self, wallet: WalletId | None = None) -> str:
        """The cell that answers."""
        answer = await self.router.post(f"/v1/wallets/{wallet or self.wallet}/debit")
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-cell"])

    async def by_agent(self) -> int:
        """How many requests HAProxy has not answered by itself."""
        figures = await self.router.figures()
        return int(sum(count for name, count in figures.items() if name.startswith("router_requests_total")))

    @property
    def reloads(self) -> int:
        return self.router.router.metrics.haproxy_reloads

    @property
    def haproxy(self) -> RunningHaproxy:
        assert self.router.haproxy is not None
        return self.router.haproxy

    def slots_but_one(self, cell: str) -> list[str]:
        slots = list(self.document().slot_cells())
        slots[self.slot] = cell
        return slots


@pytest.fixture
async def fleet(new_cell: NewCell, new_router: NewRouter, publisher: DirectoryServer, signer: Signer) -> Fleet:
    cells = {name: await new_cell(name) for name in ("a", "b")}
    document = directory_document({name: [cell.url] for name, cell in cells.items()}, version=1)
    publisher.publish(1, signer.signed(document))
    router = await new_router(document=document, control_plane_url=publisher.url, directory_wait_s=1)
    await wait_until(lambda: 1 in publisher.acknowledged)
    return Fleet(cells, router, publisher, signer)


async def ask(port: int, paths: list[str]) -> list[str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        return [(await client.get(path)).text for path in paths]


async def test_slots_are_those_of_python(tmp_path: Path) -> None:
    port = unused_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout client 5s\n"
        f"frontend golden\n  bind 127.0.0.1:{port}\n"
        '  http-request return status 200 content-type text/plain lf-string "ok" if { path /healthz }\n'
        "  http-request return status 200 content-type text/plain "
        f'lf-string "%[path,word(1,/),{SLOT_EXPRESSION}]"\n'
    )
    haproxy = RunningHaproxy(tmp_path, port)
    await haproxy.start()
    try:
        wallets = [WalletId(str(uuid.uuid4())) for _ in range(GOLDEN)]
        answers = await ask(port, [f"/{wallet}" for wallet in wallets])
    finally:
        await haproxy.stop()
    assert answers == [str(slot_of(wallet)) for wallet in wallets]
    assert len(set(answers)) > GOLDEN * 9 // 10


@only_haproxy
async def test_one_lookup_is_all_that_a_request_needs(fleet: Fleet) -> None:
    assert [await fleet.asked(), await fleet.asked(wallet_in(fleet.document(), "b"))] == ["a", "b"]
    assert await fleet.by_agent() == 0


@only_haproxy
async def test_a_map_changes_without_a_reload(fleet: Fleet) -> None:
    assert await fleet.asked() == "a"
    await fleet.publish(slot_cells=fleet.slots_but_one("b"), epochs={fleet.slot: 2})
    assert await fleet.asked() == "b"
    await fleet.publish(
        slot_cells=fleet.slots_but_one("b"),
        epochs={fleet.slot: 2},
        isolated={fleet.wallet: HOT},
        unit_cells={HOT: "a"},
    )
    assert await fleet.asked() == "a"
    ready = await fleet.router.client.get("/readyz")
    assert ready.json() == {"status": "ready", "directory_version": 3}
    assert (fleet.reloads, await fleet.by_agent()) == (0, 0)


@only_haproxy
async def test_a_unit_in_transition_goes_by_the_agent(fleet: Fleet) -> None:
    other = wallet_in(fleet.document(), "b")
    await fleet.publish(moving=(fleet.slot,))
    fleet.cells["a"].script = waiting_twice(fleet.cells["a"])
    assert [await fleet.asked(), await fleet.asked(other)] == ["a", "b"]
    assert await fleet.by_agent() == 1
    await fleet.publish()
    assert (await fleet.asked(), await fleet.by_agent(), fleet.reloads) == ("a", 1, 0)


def waiting_twice(cell: StandInCell):  # noqa: ANN201
    async def say(seen: Seen) -> Reply:
        return refusal(Reason.WALLET_IS_MOVING) if len(cell.seen) < 3 else await cell.echo(seen)

    return say


@only_haproxy
@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_move_that_was_not_announced_costs_one_answer(fleet: Fleet, *, is_granted: bool) -> None:
    """The vendor may send the same again at once: it is followed then, and known afterwards."""
    path = f"/v1/wallets/{fleet.wallet}/debit"
    moved = misdirected(unit=fleet.slot, cell="b", epoch=2)

    async def fenced(_seen: Seen) -> Reply:
        return moved if is_granted or len(fleet.cells["a"].seen) > 1 else refusal(Reason.WALLET_IS_MOVING)

    fleet.cells["a"].script = fenced
    first = await fleet.router.post(path)
    assert (first.status_code, first.json()["retry"]) == (421 if is_granted else 503, "same_id")
    assert (await fleet.asked(), await fleet.by_agent()) == ("b", 1)
    slot = str(fleet.slot)
    await wait_until(lambda: f"\n{slot} b\n" in (fleet.haproxy.folder / SLOTS_MAP).read_text())
    for number in range(1, 200):
        same_slot = WalletId(f"{number:08x}-0000-4000-8000-{number * 7919:012x}")
        if slot_of(same_slot) == fleet.slot:
            assert await fleet.asked(same_slot) == "b"
    assert len(fleet.cells["a"].seen) == 2


@only_haproxy
async def test_a_reload_under_load_drops_nothing(fleet: Fleet, new_cell: NewCell) -> None:
    """Kept connections, new connections and slow answers, while instances come and go."""
    stop = asyncio.Event()
    statuses: list[int] = []

    async def slow(seen: Seen) -> Reply:
        await asyncio.sleep(0.05)
        return await fleet.cells["b"].echo(seen)

    fleet.cells["b"].script = slow
    wallets = [wallet_in(fleet.document(), name, number=number) for name in ("a", "b") for number in range(5)]

    async def keep_asking(wallet: WalletId) -> None:
        async with httpx.AsyncClient(base_url=fleet.router.client.base_url, trust_env=False, timeout=20) as client:
            while not stop.is_set():
                answer = await client.post(f"/v1/wallets/{wallet}/debit", content=b"{}", headers=JSON)
                statuses.append(answer.status_code)
                answer = await fleet.router.client.post(
                    f"/v1/wallets/{wallet}/debit", content=b"{}", headers={**JSON, "connection": "close"}
                )
                statuses.append(answer.status_code)

    asking = [asyncio.create_task(keep_asking(wallet)) for wallet in wallets]
    second = await new_cell("a")
    urls = {"a": [fleet.cells["a"].url, second.url], "b": [fleet.cells["b"].url]}
    for round_ in range(6):
        await fleet.publish(urls=urls if round_ % 2 == 0 else None)
        before = len(statuses)
        await wait_until(lambda before=before: len(statuses) > before + 40)
    stop.set()
    await asyncio.gather(*asking)
    assert fleet.reloads == 6
    assert set(statuses) == {200}
    assert second.seen


@only_haproxy
async def test_very_many_changes_are_taken_over_at_once(fleet: Fleet) -> None:
    document = fleet.document()
    moving = tuple(range(600))
    await fleet.publish(moving=moving)
    wallet = next(
        one for number in range(10_000) if slot_of(one := wallet_in(document, "a", number=number)) in set(moving)
    )
    assert (await fleet.asked(wallet), await fleet.by_agent(), fleet.reloads) == ("a", 1, 1)


@only_haproxy
async def test_a_haproxy_that_starts_from_other_files_is_brought_in_step(fleet: Fleet) -> None:
    await fleet.haproxy.kill()
    path = fleet.haproxy.folder / SLOTS_MAP
    path.write_text("".join(f"{slot} b\n" for slot in range(SLOTS)))
    await fleet.haproxy.start()
    for _ in range(2_000):
        if await fleet.asked() == "a":
            break
        await asyncio.sleep(0.005)
    assert (await fleet.asked(), fleet.reloads) == ("a", 1)


@only_haproxy
async def test_a_version_that_haproxy_did_not_take_over_is_not_acknowledged(
    fleet: Fleet, publisher: DirectoryServer
) -> None:
    """The wait of a move for its routers is for what vendors are served by."""
    fleet.haproxy.pause()
    try:
        publishing = asyncio.create_task(fleet.publish(moving=(fleet.slot,)))
        await wait_until(lambda: fleet.router.version == 2)
        polls = publisher.polls
        await wait_until(lambda: publisher.polls > polls)
        assert 2 not in publisher.acknowledged
        assert (await fleet.router.figures())["router_haproxy_in_step"] == 0
    finally:
        fleet.haproxy.go_on()
    await publishing
    assert (await fleet.router.figures())["router_haproxy_in_step"] == 1


async def test_haproxy_serves_from_its_files_alone(tmp_path: Path, signer: Signer, new_cell: NewCell) -> None:
    """No agent, no control plane: every wallet that lies still is served, the rest gets a clear "later"."""
    cells = {name: await new_cell(name) for name in ("a", "b")}
    document = directory_document({name: [cell.url] for name, cell in cells.items()}, version=7)
    async with running_router(tmp_path, signer, document=document, data_plane="haproxy") as router:
        folder = router.router.haproxy and tmp_path / "router" / "haproxy"
        port = router.haproxy.port if router.haproxy else 0
    haproxy = RunningHaproxy(folder, port)
    for _ in range(2):
        await haproxy.start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, headers=JSON) as client:
            for name in ("a", "b"):
                answer = await client.get(f"/v1/wallets/{wallet_in(document, name)}")
                assert (answer.status_code, answer.headers["x-cell"]) == (200, name)
            assert (await client.get("/readyz")).json() == {"status": "ready", "directory_version": 7}
            later = await client.post("/v1/wallets", content=b"{}", headers={"x-request-id": "my-id"})
        await haproxy.kill()
    assert (later.status_code, later.headers["retry-after"]) == (503, "1")
    assert later.headers["content-type"] == PROBLEM_TYPE
    told = later.json()
    assert (told["reason"], told["retry"], told["request_id"]) == ("cell_must_be_reachable", "same_id", "my-id")


@only_haproxy
async def test_an_earlier_life_of_the_agent_leaves_what_haproxy_needs(fleet: Fleet, tmp_path: Path) -> None:
    """An agent that comes up without any map must not take the map away from HAProxy."""
    state = tmp_path / "router"
    for path in [*state.glob("directory*.json"), *state.glob("learned.json")]:
        path.unlink()
    kept = (state / "haproxy" / SLOTS_MAP).read_text()
    other = tmp_path / "other"
    shutil.copytree(state / "haproxy", other / "router" / "haproxy", ignore=shutil.ignore_patterns("*.sock"))
    async with running_router(other, Signer(), haproxy_port=fleet.haproxy.port) as without_map:
        assert without_map.version is None
    assert (other / "router" / "haproxy" / SLOTS_MAP).read_text() == kept


@only_haproxy
async def test_both_lengths_make_one_request_at_most(fleet: Fleet) -> None:
    """Whatever HAProxy makes of it, what follows is no second request to a cell."""
    path = f"/v1/wallets/{fleet.wallet}/debit"
    smuggled = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nauthorization: Bearer stolen\r\n\r\n{{}}"
    connection = await connect(fleet.haproxy.port)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\ncontent-type: application/json\r\n"
    lengths = f"content-length: {len(smuggled) + 5}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    await connection.send((head + lengths + smuggled).encode())
    answer = await connection.answer()
    assert answer is not None
    assert answer.headers["connection"] == "close"
    assert await connection.is_ended()
    await connection.close()
    assert [seen.header("authorization") for seen in fleet.cells["a"].seen] in ([], ["Bearer token"])


@only_haproxy
async def test_a_header_that_only_looks_like_another_is_dropped(fleet: Fleet) -> None:
    await fleet.router.get(f"/v1/wallets/{fleet.wallet}", x="1")
    headers = {"authorization": "Bearer token", "x_forwarded_for": "6.6.6.6", "x.cell": "b"}
    await fleet.router.client.get(f"/v1/wallets/{fleet.wallet}", headers=headers)
    names = {name for name, _ in fleet.cells["a"].seen[-1].headers}
    assert not {"x_forwarded_for", "x.cell"} & names


@only_haproxy
async def test_each_request_is_a_line_of_json(fleet: Fleet) -> None:
    answer = await fleet.router.post(f"/v1/wallets/{fleet.wallet}/debit", x_request_id="my-id")
    assert answer.status_code == 200
    await wait_until(lambda: '"my-id"' in fleet.haproxy.log)
    line = next(json.loads(text) for text in fleet.haproxy.log.splitlines() if '"my-id"' in text)
    told = {name: line[name] for name in ("event", "router", "wallet_id", "backend", "status", "slow")}
    assert told == {
        "event": "request", "router": "router-1", "wallet_id": fleet.wallet, "backend": "a", "status": 200, "slow": "-",
    }  # fmt: skip
    assert line["duration_ms"] >= 0


@only_haproxy
async def test_another_zone_is_asked_when_the_own_one_is_gone(fleet: Fleet, new_cell: NewCell) -> None:
    far = await new_cell("a")
    urls = {"a": [fleet.cells["a"].url, far.url], "b": [fleet.cells["b"].url]}
    await fleet.publish(urls=urls, zones=("zone-1", "zone-2"))
    wallets = [wallet_in(fleet.document(), "a", number=number) for number in range(20)]
    assert {await fleet.asked(wallet) for wallet in wallets} == {"a"}
    assert (len(fleet.cells["a"].seen), len(far.seen)) == (20, 0)
    await fleet.cells["a"].kill()
    assert {await fleet.asked(wallet) for wallet in wallets} == {"a"}
    assert len(far.seen) >= 20
