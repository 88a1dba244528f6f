"""compose.yaml, as far as it can be judged without a container engine: every name in it leads to what is there.

What only an engine could show (that images build, that containers start and become healthy) is not shown here.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from service_environment import PREFIXES, must_be_a_real_command, service_and_verb, settings_from

from cellwallet.local.databases import CELL_APP, CELL_DATABASE, CELL_OWNER, CONTROL_PLANE
from cellwallet.local.identities import write_identities

ROOT = Path(__file__).parents[3]
IMAGES = {f"cellwallet/{service}": service for service in PREFIXES}
REFERENCE = re.compile(r"\$\{(\w+)(:[-?][^}]*)?\}")

Service = dict[str, Any]


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `cellwallet keys make` tells Compose."""
    folder = tmp_path_factory.mktemp("fleet")
    write_identities(folder, ("cell-1", "cell-2"))
    return dict(line.split("=", 1) for line in (folder / "compose.env").read_text().splitlines())


@pytest.fixture(scope="module")
def ours(composed: dict[str, Any]) -> dict[str, Service]:
    return {name: one for name, one in composed["services"].items() if one["image"] in IMAGES}


def filled(text: str, variables: dict[str, str]) -> str:
    def known(match: re.Match[str]) -> str:
        default = match[2] or ""
        return variables[match[1]] if match[1] in variables or not default.startswith(":-") else default[2:]

    return REFERENCE.sub(known, text)


def environment_of(service: Service, variables: dict[str, str]) -> dict[str, str]:
    assert all(isinstance(text, str) for text in service["environment"].values()), "numbers must be in quotes"
    return {name: filled(text, variables) for name, text in service["environment"].items()}


def test_every_variable_is_told_by_keys_make_or_has_a_default(
    composed: dict[str, Any], variables: dict[str, str]
) -> None:
    for name, default in REFERENCE.findall(yaml.safe_dump(composed)):
        assert name in variables or default.startswith(":-"), name


def test_every_service_starts_with_what_it_is_given(
    ours: dict[str, Service],
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(ours) == 8
    for name, one in ours.items():
        must_be_a_real_command(one["command"], capsys)
        service, _ = service_and_verb(one["command"])
        assert IMAGES[one["image"]] == service, name
        environment = environment_of(one, variables)
        settings_from(service, environment, monkeypatch)
        assert {key for key in environment if not key.startswith(PREFIXES[service])} <= {"HEALTH_URL"}


def test_urls_lead_to_services_that_are_on_a_common_network(
    composed: dict[str, Any], ours: dict[str, Service], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = composed["services"]
    for name, one in ours.items():
        service, verb = service_and_verb(one["command"])
        settings = settings_from(service, environment_of(one, variables), monkeypatch)
        urls = [getattr(settings, field, "") for field in ("control_plane_url", "router_url", "api_url", "admin_url")]
        if verb == "migrate":
            urls = []  # it asks its database alone
        for url in filter(None, urls):
            parts = urlsplit(url)
            target = services[parts.hostname]
            assert set(target["networks"]) & set(one["networks"]), f"{name} cannot reach {url}"
            assert parts.port in listening_ports(target, variables, monkeypatch), url
        if service != "router":
            database = urlsplit(settings.database_url.get_secret_value())
            assert services[database.hostname]["image"].startswith("${POSTGRES_IMAGE")
            assert set(services[database.hostname]["networks"]) <= set(one["networks"])


def listening_ports(service: Service, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> set[int]:
    kind, verb = service_and_verb(service["command"])
    settings = settings_from(kind, environment_of(service, variables), monkeypatch)
    assert settings.host == "0.0.0.0", "in a container, loopback is reachable for nobody"
    if kind == "control_plane":
        return {settings.mover_port if verb == "mover" else settings.port}
    return {settings.port, settings.admin_port}


def test_databases_hold_the_roles_that_services_use(composed: dict[str, Any], ours: dict[str, Service]) -> None:
    made = {
        "cell-database": ((ROOT / "cell" / "store" / "roles.sql").read_text(), {CELL_APP, CELL_OWNER}, CELL_DATABASE),
        "control-plane-database": ("", {CONTROL_PLANE}, CONTROL_PLANE),
    }
    for config, (roles, wanted, database) in made.items():
        script = roles + composed["configs"][config]["content"]
        assert f"CREATE DATABASE {database} OWNER" in script
        for role in wanted:
            assert f"'{role}'" in script or f"CREATE ROLE {role} LOGIN" in script
    urls = [text for one in ours.values() for name, text in one["environment"].items() if name.endswith("DATABASE_URL")]
    assert {urlsplit(url).username for url in urls} == {CELL_APP, CELL_OWNER, CONTROL_PLANE}
    assert {urlsplit(url).path for url in urls} == {f"/{CELL_DATABASE}", f"/{CONTROL_PLANE}"}


def test_a_database_is_alone_with_its_own_service(composed: dict[str, Any]) -> None:
    """They trust whoever reaches them, so nobody else may."""
    databases = {name for name in composed["services"] if name.endswith("-db")}
    assert databases == {"control-plane-db", "cell-1-db", "cell-2-db"}
    for database in databases:
        one = composed["services"][database]
        assert one["networks"] == [database]
        assert composed["networks"][database] == {"internal": True}
        assert "ports" not in one
        owner = database.removesuffix("-db")
        guests = {name for name, other in composed["services"].items() if database in other["networks"]} - {database}
        assert guests <= {owner, f"{owner}-migrate", "mover"}
        assert "mover" not in guests or owner == "control-plane"


def test_only_migrations_own_tables(ours: dict[str, Service]) -> None:
    owners = {name for name, one in ours.items() if "CELL_OWNER_DATABASE_URL" in one["environment"]}
    assert owners == {"cell-1-migrate", "cell-2-migrate"}


def test_what_is_published_is_published_to_this_machine_alone(composed: dict[str, Any]) -> None:
    ports = [port for one in composed["services"].values() for port in one.get("ports", ())]
    assert len(ports) == len(set(ports)) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_our_containers_may_do_nothing_that_they_need_not(ours: dict[str, Service], variables: dict[str, str]) -> None:
    for one in ours.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert filled(one["user"], variables) == variables["CELLWALLET_USER"]


def test_mounted_files_are_there(composed: dict[str, Any], ours: dict[str, Service], variables: dict[str, str]) -> None:
    for name, one in composed["services"].items():
        for volume in one.get("volumes", ()):
            source, _, rest = filled(volume, variables).partition(":")
            if source.startswith(("./", "/")):
                assert (ROOT / source).exists(), f"{name}: {source}"
                assert rest.endswith(":ro")
            else:
                assert source in composed["volumes"], f"{name}: {source}"
        for config in one.get("configs", ()):
            assert config["source"] in composed["configs"], name
    for name, one in ours.items():
        _, verb = service_and_verb(one["command"])
        mounts = dict(filled(volume, variables).split(":")[:2][::-1] for volume in one.get("volumes", ()))
        for variable, text in one["environment"].items():
            if variable.endswith("_FILE") and (verb != "migrate"):
                path = Path(text)
                assert (Path(mounts[str(path.parent)]) / path.name).is_file(), f"{name}: {text}"


def test_state_lies_on_a_volume(ours: dict[str, Service], variables: dict[str, str]) -> None:
    for name, one in ours.items():
        folder = next((text for key, text in one["environment"].items() if key.endswith("_STATE_DIR")), None)
        if folder is not None and not name.endswith("-migrate"):
            assert f"{name}:{folder}" in one["volumes"]


def test_nobody_starts_before_its_migration_has_ended(composed: dict[str, Any], ours: dict[str, Service]) -> None:
    for name, one in ours.items():
        _, verb = service_and_verb(one["command"])
        if verb == "migrate":
            (database,) = one["depends_on"]
            assert one["depends_on"][database] == {"condition": "service_healthy"}
            assert "healthcheck" in composed["services"][database]
            assert one["healthcheck"] == {"disable": True}, "what ends is never healthy"
            assert one["restart"] == "on-failure"
        elif verb is not None:
            (migration,) = one["depends_on"]
            assert migration.endswith("-migrate")
            assert one["depends_on"][migration] == {"condition": "service_completed_successfully"}, name


def test_prometheus_scrapes_every_service_where_it_tells_its_metrics(
    composed: dict[str, Any], ours: dict[str, Service], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scraping = yaml.safe_load(composed["configs"]["prometheus"]["content"])
    found = {
        target: (job["job_name"], group.get("labels", {}))
        for job in scraping["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    wanted = {}
    for name, one in ours.items():
        kind, verb = service_and_verb(one["command"])
        settings = settings_from(kind, environment_of(one, variables), monkeypatch)
        if kind == "cell" and verb == "serve":
            wanted[f"{name}:{settings.admin_port}"] = ("cell", {"cell": settings.id, "zone": settings.zone})
        elif kind == "router":
            wanted[f"{name}:{settings.admin_port}"] = ("router", {"zone": settings.zone})
        elif verb in {"serve", "mover"}:
            port = settings.port if verb == "serve" else settings.mover_port
            wanted[f"{name}:{port}"] = (name, {})
    assert found == wanted
    (rules,) = (volume for volume in composed["services"]["prometheus"]["volumes"] if "rules" in volume)
    assert rules.split(":")[1] == str(Path(scraping["rule_files"][0]).parent)


def test_grafana_finds_prometheus_and_the_dashboards(composed: dict[str, Any]) -> None:
    (source,) = yaml.safe_load(composed["configs"]["grafana-datasources"]["content"])["datasources"]
    parts = urlsplit(source["url"])
    assert parts.hostname in composed["services"]
    assert f"127.0.0.1:{parts.port}:{parts.port}" in composed["services"]["prometheus"]["ports"]
    (provider,) = yaml.safe_load(composed["configs"]["grafana-dashboards"]["content"])["providers"]
    mounts = [volume.split(":")[1] for volume in composed["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts


def test_the_fleet_is_born_with_the_cells_that_there_are(ours: dict[str, Service]) -> None:
    cells = {one["environment"]["CELL_ID"] for one in ours.values() if "CELL_ID" in one["environment"]}
    assert int(ours["control-plane"]["environment"]["CONTROL_PLANE_FIRST_CELLS"]) == len(cells) == 2
