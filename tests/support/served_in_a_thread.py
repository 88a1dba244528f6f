"""A small HTTP server of a test, on a free port, in a thread of its own for as long as somebody wants it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], *, before_the_end: Callable[[], None] | None = None) -> Iterator[str]:
    """Its URL, without a slash at the end. `before_the_end` lets go of requests that would never be answered."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name=handler.__qualname__)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if before_the_end is not None:
            before_the_end()
        server.shutdown()
        thread.join()
        server.server_close()
