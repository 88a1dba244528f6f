"""Rendering the charts with the real helm: of the examples in ci/, of other values, and of charts that were spoilt.

Run as a program it writes the golden files anew: `python tests/support/charts.py`.
"""

import copy
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HELM = ROOT / "helm"
GOLDEN = ROOT / "tests" / "unit" / "helm" / "golden"
CHARTS = ("cell-platform", "cell-app", "router", "control-plane")
EXAMPLES = tuple(
    (chart, path.name.removesuffix("-values.yaml"))
    for chart in CHARTS
    for path in sorted((HELM / chart / "ci").glob("*-values.yaml"))
)
KUBE_VERSION = "1.36.1"
BUILT_TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellwallet" / "infra-tools"
"""Where `make infra-tools` puts what it builds: a folder for each set of versions."""

Object = dict[str, Any]


class ChartRefusedError(Exception):
    """What helm said instead of rendering."""


def helm_program(name: str = "helm") -> Path | None:
    built = sorted(path for path in BUILT_TOOLS.glob(f"*/**/{name}") if path.is_file() and os.access(path, os.X_OK))
    found = shutil.which(name)
    return built[-1] if built else Path(found) if found else None


needs_helm = pytest.mark.skipif(
    helm_program() is None, reason="the program helm is neither on the path nor built: make infra-tools"
)


def example(chart: str, name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((HELM / chart / "ci" / f"{name}-values.yaml").read_text())
    return values


def defaults(chart: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((HELM / chart / "values.yaml").read_text())
    return values


def schema(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HELM / chart / "values.schema.json").read_text())
    return found


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """As helm merges: maps into maps, everything else replaces; None takes away."""
    out = copy.deepcopy(dict(values))
    for name, change in changes.items():
        if change is None:
            out.pop(name, None)
        elif isinstance(change, Mapping) and isinstance(out.get(name), Mapping):
            out[name] = merged(out[name], change)
        else:
            out[name] = copy.deepcopy(change)
    return out


def render(chart: str, values: Mapping[str, Any], *, program: str = "helm") -> list[Object]:
    """By `program`, of another version of helm if need be; raises ChartRefusedError."""
    return copy.deepcopy(_rendered(HELM / chart, json.dumps(values), program))


def render_spoilt(chart: str, values: Mapping[str, Any], *, file: str, old: str, new: str) -> list[Object]:
    """The chart with a piece of one file replaced, wherever it stands."""
    with tempfile.TemporaryDirectory() as folder:
        spoilt = Path(folder) / chart
        shutil.copytree(HELM / chart, spoilt)
        text = (spoilt / file).read_text()
        assert old in text, f"{chart}/{file} holds no {old!r}: the mutant must be drawn anew"
        (spoilt / file).write_text(text.replace(old, new))
        return _helm_template(spoilt, json.dumps(values), "helm")


def lint(chart: str, values: Mapping[str, Any]) -> str:
    """What helm complains of; raises ChartRefusedError."""
    with _values_file(json.dumps(values)) as file:
        return _helm("lint", "--strict", str(HELM / chart), "--values", file.name, "--kube-version", KUBE_VERSION)


@functools.cache
def _rendered(folder: Path, values: str, program: str) -> list[Object]:
    return _helm_template(folder, values, program)


def _helm_template(folder: Path, values: str, program: str) -> list[Object]:
    with _values_file(values) as file:
        options = ("--values", file.name, "--namespace", "somewhere", "--kube-version", KUBE_VERSION)
        text = _helm("template", "release", str(folder), *options, program=program)
    return [found for found in yaml.load_all(text, Loader=_Loader) if found]


def _values_file(values: str) -> Any:
    file = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - the caller closes it
    file.write(values)
    file.flush()
    return file


def _helm(*arguments: str, program: str = "helm") -> str:
    found = helm_program(program)
    assert found is not None, "mark the test with needs_helm"
    with tempfile.TemporaryDirectory() as home:
        own = {f"HELM_{kind}_HOME": f"{home}/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        told = subprocess.run(
            [str(found), *arguments], capture_output=True, text=True, check=False, env={**os.environ, **own}
        )
    if told.returncode != 0:
        raise ChartRefusedError(told.stderr + told.stdout)
    return told.stdout


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses what YAML lets pass and Kubernetes does not: a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the signature is PyYAML's
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} stand twice at {node.start_mark}"
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)
    return found


def pod_of(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def containers_of(pod: Object) -> Iterator[Object]:
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def golden_text(chart: str, name: str) -> str:
    """What an example renders to. Files that the chart only passes on are named by their digest."""
    objects = render(chart, example(chart, name))
    for one in objects:
        if one["kind"] in {"ConfigMap", "PrometheusRule"}:
            held = "data" if one["kind"] == "ConfigMap" else "spec"
            one[held] = hashlib.sha256(json.dumps(one[held], sort_keys=True).encode()).hexdigest()
    objects.sort(key=lambda one: (one["kind"], one["metadata"]["name"]))
    return yaml.dump_all(objects, sort_keys=True, width=120)


def golden_file(chart: str, name: str) -> Path:
    return GOLDEN / f"{chart}-{name}.yaml"


def main() -> None:
    for chart, name in EXAMPLES:
        golden_file(chart, name).write_text(golden_text(chart, name))
        print(golden_file(chart, name).relative_to(ROOT))  # noqa: T201 - for a person


if __name__ == "__main__":
    main()
