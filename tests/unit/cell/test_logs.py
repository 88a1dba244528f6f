"""Ordinary log events: whoever logs, a line of JSON with the same fields comes out."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from cell.telemetry import set_up_logging

Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    """Logging as the composition root sets it up; afterwards everything is as it was."""
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
    before = [(logger, logger.handlers, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    configuration = structlog.get_config()
    stream = io.BytesIO()
    try:
        set_up_logging(level="info", cell_id="cell-a", stream=stream)
        yield stream
    finally:
        logging.captureWarnings(capture=False)
        structlog.configure(**configuration)
        for logger, handlers, level, propagate, disabled in before:
            logger.handlers, logger.propagate, logger.disabled = handlers, propagate, disabled
            logger.setLevel(level)


@pytest.fixture
def read(stream: io.BytesIO) -> Read:
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_has_the_fields_of_the_access_log(read: Read) -> None:
    structlog.get_logger("cell.lanes").warning("database lost", lane="0")
    (event,) = read()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "database lost",
        "level": "warning",
        "cell": "cell-a",
        "logger": "cell.lanes",
        "lane": "0",
    }


@pytest.mark.parametrize("name", ["uvicorn.error", "sqlalchemy.engine", "alembic.runtime.migration"])
def test_libraries_log_in_the_same_form(read: Read, name: str) -> None:
    logging.getLogger(name).warning("Started on %s", "127.0.0.1", extra={"port": 8081})
    (event,) = read()
    assert (event["event"], event["level"], event["logger"], event["cell"], event["port"]) == (
        "Started on 127.0.0.1",
        "warning",
        name,
        "cell-a",
        8081,
    )


def test_exceptions_are_one_line(read: Read) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of\nmoney")

    for log in (structlog.get_logger("cell").exception, logging.getLogger("uvicorn.error").exception):
        try:
            fail()
        except ZeroDivisionError:
            log("it broke")
    events = read()
    assert len(events) == 2
    assert all("ZeroDivisionError: of\nmoney" in event["exception"] for event in events)


def test_what_is_no_json_is_shown_all_the_same(read: Read) -> None:
    structlog.get_logger().info("odd", of={1, 2}, number=2**70, key={3: "three"})
    (event,) = read()
    assert event["key"] == {"3": "three"}
    assert event["of"] == "{1, 2}"
    assert event["number"] == 2**70


def test_text_that_utf_8_cannot_carry_is_no_reason_to_be_silent(read: Read) -> None:
    structlog.get_logger().info("odd \ud800")
    assert read()[0]["event"] == "odd ?"


@pytest.mark.parametrize(("name", "level"), [("cell", "debug"), ("httpx", "info"), ("uvicorn.access", "error")])
def test_what_nobody_wants_to_read_is_not_logged(read: Read, name: str, level: str) -> None:
    logging.getLogger(name).log(logging.getLevelNamesMapping()[level.upper()], "noise")
    structlog.get_logger("cell").debug("noise")
    assert read() == []


def test_warnings_are_events(read: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (event,) = read()
    assert "old ways" in event["event"]
    assert event["level"] == "warning"
