"""Settings of stacks: the examples are right, and what cannot be meant is refused by its place and what must hold."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from stacks import INFRA, STACKS, cell, document, settings

from infra.settings import MODELS, SettingsMustBeSoundError, settings_in, settings_of

DIGEST = "sha256:" + "0" * 64
POOL = {"instance_type": "m7i.large", "cores": 1.7, "memory_gib": 6}

REFUSED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("cell-a", {"zones": ["eu-west-1a"]}, "zones must be 3 to 9: one may be lost"),
    ("cell-a", {"zones": ["eu-west-1a", "eu-west-1b"]}, "majority of the others; not 2"),
    ("cell-a", {"zones": ["eu-west-1a", "eu-west-1b", "eu-west-1b"]}, "zones must be different from one another"),
    ("cell-a", {"zones": "eu-west-1a"}, "zones must be a valid list"),
    ("cell-a", {"zones": None}, "zones must be given"),
    ("cell-a", {"zone": ["a"]}, "zone is no setting; is zones meant?"),
    ("cell-a", {"substrat": {}}, "substrat is no setting; is substrate meant?"),
    ("cell-a", {"database": {"sise": "small"}}, "database.sise is no setting; is size meant?"),
    ("cell-a", {"image": {"repository": "r.example/cell", "digest": DIGEST}}, "image is no setting"),
    ("cell-a", {"version": "1.2.3"}, "version is no setting"),
    ("cell-a", {"kind": "cel"}, "kind must be one of ground, fleet, cell, not 'cel'"),
    ("cell-a", {"kind": None}, "kind must be one of ground, fleet, cell, not None"),
    ("cell-a", {"id": "Cell-A"}, "id must be small letters, digits and dashes"),
    ("cell-a", {"id": "c" * 33}, "id must be small letters, digits and dashes"),
    ("cell-a", {"id": "router"}, "id must not be the namespace of another part"),
    ("cell-a", {"home_zone": "eu-west-1d"}, "home_zone must be one of the zones"),
    ("cell-a", {"database": {"image": "registry.example/postgresql:18"}}, "image must be a repository and a digest"),
    ("cell-a", {"database": {"image": {"digest": None}}}, "database.image.digest must be given"),
    ("cell-a", {"database": {"image": {"digest": "18.1"}}}, "digest must be sha256: and 64 hexadecimal digits"),
    ("cell-a", {"database": {"image": {"tag": "18.1"}}}, "database.image.tag is no setting"),
    ("cell-a", {"database": {"image": {"repository": "r.example/pg:18"}}}, "a registry and a path without a tag"),
    ("cell-a", {"database": {"size": "tiny"}}, "database.size must be 'small', 'medium' or 'large', not 'tiny'"),
    ("cell-a", {"database": {"storage": "100"}}, "database.storage must be a size such as 100Gi"),
    ("cell-a", {"database": {"dedicated_nodes": False}}, "dedicated_nodes must be true on eks"),
    ("cell-a", {"capacity": {"missing": -1}}, "capacity.missing must be greater than or equal to 1, not -1"),
    ("cell-a", {"capacity": {"missing": 0}}, "capacity.missing must be greater than or equal to 1, not 0"),
    ("cell-a", {"capacity": {"utilisation": -0.5}}, "capacity.utilisation must be greater than 0, not -0.5"),
    ("cell-a", {"capacity": {"utilisation": 1.5}}, "capacity.utilisation must be less than or equal to 1, not 1.5"),
    ("cell-a", {"capacity": {"certificate": None}}, "capacity.certificate must be given"),
    ("cell-a", {"capacity": {"demand_per_s": 5}}, "capacity.demand_per_s is no setting"),
    ("cell-a", {"substrate": {"kind": "gke"}}, "substrate"),
    ("cell-a", {"substrate": {"ground": "ground"}}, "substrate.ground must name a stack as organization/project/stack"),
    ("cell-a", {"substrate": {"app_nodes": {"spare": -1}}}, "substrate.app_nodes.spare must be greater than or equal"),
    ("cell-a", {"substrate": {"app_nodes": {"spare": "1"}}}, "substrate.app_nodes.spare must be a valid integer"),
    ("cell-a", {"substrate": {"app_nodes": None}}, "substrate.app_nodes must be given"),
    ("cell-a", {"network": {"api_server_cidrs": []}}, "network.api_server_cidrs"),
    ("cell-a", {"network": {"api_server_cidrs": ["anywhere"]}}, "must be an IPv4 network"),
    ("cell-a", {"network": {"api_server_port": 0}}, "network.api_server_port must be greater than or equal to 1"),
    ("local-cell-a", {"substrate": {"context": None}}, "substrate.context must be given"),
    ("local-cell-a", {"substrate": {"app_nodes": POOL}}, "substrate.app_nodes is no setting"),
    ("fleet", {"router": {"image": {"digest": None}}}, "router.image.digest must be given"),
    (
        "fleet",
        {"router": {"image": "registry.example/router:latest"}},
        "router.image must be a repository and a digest",
    ),
    ("fleet", {"router": {"entrance": {"type": "NodePort"}}}, "router.entrance.type must be 'ClusterIP' or"),
    ("fleet", {"capacity": {"demand_per_s": -8000}}, "capacity.demand_per_s must be greater than 0"),
    ("fleet", {"capacity": {"demand_per_s": None}}, "capacity.demand_per_s must be given"),
    ("fleet", {"network": {"router_namespace": "control-plane"}}, "must be two"),
    ("fleet", {"control_plane": {"replicas_per_zone": 0}}, "control_plane.replicas_per_zone must be greater"),
    ("fleet", {"control_plane": {"releases": {"by": "local"}}}, "control_plane.releases.by must be 'nobody' or"),
    ("fleet", {"control_plane": {"releases": {"by": "nobody", "cordon": True}}}, "cordon must be false where by is"),
    ("ground", {"zones": ["eu-west-1a", "eu-west-1b", "eu-west-2a"]}, "zones must be of the region eu-west-1"),
    ("ground", {"zones": ["eu-west-1a"]}, "zones must be 3 to 9"),
    ("ground", {"address_range": "10.0.0.0/20"}, "address_range must be a /16"),
    ("ground", {"address_range": "10.0.0.1/16"}, "address_range must be an IPv4 network"),
    ("ground", {"kubernetes": "1.34"}, "kubernetes must be at least 1.35"),
    ("ground", {"kubernetes": 1.35}, "kubernetes must be a valid string"),
    ("ground", {"operator_cidrs": ["0.0.0.0/0"]}, "operator_cidrs must not be the whole internet"),
    ("ground", {"single_nat": True}, "single_nat is no setting"),
)


@pytest.mark.parametrize("name", STACKS)
def test_the_examples_are_right(name: str) -> None:
    assert settings_in((INFRA / f"Pulumi.{name}.yaml").read_text()) == settings(name)


def test_there_is_an_example_of_every_kind_and_of_both_substrates() -> None:
    found = [document(name) for name in STACKS]
    assert {one["kind"] for one in found} == set(MODELS)
    assert {one["substrate"]["kind"] for one in found if "substrate" in one} == {"kubeconfig", "eks"}


@pytest.mark.parametrize(("name", "changes", "told"), REFUSED, ids=[f"{one[0]}-{one[1]}" for one in REFUSED])
def test_what_cannot_be_meant_is_refused_with_what_must_hold(name: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsMustBeSoundError) as refusal:
        settings(name, changes)
    assert told in str(refusal.value)


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(SettingsMustBeSoundError) as refusal:
        settings("cell-a", {"zones": ["a"], "database": {"size": "tiny", "sise": 1}, "capacity": {"missing": -1}})
    assert len(str(refusal.value).splitlines()) == 4


@pytest.mark.parametrize("nothing", [None, [], "cell", 3, {}])
def test_what_is_no_stack_at_all_is_refused(nothing: object) -> None:
    with pytest.raises(SettingsMustBeSoundError, match="kind must be one of"):
        settings_of(nothing)


@pytest.mark.parametrize("text", ["", "config: {}", "config: {cellwallet:other: 1}", "[]", "config: [:"])
def test_a_file_without_a_stack_is_refused(text: str) -> None:
    with pytest.raises(SettingsMustBeSoundError, match="the file must"):
        settings_in(text)


def test_no_setting_goes_unnoticed() -> None:
    for model in set(models_below(*MODELS.values())):
        assert model.model_config.get("extra") == "forbid", model
        assert model.model_config.get("frozen") is True, model


def test_a_cell_has_no_setting_for_what_runs_in_it() -> None:
    """Pulumi must not be able to take a release back. The one image that it names is PostgreSQL's."""
    found = list(paths_of(type(cell())))
    assert [path for path in found if path.endswith("image")] == ["database.image"]
    assert not [path for path in found if "version" in path or "replicas" in path]


def models_below(*models: Any) -> Iterator[type[BaseModel]]:
    for model in models:
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield model
            yield from models_below(*(field.annotation for field in model.model_fields.values()))
        yield from models_below(*get_args(model))


def paths_of(model: Any, before: str = "") -> Iterator[str]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            yield f"{before}{name}"
            yield from paths_of(field.annotation, f"{before}{name}.")
    for part in get_args(model):
        yield from paths_of(part, before)
