"""Ordinary log events: structlog and the standard library's loggers as one stream of JSON lines.

Set up once, by the composition root. Servers and libraries (uvicorn, SQLAlchemy, Alembic) log through the standard
library and come out in the same form; their own handlers are taken away.
"""

import json
import logging
import sys
from typing import Any, BinaryIO, Final

import orjson
import structlog

_FOREIGN: Final = ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy", "py.warnings")
_CHATTY: Final = ("httpx", "httpcore", "asyncio")
"""Their `info` and `debug` would say every two seconds that we have registered."""
_SILENT: Final = ("uvicorn.access",)
"""The access log is our own."""


def set_up_logging(*, level: str, cell_id: str, stream: BinaryIO | None = None) -> None:
    """From now on every log event is a line of JSON on `stream` (standard output)."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared = _processors(cell_id)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _LineHandler(stream or sys.stdout.buffer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    _take_over_foreign_loggers(threshold)


def _take_over_foreign_loggers(threshold: int) -> None:
    logging.captureWarnings(capture=True)
    for name in (*_FOREIGN, *_CHATTY):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).disabled = True


def _processors(cell_id: str) -> list[structlog.typing.Processor]:
    def name_the_cell(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["cell"] = cell_id
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        name_the_cell,
    ]


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    # A log line must not fail for its content: what is no JSON is shown as Python shows it, and the few texts and
    # integers that orjson has no form for go the slow way.
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(event, default=repr, ensure_ascii=False).encode(errors="replace").decode()


class _LineHandler(logging.Handler):
    """Whole lines as bytes, so that they never mix with those of the access log."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._stream.write(self.format(record).encode() + b"\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - the standard library's own rule: logging never breaks its caller
            self.handleError(record)
