"""A Kubernetes cluster in AWS without its nodes: who it is, who may ask it, and what every node needs.

Plain resources and not a package that makes them inside of its own plugin, so that policies and previews see each.
"""

import json
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from contract.values import value

AWS_POLICIES = "arn:aws:iam::aws:policy"
LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
STORAGE_ACCOUNT = ("kube-system", "ebs-csi-controller-sa")
ADDONS_OF_EVERY_NODE: dict[str, dict[str, str]] = {
    # Without it, policies of the network are accepted and hold nobody back.
    "vpc-cni": {"enableNetworkPolicy": "true"},
    "kube-proxy": {},
    "eks-pod-identity-agent": {},
}
ADDONS_ON_NODES: dict[str, dict[str, str]] = {"coredns": {}, "aws-ebs-csi-driver": {}}
"""Made when there are nodes, because they are ready only then."""


@value
class ClusterWish:
    name: str
    kubernetes: str
    subnets: Sequence[pulumi.Input[str]]
    operator_cidrs: Sequence[str]
    is_protected: bool


class EksCluster(pulumi.ComponentResource):
    def __init__(self, wish: ClusterWish, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cellwallet:index:EksCluster", wish.name, None, opts)
        self._name = wish.name
        self._below = pulumi.ResourceOptions(parent=self)
        role, granted = self._role("cluster", "eks.amazonaws.com", ["AmazonEKSClusterPolicy"])
        self.cluster = aws.eks.Cluster(
            wish.name,
            name=wish.name,
            version=wish.kubernetes,
            role_arn=role.arn,
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=list(wish.subnets),
                endpoint_private_access=True,
                endpoint_public_access=bool(wish.operator_cidrs),
                public_access_cidrs=list(wish.operator_cidrs) or None,
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
            ),
            # What an evacuation of a zone shifts.
            zonal_shift_config=aws.eks.ClusterZonalShiftConfigArgs(enabled=True),
            enabled_cluster_log_types=list(LOGS),
            bootstrap_self_managed_addons=False,
            # Without its rights EKS can neither make nor take away what it has in the network.
            opts=pulumi.ResourceOptions(parent=self, protect=wish.is_protected, depends_on=granted),
        )
        self.node_role, granted = self._role(
            "node",
            "ec2.amazonaws.com",
            ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"],
        )
        addons = [self._addon(name, settings, []) for name, settings in ADDONS_OF_EVERY_NODE.items()]
        self.every_node_needs: list[pulumi.Resource] = [*granted, *addons]
        self.register_outputs({})

    def complete(self, nodes: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """What runs on nodes: names, and volumes."""
        role, granted = self._role("storage", "pods.eks.amazonaws.com", ["service-role/AmazonEBSCSIDriverPolicy"])
        namespace, account = STORAGE_ACCOUNT
        association = aws.eks.PodIdentityAssociation(
            f"{self._name}-storage",
            cluster_name=self.cluster.name,
            namespace=namespace,
            service_account=account,
            role_arn=role.arn,
            opts=self._below,
        )
        after = [*nodes, *granted, association]
        return [self._addon(name, settings, after) for name, settings in ADDONS_ON_NODES.items()]

    def _addon(self, name: str, settings: dict[str, str], after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        made: pulumi.Resource = aws.eks.Addon(
            f"{self._name}-{name}",
            cluster_name=self.cluster.name,
            addon_name=name,
            configuration_values=json.dumps(settings, sort_keys=True) if settings else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="PRESERVE",
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )
        return made

    def _role(
        self, what: str, whose: str, policies: Sequence[str]
    ) -> tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]:
        """And its rights: whoever has the role is made after them, and taken away before them."""
        actions = ["sts:AssumeRole", *(["sts:TagSession"] if whose.startswith("pods.") else [])]
        statement = {"Effect": "Allow", "Principal": {"Service": whose}, "Action": actions}
        role = aws.iam.Role(
            f"{self._name}-{what}",
            assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}, sort_keys=True),
            opts=self._below,
        )
        granted = [
            aws.iam.RolePolicyAttachment(
                f"{self._name}-{what}-{policy.rpartition('/')[2]}",
                role=role.name,
                policy_arn=f"{AWS_POLICIES}/{policy}",
                opts=self._below,
            )
            for policy in policies
        ]
        return role, granted
