"""Where a stack's objects go: a cluster that somebody made (`kubeconfig`), or that of a ground stack (`eks`).

A substrate gives a provider of Kubernetes and, where the stack makes its own nodes, what those need.
"""

from collections.abc import Mapping

import pulumi

from contract.values import value

KUBERNETES_PLUGIN = "4.32.0"
"""Of Pulumi's official provider; said, because no package of classes says it for us."""


@value
class Ground:
    """What nodes need of the cluster that they join."""

    aws: pulumi.ProviderResource
    cluster_name: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    private_subnets: Mapping[str, pulumi.Input[str]]
    """Of each zone."""


@value
class Substrate:
    kubernetes: pulumi.ProviderResource
    ground: Ground | None = None
    """None = the nodes are somebody else's."""


def kubernetes_provider(name: str, inputs: Mapping[str, pulumi.Input[str]]) -> pulumi.ProviderResource:
    return pulumi.ProviderResource("kubernetes", name, dict(inputs), pulumi.ResourceOptions(version=KUBERNETES_PLUGIN))
