"""What must hold of every workload that the charts render, as functions that assert; each can fail, and a spoilt chart
proves it.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from charts import Object, containers_of, of_kind, pod_of

from contract.headers import DEADLINE_MAX_MS

Law = Callable[[list[Object]], None]

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""Those that Pod Security's level "restricted" allows."""
PROPAGATION_S = 10
"""How long it may take until nobody sends to a pod any more that is on its way out."""
TOKEN_LASTS_S = 3_600
"""The kubelet brings the next one long before."""


def workloads(objects: list[Object]) -> list[Object]:
    return [*of_kind(objects, "Deployment"), *of_kind(objects, "Job")]


def zone_of(deployment: Object) -> str:
    zone: str = deployment["spec"]["selector"]["matchLabels"]["cellwallet/zone"]
    return zone


def every_deployment_is_of_one_zone(objects: list[Object]) -> None:
    """It may run nowhere else, so that its number is the number in that zone."""
    for deployment in of_kind(objects, "Deployment"):
        affinity = pod_of(deployment).get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
        wanted = [{"key": ZONE, "operator": "In", "values": [zone_of(deployment)]}]
        assert [term["matchExpressions"] for term in terms] == [wanted], name_of(deployment)
        assert deployment["metadata"]["name"].endswith(f"-{zone_of(deployment)}")


def every_deployment_spreads_over_hosts(objects: list[Object]) -> None:
    for deployment in of_kind(objects, "Deployment"):
        (spread,) = pod_of(deployment).get("topologySpreadConstraints", [{}])
        assert (spread.get("topologyKey"), spread.get("maxSkew")) == (HOST, 1), name_of(deployment)
        assert spread["labelSelector"] == deployment["spec"]["selector"], "it must count the pods of this Deployment"
        assert spread["matchLabelKeys"] == ["pod-template-hash"], "each revision must spread on its own"


def no_deployment_spreads_over_zones(objects: list[Object]) -> None:
    """Such a constraint leaves replacements pending exactly while a zone is lost."""
    for deployment in of_kind(objects, "Deployment"):
        keys = [spread["topologyKey"] for spread in pod_of(deployment).get("topologySpreadConstraints", ())]
        assert ZONE not in keys, name_of(deployment)


def every_roll_out_keeps_what_serves(objects: list[Object]) -> None:
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]
        assert spec["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }, name_of(deployment)
        assert spec["minReadySeconds"] >= 15
        assert spec["progressDeadlineSeconds"] == 300
        assert spec["revisionHistoryLimit"] >= 5


def every_deployment_may_be_drained(objects: list[Object]) -> None:
    budgets = {str(one["spec"]["selector"]): one["spec"] for one in of_kind(objects, "PodDisruptionBudget")}
    deployments = of_kind(objects, "Deployment")
    assert len(budgets) == len(deployments)
    for deployment in deployments:
        budget = budgets[str(deployment["spec"]["selector"])]
        assert budget.get("maxUnavailable") == 1, name_of(deployment)
        assert "minAvailable" not in budget, "as many as there are would block every drain"
        assert budget.get("unhealthyPodEvictionPolicy") == "AlwaysAllow", "a crash-looping pod would block every drain"


def everything_is_restricted(objects: list[Object]) -> None:
    """Pod Security's level "restricted", and a root file system that nobody writes to."""
    for workload in workloads(objects):
        pod = pod_of(workload)
        security = pod.get("securityContext", {})
        assert security.get("runAsNonRoot") is True, name_of(workload)
        assert security.get("runAsUser", 0) > 0
        assert security.get("seccompProfile", {}).get("type") == "RuntimeDefault", name_of(workload)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"} <= VOLUMES
        for container in containers_of(pod):
            own = container.get("securityContext", {})
            assert own.get("allowPrivilegeEscalation") is False, name_of(workload)
            assert own.get("readOnlyRootFilesystem") is True, name_of(workload)
            assert own.get("capabilities") == {"drop": ["ALL"]}, name_of(workload)
            assert not any("hostPort" in port for port in container.get("ports", ()))


def only_who_brings_releases_gets_a_token_of_the_cluster(objects: list[Object]) -> None:
    """A token is a volume of the one container that asks the cluster, short-lived; nothing gets one unasked."""
    for workload in workloads(objects):
        pod = pod_of(workload)
        assert pod.get("automountServiceAccountToken") is False, name_of(workload)
        assert pod.get("serviceAccountName", "default") != "default", name_of(workload)
        tokens = _tokens(pod)
        brings_releases = variables(pod).get("CONTROL_PLANE_RELEASES_BY") == "kubernetes"
        assert len(tokens) == brings_releases, name_of(workload)
        assert not brings_releases or "serve" in pod["containers"][0]["command"], name_of(workload)
        assert all(one["expirationSeconds"] <= TOKEN_LASTS_S for one in tokens), name_of(workload)
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def _tokens(pod: Object) -> list[Object]:
    sources = [one for volume in pod.get("volumes", ()) for one in volume.get("projected", {}).get("sources", ())]
    return [one["serviceAccountToken"] for one in sources if "serviceAccountToken" in one]


def nothing_is_told_of_services(objects: list[Object]) -> None:
    """Kubernetes tells of Services by variables such as ROUTER_PORT, and our services refuse what they do not know."""
    for workload in workloads(objects):
        assert pod_of(workload).get("enableServiceLinks") is False, name_of(workload)


def every_image_is_named_by_its_digest(objects: list[Object]) -> None:
    images = [
        (container["image"], container.get("imagePullPolicy"))
        for workload in workloads(objects)
        for container in containers_of(pod_of(workload))
    ]
    images += [(one["spec"]["imageName"], one["spec"].get("imagePullPolicy")) for one in of_kind(objects, "Cluster")]
    for image, policy in images:
        name, _, digest = image.partition("@sha256:")
        assert len(digest) == 64, image
        assert ":" not in name.rpartition("/")[2], f"{image} has a tag too"
        assert policy == "IfNotPresent", f"{image}: a pull while a zone is lost needs the registry"


def every_process_is_probed(objects: list[Object]) -> None:
    """Alive asks for nothing but the process; ready may ask for what it needs. Of a router, HAProxy alone is asked."""
    for deployment in of_kind(objects, "Deployment"):
        pod = pod_of(deployment)
        serving = [
            one for one in containers_of(pod) if one.get("restartPolicy") == "Always" or one in pod["containers"]
        ]
        for container in serving:
            ports = {port["name"] for port in container["ports"]}
            for kind in ("startupProbe", "livenessProbe"):
                assert container.get(kind, {}).get("httpGet", {}).get("path") == "/healthz", name_of(deployment)
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert kind not in container or container[kind]["httpGet"]["port"] in ports
        for container in pod["containers"]:
            ready = container.get("readinessProbe", {}).get("httpGet", {})
            assert ready.get("path") == "/readyz", name_of(deployment)


def nobody_is_cut_off(objects: list[Object]) -> None:
    """First nobody is sent here any more, then everything accepted is finished, and only then the pod is killed."""
    longest_s = DEADLINE_MAX_MS / 1_000
    for deployment in of_kind(objects, "Deployment"):
        pod = pod_of(deployment)
        for container in pod["containers"]:
            hook = container.get("lifecycle", {}).get("preStop", {})
            slept_s = hook.get("sleep", {}).get("seconds") or _slept_s(hook.get("exec", {}).get("command", []))
            assert slept_s > PROPAGATION_S, name_of(deployment)
            assert pod["terminationGracePeriodSeconds"] > slept_s + longest_s, name_of(deployment)
        graces_s = [float(text) for name, text in variables(pod).items() if name.endswith("_SHUTDOWN_GRACE_S")]
        assert all(grace_s > longest_s for grace_s in graces_s), name_of(deployment)
        # A cell uses its grace twice (servers, then the database), a router's follows on HAProxy's end.
        assert pod["terminationGracePeriodSeconds"] > PROPAGATION_S + 2 * max(graces_s, default=0), name_of(deployment)


def requests_are_limits(objects: list[Object]) -> None:
    """Of what serves: nobody's burst is another one's shortage, and what was measured is what there is."""
    for deployment in of_kind(objects, "Deployment"):
        for container in containers_of(pod_of(deployment)):
            resources = container.get("resources", {})
            assert resources.get("requests"), name_of(deployment)
            assert resources["requests"] == resources.get("limits"), name_of(deployment)
    for database in of_kind(objects, "Cluster"):
        assert database["spec"]["resources"]["requests"] == database["spec"]["resources"]["limits"]


def nothing_is_a_hook(objects: list[Object]) -> None:
    """Not everybody who applies a chart runs hooks."""
    for one in objects:
        hooks = [key for key in one["metadata"].get("annotations", {}) if key.startswith("helm.sh/hook")]
        assert not hooks, name_of(one)


def traffic_stays_in_its_zone(objects: list[Object]) -> None:
    for service in of_kind(objects, "Service"):
        is_of_one_zone = "cellwallet/zone" in service["spec"]["selector"]
        assert is_of_one_zone or service["spec"].get("trafficDistribution") == "PreferSameZone", name_of(service)


def every_service_leads_to_a_port(objects: list[Object]) -> None:
    for service in of_kind(objects, "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [one for one in of_kind(objects, "Deployment") if selector <= labels_of(one).items()]
        assert chosen, f"{name_of(service)} selects nobody"
        for deployment in chosen:
            ports = {port["name"] for container in pod_of(deployment)["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def every_monitor_leads_to_a_port(objects: list[Object]) -> None:
    for monitor in of_kind(objects, "PodMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        if "cnpg.io/cluster" in selector:
            continue
        chosen = [one for one in of_kind(objects, "Deployment") if selector.items() <= labels_of(one).items()]
        assert chosen, f"{name_of(monitor)} selects nobody"
        ports = {port["name"] for container in containers_of(pod_of(chosen[0])) for port in container.get("ports", ())}
        assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= ports


def databases_survive_a_zone(objects: list[Object]) -> None:
    """Three instances in three zones, commits on two of them, and no promotion of one that may miss something."""
    for database in of_kind(objects, "Cluster"):
        spec, affinity = database["spec"], database["spec"]["affinity"]
        assert spec["instances"] == 3
        assert spec["postgresql"].get("synchronous") == {
            "method": "any",
            "number": 1,
            "dataDurability": "required",
            "failoverQuorum": True,
        }
        assert affinity.get("enablePodAntiAffinity") is True
        assert (affinity.get("topologyKey"), affinity.get("podAntiAffinityType")) == (ZONE, "required")
        term = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]
        assert len(term["matchExpressions"][0]["values"]) >= 3
        assert spec["enablePDB"] is True
        assert spec["primaryUpdateMethod"] == "switchover"
        assert spec["walStorage"]["storageClass"] == spec["storage"]["storageClass"]
        assert database["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert "enablePodMonitor" not in spec.get("monitoring", {})
        assert spec["enableSuperuserAccess"] is False


LAWS: tuple[Law, ...] = (
    every_deployment_is_of_one_zone,
    every_deployment_spreads_over_hosts,
    no_deployment_spreads_over_zones,
    every_roll_out_keeps_what_serves,
    every_deployment_may_be_drained,
    everything_is_restricted,
    only_who_brings_releases_gets_a_token_of_the_cluster,
    nothing_is_told_of_services,
    every_image_is_named_by_its_digest,
    every_process_is_probed,
    nobody_is_cut_off,
    requests_are_limits,
    nothing_is_a_hook,
    traffic_stays_in_its_zone,
    every_service_leads_to_a_port,
    every_monitor_leads_to_a_port,
    databases_survive_a_zone,
)


def variables(pod: Object) -> dict[str, str]:
    """Of all containers, as far as they are written down; what comes from elsewhere is `from:` and its place."""
    out: dict[str, str] = {}
    for container in containers_of(pod):
        out |= {one["name"]: variable_of(one) for one in container.get("env", ())}
    return out


def variable_of(one: dict[str, Any]) -> str:
    if "value" in one:
        text: str = one["value"]
        assert isinstance(text, str), f"{one['name']} must be text"
        return text
    ((kind, place),) = one["valueFrom"].items()
    return f"from:{kind}:{place.get('name', '')}:{place.get('key', place.get('fieldPath'))}"


def labels_of(workload: Object) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def name_of(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def _slept_s(command: list[str]) -> float:
    """Of a hook that is a shell script."""
    words = command[-1].replace(";", " ").split() if command else []
    return next((float(then) for word, then in pairwise(words) if word == "sleep"), 0.0)
