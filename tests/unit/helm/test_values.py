"""The schemas of the charts' values: closed everywhere, and each refuses what cannot be meant. Needs no helm."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from charts import CHARTS, EXAMPLES, HELM, defaults, example, merged, schema

from cell.settings import Settings as CellSettings
from control_plane.settings import Settings as ControlPlaneSettings
from router.settings import Settings as RouterSettings

SERVICES = {"cell-app": CellSettings, "router": RouterSettings, "control-plane": ControlPlaneSettings}
DECIDED_BY_CHARTS = {
    "cell-app": {
        *("id", "zone", "home_zone", "host", "port", "admin_port", "api_url", "admin_url", "shutdown_grace_s"),
        *("database_url", "owner_database_url", "state_dir", "signing_key_file", "router_url", "control_plane_url"),
        *("join_token", "control_plane_jwks_file", "crash_file"),
    },
    "router": {
        *("id", "zone", "host", "port", "admin_port", "haproxy_port", "shutdown_grace_s", "control_plane_url"),
        *("control_plane_token", "control_plane_jwks_file", "state_dir"),
    },
    "control-plane": {
        *("host", "port", "mover_port", "database_url", "owner_database_url", "signing_key_file", "issuer_jwks_file"),
        *("first_cells", "moves_need_standbys", "crash_file"),
        # With the first two come a token and rights, so they are values of their own; the others are for one machine.
        *("releases_by", "cell_namespace", "local_socket", "kubernetes_config"),
    },
}
EXAMPLE_OF = dict(EXAMPLES)

REFUSED: tuple[tuple[str, dict[str, Any]], ...] = (
    *((chart, {"zones": ["a", "b"]}) for chart in CHARTS),
    *((chart, {"zones": ["a", "b", "b"]}) for chart in CHARTS),
    *((chart, {"zones": ["a", "b", "C"]}) for chart in CHARTS),
    *((chart, {"zone": ["a", "b", "c"]}) for chart in CHARTS),
    *((chart, {"zones": None}) for chart in CHARTS),
    *((chart, {"image": {"digest": "sha256:abc"}}) for chart in SERVICES),
    *((chart, {"image": {"digest": "latest"}}) for chart in SERVICES),
    *((chart, {"image": {"digest": None}}) for chart in SERVICES),
    *((chart, {"image": {"tag": "v1"}}) for chart in SERVICES),
    *((chart, {"image": {"repository": "registry.example/cell:v1"}}) for chart in SERVICES),
    *((chart, {"replicasPerZone": number}) for chart in SERVICES for number in (0, -3, 2.5, "2", None, 10_000)),
    *((chart, {"settings": {"LOG_LEVEL": 3}}) for chart in SERVICES),
    *((chart, {"settings": {"LOG_LEVLE": "info"}}) for chart in SERVICES),
    *((chart, {"identitySecret": ""}) for chart in SERVICES),
    ("cell-app", {"replicasPerZone": 1}),
    ("router", {"replicasPerZone": 1}),
    ("cell-app", {"cell": {"id": "Cell"}}),
    ("cell-app", {"cell": {"id": "cell-"}}),
    ("cell-app", {"cell": {"id": "c" * 33}}),
    ("cell-app", {"cell": {"homezone": "a"}}),
    ("cell-app", {"resources": {"cpu": "0"}}),
    ("cell-app", {"resources": {"memory": "1G"}}),
    ("cell-app", {"controlPlaneUrl": "control-plane:8090"}),
    ("cell-app", {"hostSpread": "Maybe"}),
    ("cell-platform", {"size": "tiny"}),
    ("cell-platform", {"database": {"image": {"digest": "18"}}}),
    ("cell-platform", {"database": {"instances": 1}}),
    ("cell-platform", {"database": {"storageClass": None}}),
    ("cell-platform", {"network": {"apiServerCidrs": []}}),
    ("cell-platform", {"network": {"apiServerCidrs": ["anywhere"]}}),
    ("cell-platform", {"quota": {"pods": 0}}),
    ("cell-platform", {"backup": {"schedule": "0 2 * * *"}}),
    ("control-plane", {"backup": {"objectStore": "Store"}}),
    ("router", {"entrance": {"type": "NodePort"}}),
    ("router", {"entrance": {"annotations": {"a.example/b": "c"}}}),
    ("control-plane", {"firstCells": 0}),
    ("control-plane", {"monitoring": {"alerts": True}}),
    ("control-plane", {"releases": {"by": "local"}}),
    ("control-plane", {"releases": {"by": None}}),
    ("control-plane", {"releases": {"cordon": "yes"}}),
    ("control-plane", {"releases": {"namespace": "{cell}"}}),
    *(("control-plane", {"releases": {"cellNamespace": text}}) for text in ("cells", "{cel}", "{cell}_", "")),
    ("control-plane", {"network": {"prometheusPort": "9090"}}),
    ("control-plane", {"settings": {"RELEASES_BY": "kubernetes"}}),
)


def complaints(chart: str, values: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(schema(chart)).iter_errors(values)]


def objects_of(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "properties" in node or node.get("type") == "object":
            yield path, node
        for name, below in node.items():
            yield from objects_of(below, f"{path}/{name}")


@pytest.mark.parametrize(("chart", "name"), EXAMPLES)
def test_the_examples_are_right(chart: str, name: str) -> None:
    assert complaints(chart, merged(defaults(chart), example(chart, name))) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_the_defaults_alone_lack_only_what_nobody_can_guess(chart: str) -> None:
    found = complaints(chart, defaults(chart))
    assert found
    assert all("is a required property" in complaint for complaint in found)


@pytest.mark.parametrize("chart", CHARTS)
def test_no_value_goes_unnoticed(chart: str) -> None:
    for path, node in objects_of(schema(chart)):
        if not path.endswith("/properties"):
            assert node.get("additionalProperties") is False, path


@pytest.mark.parametrize("chart", CHARTS)
def test_every_required_value_is_told_of_in_the_comments(chart: str) -> None:
    text = (HELM / chart / "values.yaml").read_text()
    for name in schema(chart)["required"]:
        assert f"\n{name}:" in text or f"\n# {name}:" in text, name


@pytest.mark.parametrize("chart", CHARTS)
def test_there_is_no_default_that_the_schema_does_not_know(chart: str) -> None:
    assert defaults(chart).keys() <= schema(chart)["properties"].keys()


@pytest.mark.parametrize(("chart", "changes"), REFUSED, ids=[f"{chart}-{changes}" for chart, changes in REFUSED])
def test_what_cannot_be_meant_is_refused(chart: str, changes: dict[str, Any]) -> None:
    values = merged(defaults(chart), example(chart, EXAMPLE_OF[chart]))
    assert complaints(chart, merged(values, changes)) != []


@pytest.mark.parametrize("chart", SERVICES)
def test_settings_that_may_be_given_are_those_of_the_service_that_the_chart_does_not_decide(chart: str) -> None:
    fields = set(SERVICES[chart].model_fields)
    assert DECIDED_BY_CHARTS[chart] <= fields
    open_to_values = set(schema(chart)["properties"]["settings"]["properties"])
    assert open_to_values == {name.upper() for name in fields - DECIDED_BY_CHARTS[chart]}
