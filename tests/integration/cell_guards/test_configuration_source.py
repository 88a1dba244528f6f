"""The configuration: file, then serve, then fetch; never backwards, never another's, never expired."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cell.api.admission import Admission
from cell.api.tokens import Principal, vendor_tokens
from cell.configuration_source import (
    DOCUMENT_MAX_BYTES,
    RETRY_MAX_S,
    RETRY_UNREADY_MAX_S,
    ConfigurationSource,
    control_plane_client,
    read_jwks,
)
from cell.telemetry import Metrics
from contract.configuration import VendorPolicy
from contract.ids import VendorId
from contract.problems import Problem
from contract.scopes import AUDIENCE
from contract.signing import public_jwk

Events = list[structlog.typing.EventDict]
Make = Callable[..., ConfigurationSource]
ISSUER = Ed25519PrivateKey.generate()
NOW_S = 1_800_000_000.0


@pytest.fixture
def make(tmp_path: Path, control_plane: Any, client: httpx.AsyncClient, metrics: Metrics) -> Make:
    """A source as a process of cell-a makes it; a second call is its restart."""

    def make(**changed: Any) -> ConfigurationSource:
        usual: dict[str, Any] = {
            "cell_id": "cell-a",
            "state_dir": tmp_path / "state",
            "trusted_keys": control_plane.trusted_keys,
            "metrics": metrics,
            "control_plane": client,
            "wait_s": 5.0,
            "timeout_s": 2.0,
        }
        return ConfigurationSource(**{**usual, **changed})

    return make


@asynccontextmanager
async def _running(source: ConfigurationSource) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run())
    try:
        yield
        assert not task.done() or task.exception() is None
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.005)


def _version(source: ConfigurationSource) -> int | None:
    return source.current.version if source.current is not None else None


def _named(logged: Events, event: str) -> Events:
    return [line for line in logged if line["event"] == event]


async def test_without_file_and_control_plane_it_is_not_ready(make: Make) -> None:
    source = make(control_plane=None)
    assert not source.load()
    async with asyncio.timeout(5):
        await source.run()
    assert not source.is_ready


async def test_what_was_fetched_is_served_by_the_next_start_alone(make: Make, control_plane: Any) -> None:
    await control_plane.publish(control_plane.signed(7, capacity_per_s=5.0), version=7)
    first = make()
    assert await first.fetch() == "applied"
    second = make(control_plane=None)
    assert second.load()
    assert second.is_ready
    assert second.current == first.current
    assert second.current is not None
    assert second.current.capacity_per_s == 5.0


async def test_it_never_expires(make: Make, control_plane: Any) -> None:
    await control_plane.publish(control_plane.signed(1, issued_at="1970-01-01T00:00:00Z"), version=1)
    await make().fetch()
    assert make(control_plane=None).load()


async def test_news_arrive_through_the_long_poll(make: Make, control_plane: Any) -> None:
    source, seen = make(), list[int]()
    source.subscribe(lambda configuration: seen.append(configuration.version))
    await control_plane.publish(control_plane.signed(1), version=1)
    async with _running(source):
        await _until(lambda: seen == [1] and len(control_plane.asked) == 2)
        await control_plane.publish(control_plane.signed(2), version=2)
        await _until(lambda: seen == [1, 2])
    assert control_plane.asked[0].get("wait") is None
    assert (control_plane.asked[1]["wait"], control_plane.asked[1]["If-None-Match"]) == ("5", '"1"')
    assert control_plane.asked[0]["path"] == "/v1/cells/cell-a/configuration"


async def test_a_quiet_poll_changes_nothing(make: Make, control_plane: Any) -> None:
    await control_plane.publish(control_plane.signed(1), version=1)
    source = make(wait_s=0.05)
    await source.fetch()
    assert await source.fetch() == "unchanged"
    assert _version(source) == 1


async def test_a_quiet_poll_writes_nothing(make: Make, control_plane: Any, tmp_path: Path) -> None:
    await control_plane.publish(control_plane.signed(1), version=1)
    source, file = make(wait_s=0.05), tmp_path / "state" / "configuration.json"
    await source.fetch()
    written = file.stat()
    assert await source.fetch() == "unchanged"
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


async def test_who_subscribes_late_is_told_at_once(make: Make, control_plane: Any) -> None:
    await control_plane.publish(control_plane.signed(3), version=3)
    source, seen = make(), list[int]()
    await source.fetch()
    source.subscribe(lambda configuration: seen.append(configuration.version))
    assert seen == [3]


Forge = Callable[[Any], bytes]
REFUSED: dict[str, Forge] = {
    "older": lambda cp: cp.signed(4),
    "same version, other content": lambda cp: cp.signed(5, capacity_per_s=9.0),
    "another cell's": lambda cp: cp.signed(6, cell="cell-b"),
    "a stranger's key": lambda cp: cp.signed(6, key=Ed25519PrivateKey.generate()),
    "changed after signing": lambda cp: cp.signed(6).replace(b'"api_processes": 1', b'"api_processes": 2'),
    "unknown key id": lambda cp: cp.signed(6).replace(b"cp-1", b"cp-2"),
    "unsigned": lambda _: json.dumps({"cell": "cell-a", "version": 6}).encode(),
    "signature no object": lambda _: b'{"signature": "x"}',
    "no JSON": lambda _: b"<html>",
    "no object": lambda _: b"[]",
    "no text": lambda _: b"\xff\xfe",
    "nested too deep": lambda _: b"[" * 100_000,
    "empty": lambda _: b"",
    "enormous": lambda _: b" " * (DOCUMENT_MAX_BYTES + 1),
}


@pytest.mark.parametrize("forge", REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_document_changes_nothing(make: Make, control_plane: Any, metrics: Metrics, forge: Forge) -> None:
    source, seen = make(wait_s=0.05), list[int]()
    await control_plane.publish(control_plane.signed(5), version=5)
    await source.fetch()
    source.subscribe(lambda configuration: seen.append(configuration.version))
    document = forge(control_plane)
    await control_plane.publish(document, version=99)
    assert await source.fetch() == "refused"
    assert (_version(source), seen) == (5, [5])
    assert metrics.registry.get_sample_value("cell_configuration_fetches_total", {"result": "refused"}) == 1
    restarted = make(control_plane=None)
    assert restarted.load()
    assert _version(restarted) == 5


async def test_a_newer_control_plane_may_say_more_than_the_cell_can_know(make: Make, control_plane: Any) -> None:
    from contract.signing import sign  # noqa: PLC0415 - only here a document is signed that no model would make

    vendors = {"acme": {"blocked": True, "colour": "red"}}
    document = {"cell": "cell-a", "version": 1, "issued_at": "", "jwks": {}, "vendors": vendors, "surprise": [1]}
    signed = sign(document, key_id="cp-1", key=control_plane.key)
    await control_plane.publish(json.dumps(signed).encode(), version=1)
    source = make()
    assert await source.fetch() == "applied"
    assert source.current is not None
    assert source.current.vendors["acme"].blocked


@pytest.mark.parametrize("fault", [401, 404, 500, 503, "cut", "hang"])
async def test_an_outage_of_the_control_plane_is_none_of_the_cell(
    make: Make, control_plane: Any, logged: Events, fault: int | str
) -> None:
    source = make(timeout_s=0.2, wait_s=0.1)
    await control_plane.publish(control_plane.signed(1), version=1)
    await source.fetch()
    control_plane.fault = fault
    results = [await source.fetch() for _ in range(3)]
    assert results == ["not_given" if isinstance(fault, int) else "unreachable"] * 3
    assert source.is_ready
    assert len(_named(logged, "configuration_not_fetched")) == 1
    control_plane.fault = None
    await control_plane.publish(control_plane.signed(2), version=2)
    assert await source.fetch() == "applied"
    assert _version(source) == 2
    assert len(_named(logged, "configuration_fetched_again")) == 1


async def test_a_control_plane_that_is_not_there(make: Make, unused_tcp_port: int) -> None:
    client = control_plane_client(url=f"http://127.0.0.1:{unused_tcp_port}", join_token="t")
    assert client is not None
    async with client:
        assert await make(control_plane=client).fetch() == "unreachable"


async def test_it_recovers_by_itself(make: Make, control_plane: Any) -> None:
    control_plane.fault = 503
    source = make()
    async with _running(source):
        await _until(lambda: len(control_plane.asked) >= 2)
        control_plane.fault = None
        await control_plane.publish(control_plane.signed(1), version=1)
        await _until(lambda: _version(source) == 1)


async def test_a_control_plane_that_does_not_wait_is_not_hammered(make: Make, control_plane: Any) -> None:
    """Whoever answers every poll at once is asked again after a pause, and not as fast as the network allows."""
    await control_plane.publish(control_plane.signed(1), version=1)
    source, pauses = make(), list[float]()
    await source.fetch()
    control_plane.fault = 304
    done = asyncio.Event()
    original = source._pause_s

    def pause_s(failures: int) -> float:
        pauses.append(original(failures))
        if len(pauses) == 3:
            done.set()
        return 0.0

    source._pause_s = pause_s  # type: ignore[method-assign]
    async with _running(source), asyncio.timeout(10):
        await done.wait()
    assert len(control_plane.asked) - 1 <= len(pauses) + 1
    assert min(pauses) >= 0.1


@pytest.mark.parametrize(("failures", "is_ready"), [(0, True), (1, False), (5, False), (5, True), (1_000, True)])
async def test_pauses_grow_and_end(make: Make, control_plane: Any, failures: int, *, is_ready: bool) -> None:
    source = make()
    if is_ready:
        await control_plane.publish(control_plane.signed(1), version=1)
        await source.fetch()
    longest_s = RETRY_MAX_S if is_ready else RETRY_UNREADY_MAX_S
    assert all(0.1 <= source._pause_s(failures) <= longest_s for _ in range(50))


async def test_a_broken_file_is_no_configuration_and_is_replaced(
    make: Make, control_plane: Any, tmp_path: Path, logged: Events
) -> None:
    file = tmp_path / "state" / "configuration.json"
    file.parent.mkdir()
    file.write_bytes(control_plane.signed(1)[:100])
    source = make()
    assert not source.load()
    assert len(_named(logged, "configuration_file_refused")) == 1
    await control_plane.publish(control_plane.signed(2), version=2)
    await source.fetch()
    assert make(control_plane=None).load()


async def test_another_cells_file_is_not_served(make: Make, control_plane: Any, tmp_path: Path) -> None:
    file = tmp_path / "state" / "configuration.json"
    file.parent.mkdir()
    file.write_bytes(control_plane.signed(1, cell="cell-b"))
    assert not make(control_plane=None).load()


async def test_a_half_written_file_is_never_seen(make: Make, control_plane: Any, tmp_path: Path) -> None:
    await control_plane.publish(control_plane.signed(1), version=1)
    await make().fetch()
    (tmp_path / "state" / "configuration.tmp").write_bytes(b"{")  # a crash in the middle of a write
    source = make()
    assert source.load()
    await control_plane.publish(control_plane.signed(2), version=2)
    await source.fetch()
    assert sorted(file.name for file in (tmp_path / "state").iterdir()) == ["configuration.json"]


async def test_a_disk_that_refuses_delays_the_file_and_not_the_configuration(
    make: Make, control_plane: Any, tmp_path: Path, logged: Events
) -> None:
    state_dir = tmp_path / "state"
    state_dir.write_text("in the way")
    await control_plane.publish(control_plane.signed(1), version=1)
    source = make(wait_s=0.05)
    assert await source.fetch() == "applied"
    assert _version(source) == 1
    assert len(_named(logged, "configuration_not_saved")) == 1
    state_dir.unlink()
    assert await source.fetch() == "unchanged"
    assert make(control_plane=None).load()


async def test_version_and_age_are_figures(make: Make, control_plane: Any, metrics: Metrics) -> None:
    await control_plane.publish(control_plane.signed(12), version=12)
    await make().fetch()
    assert metrics.registry.get_sample_value("cell_configuration_version") == 12
    assert metrics.registry.get_sample_value("cell_configuration_age_seconds") is not None


async def test_a_blocked_vendor_is_refused_as_soon_as_the_poll_returns(make: Make, control_plane: Any) -> None:
    """From the control plane's publication to the refusal, with nothing of ours replaced."""
    source = make()
    tokens, admission = vendor_tokens(audience=AUDIENCE), Admission()
    source.subscribe(tokens.configure)
    source.subscribe(lambda configuration: admission.configure(configuration, 0.0))
    claims = {"sub": "shop", "aud": AUDIENCE, "exp": NOW_S + 60, "scope": "money:debit"}
    token = b"Bearer " + jwt.encode(claims, ISSUER, algorithm="EdDSA", headers={"kid": "issuer-1"}).encode()
    jwks = {"keys": [public_jwk(ISSUER.public_key(), key_id="issuer-1")]}
    assert isinstance(tokens.verify(token, NOW_S), Problem)
    await control_plane.publish(control_plane.signed(1, jwks=jwks), version=1)
    async with _running(source):
        await _until(lambda: isinstance(tokens.verify(token, NOW_S), Principal))
        limited = {"shop": VendorPolicy(rate_per_s=1)}
        await control_plane.publish(control_plane.signed(2, jwks=jwks, vendors=limited), version=2)
        await _until(lambda: _version(source) == 2)
        assert admission.admit(VendorId("shop"), 0.0) is None
        assert admission.admit(VendorId("shop"), 0.0) is not None
        blocked = {"shop": VendorPolicy(blocked=True)}
        await control_plane.publish(control_plane.signed(3, jwks=jwks, vendors=blocked), version=3)
        await _until(lambda: isinstance(tokens.verify(token, NOW_S), Problem))


def test_the_trust_anchor_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public_jwk(ISSUER.public_key(), key_id="cp-1")]}))
    assert read_jwks(file)["keys"][0]["kid"] == "cp-1"
    for text in ("{", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "RSA", "kid": "x"}]}'):
        file.write_text(text)
        with pytest.raises(ValueError):
            read_jwks(file)


def test_no_control_plane_is_no_client() -> None:
    assert control_plane_client(url="", join_token="t") is None
