"""What the stack file says of a platform: its blueprint and the processes that run, put together.

Knows where everything is and which pids it has; starts nothing, writes nothing.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellwallet.local.blueprint import (
    CONTROL_PLANE_DATABASE,
    CONTROL_PLANE_SERVICE,
    HAPROXY,
    MOVER,
    ROUTER,
    Blueprint,
)
from cellwallet.local.members import Member
from cellwallet.local.stack import (
    ApiEntry,
    CellEntry,
    CellPids,
    ControlPlaneEntry,
    Pids,
    RouterEntry,
    Stack,
    Tokens,
)


def drawn_stack(
    blueprint: Blueprint,
    members: Sequence[Member],
    *,
    pids: Mapping[str, int],
    tokens: Tokens,
    console_url: str,
    data: Path,
) -> Stack:
    """Cells whose processes have not all been started are left out; `pids` are by the name of the part."""
    cells = (_cell_entry(blueprint, one, pids) for one in members if _has_started(blueprint, one, pids))
    return Stack(
        router_url=blueprint.router_url,
        control_plane_url=blueprint.control_plane_url,
        console_url=console_url,
        router=RouterEntry(
            pids=tuple(pids[name] for name in (ROUTER, HAPROXY) if name in pids),
            admin_url=blueprint.router_admin_url,
        ),
        control_plane=ControlPlaneEntry(
            pids=(pids[CONTROL_PLANE_SERVICE],),
            postgres=pids[CONTROL_PLANE_DATABASE],
            database_url=blueprint.control_plane_database_url,
        ),
        mover=Pids(pids=(pids[MOVER],) if MOVER in pids else ()),
        cells=tuple(cells),
        tokens=tokens,
        data=str(data),
        supervisor_pid=os.getpid(),
    )


def _cell_entry(blueprint: Blueprint, one: Member, pids: Mapping[str, int]) -> CellEntry:
    plans = blueprint.api_plans(one)
    return CellEntry(
        id=one.id,
        home_zone=one.home_zone,
        api=tuple(ApiEntry(zone=plan.zone, url=plan.url, pid=pids[plan.name]) for plan in plans),
        admin_url=plans[0].admin_url,
        database_url=blueprint.cell_database_url(one),
        pids=CellPids(
            api=tuple(pids[plan.name] for plan in plans),
            postgres=pids[blueprint.primary_name(one)],
        ),
    )


def _has_started(blueprint: Blueprint, one: Member, pids: Mapping[str, int]) -> bool:
    return all(plan.name in pids for plan in blueprint.api_plans(one))
