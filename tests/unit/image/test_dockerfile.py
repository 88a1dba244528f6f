"""The Dockerfile, as far as it can be judged without a container engine. That it builds is not shown here."""

import re
from pathlib import Path

import pytest
from service_environment import must_be_a_real_command

from cell.settings import Settings as CellSettings
from control_plane.settings import Settings as ControlPlaneSettings

ROOT = Path(__file__).parents[3]
SERVICES = ("cell", "router", "control_plane")


def instructions() -> list[tuple[str, str]]:
    """Word and rest, comments gone and lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name to instructions; the last one has no name of its own."""
    out: dict[str, list[tuple[str, str]]] = {}
    current = "before"
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = name or "last"
            out[current] = [(word, base)]
        else:
            out.setdefault(current, []).append((word, rest))
    return out


def test_there_is_a_stage_for_each_service_and_the_argument_names_one() -> None:
    found = stages()
    assert set(found) == {"before", "build", "runtime", *SERVICES, "last"}
    assert ("ARG", "SERVICE") in found["before"]
    assert found["last"][0] == ("FROM", "${SERVICE}")
    assert all(found[service][0] == ("FROM", "runtime") for service in SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_starts_its_service_as_nobody_in_particular(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = stages()
    users = [rest for word, rest in (*found["runtime"], *found[service], *found["last"]) if word == "USER"]
    assert users[-1] == "10001:10001"
    (command,) = (rest for word, rest in found[service] if word == "CMD")
    must_be_a_real_command(re.findall(r'"([^"]+)"', command), capsys)
    assert re.findall(r'"([^"]+)"', command)[2] == service


def test_users_are_the_ones_that_charts_name() -> None:
    assert "--uid 10001" in str(stages()["runtime"])
    for template in (ROOT / "helm").glob("*/templates/*"):
        for user in re.findall(r"runAsUser: (\d+)", template.read_text()):
            assert user == "10001", template.name


def test_everything_is_installed_by_the_lock_and_its_hashes() -> None:
    installs = [rest for word, rest in stages()["build"] if word == "RUN" and "pip install" in rest]
    assert [rest for rest in installs if "--require-hashes" in rest and "requirements.lock" in rest]
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in installs)
    assert not any("pip" in rest for word, rest in stages()["runtime"] if word == "RUN")


def test_the_control_plane_alone_brings_the_client_of_kubernetes() -> None:
    """By a lock that holds what the other images have, at the same versions, and the client besides."""
    (install,) = (rest for word, rest in stages()["build"] if word == "RUN" and "requirements-kubernetes.lock" in rest)
    assert re.match(r'\[ "\$SERVICE" != control_plane \]\s+\|\| pip install --require-hashes', install)
    plain, with_client, of_developers = (pinned(f"requirements{name}.lock") for name in ("", "-kubernetes", "-dev"))
    assert plain.items() <= with_client.items() <= of_developers.items()
    assert "kubernetes" in with_client.keys() - plain.keys()


def pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    sources = {source for word, rest in stages()["build"] if word == "COPY" for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == sources


def test_no_image_holds_another_services_code() -> None:
    (pruning,) = (rest for word, rest in stages()["build"] if word == "RUN" and "rm -r" in rest)
    packages = re.search(r"for package in ([\w ]+);", pruning)
    assert packages is not None
    assert set(packages[1].split()) == {*SERVICES, "cellwallet", "loadtests"}
    assert '[ "$package" = "$SERVICE" ] || rm -r "$package"' in pruning


def test_health_is_asked_where_it_is_told() -> None:
    found = stages()
    (check,) = (rest for word, rest in found["last"] if word == "HEALTHCHECK")
    assert "os.environ['HEALTH_URL']" in check
    urls = {
        service: rest.partition("HEALTH_URL=")[2]
        for service in SERVICES
        for word, rest in found[service]
        if word == "ENV" and "HEALTH_URL" in rest
    }
    exposed = {service: rest.split() for service in SERVICES for word, rest in found[service] if word == "EXPOSE"}
    for service, url in urls.items():
        port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/healthz", url)
        assert port is not None
        assert port[1] in exposed[service]
    assert urls.keys() == set(SERVICES)
    control_plane = ControlPlaneSettings.model_fields
    assert exposed["control_plane"] == [str(control_plane["port"].default), str(control_plane["mover_port"].default)]
    assert CellSettings.model_fields["port"].is_required(), "a default would have to be the port that is exposed"


def test_the_router_brings_the_haproxy_that_it_is_tested_with() -> None:
    installs = [rest for word, rest in stages()["router"] if word == "RUN"]
    assert any("apt-get install" in rest and "haproxy" in rest for rest in installs)
    assert ("ARG", "PYTHON_IMAGE=python:3.11-slim-bookworm") in stages()["before"], "Debian 12 has HAProxy 2.6"
    assert [rest for word, rest in stages()["router"] if word == "USER"] == ["root", "10001:10001"]
