"""Ordinary routes behind a real server: every "no" is a problem document, and a bug leaves a trail in the log."""

import asyncio
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from cell.api.errors import answer_problems
from cell.api.responses import Identified, Responder
from cell.telemetry import set_up_logging


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    """Logging as a serving process has it."""
    names = (
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "alembic",
        "sqlalchemy",
        "py.warnings",
        "httpx",
        "httpcore",
        "asyncio",
    )
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in names)]
    before = [(logger, logger.handlers, logger.level, logger.disabled) for logger in loggers]
    configuration = structlog.get_config()
    stream = io.BytesIO()
    try:
        set_up_logging(level="info", cell_id="cell-a", stream=stream)
        yield stream
    finally:
        logging.captureWarnings(capture=False)
        structlog.configure(**configuration)
        for logger, handlers, level, disabled in before:
            logger.handlers, logger.disabled = handlers, disabled
            logger.setLevel(level)


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[str]:
    identified = Identified(app, cell_id="cell-a")
    server = uvicorn.Server(uvicorn.Config(identified, log_config=None, lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


def _app() -> FastAPI:
    app = FastAPI()
    answer_problems(app, Responder(cell_id="cell-a"))

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("inside")

    return app


async def test_every_no_is_a_problem_document_on_the_wire(stream: io.BytesIO) -> None:
    async with _served(_app()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for method, path, status in [("GET", "/nowhere", 404), ("POST", "/broken", 405), ("GET", "/broken", 500)]:
            answer = await client.request(method, path, headers={"x-request-id": f"r-{status}"})
            document = answer.json()
            assert (answer.status_code, document["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers.get_list("x-request-id") == [f"r-{status}"] == [document["request_id"]]
            assert answer.headers.get_list("x-cell") == ["cell-a"]
            assert "inside" not in answer.text


async def test_a_bug_is_found_in_the_log_by_its_request_id(stream: io.BytesIO) -> None:
    async with _served(_app()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await client.get("/broken", headers={"x-request-id": "r-77"})
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(line["cell"] == "cell-a" for line in lines)
    about = [line for line in lines if "r-77" in json.dumps(line)]
    assert [line["event"].strip() for line in about] == ["request_broke", "Exception in ASGI application"]
    assert about[0]["request_id"] == "r-77"
    assert "ZeroDivisionError: inside" in about[1]["exception"]
    assert "uvicorn.access" not in {line["logger"] for line in lines}
