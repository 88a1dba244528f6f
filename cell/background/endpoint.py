"""One HTTP request to a vendor's endpoint, and what may be wrong with where it leads.

A vendor names the URL, so it may try to make the platform call itself: the address that a name resolves to is looked at
in the moment of connecting, and exactly this address is connected to. Redirects are not followed; a body beyond what
tells success from failure is not read.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import httpcore

from contract.webhooks import is_public, url_flaw

Resolve = Callable[[str, int], Awaitable[list[str]]]

CONNECTIONS_MAX = 100
KEPT_CONNECTIONS_MAX = 20
KEPT_S = 30.0
USER_AGENT = "cellwallet-webhooks/1"
ERROR_MAX = 200


class AddressMustBePublicError(OSError):
    """The name of the endpoint resolves to an address that no vendor may have us call."""


class Endpoint:
    """Shared by all deliveries of a process."""

    def __init__(self, *, timeout_s: float, may_be_local: bool, resolve: Resolve | None = None) -> None:
        """`resolve` = names to addresses; None = as the machine does it."""
        self.timeout_s = timeout_s
        self._may_be_local = may_be_local
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=KEPT_CONNECTIONS_MAX,
            keepalive_expiry=KEPT_S,
            network_backend=_Guarded(may_be_local=may_be_local, resolve=resolve or _resolved),
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """None = taken (2xx); otherwise what went wrong, fit to be shown to the vendor."""
        flaw = url_flaw(url, may_be_local=self._may_be_local)
        if flaw is not None:
            return f"the URL {flaw}"
        sent = [("content-type", "application/json"), ("user-agent", USER_AGENT), *headers.items()]
        try:
            async with asyncio.timeout(self.timeout_s):
                async with self._pool.stream(
                    "POST", url, headers=[("host", _authority(url)), *sent], content=body
                ) as answer:
                    status: int = answer.status
        except TimeoutError:
            return f"no answer within {self.timeout_s:g} s"
        except AddressMustBePublicError as error:
            return str(error)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:ERROR_MAX]
        return None if 200 <= status < 300 else f"status {status}"

    async def close(self) -> None:
        await self._pool.aclose()


class _Guarded(httpcore.AsyncNetworkBackend):
    """Resolves, looks, and connects to what it has looked at."""

    def __init__(self, *, may_be_local: bool, resolve: Resolve) -> None:
        self._may_be_local = may_be_local
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        addresses = await self._resolve(host, port)
        if not self._may_be_local and not all(is_public(ipaddress.ip_address(one)) for one in addresses):
            raise AddressMustBePublicError(f"{host} resolves to an address that is not public")
        return addresses

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressMustBePublicError("no vendor has a Unix socket here")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _resolved(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _authority(url: str) -> str:
    return url.split("/")[2].partition("?")[0]
