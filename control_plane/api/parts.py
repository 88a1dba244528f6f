"""What the routes work with: built once by the composition root, found through the request."""

from fastapi import Request

from contract.values import value
from control_plane.cell_admin import CellAdmin
from control_plane.metrics import Metrics
from control_plane.rebalancer import Rebalancer
from control_plane.reconcile import Reconciler
from control_plane.store.database import Database
from control_plane.tokens import Tokens
from control_plane.watch import Watch


@value
class Parts:
    database: Database
    watch: Watch
    tokens: Tokens
    cells: CellAdmin
    reconciler: Reconciler
    rebalancer: Rebalancer
    metrics: Metrics
    schema_revision: str
    """The revision that this code was written for."""
    webhooks_may_be_local: bool


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts
