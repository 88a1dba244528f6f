"""The cluster of a ground stack, by what that stack tells of itself; it is read and never changed from here."""

import json
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from infra.settings import Eks, SettingsMustBeSoundError
from infra.substrates import Ground, Substrate, kubernetes_provider


def connect(settings: Eks, zones: Sequence[str]) -> Substrate:
    """Zones that the ground does not have are refused as soon as its outputs are known."""
    reference = pulumi.StackReference(settings.ground)
    cluster_name = reference.require_output("cluster_name")
    region = reference.require_output("region")
    subnets = reference.require_output("private_subnets")
    kubeconfig = pulumi.Output.all(
        cluster_name, reference.require_output("endpoint"), reference.require_output("certificate_authority"), region
    ).apply(lambda told: kubeconfig_text(*told))
    return Substrate(
        kubernetes=kubernetes_provider("kubernetes", {"kubeconfig": kubeconfig}),
        ground=Ground(
            aws=aws.Provider("aws", region=region),
            cluster_name=cluster_name,
            node_role_arn=reference.require_output("node_role_arn"),
            private_subnets={zone: _subnet(subnets, zone) for zone in zones},
        ),
    )


def kubeconfig_text(name: str, endpoint: str, certificate_authority: str, region: str) -> str:
    """Complete but for who asks: that is whoever runs it, by `aws eks get-token`."""
    token = ["eks", "get-token", "--cluster-name", name, "--region", region, "--output", "json"]
    asked = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "interactiveMode": "Never",
        "command": "aws",
        "args": token,
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": endpoint, "certificate-authority-data": certificate_authority}}
        ],
        "users": [{"name": name, "user": {"exec": asked}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document, sort_keys=True)


def _subnet(subnets: pulumi.Output[Mapping[str, str]], zone: str) -> pulumi.Output[str]:
    def find(known: Mapping[str, str]) -> str:
        if zone not in known:
            raise SettingsMustBeSoundError(f"zones must be of the ground's ({', '.join(known)}), not {zone}")
        return known[zone]

    return subnets.apply(find)
