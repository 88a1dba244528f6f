"""Ports on 127.0.0.1 that stay the same from one start to the next, because files of routers and cells name them."""

import json
import random
import socket
from pathlib import Path

from cellwallet.local.folder import write_json

HOST = "127.0.0.1"
FIRST, LAST = 20_000, 29_999
"""Below what the kernel takes for outgoing connections: one of those must not hold a port while its owner restarts."""


class PortMustBeFreeError(Exception):
    """There is no free port left."""


class Ports:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def claim(self, name: str, *, wanted: int | None = None) -> int:
        """The wanted port if it is free, else that of the last time if it is free, else another one."""
        for port in (wanted, self._ports.get(name)):
            if port is not None and self._is_available(port, name):
                return self._remember(name, port)
        candidates = range(FIRST, LAST + 1)
        for port in random.sample(candidates, len(candidates)):  # random: two platforms may be choosing at this moment
            if self._is_available(port, name):
                return self._remember(name, port)
        raise PortMustBeFreeError(f"no port from {FIRST} to {LAST} is free on {HOST}")

    def _is_available(self, port: int, name: str) -> bool:
        taken = {other_port for other, other_port in self._ports.items() if other != name}
        return port not in taken and is_free(port)

    def _remember(self, name: str, port: int) -> int:
        if self._ports.get(name) != port:
            self._ports[name] = port
            write_json(self._path, self._ports)
        return port


def is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True
