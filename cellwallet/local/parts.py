"""What a supervisor runs, as values: databases, services, tasks and conditions, each with what it needs first.

Descriptions only; `supervisor.py` brings them to life.
"""

import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from cellwallet.local.postgres import Cluster
from cellwallet.local.standby import Standby
from contract.values import value

SERVICE_PATIENCE_S = 25.0
"""A cell gives its accepted requests 20 s."""


@value
class Database:
    """A PostgreSQL cluster and what it must hold before others may use it."""

    name: str
    cluster: Cluster
    provision: Callable[[Cluster], object]
    """Runs in a thread each time the platform starts; running it again changes nothing."""
    needs: tuple[str, ...] = ()
    choose: Callable[[], Awaitable[Cluster]] | None = None
    """Asked before each start, where it is not always the same that may run: what may, as soon as anything may."""
    is_spare: Callable[[], bool] | None = None
    """Whether others go on without it, as things are; None = they never do."""


def standby_database(name: str, standby: Standby, *, primary: str) -> Database:
    """A standby that commits wait for; `primary` is the part that it is a copy of.

    Once it has its copy it starts beside the primary and not after it: a primary that finds its standby gone commits
    nothing, and so cannot be provisioned either.
    """
    return Database(
        name=name,
        cluster=standby,
        provision=lambda _: standby.demand(),
        needs=() if standby.has_copy else (primary,),
    )


@value
class Service:
    """A process that runs for as long as the platform does, and answers 200 at `ready_url` when it can work."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ready_url: str
    admin_url: str | None = None
    """Where its metrics are, if it has a port of its own for them."""
    needs: tuple[str, ...] = ()
    stop_rank: int = 0
    """Services of a lower rank are stopped before those of a higher one; databases come last."""
    stop_signal: signal.Signals = signal.SIGTERM
    patience_s: float = SERVICE_PATIENCE_S
    """How long it may take to stop before it is killed."""


@value
class Task:
    """A process that must end well once per start of the platform."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    needs: tuple[str, ...] = ()


@value
class Condition:
    """Something to wait for; `why_not` tells what is still missing, and None once nothing is."""

    name: str
    why_not: Callable[[], Awaitable[str | None]]
    needs: tuple[str, ...] = ()
    patience_s: float | None = None
    """How long a start that has everything else waits for it, and then goes on without it; None = it does not."""


Part = Database | Service | Task | Condition
