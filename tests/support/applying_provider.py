"""In place of Pulumi's official provider of Kubernetes, against a real API server: objects by server-side apply.

What it does is what the official one does by default, as far as our objects go: one owner of fields, no conflict taken
by force, what is there is compared with what was asked for. It waits for nothing but the end of what it deletes.
"""
# ruff: noqa: N802, ARG002 - names and arguments are the protocol's

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from kubernetes import config, dynamic
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError
from plain_provider import PlainProvider, changed_inputs
from pulumi.runtime.proto import provider_pb2
from recorded_stack import plain, struct

MANAGER = "pulumi"
GONE_TIMEOUT_S = 60.0
TIMEOUT_S = (5, 30)
"""Connecting, and an answer."""
NAMED_BY = {"apiVersion", "kind"}
"""A change of these, or of its name, makes another object."""

Object = dict[str, Any]


class ApplyingProvider(PlainProvider):
    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._client: Any = None

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        given = plain(request.args)
        client = config.new_client_from_config(
            config_file=given.get("kubeconfig"), context=given["context"], persist_config=False
        )
        self._client = dynamic.DynamicClient(client, cache_file=str(self._cache))
        return super().Configure(request, context)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        before, after = plain(request.old_inputs), plain(request.news)
        changed = changed_inputs(request)
        kinds = provider_pb2.DiffResponse
        replaces = [name for name in changed if name in NAMED_BY]
        if _name(before) != _name(after):
            replaces.append("metadata")
        return kinds(changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE, diffs=changed, replaces=replaces)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        asked = plain(request.properties)
        self._apply(asked, context)
        return provider_pb2.CreateResponse(id=_id(asked), properties=request.properties)

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        asked = plain(request.inputs)
        try:
            found = self._kind(asked).get(**_place(asked), _request_timeout=TIMEOUT_S).to_dict()
        except NotFoundError:
            return provider_pb2.ReadResponse(id="")
        state = struct(projected(found, asked))
        return provider_pb2.ReadResponse(id=request.id, properties=state, inputs=state)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._apply(plain(request.news), context)
        return provider_pb2.UpdateResponse(properties=request.news)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Gone is when it cannot be read any more: a namespace takes its time."""
        asked = plain(request.properties)
        deadline = time.monotonic() + GONE_TIMEOUT_S
        try:
            self._kind(asked).delete(**_place(asked), _request_timeout=TIMEOUT_S)
            while time.monotonic() < deadline:
                self._kind(asked).get(**_place(asked), _request_timeout=TIMEOUT_S)
                time.sleep(0.2)
        except NotFoundError:
            return empty_pb2.Empty()
        except DynamicApiError as error:
            context.abort(grpc.StatusCode.INTERNAL, f"{_id(asked)}: {error.summary()}")
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"{_id(asked)} must be gone in {GONE_TIMEOUT_S:g} s")
        return None

    def _apply(self, asked: Object, context: grpc.ServicerContext) -> None:
        try:
            self._client.server_side_apply(
                self._kind(asked), body=asked, field_manager=MANAGER, **_place(asked), _request_timeout=TIMEOUT_S
            )
        except DynamicApiError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{_id(asked)}: {error.summary()}")

    def _kind(self, asked: Object) -> Any:
        return self._client.resources.get(api_version=asked["apiVersion"], kind=asked["kind"])


def projected(found: Any, asked: Any) -> Any:
    """Of what is there, only what was asked for: the rest is the server's or somebody else's.

    A server leaves out what is empty, so nothing asked for and nothing there is the same.
    """
    if isinstance(asked, Mapping) and isinstance(found, Mapping):
        return {
            name: projected(found.get(name, below), below)
            for name, below in asked.items()
            if name in found or not below
        }
    if isinstance(asked, list) and isinstance(found, list) and len(asked) == len(found):
        return [projected(one, below) for one, below in zip(found, asked, strict=True)]
    return found


def _place(asked: Object) -> dict[str, str]:
    metadata = asked["metadata"]
    home = {"namespace": metadata["namespace"]} if "namespace" in metadata else {}
    return {"name": metadata["name"], **home}


def _name(asked: Object) -> tuple[str | None, str | None]:
    metadata = asked.get("metadata", {})
    return metadata.get("namespace"), metadata.get("name")


def _id(asked: Object) -> str:
    return "/".join(filter(None, (asked["kind"], *_name(asked))))
