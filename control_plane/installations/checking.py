"""Whether objects are an installation of one cell: what the chart cell-app renders, and nothing that it never would.

Whoever may order an installation may not thereby run what he likes with the rights of the control plane: kinds, names,
labels, accounts and images are looked at here, the rest by the admission of the cell's namespace. Asks nobody.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from contract.ids import CellId
from control_plane.installations.model import (
    KINDS,
    Document,
    Installation,
    InstallationRefusal,
    InstallationRefused,
)
from control_plane.rollouts.model import IMAGE_PATTERN

ZONES_MIN: Final = 3
"""One may be lost, and PostgreSQL then still has a majority."""
REPLICAS_MIN: Final = 2
"""In each zone: headroom counts one that may be missing."""
ACCOUNT: Final = "cell"
"""May do nothing in the cluster."""
CONTAINERS: Final = {"Deployment": (("cell",), ("schema",)), "Job": (("migrate",), ())}
"""Of a pod: containers, and those that come before them."""
HOST: Final = frozenset({"hostNetwork", "hostPID", "hostIPC"})
CELL, ZONE = "cellwallet/cell", "cellwallet/zone"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(IMAGE_PATTERN)


def installation_of(cell: CellId, objects: Sequence[Document]) -> Installation | InstallationRefused:
    flaw = _flaw_of_chart(objects) or _flaw_of_cell(cell, objects)
    if flaw is not None:
        return flaw
    deployments = [one for one in objects if one["kind"] == "Deployment"]
    replicas = {str(_at(one, "metadata", "labels", ZONE)): _at(one, "spec", "replicas") for one in deployments}
    flaw = _flaw_of_zones(cell, deployments, replicas)
    if flaw is not None:
        return flaw
    images = [_at(container, "image") for one in objects for container in _containers(one)]
    named = sorted({str(one) for one in images})
    if len(named) != 1 or not all(isinstance(one, str) and _IMAGE.fullmatch(one) for one in images):
        detail = f"there must be one image, named by its @sha256: digest, not {', '.join(map(repr, named))}"
        return _refused(InstallationRefusal.IMAGE_MUST_NAME_ITS_CONTENT, detail)
    return Installation(
        cell=cell,
        image=named[0],
        replicas=replicas,
        objects=tuple(sorted(objects, key=lambda one: (list(KINDS).index(one["kind"]), one["metadata"]["name"]))),
    )


def _flaw_of_chart(objects: Sequence[Document]) -> InstallationRefused | None:
    for one in objects:
        kind, version = _at(one, "kind"), _at(one, "apiVersion")
        if not isinstance(kind, str) or KINDS.get(kind) != version:
            return _not_of_the_chart(f"the chart cell-app makes no {kind!r} of {version!r}")
        name = _at(one, "metadata", "name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return _not_of_the_chart(f"a {kind} must have a name, not {name!r}")
        flaw = _flaw_of_pod(one) if kind in CONTAINERS else None
        if flaw is not None:
            return _not_of_the_chart(f"{kind} {name}: {flaw}")
    counted = Counter((one["kind"], one["metadata"]["name"]) for one in objects)
    twice = sorted(f"{kind} {name}" for (kind, name), count in counted.items() if count > 1)
    if twice:
        return _not_of_the_chart(f"{', '.join(twice)} must stand there once")
    missing = sorted({"Deployment", "Job", "Service"} - {one["kind"] for one in objects})
    return _not_of_the_chart(f"there must be a {missing[0]}") if missing else None


def _flaw_of_pod(one: Document) -> str | None:
    pod = _at(one, "spec", "template", "spec")
    if not isinstance(pod, Mapping):
        return "it must have pods"
    for place, names in zip(("containers", "initContainers"), CONTAINERS[one["kind"]], strict=True):
        found = tuple(_at(container, "name") for container in _listed(pod, place))
        if found != names:
            return f"{place} must be {', '.join(names) or 'none'}, not {', '.join(map(repr, found)) or 'none'}"
    if pod.get("serviceAccountName") != ACCOUNT or pod.get("automountServiceAccountToken") is not False:
        return f"its pods must run as the account {ACCOUNT}, without a token of the cluster"
    if HOST & pod.keys():
        return "its pods must not share anything of their host"
    return None


def _flaw_of_cell(cell: CellId, objects: Sequence[Document]) -> InstallationRefused | None:
    for one in objects:
        kind, name = one["kind"], one["metadata"]["name"]
        if not name.startswith(f"{cell}-") or _at(one, "metadata", "labels", CELL) != cell:
            detail = f"{kind} {name} must be of {cell}, by its name and by its label {CELL}"
            return _refused(InstallationRefusal.OBJECTS_MUST_BE_OF_THE_CELL, detail)
        if "namespace" in one["metadata"]:
            detail = f"{kind} {name} must leave its namespace to the control plane"
            return _refused(InstallationRefusal.OBJECTS_MUST_BE_OF_THE_CELL, detail)
    return None


def _flaw_of_zones(
    cell: CellId, deployments: Sequence[Document], replicas: Mapping[str, Any]
) -> InstallationRefused | None:
    for one in deployments:
        zone, name = _at(one, "metadata", "labels", ZONE), one["metadata"]["name"]
        if name != f"{cell}-api-{zone}":
            return _not_of_the_chart(f"Deployment {name} must be named for its zone {zone!r}")
    if len(replicas) < ZONES_MIN:
        detail = f"there must be {ZONES_MIN} zones or more, of which one may be lost, not {', '.join(sorted(replicas))}"
        return _refused(InstallationRefusal.ZONES_MUST_BE_THREE_OR_MORE, detail)
    counts = list(replicas.values())
    if not all(isinstance(one, int) and one >= REPLICAS_MIN for one in counts) or len(set(counts)) != 1:
        told = ", ".join(f"{count!r} in {zone}" for zone, count in sorted(replicas.items()))
        detail = f"each zone must have as many processes as headroom says, {REPLICAS_MIN} at the least, not {told}"
        return _refused(InstallationRefusal.PROCESSES_MUST_LEAVE_HEADROOM, detail)
    return None


def _containers(one: Document) -> Iterator[Any]:
    pod = _at(one, "spec", "template", "spec") if one["kind"] in CONTAINERS else {}
    for place in ("containers", "initContainers"):
        yield from _listed(pod, place)


def _listed(pod: Mapping[str, Any], place: str) -> list[Any]:
    found = pod.get(place)
    return found if isinstance(found, list) else []


def _at(document: Any, *path: str) -> Any:
    """None where there is no such place; a document of others may be anything."""
    for step in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(step)
    return document


def _not_of_the_chart(detail: str) -> InstallationRefused:
    return _refused(InstallationRefusal.OBJECTS_MUST_BE_OF_THE_CHART, detail)


def _refused(reason: InstallationRefusal, detail: str) -> InstallationRefused:
    return InstallationRefused(reason=reason, detail=detail)
