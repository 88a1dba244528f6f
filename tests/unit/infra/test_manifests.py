"""What charts are told is what their schemas take; sizes are those of the charts; a cell's version is nowhere."""

import ipaddress
import re
from typing import Any

import jsonschema_rs
import pytest
import yaml
from charts import HELM, defaults, merged, schema
from hypothesis import given
from hypothesis import strategies as st
from stacks import CELLS, cell, example_certificate, fleet

from cellwallet.headroom.sound import HeadroomMustBeSoundError
from infra.addresses import PUBLIC_FIRST, zone_addresses
from infra.headroom import cell_needs, fleet_needs
from infra.manifests import (
    POOL,
    cell_app_values,
    cell_platform_values,
    control_plane_values,
    in_namespace,
    namespace,
    router_values,
    storage_class,
)
from infra.settings import CellSettings
from infra.sizes import (
    API_POD,
    CONNECTIONS_PER_PROCESS,
    CONNECTIONS_RESERVED,
    CONTROL_PLANE_DATABASE,
    CONTROL_PLANE_POD,
    DATABASES,
    INSTANCES,
    ROUTER_POD,
    SURGE,
    Size,
)

FLEETS = ("fleet", "local-fleet")


def complaints(chart: str, values: dict[str, Any]) -> list[str]:
    whole = merged(defaults(chart), values)
    return [error.message for error in jsonschema_rs.validator_for(schema(chart)).iter_errors(whole)]


def gib(text: str) -> float:
    return float(text.removesuffix("Gi")) if text.endswith("Gi") else float(text.removesuffix("Mi")) / 1_024


def cores(text: str) -> float:
    return float(text.removesuffix("m")) / 1_000 if text.endswith("m") else float(text)


def size_of(resources: dict[str, str]) -> Size:
    return Size(cores=cores(resources["cpu"]), memory_gib=gib(resources["memory"]))


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_s_values_are_what_its_charts_take(name: str) -> None:
    settings = cell(name)
    needs = cell_needs(settings, example_certificate())
    assert complaints("cell-platform", cell_platform_values(settings, needs)) == []
    image = {"repository": "registry.example/cell", "digest": "sha256:" + "1" * 64}
    assert complaints("cell-app", {**cell_app_values(settings, needs), "image": image}) == []


@given(
    zones=st.lists(st.sampled_from([f"zone-{letter}" for letter in "abcdefghi"]), min_size=3, max_size=9, unique=True),
    size=st.sampled_from(sorted(DATABASES)),
    missing=st.integers(1, 6),
    utilisation=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    home=st.integers(0, 2),
)
def test_whatever_is_not_refused_is_what_the_charts_take(
    zones: list[str], size: str, missing: int, utilisation: float, home: int
) -> None:
    changes = {
        "zones": zones,
        "home_zone": zones[home],
        "database": {"size": size},
        "capacity": {"missing": missing, "utilisation": utilisation},
    }
    settings = cell("local-cell-a", changes)
    try:
        needs = cell_needs(settings, example_certificate())
    except HeadroomMustBeSoundError:
        return  # the examples show that this is not always so
    image = {"repository": "registry.example/cell", "digest": "sha256:" + "1" * 64}
    assert complaints("cell-platform", cell_platform_values(settings, needs)) == []
    assert complaints("cell-app", {**cell_app_values(settings, needs), "image": image}) == []


def test_whoever_brings_the_version_is_told_everything_but_the_version() -> None:
    values = cell_app_values(cell(), cell_needs(cell(), example_certificate()))
    assert complaints("cell-app", values) == ['"image" is a required property']


@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_s_values_are_what_its_charts_take(name: str) -> None:
    settings = fleet(name)
    assert complaints("router", router_values(settings, fleet_needs(settings, example_certificate()))) == []
    assert complaints("control-plane", control_plane_values(settings)) == []


@pytest.mark.parametrize("releases", [{"by": "nobody", "cordon": False}, {"by": "kubernetes", "cordon": True}])
def test_who_brings_releases_is_what_the_chart_is_told(releases: dict[str, Any]) -> None:
    values = control_plane_values(fleet(changes={"control_plane": {"releases": releases}}))
    assert values["releases"] == releases
    assert complaints("control-plane", values) == []


def test_every_setting_of_a_cell_reaches_a_chart() -> None:
    """One that is changed and changes nothing would be a promise that nobody keeps."""
    before = told(cell())
    changes: tuple[dict[str, Any], ...] = (
        {"id": "cell-z"},
        {"home_zone": "eu-west-1c"},
        {"zones": ["eu-west-1a", "eu-west-1b", "eu-west-1d"]},
        {"capacity": {"missing": 2}},
        {"database": {"size": "large"}, "substrate": {"database_nodes": {"cores": 15, "memory_gib": 60}}},
        {"database": {"storage": "1Ti"}},
        {"database": {"wal_storage": "31Gi"}},
        {"database": {"storage_class": "fast"}},
        {"database": {"image": {"digest": "sha256:" + "9" * 64}}},
        {"network": {"router_namespace": "entrance"}},
        {"network": {"control_plane_namespace": "centre"}},
        {"network": {"monitoring_namespace": "eyes"}},
        {"network": {"operator_namespace": "operators"}},
        {"network": {"api_server_cidrs": ["10.9.0.0/24"]}},
        {"network": {"api_server_port": 6443}},
        {"network": {"backup_cidrs": ["198.51.100.0/24"]}},
        {"network": {"broker_cidrs": ["198.51.100.0/24"]}},
        {"network": {"webhooks": False}},
        {"operator_account": "releases"},
        {"pod_monitors": True},
    )
    for change in changes:
        assert told(cell(changes=change)) != before, change


def told(settings: CellSettings) -> tuple[Any, Any]:
    needs = cell_needs(settings, example_certificate())
    return cell_platform_values(settings, needs), cell_app_values(settings, needs)


def test_the_quota_leaves_room_for_headroom_and_a_roll_out_and_not_for_twice_that() -> None:
    settings = cell()
    needs = cell_needs(settings, example_certificate())
    quota = cell_platform_values(settings, needs)["quota"]
    pods = INSTANCES + len(settings.zones) * (needs.api_per_zone + SURGE)
    database = DATABASES[settings.database.size]
    used = INSTANCES * database.cores + len(settings.zones) * (needs.api_per_zone + SURGE) * API_POD.cores
    assert pods < quota["pods"] < 2 * pods
    assert used < cores(quota["cpu"]) < 2 * used


def test_sizes_are_those_of_the_charts() -> None:
    """Headroom reckons with these: a chart that asks for more would not find its place."""
    assert size_of(defaults("cell-app")["resources"]) == API_POD
    agent, haproxy = (size_of(defaults("router")["resources"][name]) for name in ("agent", "haproxy"))
    whole = Size(cores=agent.cores + haproxy.cores, memory_gib=agent.memory_gib + haproxy.memory_gib)
    assert whole == ROUTER_POD
    found = size_of(defaults("control-plane")["resources"])
    assert found.cores == CONTROL_PLANE_POD.cores
    assert found.memory_gib == CONTROL_PLANE_POD.memory_gib


def test_sizes_of_databases_are_those_of_the_chart() -> None:
    text = (HELM / "cell-platform" / "templates" / "_platform.tpl").read_text()
    defined = text.partition('define "platform.sizes"')[2].partition("}}")[2].partition("{{")[0].rpartition("\n")[0]
    found = {
        name: Size(cores=cores(one["cpu"]), memory_gib=gib(one["memory"]), connections=int(one["max_connections"]))
        for name, one in yaml.safe_load(defined).items()
    }
    assert found == DATABASES


def test_the_control_plane_s_database_is_that_of_the_chart() -> None:
    text = (HELM / "control-plane" / "templates" / "database.yaml").read_text()
    asked = re.search(r'requests: \{cpu: "(\d+)", memory: (\w+)\}', text)
    connections = re.search(r'max_connections: "(\d+)"', text)
    assert asked is not None
    assert connections is not None
    found = Size(cores=float(asked[1]), memory_gib=gib(asked[2]), connections=int(connections[1]))
    assert found == CONTROL_PLANE_DATABASE


def test_connections_are_reckoned_as_the_chart_says() -> None:
    text = " ".join((HELM / "cell-platform" / "values.yaml").read_text().replace("#", "").split())
    assert f"zones x (replicasPerZone + 1) x {CONNECTIONS_PER_PROCESS} + {CONNECTIONS_RESERVED} must fit" in text


@pytest.mark.parametrize("chart", ["cell-platform", "control-plane"])
def test_databases_go_where_infra_makes_nodes_for_them(chart: str) -> None:
    text = (HELM / chart / "templates" / "database.yaml").read_text()
    assert f"{POOL}: postgres" in text
    assert f"key: {POOL}, operator: Equal, value: postgres, effect: NoSchedule" in text
    assert not POOL.endswith((".kubernetes.io", ".k8s.io")), "managed node groups refuse such labels"


def test_objects_are_placed_in_their_namespace_and_those_of_the_cluster_are_not() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cell"}}
    there = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "elsewhere"}}
    placed = in_namespace([account, there, namespace("cell-a"), storage_class()], "cell-a")
    assert [one["metadata"].get("namespace") for one in placed] == ["cell-a", "elsewhere", None, None]
    assert "namespace" not in account["metadata"], "what came in is not changed"


def test_volumes_are_zonal_and_outlive_their_claim() -> None:
    assert storage_class()["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage_class()["reclaimPolicy"] == "Retain"


def test_addresses_of_a_zone_stay_when_zones_are_added() -> None:
    three = zone_addresses("10.0.0.0/16", ["a", "b", "c"])
    nine = zone_addresses("10.0.0.0/16", list("abcdefghi"))
    assert {zone: nine[zone] for zone in three} == three
    assert three["a"].private == "10.0.0.0/20"
    assert three["a"].public == f"10.0.{PUBLIC_FIRST}.0/24"


def test_addresses_of_zones_do_not_overlap() -> None:
    found = zone_addresses("10.7.0.0/16", list("abcdefghi"))
    networks = [ipaddress.ip_network(one) for zone in found.values() for one in (zone.private, zone.public)]
    for number, one in enumerate(networks):
        assert one.subnet_of(ipaddress.ip_network("10.7.0.0/16"))
        assert not any(one.overlaps(other) for other in networks[number + 1 :])
