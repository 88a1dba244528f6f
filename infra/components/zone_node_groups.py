"""Nodes of one pool: a managed group in each zone, of one subnet and of a size that never changes by itself.

One group over three zones would let the cloud decide where nodes are, and move them exactly while a zone is lost.
"""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra.manifests import DATABASE_POOL, POOL
from infra.policies import ZONE_TAG
from infra.settings import NodePool
from infra.substrates import Ground

MACHINE_IMAGES = {"x86_64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}


class ZoneNodeGroups(pulumi.ComponentResource):
    def __init__(
        self,
        name: str,
        *,
        pool: str,
        nodes: NodePool,
        per_zone: int,
        zones: Sequence[str],
        ground: Ground,
        is_protected: bool = False,
        after: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Those of databases carry a taint, and take nothing else."""
        super().__init__("cellwallet:index:ZoneNodeGroups", name, None, opts)
        taints = [aws.eks.NodeGroupTaintArgs(key=POOL, value=DATABASE_POOL, effect="NO_SCHEDULE")]
        self.groups: list[pulumi.Resource] = [
            aws.eks.NodeGroup(
                f"{name}-{zone}",
                cluster_name=ground.cluster_name,
                node_role_arn=ground.node_role_arn,
                subnet_ids=[ground.private_subnets[zone]],
                instance_types=[nodes.instance_type],
                ami_type=MACHINE_IMAGES[nodes.architecture],
                capacity_type="ON_DEMAND",
                disk_size=nodes.disk_gib,
                scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                    min_size=per_zone, desired_size=per_zone, max_size=per_zone
                ),
                update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
                labels={POOL: pool},
                taints=taints if pool == DATABASE_POOL else None,
                tags={ZONE_TAG: zone},
                opts=pulumi.ResourceOptions(
                    parent=self, provider=ground.aws, protect=is_protected, depends_on=list(after)
                ),
            )
            for zone in zones
        ]
        self.register_outputs({})
