"""Where the map comes from: the file at once, then the control plane, and never backwards."""

import json
from pathlib import Path

import pytest
from router_under_test import NewCell, NewRouter, RouterUnderTest, router_settings, running_router, wait_until
from signed_directory import DirectoryServer, Signer, directory_document, wallet_in
from stand_in_cell import Reply, Seen, StandInCell, misdirected

from contract.directory import DirectoryDocument
from contract.slots import SLOTS, slot_of
from router import app, directory_source
from router.directory_files import BEFORE, CORRUPT_SUFFIX, NEWEST
from router.routing import adoption

pytestmark = pytest.mark.usefixtures("_quick_retries")


@pytest.fixture
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_source, "BACKOFF_MAX_S", 0.05)


def versions_on_disk(folder: Path) -> list[int | None]:
    paths = [folder / "router" / name for name in (NEWEST, *BEFORE)]
    return [json.loads(path.read_bytes())["version"] if path.exists() else None for path in paths]


def document_of(version: int, **members: object) -> DirectoryDocument:
    return directory_document({"a": ["http://127.0.0.1:9"], "b": ["http://127.0.0.1:9"]}, version=version, **members)


def publish(publisher: DirectoryServer, signer: Signer, document: DirectoryDocument) -> None:
    publisher.publish(document.version, signer.signed(document))


async def declined(router: RouterUnderTest, reason: str) -> float:
    return (await router.figures()).get(f'router_directory_declined_total{{reason="{reason}"}}', 0.0)


async def test_without_a_map_the_router_does_not_guess(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer
) -> None:
    router = await new_router(control_plane_url=publisher.url)
    ready = await router.client.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "cell_must_be_reachable")
    assert (await router.client.get("/healthz")).status_code == 200
    for path in ("/v1/wallets/9f0c3f64-5717-4562-b3fc-2c963f66afa6", "/v1/owners/customer/c/wallets", "/docs"):
        answer = await router.get(path)
        assert (answer.status_code, answer.json()["reason"]) == (503, "cell_must_be_reachable")
        assert answer.headers["retry-after"] == "1"
    publish(publisher, signer, document_of(5))
    await wait_until(lambda: router.version == 5)
    assert (await router.client.get("/readyz")).json() == {"status": "ready", "directory_version": 5}


async def test_a_newer_control_plane_may_say_more_than_the_router_can_know(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer
) -> None:
    publisher.publish(5, signer.signed(document_of(5), surprise=[1]))
    router = await new_router(control_plane_url=publisher.url)
    await wait_until(lambda: router.version == 5)


async def test_a_map_whose_slots_are_not_given_out_is_not_enough(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer
) -> None:
    publish(publisher, signer, document_of(5).model_copy(update={"slots": ()}))
    router = await new_router(control_plane_url=publisher.url)
    await wait_until(lambda: router.version == 5)
    assert (await router.client.get("/readyz")).status_code == 503
    publish(publisher, signer, document_of(6))
    await wait_until(lambda: router.version == 6)
    assert (await router.client.get("/readyz")).status_code == 200


async def test_what_is_published_is_written_taken_over_and_acknowledged(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, tmp_path: Path
) -> None:
    router = await new_router(control_plane_url=publisher.url)
    for version in (1, 2, 3, 4):
        publish(publisher, signer, document_of(version, previous_version=version - 1 or None))
        await wait_until(lambda version=version: publisher.acknowledged[-1:] == [version])
        assert router.version == version
    assert versions_on_disk(tmp_path) == [4, 3, 2]
    assert publisher.acknowledged == sorted(publisher.acknowledged)


async def test_nothing_is_taken_over_or_acknowledged_that_is_not_on_disk(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "router" / f"{NEWEST}.tmp"
    router = await new_router(control_plane_url=publisher.url, document=document_of(1))
    in_the_way.mkdir()
    publish(publisher, signer, document_of(2))
    polls = publisher.polls
    await wait_until(lambda: publisher.polls > polls + 3)
    assert (router.version, set(publisher.acknowledged)) == (1, {1})
    in_the_way.rmdir()
    await wait_until(lambda: publisher.acknowledged[-1:] == [2])


async def test_it_serves_from_its_file_while_the_control_plane_is_gone(
    new_cell: NewCell, tmp_path: Path, publisher: DirectoryServer, signer: Signer
) -> None:
    cell = await new_cell("a")
    document = directory_document({"a": [cell.url]}, version=8)
    publish(publisher, signer, document)
    wallet = wallet_in(document, "a")
    async with running_router(tmp_path, signer, control_plane_url=publisher.url) as router:
        await wait_until(lambda: router.version == 8)
        await publisher.stop()
        assert (await router.get(f"/v1/wallets/{wallet}")).status_code == 200
    async with running_router(tmp_path, signer, control_plane_url=publisher.url) as router:
        assert (await router.client.get("/readyz")).json()["directory_version"] == 8
        assert (await router.get(f"/v1/wallets/{wallet}")).status_code == 200
        assert (await router.figures())["router_directory_age_seconds"] > 1_000, "it was issued long ago"
        await publisher.start()
        publish(publisher, signer, document.model_copy(update={"version": 9}))
        await wait_until(lambda: router.version == 9)
        assert (await router.figures())["router_directory_age_seconds"] < 100


async def test_it_needs_no_control_plane_at_all(new_router: NewRouter) -> None:
    router = await new_router(document=document_of(3))
    assert (await router.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b"null", b'{"version": 9}', b"\xff", b"x" * 10_000])
async def test_a_corrupt_newest_file_falls_back_to_the_one_before(
    new_router: NewRouter, signer: Signer, tmp_path: Path, bad: bytes
) -> None:
    folder = tmp_path / "router"
    folder.mkdir()
    (folder / NEWEST).write_bytes(bad)
    (folder / BEFORE[0]).write_bytes(signer.signed(document_of(7)))
    router = await new_router()
    assert router.version is None or router.version == 7
    await wait_until(lambda: router.version == 7)
    assert (folder / f"{NEWEST}{CORRUPT_SUFFIX}").read_bytes() == bad


async def test_a_file_that_somebody_else_signed_is_not_believed(
    new_router: NewRouter, signer: Signer, tmp_path: Path
) -> None:
    folder = tmp_path / "router"
    folder.mkdir()
    (folder / NEWEST).write_bytes(Signer().signed(document_of(9)))
    tampered = signer.signed(document_of(8)).replace(b'"version": 8', b'"version": 9')
    (folder / BEFORE[0]).write_bytes(tampered)
    (folder / BEFORE[1]).write_bytes(signer.signed(document_of(7)))
    router = await new_router()
    await wait_until(lambda: router.version == 7)


async def check_versions_never_go_backwards(
    router: RouterUnderTest, publisher: DirectoryServer, signer: Signer
) -> None:
    await wait_until(lambda: router.version == 5)
    publish(publisher, signer, document_of(4))
    polls = publisher.polls
    await wait_until(lambda: publisher.polls > polls + 2)
    assert router.version == 5
    assert await declined(router, "version_must_not_go_backwards") >= 1


async def test_versions_never_go_backwards(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, tmp_path: Path
) -> None:
    router = await new_router(control_plane_url=publisher.url, document=document_of(5))
    await check_versions_never_go_backwards(router, publisher, signer)
    assert versions_on_disk(tmp_path)[0] == 5
    publish(publisher, signer, document_of(6))
    await wait_until(lambda: router.version == 6)


async def test_mutant_without_the_check_is_found(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = adoption.adopt

    def forget_the_version(current: object, document: DirectoryDocument, **rest: object) -> object:
        return real(None if document.version == 4 else current, document, **rest)

    monkeypatch.setattr(directory_source, "adopt", forget_the_version)
    router = await new_router(control_plane_url=publisher.url, document=document_of(5))
    with pytest.raises(AssertionError):
        await check_versions_never_go_backwards(router, publisher, signer)


async def test_a_large_change_is_waited_past_until_it_is_meant(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer
) -> None:
    router = await new_router(control_plane_url=publisher.url, document=document_of(5))
    everything_to_b = ["b"] * SLOTS
    publish(publisher, signer, document_of(6, previous_version=5, slot_cells=everything_to_b))
    await wait_until(lambda: publisher.polls > 2)
    publish(publisher, signer, document_of(7, previous_version=6, slot_cells=everything_to_b))
    for _ in range(2):
        polls = publisher.polls
        await wait_until(lambda polls=polls: publisher.polls > polls)
    assert (router.version, await declined(router, "change_must_not_be_large")) == (5, 2.0)
    assert set(publisher.acknowledged) <= {5}
    meant = document_of(8, previous_version=7, slot_cells=everything_to_b, is_large_change_meant=True)
    publish(publisher, signer, meant)
    await wait_until(lambda: router.version == 8)


@pytest.mark.parametrize("bad", [b"", b"{}", b"[1]", b'{"version":9,"signature":{"key_id":"cp-1","value":"x"}}'])
async def test_what_is_not_signed_is_refused_and_counted(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, bad: bytes
) -> None:
    router = await new_router(control_plane_url=publisher.url, document=document_of(5))
    publisher.publish(9, bad)
    polls = publisher.polls
    await wait_until(lambda: publisher.polls > polls + 2)
    publisher.publish(9, Signer().signed(document_of(9)))
    polls = publisher.polls
    await wait_until(lambda: publisher.polls > polls + 2)
    assert router.version == 5
    assert await declined(router, "signature_must_be_valid") >= 1
    publish(publisher, signer, document_of(6))
    await wait_until(lambda: router.version == 6)


async def test_a_control_plane_that_fails_is_asked_again(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer
) -> None:
    router = await new_router(control_plane_url=publisher.url)
    publisher.status = 500
    await wait_until(lambda: publisher.polls > 2)
    publisher.status = 200
    publish(publisher, signer, document_of(1))
    await wait_until(lambda: router.version == 1)


class Moved:
    """The document says cell `a`, the cell says `b` with a higher epoch."""

    def __init__(self, a: StandInCell, b: StandInCell) -> None:
        self.urls = {"a": [a.url], "b": [b.url]}
        self.document = directory_document(self.urls)
        self.wallet = wallet_in(self.document, "a")
        self.path = f"/v1/wallets/{self.wallet}"

        async def say_moved(_seen: Seen) -> Reply:
            return misdirected(unit=slot_of(self.wallet), cell="b", epoch=2)

        a.script = say_moved


async def test_what_was_learned_outlives_an_older_map_and_a_restart(
    new_cell: NewCell, tmp_path: Path, publisher: DirectoryServer, signer: Signer
) -> None:
    a, b = await new_cell("a"), await new_cell("b")
    moved = Moved(a, b)
    publish(publisher, signer, moved.document)
    async with running_router(tmp_path, signer, control_plane_url=publisher.url) as router:
        await wait_until(lambda: router.version == 1)
        assert (await router.get(moved.path)).headers["x-cell"] == "b"
        publish(publisher, signer, directory_document(moved.urls, version=2))
        await wait_until(lambda: router.version == 2)
        await router.get(moved.path)
        assert len(a.seen) == 1, "the older map did not undo what was learned"
        await wait_until((tmp_path / "router" / "learned.json").exists)
    await publisher.stop()
    await a.kill()
    async with running_router(tmp_path, signer, control_plane_url=publisher.url) as router:
        answer = await router.get(moved.path)
        assert (answer.status_code, answer.headers["x-cell"]) == (200, "b")


@pytest.mark.parametrize("bad", [b"", b"{", b"5", b'[5, {"unit": "x"}, {"unit": 1, "cell": "stranger", "epoch": 9}]'])
async def test_a_corrupt_file_of_learned_units_is_no_obstacle(
    new_router: NewRouter, tmp_path: Path, bad: bytes
) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "learned.json").write_bytes(bad)
    router = await new_router(document=document_of(3))
    assert (await router.client.get("/readyz")).status_code == 200


async def test_a_bug_in_following_the_map_does_not_stop_serving(
    new_router: NewRouter, publisher: DirectoryServer, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SOURCE_PAUSE_S", 0.01)
    real, breaks = adoption.adopt, [True]

    def break_once(*arguments: object, **rest: object) -> object:
        if breaks and arguments[0] is not None:
            breaks.clear()
            raise KeyError("a bug")
        return real(*arguments, **rest)

    monkeypatch.setattr(directory_source, "adopt", break_once)
    router = await new_router(control_plane_url=publisher.url, document=document_of(1))
    publish(publisher, signer, document_of(2))
    await wait_until(lambda: router.version == 2)
    assert breaks == []


async def test_without_a_trust_anchor_nothing_starts(tmp_path: Path, signer: Signer) -> None:
    settings = router_settings(tmp_path, signer)
    settings.control_plane_jwks_file.unlink()
    with pytest.raises(FileNotFoundError):
        async with running_router(tmp_path, signer, control_plane_jwks_file=tmp_path / "none.json"):
            pass
