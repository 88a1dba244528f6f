"""The garbage collector of a process that serves: it looks seldom, and never again at what start-up made."""

import gc
from typing import Final

ALLOCATIONS: Final = 50_000
"""Objects between looks: some hundred requests. Requests leave no cycles behind, so the usual 700 only cost a tenth of
the write path."""


def calm_the_collector() -> None:
    """When everything stands that will stand as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 20, 100)
