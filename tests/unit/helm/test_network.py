"""Who can reach whom: every connection that the platform needs is there, and no other one."""

import copy
from itertools import product

import pytest
from chart_laws import labels_of
from charts import Object, example, merged, needs_helm, of_kind, render
from policy_graph import Namespace, Outside, Pod, can_reach, namespace

pytestmark = needs_helm

PORTS = (53, 80, 443, 4222, 5432, 6443, 8000, 8080, 8081, 8082, 8090, 8091, 9187)
INTERNET, METADATA, API_SERVER, BROKER = "203.0.113.9", "169.254.169.254", "10.0.0.1", "10.9.0.7"

NEEDED = {
    *{("internet", "router", 8080)},
    *{("router", cell, 8080) for cell in ("cell-1", "cell-2")},
    *{("router", "control-plane", 8090)},
    *{(cell, "router", 8080) for cell in ("cell-1", "cell-2")},
    *{(cell, "control-plane", 8090) for cell in ("cell-1", "cell-2")},
    *{(cell, f"{cell}-db", 5432) for cell in ("cell-1", "cell-2")},
    *{(f"{cell}-migration", f"{cell}-db", 5432) for cell in ("cell-1", "cell-2")},
    *{(cell, peer, 8081) for cell, peer in product(("cell-1", "cell-2"), repeat=2)},
    *{(cell, "internet", 443) for cell in ("cell-1", "cell-2")},
    *{(who, cell, 8081) for who in ("control-plane", "mover", "prometheus") for cell in ("cell-1", "cell-2")},
    *{(who, "control-plane-db", 5432) for who in ("control-plane", "mover", "control-plane-migration")},
    *{(f"{name}-db", f"{name}-db", port) for name in ("cell-1", "cell-2", "control-plane") for port in (5432, 8000)},
    *{("operator", f"{name}-db", port) for name in ("cell-1", "cell-2", "control-plane") for port in (5432, 8000)},
    *{(f"{name}-db", "api-server", 443) for name in ("cell-1", "cell-2", "control-plane")},
    *{("prometheus", f"{name}-db", 9187) for name in ("cell-1", "cell-2", "control-plane")},
    *{("prometheus", who, port) for who, port in (("router", 8081), ("control-plane", 8090), ("mover", 8091))},
}
"""From whom, to whom, by which port: the whole list, names of the network aside."""


def platform(cell: str) -> list[Object]:
    return render("cell-platform", merged(example("cell-platform", "small"), {"cell": {"id": cell}}))


def app_labels(cell: str, kind: str) -> dict[str, str]:
    values = merged(example("cell-app", "three-zones"), {"cell": {"id": cell}})
    return labels_of(of_kind(render("cell-app", values), kind)[0])


def parts(platforms: dict[str, list[Object]]) -> dict[str, Pod | Outside]:
    """Everybody who could want to reach somebody."""
    routers = render("router", example("router", "three-zones"))
    control = render("control-plane", example("control-plane", "three-zones"))
    spaces = {
        "router": namespace("router", routers),
        "control-plane": namespace("control-plane", control),
        "monitoring": namespace("monitoring"),
        "cnpg-system": namespace("cnpg-system"),
        "kube-system": namespace("kube-system"),
        "elsewhere": namespace("elsewhere"),
        **{cell: namespace(cell, objects, labels={"cellwallet/role": "cell"}) for cell, objects in platforms.items()},
    }
    labels = named_labels([*routers, *control])
    out: dict[str, Pod | Outside] = {
        "internet": Outside(address=INTERNET),
        "metadata": Outside(address=METADATA),
        "api-server": Outside(address=API_SERVER),
        "broker": Outside(address=BROKER),
        "router": pod("router", spaces["router"], labels["router"]),
        "control-plane": pod("control-plane", spaces["control-plane"], labels["control-plane"]),
        "mover": pod("mover", spaces["control-plane"], labels["mover"]),
        "control-plane-migration": pod("migration", spaces["control-plane"], labels["control-plane-migration"]),
        "control-plane-db": pod("db", spaces["control-plane"], {"cnpg.io/cluster": "control-plane-db"}),
        "prometheus": pod("prometheus", spaces["monitoring"], {}),
        "operator": pod("operator", spaces["cnpg-system"], {"app.kubernetes.io/name": "cloudnative-pg"}),
        "stranger": pod("stranger", spaces["elsewhere"], {"app.kubernetes.io/name": "cell"}),
        "stray": pod("stray", spaces["router"], {"app.kubernetes.io/name": "shell"}),
    }
    for cell in platforms:
        out[cell] = pod(cell, spaces[cell], app_labels(cell, "Deployment"))
        out[f"{cell}-migration"] = pod("migration", spaces[cell], app_labels(cell, "Job"))
        out[f"{cell}-db"] = pod("db", spaces[cell], {"cnpg.io/cluster": f"{cell}-db"})
        out[f"{cell}-stray"] = pod("stray", spaces[cell], {"app.kubernetes.io/name": "shell"})
    return out


def named_labels(objects: list[Object]) -> dict[str, dict[str, str]]:
    return {labels_of(one)["app.kubernetes.io/name"]: labels_of(one) for one in workloads(objects)}


def pod(name: str, space: Namespace, labels: dict[str, str]) -> Pod:
    return Pod(name=name, namespace=space, labels=labels)


def workloads(objects: list[Object]) -> list[Object]:
    return [*of_kind(objects, "Deployment"), *of_kind(objects, "Job")]


def connections(everybody: dict[str, Pod | Outside]) -> set[tuple[str, str, int]]:
    """What is possible where one of the platform's own takes part; a namespace without policies is nobody's promise."""
    ours = {name for name, part in everybody.items() if isinstance(part, Pod) and part.namespace.policies}
    return {
        (source, target, port)
        for source, target in product(everybody, repeat=2)
        if source in ours or target in ours
        for port in PORTS
        if can_reach(everybody[source], everybody[target], port)
    }


def test_what_is_needed_is_possible_and_nothing_else() -> None:
    everybody = parts({cell: platform(cell) for cell in ("cell-1", "cell-2")})
    # Routers are open to everybody who finds them, on the vendors' port alone.
    open_to_all = {
        (source, "router", 8080) for source in everybody if can_reach(everybody[source], everybody["router"], 8080)
    }
    assert {source for source, _, _ in open_to_all} == {
        *{"internet", "metadata", "api-server", "broker", "stranger", "prometheus", "operator", "cell-1", "cell-2"},
    }
    assert connections(everybody) - open_to_all == NEEDED - open_to_all


@pytest.mark.parametrize(("own", "other"), [("cell-1", "cell-2"), ("cell-2", "cell-1")])
def test_no_part_of_a_cell_reaches_the_database_of_another(own: str, other: str) -> None:
    everybody = parts({cell: platform(cell) for cell in ("cell-1", "cell-2")})
    for name in (own, f"{own}-migration", f"{own}-db", f"{own}-stray"):
        assert not any(can_reach(everybody[name], everybody[f"{other}-db"], port) for port in PORTS), name


def test_two_cells_in_one_namespace_still_have_a_database_each() -> None:
    """Nobody should do that; the selectors name the cell all the same."""
    both = [*platform("cell-1"), *platform("cell-2")]
    everybody = parts({"cell-1": both})
    space = everybody["cell-1"].namespace  # type: ignore[union-attr]
    other = pod("cell-2-db", space, {"cnpg.io/cluster": "cell-2-db"})
    assert can_reach(everybody["cell-1"], everybody["cell-1-db"], 5432)
    assert not can_reach(everybody["cell-1"], other, 5432)


def test_names_are_looked_up_in_the_clusters_own_servers() -> None:
    everybody = parts({"cell-1": platform("cell-1")})
    servers = pod("dns", namespace("kube-system"), {"k8s-app": "kube-dns"})
    for name in ("cell-1", "cell-1-migration", "cell-1-db", "router", "control-plane", "mover", "control-plane-db"):
        assert can_reach(everybody[name], servers, 53, protocol="UDP"), name
        assert can_reach(everybody[name], servers, 53), name
        assert not can_reach(everybody[name], servers, 443), name


def test_brokers_and_backups_are_open_only_where_they_are_named() -> None:
    values = merged(example("cell-platform", "large"), {"cell": {"id": "cell-1"}})
    objects = render("cell-platform", values)
    everybody = parts({"cell-1": objects})
    assert can_reach(everybody["cell-1"], everybody["broker"], 4222)
    assert not can_reach(everybody["cell-1"], everybody["internet"], 443), "webhooks are off in this example"
    assert can_reach(everybody["cell-1-db"], Outside(address="198.51.100.5"), 443)
    assert not can_reach(everybody["cell-1"], Outside(address="198.51.100.5"), 443)


def test_who_brings_releases_reaches_the_cluster_and_the_figures_and_nobody_else_does() -> None:
    """And only where it was said that releases are brought, and judged by a Prometheus."""

    def reached(changes: dict[str, object]) -> set[tuple[str, str]]:
        objects = render("control-plane", merged(example("control-plane", "three-zones"), changes))
        space = namespace("control-plane", objects)
        ours = [pod(name, space, labels) for name, labels in named_labels(objects).items()]
        asked = {
            "api-server": (Outside(address=API_SERVER), 443),
            "prometheus": (pod("prometheus", namespace("monitoring"), {}), 9090),
        }
        return {
            (one.name, name) for one in ours for name, (target, port) in asked.items() if can_reach(one, target, port)
        }

    figures = {"settings": {"PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090"}}
    assert reached({}) == set()
    assert reached({"releases": {"by": "kubernetes"}}) == {("control-plane", "api-server")}
    assert reached(figures) == {("control-plane", "prometheus")}


@pytest.mark.parametrize("policy", ["deny", "api", "database"])
def test_a_cell_with_one_policy_less_is_found_out(policy: str) -> None:
    """Without `deny` a stray pod is open; without the others what is needed is not possible any more."""
    objects = copy.deepcopy(platform("cell-1"))
    spoilt = [one for one in objects if (one["kind"], one["metadata"]["name"]) != ("NetworkPolicy", policy)]
    before, after = (connections(parts({"cell-1": given, "cell-2": platform("cell-2")})) for given in (objects, spoilt))
    assert before != after
    assert before >= {one for one in NEEDED if one[1] != "router"}
    if policy == "deny":
        assert ("internet", "cell-1-stray", 8080) in after - before
    else:
        assert not after >= {one for one in NEEDED if one[1] != "router"}
