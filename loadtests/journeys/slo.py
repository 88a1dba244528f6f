"""Whether a run was good enough: latency, failures, and the money. Pure."""

from collections.abc import Iterable

from contract.values import value


@value
class Slo:
    p99_ms_max: float = 250.0
    failed_share_max: float = 0.001


@value
class Row:
    """What was measured of one kind of request; a transfer needs the cells of both wallets."""

    name: str
    cells: tuple[str, ...]
    requests: int
    failures: int
    p99_ms: float


def verdict(rows: Iterable[Row], slo: Slo, *, lost_cell: str | None, contradictions: Iterable[str]) -> list[str]:
    """What must hold and does not; none = the run passes. The wallets of a lost cell are judged by their money only."""
    judged = [row for row in rows if lost_cell not in row.cells]
    found = list(contradictions)
    requests = sum(row.requests for row in judged)
    if requests == 0:
        return [*found, "some requests must have been made"]
    failed = sum(row.failures for row in judged) / requests
    if failed > slo.failed_share_max:
        found.append(f"failures must stay below {slo.failed_share_max:.2%}: {failed:.2%} of {requests}")
    slow = [row for row in judged if row.p99_ms > slo.p99_ms_max]
    found += [f"p99 of {row.name} must stay below {slo.p99_ms_max:g} ms: {row.p99_ms:g} ms" for row in slow]
    return found
