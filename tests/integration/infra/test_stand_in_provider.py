"""The stand-in clouds keep what a provider promises to the engine: asked over the wire, as the engine asks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from recorded_stack import plain, struct
from stand_in_provider import StandInProvider, World, serving

SUBNET = "aws:ec2/subnet:Subnet"
INPUTS = {"cidrBlock": "10.0.0.0/20", "availabilityZone": "a", "tags": {"n": 1}}


def urn(name: str, kind: str = SUBNET) -> str:
    return f"urn:pulumi:stack::cellwallet::cellwallet:index:Network${kind}::{name}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world.json")


@pytest.fixture
def provider(world: World) -> Iterator[Any]:
    with (
        serving(StandInProvider(world)) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield provider_pb2_grpc.ResourceProviderStub(channel)


def create(provider: Any, name: str, inputs: dict[str, Any], kind: str = SUBNET) -> Any:
    return provider.Create(provider_pb2.CreateRequest(urn=urn(name, kind), properties=struct(inputs)))


def diff(provider: Any, before: dict[str, Any], after: dict[str, Any], kind: str = SUBNET) -> Any:
    return provider.Diff(
        provider_pb2.DiffRequest(id="x", urn=urn("x", kind), old_inputs=struct(before), news=struct(after))
    )


def test_what_is_created_is_read_back_and_outlives_the_provider(provider: Any, world: World, tmp_path: Path) -> None:
    made = create(provider, "one", INPUTS)
    found = provider.Read(provider_pb2.ReadRequest(id=made.id, urn=urn("one")))
    assert (found.id, plain(found.inputs), plain(found.properties)) == (made.id, INPUTS, INPUTS)
    assert World(tmp_path / "world.json").things() == world.things()
    assert [(one.type, one.name) for one in world.things().values()] == [(SUBNET, "one")]


def test_nothing_changed_is_no_difference_and_numbers_stay_numbers(provider: Any) -> None:
    same = diff(provider, INPUTS, {**INPUTS, "tags": {"n": 1.0}})
    assert same.changes == provider_pb2.DiffResponse.DIFF_NONE


def test_a_change_is_a_difference_and_some_replace(provider: Any) -> None:
    changed = diff(provider, INPUTS, {**INPUTS, "tags": {"n": 2}})
    assert (changed.changes, list(changed.diffs), list(changed.replaces)) == (
        provider_pb2.DiffResponse.DIFF_SOME,
        ["tags"],
        [],
    )
    moved = diff(provider, INPUTS, {**INPUTS, "availabilityZone": "b"})
    assert list(moved.replaces) == ["availabilityZone"]


def test_an_update_and_drift_raise_the_revision(provider: Any, world: World) -> None:
    made = create(provider, "one", INPUTS)
    before = world.things()[made.id].revision
    after = {**INPUTS, "tags": {"n": 2}}
    provider.Update(provider_pb2.UpdateRequest(id=made.id, urn=urn("one"), news=struct(after)))
    assert world.things()[made.id].inputs == after
    world.change(made.id, INPUTS)
    assert world.things()[made.id].revision == before + 2
    read = provider.Read(provider_pb2.ReadRequest(id=made.id, urn=urn("one")))
    assert plain(read.inputs) == INPUTS


def test_what_is_gone_is_told_as_gone_and_deleting_it_again_is_no_failure(provider: Any, world: World) -> None:
    made = create(provider, "one", INPUTS)
    for _ in range(2):
        provider.Delete(provider_pb2.DeleteRequest(id=made.id, urn=urn("one")))
    assert world.things() == {}
    assert provider.Read(provider_pb2.ReadRequest(id=made.id, urn=urn("one"))).id == ""


def test_a_failure_is_told_and_changes_nothing(provider: Any, world: World) -> None:
    world.failing.add(("create", "one"))
    with pytest.raises(grpc.RpcError, match="the cloud fails to create one"):
        create(provider, "one", INPUTS)
    assert world.things() == {}
    create(provider, "two", INPUTS)
    assert [what for what, _, _ in world.asked] == ["create", "create"]


def test_two_of_one_name_are_two_in_aws_and_a_conflict_in_kubernetes(provider: Any, world: World) -> None:
    assert create(provider, "one", INPUTS).id != create(provider, "one", INPUTS).id
    kind = "kubernetes:core/v1:ConfigMap"
    one = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}
    create(provider, "n/c", one, kind)
    with pytest.raises(grpc.RpcError, match="already exists"):
        create(provider, "n/c", one, kind)
    assert len(world.things()) == 3


def test_a_namespace_takes_along_what_is_in_it(provider: Any, world: World) -> None:
    home, inside = "kubernetes:core/v1:Namespace", "kubernetes:core/v1:ConfigMap"
    made = create(provider, "n", {"metadata": {"name": "n"}}, home)
    create(provider, "n/c", {"metadata": {"name": "c", "namespace": "n"}}, inside)
    create(provider, "o/c", {"metadata": {"name": "c", "namespace": "o"}}, inside)
    provider.Delete(provider_pb2.DeleteRequest(id=made.id, urn=urn("n", home)))
    assert [one.name for one in world.things().values()] == ["o/c"]


def test_what_other_resources_need_is_answered(provider: Any) -> None:
    made = create(provider, "c", {"name": "wallets"}, "aws:eks/cluster:Cluster")
    told = plain(made.properties)
    assert told["endpoint"] == "https://wallets.eks.example"
    assert told["certificateAuthority"] == {"data": "Q0E="}
