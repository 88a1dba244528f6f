"""What the charts render to: golden files, lint, numbers from headroom, and what may change from release to release."""

import math
from pathlib import Path
from typing import Any

import pytest
from charts import (
    CHARTS,
    EXAMPLES,
    HELM,
    ChartRefusedError,
    Object,
    containers_of,
    example,
    golden_file,
    golden_text,
    helm_program,
    lint,
    merged,
    named,
    needs_helm,
    of_kind,
    pod_of,
    render,
    render_spoilt,
)

from cellwallet.headroom.cells import CellMargins, Outlook
from cellwallet.headroom.fleet import FleetPlan, Wanted, plan_fleet
from cellwallet.headroom.tier import Tier
from cellwallet.local.identities import write_identities

pytestmark = needs_helm

EXAMPLE_OF = dict(EXAMPLES)
CONNECTIONS_OF_A_PROCESS = 40
"""19 that it keeps and 8 for reads were counted on a running cell; duties take some more while they work."""
CONNECTIONS_OF_POSTGRESQL = 20
"""For its superuser, replication, and the operator's exporter and managers."""
OTHER_DIGEST = "sha256:" + "9" * 64


@pytest.mark.parametrize(("chart", "name"), EXAMPLES)
def test_an_example_renders_to_its_golden_file(chart: str, name: str) -> None:
    assert golden_text(chart, name) == golden_file(chart, name).read_text(), "python tests/support/charts.py"


@pytest.mark.parametrize(("chart", "name"), EXAMPLES)
def test_lint_has_no_complaint(chart: str, name: str) -> None:
    assert "WARNING" not in lint(chart, example(chart, name))


@pytest.mark.skipif(helm_program("helm3") is None, reason="there is no helm 3 under the name helm3")
@pytest.mark.parametrize(("chart", "name"), EXAMPLES)
def test_helm_3_makes_the_same_of_it(chart: str, name: str) -> None:
    """Tools have it inside, and will for years."""

    def in_order(objects: list[Object]) -> list[Object]:
        return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))

    values = example(chart, name)
    assert in_order(render(chart, values, program="helm3")) == in_order(render(chart, values))


@pytest.mark.parametrize("chart", CHARTS)
def test_without_values_a_chart_says_what_it_wants(chart: str) -> None:
    with pytest.raises(ChartRefusedError, match="missing propert"):
        render(chart, {})


@pytest.mark.parametrize(
    ("chart", "changes", "complaint"),
    [
        ("cell-app", {"replicaPerZone": 3}, "additional properties"),
        ("cell-app", {"zones": ["a"], "cell": {"homeZone": "a"}}, "minItems"),
        ("cell-app", {"replicasPerZone": -1}, "minimum"),
        ("cell-app", {"replicasPerZone": 0}, "minimum"),
        ("cell-app", {"image": {"digest": "latest"}}, "pattern"),
        ("cell-app", {"image": {"digest": None}}, "missing propert"),
        ("cell-app", {"cell": {"homeZone": "z"}}, "homeZone must be one of the zones"),
        ("cell-app", {"settings": {"PORT": "1"}}, "additional properties"),
        ("cell-platform", {"size": "huge"}, "value must be one of"),
        ("router", {"entrance": {"type": "NodePort"}}, "value must be one of"),
        ("control-plane", {"zones": ["a", "a", "b"]}, "uniqueItems|items at"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(chart: str, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartRefusedError, match=complaint):
        render(chart, merged(example(chart, EXAMPLE_OF[chart]), changes))


def fleet_of(demand_per_s: float, zones: int) -> FleetPlan:
    return plan_fleet(
        Wanted(
            demand_per_s=demand_per_s,
            margins=CellMargins(limit_per_s=1_000.0),
            outlook=Outlook(),
            api_process_per_s=300.0,
            router_process_per_s=2_000.0,
            zones=zones,
        )
    )


def planned_values(chart: str, plan: FleetPlan) -> dict[str, Any]:
    names = [f"z{number}" for number in range(plan.wanted.zones)]
    in_each_zone = plan.document()["pods_per_zone"]["router" if chart == "router" else "api_of_each_cell"]
    homes = {} if chart == "router" else {"cell": {"homeZone": names[0]}}
    return merged(example(chart, EXAMPLE_OF[chart]), {"zones": names, "replicasPerZone": in_each_zone, **homes})


def bears_the_loss_of_a_zone(objects: list[Object], tier: Tier) -> None:
    """Each zone has what headroom says; without any one of them, and a process more in each, there is enough left."""
    found = {
        one["spec"]["selector"]["matchLabels"]["cellwallet/zone"]: one["spec"]["replicas"]
        for one in of_kind(objects, "Deployment")
    }
    assert list(found.values()) == [tier.processes_per_zone] * tier.zones
    for lost in found:
        working = sum(replicas - tier.missing for zone, replicas in found.items() if zone != lost)
        assert working * tier.process_per_s * tier.utilisation >= tier.demand_per_s


@pytest.mark.parametrize("zones", [3, 4])
@pytest.mark.parametrize("demand_per_s", [500.0, 8_000.0, 100_000.0])
def test_what_headroom_plans_is_what_stands_in_each_zone(zones: int, demand_per_s: float) -> None:
    plan = fleet_of(demand_per_s, zones)
    for chart, tier in (("cell-app", plan.api), ("router", plan.routers)):
        bears_the_loss_of_a_zone(render(chart, planned_values(chart, plan)), tier)


@pytest.mark.parametrize("chart", ["cell-app", "router"])
def test_one_replica_less_than_planned_is_found_out(chart: str) -> None:
    plan, written = fleet_of(100_000.0, 3), "replicas: {{ $.Values.replicasPerZone }}"
    fewer = "replicas: {{ sub (int $.Values.replicasPerZone) 1 }}"
    values = planned_values(chart, plan)
    spoilt = render_spoilt(chart, values, file="templates/deployments.yaml", old=written, new=fewer)
    with pytest.raises(AssertionError):
        bears_the_loss_of_a_zone(spoilt, plan.routers if chart == "router" else plan.api)


def test_another_image_is_another_migration_and_the_same_one_is_none() -> None:
    for chart, prefix in (("cell-app", "cell-1-migrate-"), ("control-plane", "control-plane-migrate-")):
        values = example(chart, "three-zones")
        names = [
            of_kind(render(chart, merged(values, changes)), "Job")[0]["metadata"]["name"]
            for changes in ({}, {"hostSpread": "DoNotSchedule"}, {"image": {"digest": OTHER_DIGEST}})
        ]
        assert names[0] == names[1] != names[2]
        assert all(name.startswith(prefix) for name in names)


def test_a_migration_is_never_changed_under_its_name() -> None:
    """A Job cannot be: whatever differs in its pod must show in its name."""
    values = example("cell-app", "three-zones")
    seen: dict[str, Object] = {}
    for changes in (
        {},
        {"cell": {"homeZone": "b"}},
        {"replicasPerZone": 9},
        {"image": {"digest": OTHER_DIGEST}},
        {"image": {"repository": "registry.example/elsewhere/cell"}},
        {"controlPlaneUrl": "http://elsewhere:8090"},
        {"settings": {"LANES": "3"}},
        {"resources": {"cpu": "2"}},
    ):
        (job,) = of_kind(render("cell-app", merged(values, changes)), "Job")
        assert seen.setdefault(job["metadata"]["name"], job["spec"]) == job["spec"]
    assert len(seen) == 4


def test_a_new_version_changes_no_selector() -> None:
    """Selectors are immutable: a chart whose selectors follow the version cannot be upgraded."""
    for chart, name in EXAMPLES:
        values = example(chart, name)
        if "image" not in values:
            continue
        before, after = (
            {one["metadata"]["name"]: one["spec"]["selector"] for one in of_kind(render(chart, given), "Deployment")}
            for given in (values, merged(values, {"image": {"digest": OTHER_DIGEST}}))
        )
        assert before == after


def test_zones_that_look_like_numbers_and_words_of_yaml_stay_text() -> None:
    values = merged(example("cell-app", "three-zones"), {"zones": ["1", "no", "null"], "cell": {"homeZone": "no"}})
    for deployment in of_kind(render("cell-app", values), "Deployment"):
        zone = deployment["spec"]["selector"]["matchLabels"]["cellwallet/zone"]
        (schema, cell) = (pod_of(deployment)["initContainers"][0], pod_of(deployment)["containers"][0])
        for container in (schema, cell):
            assert {one["value"] for one in container["env"] if one["name"] == "CELL_ZONE"} == {zone}
        assert zone in {"1", "no", "null"}


def test_a_cell_fits_into_its_quota_also_while_it_is_rolled_out() -> None:
    """Each zone may have one process more then, and the migration runs."""
    app, platform = example("cell-app", "three-zones"), example("cell-platform", "small")
    objects = [*render("cell-app", app), *render("cell-platform", platform)]
    hard = named(objects, "ResourceQuota", "cell")["spec"]["hard"]
    cluster = named(objects, "Cluster", "cell-1-db")["spec"]
    pods = [(pod_of(one), one["spec"]["replicas"] + 1) for one in of_kind(objects, "Deployment")]
    pods += [(pod_of(one), 1) for one in of_kind(objects, "Job")]
    cores = sum(_cores(one["containers"][0]["resources"]["limits"]["cpu"]) * count for one, count in pods)
    memory = sum(_gib(one["containers"][0]["resources"]["limits"]["memory"]) * count for one, count in pods)
    of_database = cluster["resources"]["limits"]
    instances = cluster["instances"] + 1  # a job that makes an instance asks for as much as the instance
    assert sum(count for _, count in pods) + instances <= int(hard["pods"])
    assert cores + instances * _cores(of_database["cpu"]) <= int(hard["limits.cpu"])
    assert memory + instances * _gib(of_database["memory"]) <= _gib(hard["limits.memory"])


@pytest.mark.parametrize(
    ("size", "replicas_max"), [("small", 2), ("medium", 5), ("large", 8)], ids=["small", "medium", "large"]
)
def test_the_database_has_a_connection_for_every_process_also_while_they_are_rolled_out(
    size: str, replicas_max: int
) -> None:
    """As `docs/running/charts.md` says; a zone that is lost or comes back needs no more."""
    cluster = of_kind(render("cell-platform", merged(example("cell-platform", "small"), {"size": size})), "Cluster")[0]
    connections = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])

    def needed(replicas: int) -> int:
        app = render("cell-app", merged(example("cell-app", "three-zones"), {"replicasPerZone": replicas}))
        surging = sum(
            one["spec"]["replicas"] + one["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            for one in of_kind(app, "Deployment")
        )
        return surging * CONNECTIONS_OF_A_PROCESS + CONNECTIONS_OF_POSTGRESQL

    assert needed(replicas_max) <= connections < needed(replicas_max + 1)
    page = " ".join((HELM.parent / "docs" / "running" / "charts.md").read_text().split())
    assert f"{replicas_max} with `{size}`" in page


def test_what_two_charts_say_of_one_cell_fits_together() -> None:
    """The application's chart names secrets, a database and an account that the platform's chart makes."""
    app = render("cell-app", example("cell-app", "three-zones"))
    platform = render("cell-platform", example("cell-platform", "small"))
    cluster = of_kind(platform, "Cluster")[0]
    (role,) = (one for one in cluster["spec"]["managed"]["roles"] if one["name"] == "cell_app")
    made = {
        role["passwordSecret"]["name"],
        f"{cluster['metadata']['name']}-app",
        f"{cluster['metadata']['name']}-ca",
        "cell-1-identity",
    }
    accounts = {one["metadata"]["name"] for one in of_kind(platform, "ServiceAccount")}
    database = cluster["spec"]["bootstrap"]["initdb"]
    for workload in (*of_kind(app, "Deployment"), *of_kind(app, "Job")):
        pod = pod_of(workload)
        assert pod["serviceAccountName"] in accounts
        assert {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} <= made
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            for one in container["env"]:
                assert one.get("valueFrom", {}).get("secretKeyRef", {}).get("name", "cell-1-identity") in made
                if one["name"] in {"CELL_DATABASE_URL", "CELL_OWNER_DATABASE_URL"}:
                    role_name, _, place = one["value"].removeprefix("postgresql://").partition("@")
                    assert place.startswith(f"{cluster['metadata']['name']}-rw:5432/{database['database']}?")
                    assert role_name == ("cell_app" if one["name"] == "CELL_DATABASE_URL" else database["owner"])


def test_the_secrets_that_are_mounted_hold_what_keys_make_writes(tmp_path: Path) -> None:
    """`kubectl create secret generic NAME --from-file FOLDER` makes a key of each file."""
    write_identities(tmp_path, ("cell-1",))
    for chart, folder, secret in (
        ("cell-app", "cell-1", "cell-1-identity"),
        ("router", "router", "router-identity"),
        ("control-plane", "control-plane", "control-plane-identity"),
    ):
        made = {path.name for path in (tmp_path / folder).iterdir()}
        used: set[str] = set()
        for workload in of_kind(render(chart, example(chart, "three-zones")), "Deployment"):
            pod = pod_of(workload)
            for volume in pod["volumes"]:
                if volume.get("secret", {}).get("secretName") == secret:
                    used |= {item["key"] for item in volume["secret"]["items"]}
            for one in (one for container in containers_of(pod) for one in container.get("env", ())):
                reference = one.get("valueFrom", {}).get("secretKeyRef", {})
                used |= {reference["key"]} if reference.get("name") == secret else set()
        assert used == made, chart


def test_only_the_migration_may_own_tables() -> None:
    for deployment in of_kind(render("cell-app", example("cell-app", "three-zones")), "Deployment"):
        assert "cell_owner" not in str(deployment)
        assert "cell-1-db-app" not in str(deployment)


@pytest.mark.parametrize(
    ("chart", "name", "store"),
    [("cell-platform", "large", "blue-backups"), ("control-plane", "monitored", "control-plane-backups")],
)
def test_a_database_is_backed_up_into_a_store_of_its_own_or_not_at_all(chart: str, name: str, store: str) -> None:
    values = example(chart, name)
    with_store, without = (render(chart, given) for given in (values, merged(values, {"backup": {"objectStore": ""}})))
    (cluster,), (order,) = of_kind(with_store, "Cluster"), of_kind(with_store, "ScheduledBackup")
    (plugin,) = cluster["spec"]["plugins"]
    assert plugin["isWALArchiver"] is True
    assert plugin["parameters"] == {"barmanObjectName": store}
    assert order["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
    assert order["spec"]["pluginConfiguration"]["name"] == plugin["name"]
    assert "namespace" not in str(order["spec"]), "a store is looked for beside its database"
    assert "plugins" not in of_kind(without, "Cluster")[0]["spec"]
    assert of_kind(without, "ScheduledBackup") == []


def test_priorities_are_in_order_of_who_is_missed_first() -> None:
    objects = render("control-plane", example("control-plane", "three-zones"))
    values = {one["metadata"]["name"]: one["value"] for one in of_kind(objects, "PriorityClass")}
    order = [f"cellwallet-{name}" for name in ("database", "router", "api", "worker")]
    assert sorted(values, key=lambda name: -values[name]) == order
    used = {
        (chart, one["spec"]["priorityClassName"] if one["kind"] == "Cluster" else pod_of(one)["priorityClassName"])
        for chart in CHARTS
        for one in render(chart, example(chart, EXAMPLE_OF[chart]))
        if one["kind"] in {"Cluster", "Deployment", "Job"}
    }
    assert {name for _, name in used} == set(order)
    assert ("router", "cellwallet-router") in used
    assert ("cell-app", "cellwallet-api") in used


def granted(role: Object) -> dict[str, set[str]]:
    """Resource to verbs."""
    out: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for resource in rule["resources"]:
            out.setdefault(resource, set()).update(rule["verbs"])
    return out


def test_the_control_plane_may_bring_versions_and_nothing_else_in_a_cell_s_namespace() -> None:
    """What the client calls: look (list), change (patch), apply (create, patch), compare (get). Nothing is deleted."""
    (role,) = of_kind(render("cell-platform", example("cell-platform", "small")), "Role")
    rights = granted(role)
    assert {resource: verbs for resource, verbs in rights.items() if not resource.startswith("clusters")} == {
        "deployments": {"get", "list", "create", "patch"},
        "jobs": {"get", "list", "create", "patch"},
        "pods": {"list"},
        **{name: {"get", "create", "patch"} for name in ("services", "poddisruptionbudgets", "podmonitors")},
    }
    every = {verb for verbs in rights.values() for verb in verbs}
    assert not every & {"*", "delete", "deletecollection", "escalate", "bind", "impersonate"}


def test_the_role_of_a_cell_is_given_to_the_account_that_the_control_plane_runs_as() -> None:
    (binding,) = of_kind(render("cell-platform", example("cell-platform", "small")), "RoleBinding")
    control = render("control-plane", example("control-plane", "monitored"))
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("control-plane", "control-plane")
    holders = {
        pod_of(one)["serviceAccountName"]
        for one in of_kind(control, "Deployment")
        if "cluster-token" in str(pod_of(one))
    }
    assert holders == {subject["name"]}


def test_nodes_are_the_control_plane_s_only_where_an_evacuation_may_close_them() -> None:
    values = example("control-plane", "monitored")
    control = render("control-plane", values)
    (role,), (binding,) = of_kind(control, "ClusterRole"), of_kind(control, "ClusterRoleBinding")
    assert granted(role) == {"nodes": {"list", "patch"}}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "control-plane", "namespace": "somewhere"}]
    for changes in ({"cordon": False}, {"by": "nobody"}):
        without = render("control-plane", merged(values, {"releases": changes}))
        assert not {"ClusterRole", "ClusterRoleBinding", "Role"} & {one["kind"] for one in without}


def test_releases_are_brought_by_nobody_until_somebody_says_so() -> None:
    """Neither a token, nor a way to the cluster, nor a setting."""
    objects = render("control-plane", example("control-plane", "three-zones"))
    assert "RELEASES_BY" not in str(objects)
    assert "serviceAccountToken" not in str(objects)


def test_haproxy_and_its_agent_share_a_folder_and_two_ports() -> None:
    pod = pod_of(of_kind(render("router", example("router", "three-zones")), "Deployment")[0])
    (agent,), (haproxy,) = pod["initContainers"], pod["containers"]
    told = {one["name"]: one.get("value") for one in agent["env"]}
    assert agent["restartPolicy"] == "Always", "it must go on beside HAProxy, and end after it"
    assert haproxy["ports"] == [{"name": "vendors", "containerPort": int(told["ROUTER_HAPROXY_PORT"])}]
    assert agent["ports"] == [{"name": "admin", "containerPort": int(told["ROUTER_ADMIN_PORT"])}]
    assert told["ROUTER_PORT"] not in {told["ROUTER_HAPROXY_PORT"], told["ROUTER_ADMIN_PORT"]}
    folder = haproxy["command"][haproxy["command"].index("-C") + 1]
    assert folder == f"{told['ROUTER_STATE_DIR']}/haproxy"
    mounts = [{one["name"]: one["mountPath"] for one in container["volumeMounts"]} for container in (agent, haproxy)]
    assert mounts[0]["state"] == mounts[1]["state"] == told["ROUTER_STATE_DIR"]


@pytest.mark.parametrize(("secret", "port", "protocol"), [("", 80, "HTTP"), ("router-tls", 443, "HTTPS")])
def test_each_zone_may_have_a_gateway_of_its_own(secret: str, port: int, protocol: str) -> None:
    entrance = {"entrance": {"gatewayClass": "zonal", "tlsSecret": secret}}
    values = example("router", "three-zones")
    objects = render("router", merged(values, entrance))
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "Service")}
    gateways, routes = of_kind(objects, "Gateway"), of_kind(objects, "HTTPRoute")
    assert [one["metadata"]["name"] for one in gateways] == [f"router-{zone}" for zone in values["zones"]]
    for gateway, route in zip(gateways, routes, strict=True):
        name = gateway["metadata"]["name"]
        (listener,) = gateway["spec"]["listeners"]
        assert (listener["port"], listener["protocol"]) == (port, protocol)
        assert listener.get("tls", {}).get("certificateRefs", [{"name": ""}]) == [{"name": secret}]
        assert route["spec"]["parentRefs"] == [{"name": name}]
        assert route["spec"]["rules"] == [{"backendRefs": [{"name": name, "port": services[name]["ports"][0]["port"]}]}]
        zone = gateway["metadata"]["labels"]["cellwallet/zone"]
        assert services[name]["selector"]["cellwallet/zone"] == zone
    assert not of_kind(render("router", values), "Gateway")


def _cores(text: str) -> float:
    return int(text[:-1]) / 1_000 if text.endswith("m") else float(text)


def _gib(text: str) -> float:
    number, unit = float(text[:-2]), text[-2:]
    return number * math.pow(1_024, {"Mi": -1, "Gi": 0, "Ti": 1}[unit])
