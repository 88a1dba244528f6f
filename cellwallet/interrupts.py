"""How a long command is ended from outside: a supervisor's SIGTERM is Ctrl-C to it. Knows no command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Both raise KeyboardInterrupt, so that what was started is ended and taken back in one way. Only the main thread
    gets signals; in another this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
