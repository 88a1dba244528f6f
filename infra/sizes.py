"""What the pods of the charts take, as the charts write it: pure, and held against the charts by a test.

Headroom and quotas reckon with these, so a chart that asks for more must say so here.
"""

from cellwallet.headroom.nodes import Pods
from contract.values import value


@value
class Size:
    cores: float
    memory_gib: float
    connections: int = 0
    """That PostgreSQL allows; 0 = it is none."""

    def pods(self, count: int) -> Pods:
        return Pods(count=count, cores=self.cores, memory_gib=self.memory_gib)


API_POD = Size(cores=1, memory_gib=1)
"""One event loop each: a second core would idle."""
ROUTER_POD = Size(cores=2, memory_gib=0.75)
"""HAProxy and its agent."""
CONTROL_PLANE_POD = Size(cores=0.5, memory_gib=0.5)
"""Of the control plane and of the mover."""
MIGRATION_POD = Size(cores=0.1, memory_gib=0.25)
"""What it asks for; it may take half a core while nobody else does."""
CONTROL_PLANE_DATABASE = Size(cores=1, memory_gib=2, connections=300)
DATABASES = {
    "small": Size(cores=2, memory_gib=8, connections=400),
    "medium": Size(cores=4, memory_gib=16, connections=800),
    "large": Size(cores=8, memory_gib=32, connections=1_200),
}
"""Of a cell, each of its instances, the smallest first."""
INSTANCES = 3
INSTANCES_PER_ZONE = 1
"""The charts forbid two in one zone."""
SURGE = 1
"""A Deployment has one pod more in a roll-out."""
CONNECTIONS_PER_PROCESS = 40
CONNECTIONS_RESERVED = 20
"""PostgreSQL's own, and its operator's."""
