"""What providers for Pulumi's engine answer alike: they are attached to, take any configuration, preview nothing."""
# ruff: noqa: N802, ARG002 - names and arguments are the protocol's

from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from pulumi.runtime.proto.plugin_pb2 import PluginInfo
from recorded_stack import plain


class PlainProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Without previews of its own, so that what is not made yet is unknown."""

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Who shakes hands promises previews of its own."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "it is configured without")

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return PluginInfo(version="0.0.0")

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=False, acceptResources=False)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()


def changed_inputs(request: Any) -> list[str]:
    """Names of the inputs that differ, of a request for their difference."""
    before, after = plain(request.old_inputs), plain(request.news)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
