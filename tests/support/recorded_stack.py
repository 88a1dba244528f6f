"""A Pulumi program run without an engine, and every registration of a resource as the engine would have got it.

Each run has an event loop and settings of its own, so nothing of one run is left for the next.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
from cloud_answers import Inputs, answers, identity
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import Mocks, set_mocks
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS
from pulumi.runtime.stack import run_pulumi_func

from contract.values import value
from infra.policies import Declared

ENGINE = "pulumi:"
GROUND = {
    "cluster_name": "wallets",
    "endpoint": "https://wallets.eks.example",
    "certificate_authority": "Q0E=",
    "region": "eu-west-1",
    "node_role_arn": "arn:aws:iam::123456789012:role/wallets-node",
    "private_subnets": {f"eu-west-1{letter}": f"subnet-private-{letter}" for letter in "abc"},
    "zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"],
}
"""What a ground stack tells of itself."""


@value
class Recorded:
    """One registration."""

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    id: str
    parent: str
    provider: str
    is_protected: bool
    is_custom: bool
    dependencies: tuple[str, ...]


@value
class Recording:
    resources: tuple[Recorded, ...]
    outputs: Mapping[str, Any]

    def of(self, kind: str) -> dict[str, Recorded]:
        """By name."""
        return {one.name: one for one in self.resources if one.type == kind}

    def declared(self) -> list[Declared]:
        """As the policies see them."""
        return [
            Declared(type=one.type, name=one.name, inputs=one.inputs, id=one.id, is_protected=one.is_protected)
            for one in self.resources
            if one.is_custom and not one.type.startswith(ENGINE)
        ]


def record(program: Callable[[], Mapping[str, Any]], *, stack: str = "stack") -> Recording:
    """Run it to its end, outputs included; what it raises, this raises."""
    monitor = _Recorder()
    outputs = asyncio.run(_run(monitor, program, stack))
    return Recording(resources=tuple(monitor.recorded), outputs=outputs)


def record_refusal(program: Callable[[], Mapping[str, Any]], *, stack: str = "stack") -> tuple[str, list[Recorded]]:
    """Of a program that must not come to its end: what it says, and what it had registered by then."""
    monitor = _Recorder()
    try:
        asyncio.run(_run(monitor, program, stack))
    except pulumi.RunError as error:
        return str(error), monitor.recorded
    raise AssertionError("the program was not refused")


async def _run(monitor: "_Recorder", program: Callable[[], Mapping[str, Any]], stack: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    SETTINGS.outputs = set()  # otherwise one set for all runs, and the next one waits for what belongs to this one
    set_mocks(monitor.mocks, project="cellwallet", stack=stack, preview=False, monitor=monitor)
    await run_pulumi_func(lambda: told.update(program()))
    return {name: await pulumi.Output.from_input(one).future() for name, one in told.items()}


class _Cloud(Mocks):
    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, Inputs]:
        return identity(args.typ, args.name), answers(args.typ, args.name, args.inputs)

    def call(self, args: MockCallArgs) -> tuple[Inputs, list[tuple[str, str]] | None]:
        raise AssertionError(f"the program asks the cloud: {args.token}")


class _Recorder(MockMonitor):
    """Keeps whole requests; the library's own keeps neither protection nor dependencies."""

    def __init__(self) -> None:
        super().__init__(_Cloud())
        self.recorded: list[Recorded] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = plain(request.object)
        made, state = self.mocks.new_resource(MockResourceArgs(typ=request.type, name=request.name, inputs=inputs))
        self.recorded.append(
            Recorded(
                urn=urn,
                type=request.type,
                name=request.name,
                inputs=inputs,
                id=made if request.custom else "",
                parent=request.parent,
                provider=request.provider,
                is_protected=bool(request.protect),
                is_custom=request.custom,
                dependencies=tuple(sorted(request.dependencies)),
            )
        )
        found = struct(state) if request.custom else struct({})
        return resource_pb2.RegisterResourceResponse(urn=urn, id=made if request.custom else "", object=found)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        assert request.type == "pulumi:pulumi:StackReference", request.type
        urn = self.make_urn(request.parent, request.type, request.name)
        state = {"name": request.id, "outputs": GROUND, "secretOutputNames": []}
        return resource_pb2.ReadResourceResponse(urn=urn, properties=struct(state))


def plain(message: struct_pb2.Struct) -> Inputs:
    """Numbers come as floats over the wire; whole ones were whole."""
    found: Inputs = _whole(json_format.MessageToDict(message))
    return found


def struct(found: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(dict(found))
    return message


def _whole(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _whole(below) for name, below in node.items()}
    if isinstance(node, list):
        return [_whole(below) for below in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def children(recording: Recording, parent: Recorded) -> Sequence[Recorded]:
    return [one for one in recording.resources if one.parent == parent.urn]
