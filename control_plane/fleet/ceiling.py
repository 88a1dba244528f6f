"""How much of its limit a cell may be given: the placement ceiling, as a share of what it is certified for.

λmax/L   = (1−δ)·(1−m) / (1 + ρF/D)      a zone gone, units moving, after a failover
λplace/L = λmax/L / ((1+v)·(1+g)^T)      uneven shares, and growth until somebody can act

The same formulas as `cellwallet headroom` shows to people; what a certificate does not tell is assumed as there.
"""

from contract.certificate import CapacityCertificate

RETURNING_SHARE = 0.6
"""ρ: of the commands that came during a failover, those that come again."""
DRAIN_S = 300.0
"""D: within which time they must be worked off."""
SPREAD = 0.15
"""v: how far above the mean the busiest cell may be."""
GROWTH_PER_DAY = 0.01
LEAD_DAYS = 7.0
"""T: until new capacity is there."""
DEGRADED_LOSS, MOVES_LOSS, FAILOVER_S = 0.10, 0.05, 30.0
"""δ, m, F where nobody measured them, or the capacity was set by hand."""


def placement_ceiling(certificate: CapacityCertificate | None) -> float:
    """λplace/L of a cell with this certificate, or with none."""
    if certificate is None:
        return _ceiling(DEGRADED_LOSS, MOVES_LOSS, FAILOVER_S)
    return _ceiling(
        _told(certificate.degraded_loss, DEGRADED_LOSS),
        _told(certificate.moves_loss, MOVES_LOSS),
        _told(certificate.failover_s, FAILOVER_S),
    )


def _told(measured: float | None, otherwise: float) -> float:
    return otherwise if measured is None else measured


def _ceiling(degraded_loss: float, moves_loss: float, failover_s: float) -> float:
    carried = (1 - degraded_loss) * (1 - moves_loss) / (1 + RETURNING_SHARE * failover_s / DRAIN_S)
    outlook: float = (1 + SPREAD) * (1 + GROWTH_PER_DAY) ** LEAD_DAYS
    return carried / outlook
