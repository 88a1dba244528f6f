"""Ordinary log events as JSON lines: structlog's and those of the libraries' loggers, as one stream.

Set up once, in `__main__.py`. The line of each request is written by `access_log.py`.
"""

import logging
from typing import Any

import orjson
import structlog

from router.line_writer import LineWriter

CHATTY = ("httpx", "httpcore", "asyncio")
"""Their `info` would say every few seconds that the control plane was asked."""


def set_up_logging(writer: LineWriter, *, level: str, router_id: str) -> None:
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _naming(router_id),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _LineHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


class _LineHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self.format(record).encode(errors="replace") + b"\n")


def _naming(router_id: str) -> structlog.typing.Processor:
    def name_the_router(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["router"] = router_id
        return event

    return name_the_router


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
