"""What a ground stack is: network, cluster, the nodes that the cluster itself needs, and the class of volumes."""

from typing import Any

import pulumi
import pulumi_aws as aws

from infra.components.eks_cluster import ClusterWish, EksCluster
from infra.components.installed_chart import Storage
from infra.components.network import Network
from infra.components.seal import seal
from infra.components.zone_node_groups import ZoneNodeGroups
from infra.manifests import STORAGE_CLASS
from infra.planning import plan_ground
from infra.settings import GroundSettings
from infra.substrates import Ground, kubernetes_provider
from infra.substrates.eks import kubeconfig_text


def build_ground(settings: GroundSettings) -> dict[str, Any]:
    plan = plan_ground(settings)
    provider = aws.Provider("aws", region=settings.region)
    in_region = pulumi.ResourceOptions(provider=provider)
    is_protected = not settings.is_retired
    network = Network(
        settings.name,
        address_range=settings.address_range,
        zones=settings.zones,
        is_protected=is_protected,
        opts=in_region,
    )
    wish = ClusterWish(
        name=settings.name,
        kubernetes=settings.kubernetes,
        subnets=list(network.private_subnets.values()),
        operator_cidrs=settings.operator_cidrs,
        is_protected=is_protected,
    )
    eks = EksCluster(wish, in_region)
    cluster = eks.cluster
    ground = Ground(
        aws=provider,
        cluster_name=cluster.name,
        node_role_arn=eks.node_role.arn,
        private_subnets=network.private_subnets,
    )
    system = ZoneNodeGroups(
        f"{settings.name}-system",
        pool="system",
        nodes=settings.system_nodes,
        per_zone=1 + settings.system_nodes.spare,
        zones=settings.zones,
        ground=ground,
        after=eks.every_node_needs,
    )
    ready = eks.complete([system])
    authority = cluster.certificate_authority.apply(lambda told: told["data"])
    kubeconfig = pulumi.Output.all(cluster.name, cluster.endpoint, authority).apply(
        lambda told: kubeconfig_text(told[0], told[1], told[2], settings.region)
    )
    kubernetes = kubernetes_provider("kubernetes", {"kubeconfig": kubeconfig})
    storage = Storage("storage", plan, provider=kubernetes, after=ready)
    seal([network, eks, system, storage], is_retired=settings.is_retired)
    return {
        "cluster_name": cluster.name,
        "endpoint": cluster.endpoint,
        "certificate_authority": authority,
        "region": settings.region,
        "node_role_arn": eks.node_role.arn,
        "private_subnets": dict(network.private_subnets),
        "zones": list(settings.zones),
        "storage_class": STORAGE_CLASS,
    }
