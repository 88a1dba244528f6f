"""How the cells of a running platform are, asked of their own readiness and metrics."""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from cellwallet.local.probe import get
from cellwallet.local.stack import CellEntry
from contract.values import value

TIMEOUT_S = 2.0


@value
class CellHealth:
    """Sums over the API processes that answer; counted since each started."""

    id: str
    home_zone: str
    ready: int
    processes: int
    accepted: int
    refused: int
    queued: int
    configuration_version: int


def cell_health(cell: CellEntry, *, admin_urls: Iterable[str]) -> CellHealth:
    answers = [get(f"{api.url}/readyz", timeout_s=TIMEOUT_S) for api in cell.api]
    samples: dict[str, float] = {}
    versions: list[float] = []
    for url in admin_urls:
        for name, number in _samples(url):
            samples[name] = samples.get(name, 0.0) + number
            versions += [number] if name == "cell_configuration_version" else []
    return CellHealth(
        id=cell.id,
        home_zone=cell.home_zone,
        ready=sum(answer is not None and answer.status == 200 for answer in answers),
        processes=len(cell.api),
        accepted=int(samples.get("cell_accepted_total", 0)),
        refused=int(samples.get("cell_refused_total", 0)),
        queued=int(samples.get("cell_queue_depth", 0)),
        configuration_version=int(max(versions, default=0)),
    )


def _samples(admin_url: str) -> list[tuple[str, float]]:
    answer = get(f"{admin_url}/metrics", timeout_s=TIMEOUT_S)
    if answer is None or answer.status != 200:
        return []
    families = text_string_to_metric_families(answer.body.decode())
    return [(sample.name, sample.value) for family in families for sample in family.samples]
