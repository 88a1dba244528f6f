"""Clouds for tests with Pulumi's engine: a provider that the engine attaches to by its port, and the world behind it.

The world lies in a file and outlives provider and engine, as a cloud does; a test may change it (drift) and may let an
operation fail. Whatever a resource is, its inputs become what there is: no schema is checked here, and nothing costs
time. It stands in for AWS, and for Kubernetes where no API server is wanted.
"""
# ruff: noqa: N802, ARG002 - names and arguments are the protocol's

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cloud_answers import Inputs, answers, identity
from google.protobuf import empty_pb2
from plain_provider import PlainProvider, changed_inputs
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from recorded_stack import plain, struct

from contract.values import value

MESSAGE_BYTES_MAX = 64 * 2**20
REPLACED_BY = {
    "aws:ec2/vpc:Vpc": {"cidrBlock"},
    "aws:ec2/subnet:Subnet": {"cidrBlock", "availabilityZone", "vpcId"},
    "aws:ec2/natGateway:NatGateway": {"subnetId", "allocationId"},
    "aws:eks/cluster:Cluster": {"name", "roleArn"},
    "aws:eks/nodeGroup:NodeGroup": {"clusterName", "nodeRoleArn", "subnetIds", "instanceTypes", "amiType", "diskSize"},
}
"""Inputs that AWS cannot change in what there is; of objects of Kubernetes it is their name."""


@value
class Thing:
    """Something that exists."""

    id: str
    type: str
    name: str
    inputs: Inputs
    revision: int
    """Of the whole world, when it was last written."""


class World:
    """Every method reads and writes the whole file: what a test sees is what the next engine sees."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.failing: set[tuple[str, str]] = set()
        """Operations that fail: what (`create`, `update`, `delete`), and the name of the resource."""
        self.asked: list[tuple[str, str, str]] = []
        """Operation, type and name, in order, without reads."""

    def things(self) -> dict[str, Thing]:
        """By id."""
        return {name: Thing(**one) for name, one in self._read()["things"].items()}

    def of(self, kind: str) -> list[Thing]:
        return [one for one in self.things().values() if one.type == kind]

    def create(self, kind: str, name: str, inputs: Inputs) -> Thing:
        with self._lock:
            document = self._read()
            document["revision"] += 1
            made = Thing(
                id=_id(kind, name, inputs, document["revision"]),
                type=kind,
                name=name,
                inputs=inputs,
                revision=document["revision"],
            )
            if made.id in document["things"]:
                raise WorldRefusedError(f"{made.id} already exists")
            document["things"][made.id] = _document(made)
            self._write(document)
            return made

    def change(self, thing_id: str, inputs: Inputs) -> Thing:
        """Also for a test: somebody else's hand."""
        with self._lock:
            document = self._read()
            if thing_id not in document["things"]:
                raise WorldRefusedError(f"{thing_id} does not exist")
            document["revision"] += 1
            document["things"][thing_id] |= {"inputs": inputs, "revision": document["revision"]}
            self._write(document)
            return Thing(**document["things"][thing_id])

    def remove(self, thing_id: str) -> None:
        """What is gone already is gone; a namespace takes along what is in it."""
        with self._lock:
            document = self._read()
            gone = document["things"].pop(thing_id, None)
            if gone is not None and gone["type"] == "kubernetes:core/v1:Namespace":
                document["things"] = {
                    name: one
                    for name, one in document["things"].items()
                    if one["inputs"].get("metadata", {}).get("namespace") != gone["name"]
                }
            self._write(document)

    def _read(self) -> dict[str, Any]:
        if not self._file.exists():
            return {"revision": 0, "things": {}}
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    def _write(self, document: Mapping[str, Any]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(document))
        fresh.rename(self._file)


class WorldRefusedError(Exception):
    """As a cloud refuses: the message is all that one gets."""


def _id(kind: str, name: str, inputs: Inputs, revision: int) -> str:
    """AWS names what it makes; Kubernetes is told the name."""
    if kind.startswith("kubernetes:"):
        metadata = inputs["metadata"]
        return "/".join(filter(None, (kind, metadata.get("namespace"), metadata["name"])))
    return f"{identity(kind, name)}-{revision:06}"


def _document(thing: Thing) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in ("id", "type", "name", "inputs", "revision")}


class StandInProvider(PlainProvider):
    """One for each package."""

    def __init__(self, world: World) -> None:
        self.world = world

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        changed = changed_inputs(request)
        kinds = provider_pb2.DiffResponse
        return kinds(
            changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE,
            diffs=changed,
            replaces=[name for name in changed if name in REPLACED_BY.get(_type(request.urn), ())],
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind, name = _type(request.urn), _name(request.urn)
        self._ask("create", kind, name, context)
        made = self._try(context, lambda: self.world.create(kind, name, plain(request.properties)))
        return provider_pb2.CreateResponse(id=made.id, properties=struct(self.outputs(made)))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self.world.things().get(request.id)
        if found is None:
            return provider_pb2.ReadResponse(id="")
        return provider_pb2.ReadResponse(
            id=found.id, properties=struct(self.outputs(found)), inputs=struct(found.inputs)
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._ask("update", _type(request.urn), _name(request.urn), context)
        made = self._try(context, lambda: self.world.change(request.id, plain(request.news)))
        return provider_pb2.UpdateResponse(properties=struct(self.outputs(made)))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._ask("delete", _type(request.urn), _name(request.urn), context)
        self.world.remove(request.id)
        return empty_pb2.Empty()

    def outputs(self, made: Thing) -> Inputs:
        return answers(made.type, made.name, made.inputs)

    def _ask(self, what: str, kind: str, name: str, context: grpc.ServicerContext) -> None:
        self.world.asked.append((what, kind, name))
        if (what, name) in self.world.failing:
            context.abort(grpc.StatusCode.INTERNAL, f"the cloud fails to {what} {name}")

    def _try(self, context: grpc.ServicerContext, do: Any) -> Thing:
        try:
            made: Thing = do()
        except WorldRefusedError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return made


def _type(urn: str) -> str:
    """Without those of its parents."""
    return urn.split("::")[2].rpartition("$")[2]


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


@contextmanager
def serving(provider: provider_pb2_grpc.ResourceProviderServicer) -> Iterator[int]:
    """On this machine only; gives the port."""
    sizes = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=sizes)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=1).wait()
