"""Signs of life: repeated, said once when they fail, and never in the way."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import structlog

from cell.configuration_source import control_plane_client
from cell.registration import Registrar
from cell.telemetry import Metrics
from contract.directory import ApiInstance
from contract.fleet import Registration

Events = list[structlog.typing.EventDict]


def _registration(revision: str = "0001") -> Registration:
    return Registration(
        id="cell-a",
        home_zone="zone-1",
        instance=ApiInstance(url="http://127.0.0.1:8081", zone="zone-2"),
        admin_url="http://127.0.0.1:9081",
        schema_revision=revision,
        software_version="1.2.3",
    )


def _registrar(
    client: httpx.AsyncClient | None,
    metrics: Metrics,
    *,
    describe: Callable[[], Registration] = _registration,
    period_s: float = 0.01,
) -> Registrar:
    return Registrar(control_plane=client, describe=describe, metrics=metrics, period_s=period_s, timeout_s=0.2)


def _counted(metrics: Metrics, result: str) -> float | None:
    return metrics.registry.get_sample_value("cell_registrations_total", {"result": result})


async def test_a_process_says_who_and_where_it_is(
    control_plane: Any, client: httpx.AsyncClient, metrics: Metrics
) -> None:
    assert await _registrar(client, metrics).register() == "registered"
    (said,) = control_plane.registered
    assert said.pop("authorization") == "Bearer join.token.of-cell-a"
    assert Registration.model_validate(said) == _registration()
    assert _counted(metrics, "registered") == 1


async def test_it_is_repeated_with_what_is_true_by_then(
    control_plane: Any, client: httpx.AsyncClient, metrics: Metrics
) -> None:
    revisions = iter(f"{number:04}" for number in range(1, 10_000))
    registrar = _registrar(client, metrics, describe=lambda: _registration(next(revisions)))
    task = asyncio.create_task(registrar.run())
    async with asyncio.timeout(10):
        while len(control_plane.registered) < 3:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.005)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert [said["schema_revision"] for said in control_plane.registered[:3]] == ["0001", "0002", "0003"]


@pytest.mark.parametrize(
    ("fault", "result"),
    [(401, "refused"), (409, "refused"), (500, "unreachable"), ("cut", "unreachable"), ("hang", "unreachable")],
)
async def test_failures_are_told_once_and_counted_each(
    control_plane: Any,
    client: httpx.AsyncClient,
    metrics: Metrics,
    logged: Events,
    fault: int | str,
    result: str,
) -> None:
    registrar = _registrar(client, metrics)
    control_plane.fault = fault
    assert [await registrar.register() for _ in range(3)] == [result] * 3
    control_plane.fault = None
    assert [await registrar.register() for _ in range(2)] == ["registered"] * 2
    told = [(line["log_level"], line["result"]) for line in logged if line["event"] == "registration"]
    assert told == [("warning", result), ("info", "registered")]
    assert (_counted(metrics, result), _counted(metrics, "registered")) == (3, 2)


async def test_a_control_plane_that_is_not_there_ends_nothing(unused_tcp_port: int, metrics: Metrics) -> None:
    client = control_plane_client(url=f"http://127.0.0.1:{unused_tcp_port}", join_token="t")
    assert client is not None
    task = asyncio.create_task(_registrar(client, metrics).run())
    async with client, asyncio.timeout(10):
        while (_counted(metrics, "unreachable") or 0) < 2:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.005)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_without_a_control_plane_there_is_nothing_to_do(metrics: Metrics) -> None:
    async with asyncio.timeout(5):
        await _registrar(None, metrics).run()
