"""What changes for the Python proxy behind a HAProxy: the vendor's address comes in a header.

Its port is on the loopback alone, and HAProxy takes the vendor's own such header off.
"""

from router.asgi import Receive, Scope, Send
from router.proxy import Proxy

_FORWARDED_FOR = b"x-forwarded-for"


class BehindHaproxy:
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = [text for name, text in scope.get("headers", ()) if name == _FORWARDED_FOR]
        if told:
            scope["client"] = (told[-1].decode("latin-1"), 0)
        await self._proxy(scope, receive, send)
