"""The examples of stacks, changed as a test wants them, and what their programs are run with."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from certificates import certificate_document
from charts import merged

from contract.certificate import CapacityCertificate, certificate_of
from infra.manifests import Object, in_namespace
from infra.settings import PLACE, CellSettings, FleetSettings, GroundSettings, StackSettings, settings_of

INFRA = Path(__file__).parents[2] / "infra"
STACKS = tuple(sorted(path.name.split(".")[1] for path in INFRA.glob("Pulumi.*.yaml")))
CELLS = tuple(name for name in STACKS if "cell" in name)


def document(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What stands in the stack's file, changed as helm merges values: None takes away."""
    text = (INFRA / f"Pulumi.{name}.yaml").read_text()
    return merged(yaml.safe_load(text)["config"][PLACE], changes or {})


def settings(name: str, changes: Mapping[str, Any] | None = None) -> StackSettings:
    return settings_of(document(name, changes))


def cell(name: str = "cell-a", changes: Mapping[str, Any] | None = None) -> CellSettings:
    found = settings(name, changes)
    assert isinstance(found, CellSettings)
    return found


def fleet(name: str = "fleet", changes: Mapping[str, Any] | None = None) -> FleetSettings:
    found = settings(name, changes)
    assert isinstance(found, FleetSettings)
    return found


def ground(changes: Mapping[str, Any] | None = None) -> GroundSettings:
    found = settings("ground", changes)
    assert isinstance(found, GroundSettings)
    return found


def certificate(**changed: Any) -> CapacityCertificate:
    return certificate_of(json.dumps(certificate_document(**changed)).encode())


@functools.cache
def example_certificate() -> CapacityCertificate:
    return certificate_of((INFRA / cell().capacity.certificate).read_bytes())


def read(path: str) -> CapacityCertificate:
    """As the program does it."""
    return certificate_of((INFRA / path).read_bytes())


def small_charts(chart: str, values: Mapping[str, Any], namespace: str) -> list[Object]:
    """In place of helm, where only the shape matters: a workload per zone, a database, something of the cluster."""
    objects: list[Object] = [_object("v1", "ServiceAccount", chart, automountServiceAccountToken=False)]
    if "database" in values:
        objects.append(_database(values["database"], values.get("cell", {}).get("id", chart)))
    if "image" in values:
        objects += [_deployment(chart, zone, values) for zone in values["zones"]]
        objects.append(_object("scheduling.k8s.io/v1", "PriorityClass", f"cellwallet-{chart}", value=1))
    return in_namespace(objects, namespace)


def built(stack: Mapping[str, Any]) -> Mapping[str, Any]:
    """The program of a stack, for `record`."""
    from infra.program import build  # noqa: PLC0415 - settings and plans are tested without Pulumi too

    return build(stack, render=small_charts, read=read)


def ran(stack: Any) -> Mapping[str, Any]:
    """As the engine runs it, for `record_refusal`."""
    from infra.program import run  # noqa: PLC0415 - as above

    run(stack, render=small_charts, read=read)
    return {}


def _object(version: str, kind: str, name: str, **more: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def _database(values: Mapping[str, Any], name: str) -> Object:
    image = f"{values['image']['repository']}@{values['image']['digest']}"
    spec = {"imageName": image, "instances": 3, "storage": {"size": values["storage"]}}
    return _object("postgresql.cnpg.io/v1", "Cluster", f"{name}-db", spec=spec)


def _deployment(chart: str, zone: str, values: Mapping[str, Any]) -> Object:
    image = f"{values['image']['repository']}@{values['image']['digest']}"
    labels = {"app.kubernetes.io/name": chart, "cellwallet/zone": zone}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": chart, "image": image}]}}
    spec = {"replicas": values["replicasPerZone"], "selector": {"matchLabels": labels}, "template": pod}
    return _object("apps/v1", "Deployment", f"{chart}-{zone}", spec=spec)
