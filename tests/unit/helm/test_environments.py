"""The environments that charts write are those that the services read, and their ports are those that are probed."""

import re

import pytest
from chart_laws import variable_of
from charts import EXAMPLES, Object, containers_of, example, needs_helm, of_kind, pod_of, render
from pydantic import ValidationError
from service_environment import PREFIXES, must_be_a_real_command, service_and_verb, settings_from

pytestmark = needs_helm

FROM_ELSEWHERE = {
    "status.podIP": "10.1.2.3",
    "metadata.name": "router-eu-west-1a-7d9f8c6b5-x2xzq",
    "join_token": "token",
    "control_plane_token": "token",
    "password": "secret",
}
WORKLOADS = [(chart, name) for chart, name in EXAMPLES if chart != "cell-platform"]


def containers(chart: str, name: str) -> list[Object]:
    objects = render(chart, example(chart, name))
    pods = [pod_of(one) for kind in ("Deployment", "Job") for one in of_kind(objects, kind)]
    return [container for pod in pods for container in containers_of(pod)]


def environment_of(container: Object) -> dict[str, str]:
    """As the kubelet makes it: references are looked up in what stands before them."""
    out: dict[str, str] = {}
    for one in container.get("env", ()):
        text = variable_of(one)
        if text.startswith("from:"):
            text = FROM_ELSEWHERE[text.rpartition(":")[2]]
        assert one["name"] not in out, f"{one['name']} stands twice"
        out[one["name"]] = re.sub(r"\$\((\w+)\)", lambda match: out[match[1]], text)
    return out


@pytest.mark.parametrize(("chart", "name"), WORKLOADS)
def test_every_service_starts_with_what_it_is_given(
    chart: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for container in containers(chart, name):
        if container["name"] == "haproxy":
            continue
        must_be_a_real_command(container["command"], capsys)
        service, verb = service_and_verb(container["command"])
        environment = environment_of(container)
        settings = settings_from(service, environment, monkeypatch)
        foreign = [other for other in PREFIXES if other != service]
        assert not [one for one in environment if one.startswith(tuple(PREFIXES[other] for other in foreign))]
        if verb == "migrate" and service == "cell":
            assert settings.owner_database_url.get_secret_value().startswith("postgresql://cell_owner@")


def test_a_misspelt_variable_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = (one for one in containers("cell-app", "three-zones")[:2] if one["name"] == "cell")
    environment = environment_of(container)
    assert settings_from("cell", environment, monkeypatch).id == "cell-1"
    with pytest.raises(ValidationError):
        settings_from("cell", environment | {"CELL_1_API_PORT": "tcp://10.0.0.1:80"}, monkeypatch)


def test_the_ports_of_containers_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"vendors": "port", "admin": "admin_port"}
    for chart in ("cell-app", "router"):
        for container in containers(chart, "three-zones"):
            if container["name"] not in {"cell", "agent"}:
                continue
            service, _ = service_and_verb(container["command"])
            settings = settings_from(service, environment_of(container), monkeypatch)
            for port in container["ports"]:
                assert port["containerPort"] == getattr(settings, wanted[port["name"]])
    for container in containers("control-plane", "three-zones"):
        _, verb = service_and_verb(container["command"])
        if verb != "migrate":
            settings = settings_from("control_plane", environment_of(container), monkeypatch)
            wanted_port = settings.port if verb == "serve" else settings.mover_port
            assert [port["containerPort"] for port in container["ports"]] == [wanted_port]


def test_a_cell_tells_others_where_its_pod_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = (one for one in containers("cell-app", "three-zones")[:2] if one["name"] == "cell")
    settings = settings_from("cell", environment_of(container), monkeypatch)
    assert settings.advertised_api_url == "http://10.1.2.3:8080"
    assert settings.advertised_admin_url == "http://10.1.2.3:8081"


def test_settings_of_the_values_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    for chart, name, service, field, wanted in (
        ("cell-app", "monitored", "cell", "batch_max", 200),
        ("router", "cloud", "router", "log_level", "warning"),
        ("control-plane", "monitored", "control_plane", "moves_per_cell_max", 1),
    ):
        found = [one for one in containers(chart, name) if one["name"] in {"cell", "agent", "control-plane", "mover"}]
        assert found
        for container in found:
            settings = settings_from(service, environment_of(container), monkeypatch)
            assert getattr(settings, field) == wanted
