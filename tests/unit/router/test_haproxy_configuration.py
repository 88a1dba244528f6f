"""What HAProxy is configured to do: backends of cells, zones, rooms, and the routes of the fast path."""

import re
from collections.abc import Callable

import pytest

from contract.directory import ApiInstance, DirectoryDocument
from router.routing.directory import Directory, directory_of
from router.routing.haproxy_configuration import DataPlane, configuration_of
from router.routing.request_head import WALLET_ROUTES, Head, Kind, parse_head

MakeDocument = Callable[..., DirectoryDocument]

ID = "9f0c3f64-5717-4562-b3fc-2c963f66afa6"
DATA_PLANE = DataPlane(
    router_id="router-1", host="127.0.0.1", port=8080, agent_port=9000, in_flight_max=100, is_quiet=False
)


def directory(document: DirectoryDocument, zone: str = "zone-1") -> Directory:
    return directory_of(document, own_zone=zone)


def servers(text: str, backend: str) -> dict[str, str]:
    """The server lines of a backend, by name."""
    section = text.split(f"backend {backend}\n")[1].split("\nbackend", maxsplit=1)[0]
    lines = (line.strip().split(" ", 2) for line in section.splitlines() if line.startswith("    server "))
    return {name: rest for _, name, rest in lines}


def test_the_own_zone_comes_first_and_the_agent_last(make_document: MakeDocument) -> None:
    listed = servers(configuration_of(directory(make_document(instances=3)), DATA_PLANE)[0], "a")
    assert list(listed) == ["a0:80", "a1:80", "a2:80", "agent"]
    assert [name for name, rest in listed.items() if "backup" in rest.split()] == ["a1:80", "a2:80", "agent"]
    assert "weight 256" in listed["a1:80"]
    assert "weight 1 " in listed["agent"]


def test_a_zone_that_is_evacuated_is_left_out(make_document: MakeDocument) -> None:
    document = make_document(instances=3)
    cell = document.cells["a"].model_copy(update={"zone_weights": {"zone-1": 0, "zone-2": 100, "zone-3": 50}})
    document = document.model_copy(update={"cells": {**document.cells, "a": cell}})
    listed = servers(configuration_of(directory(document), DATA_PLANE)[0], "a")
    assert list(listed) == ["a1:80", "a2:80", "agent"]
    assert [" weight 256 " in listed["a1:80"], " weight 128 " in listed["a2:80"]] == [True, True]
    assert "backup" not in listed["a1:80"].split()


def test_the_room_of_a_cell_is_shared_by_its_instances(make_document: MakeDocument) -> None:
    document = make_document()
    same_zone = tuple(api.model_copy(update={"zone": "zone-1"}) for api in document.cells["a"].api)
    cell = document.cells["a"].model_copy(update={"api": same_zone})
    document = document.model_copy(update={"cells": {"a": cell, "b": document.cells["b"]}})
    listed = servers(configuration_of(directory(document), DATA_PLANE)[0], "a")
    assert all(" maxconn 50 " in rest for name, rest in listed.items() if name != "agent")


def test_a_cell_behind_tls_is_verified(make_document: MakeDocument) -> None:
    document = make_document(instances=1)
    api = (ApiInstance(url="https://cell-a.example", zone="zone-1"),)
    cell = document.cells["a"].model_copy(update={"api": api})
    document = document.model_copy(update={"cells": {**document.cells, "a": cell}})
    (line, _) = servers(configuration_of(directory(document), DATA_PLANE)[0], "a").values()
    assert line.startswith("cell-a.example:443 ")
    assert "ssl verify required ca-file @system-ca sni str(cell-a.example)" in line


def test_owners_and_versions_change_no_configuration(make_document: MakeDocument) -> None:
    """They are in the maps: no reload for a move."""
    one = configuration_of(directory(make_document()), DATA_PLANE)
    assert configuration_of(directory(make_document(version=11, moving=(5,), epochs={5: 7})), DATA_PLANE) == one


def test_other_instances_change_the_digest_that_haproxy_tells(make_document: MakeDocument) -> None:
    one, two = (configuration_of(directory(make_document(instances=n)), DATA_PLANE) for n in (1, 2))
    assert one[1] != two[1]
    assert all(f"setenv CONFIGURATION_DIGEST {digest}\n" in text for text, digest in (one, two))


def test_the_fast_path_has_the_routes_of_the_table() -> None:
    text = configuration_of(None, DATA_PLANE)[0]
    patterns = dict(re.findall(r"acl is_path_of_([A-Z]+) path -m reg (\S+)", text))
    for (resource, has_item, verb), methods in WALLET_ROUTES.items():
        path = f"/v1/wallets/{ID}" + "".join(f"/{one}" for one in (resource, has_item and ID, verb) if one)
        for method, pattern in patterns.items():
            assert (re.search(pattern, path) is not None) == (method in methods), (method, path)


@pytest.mark.parametrize(
    "path",
    [f"/v1/wallets/{ID.upper()}", f"/v1/wallets/{ID}/", f"/v1/wallets//{ID}", "/v1/wallets/", f"/v1/wallets/{ID}/x"],
)
def test_what_the_proxy_refuses_is_not_on_the_fast_path(path: str) -> None:
    patterns = dict(re.findall(r"acl is_path_of_([A-Z]+) path -m reg (\S+)", configuration_of(None, DATA_PLANE)[0]))
    assert not [method for method, pattern in patterns.items() if re.search(pattern, path)]
    head = parse_head("GET", path)
    assert not isinstance(head, Head) or head.flaw is not None or head.route.kind is not Kind.WALLET
