"""Tests of the services run on the event loop that the services run on: transports and readers behave otherwise on
another one, above all when a connection breaks.
"""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

SERVICES = frozenset({"cell", "cell_guards", "control_plane", "events", "router"})
"""Folders of tests beside this file."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if SERVICES & set(item.path.parts):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
