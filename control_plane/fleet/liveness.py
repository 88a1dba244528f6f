"""Signs of life: which instances of a cell are alive, and which may be forgotten.

A cell that vanishes keeps its last known instances: only a live sibling proves that an instance is gone and not
the control plane deaf.
"""

from datetime import datetime

from control_plane.fleet.model import Cell, Instance, Observation, Policy


def live_instances(cell: Cell, observation: Observation, policy: Policy, now: datetime) -> tuple[Instance, ...]:
    """Those seen within the lease; silence counts only from `listening_since` on."""
    return tuple(
        instance
        for instance in cell.instances
        if now - max(instance.seen_at, observation.listening_since) <= policy.instance_lease
    )


def forgettable_instances(cell: Cell, observation: Observation, policy: Policy, now: datetime) -> tuple[Instance, ...]:
    """The dead ones of a cell that has a live one."""
    live = live_instances(cell, observation, policy, now)
    return tuple(instance for instance in cell.instances if instance not in live) if live else ()


def api_processes(cell: Cell, observation: Observation, policy: Policy, now: datetime) -> int:
    """Among how many processes the cell divides its rates; the last known number while none shows itself."""
    return max(1, len(live_instances(cell, observation, policy, now)) or len(cell.instances))
