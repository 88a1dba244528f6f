"""The network of a fleet in AWS: in each zone a private subnet for nodes, and a way out of its own.

One NAT gateway for all zones would be cheaper, and its zone would take the others along.
"""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from infra.addresses import ZoneAddresses, zone_addresses
from infra.policies import ANYWHERE, ZONE_TAG


class Network(pulumi.ComponentResource):
    def __init__(
        self,
        name: str,
        *,
        address_range: str,
        zones: Sequence[str],
        is_protected: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cellwallet:index:Network", name, None, opts)
        self._name = name
        self._below = pulumi.ResourceOptions(parent=self)
        self._vpc = aws.ec2.Vpc(
            name,
            cidr_block=address_range,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=pulumi.ResourceOptions(parent=self, protect=is_protected),
        )
        # An internet gateway belongs to no zone, so the way to it may be shared.
        self._gateway = aws.ec2.InternetGateway(name, vpc_id=self._vpc.id, tags={"Name": name}, opts=self._below)
        public_table = self._public_route_table()
        addresses = zone_addresses(address_range, zones)
        self.private_subnets: Mapping[str, pulumi.Output[str]] = {
            zone: self._zone(zone, addresses[zone], public_table) for zone in zones
        }
        self.register_outputs({})

    def _public_route_table(self) -> pulumi.Output[str]:
        table = aws.ec2.RouteTable(
            f"{self._name}-public", vpc_id=self._vpc.id, tags={"Name": f"{self._name}-public"}, opts=self._below
        )
        aws.ec2.Route(
            f"{self._name}-public",
            route_table_id=table.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=self._gateway.id,
            opts=self._below,
        )
        return _id(table)

    def _zone(self, zone: str, addresses: ZoneAddresses, public_table: pulumi.Output[str]) -> pulumi.Output[str]:
        public = self._subnet("public", zone, addresses.public, role="elb")
        private = self._subnet("private", zone, addresses.private, role="internal-elb")
        name, tags = f"{self._name}-{zone}", {"Name": f"{self._name}-{zone}", ZONE_TAG: zone}
        # AWS refuses both before the network has its gateway to the internet, and the gateway's end before theirs.
        led_out = pulumi.ResourceOptions(parent=self, depends_on=[self._gateway])
        address = aws.ec2.Eip(name, domain="vpc", tags=tags, opts=led_out)
        way_out = aws.ec2.NatGateway(name, allocation_id=address.id, subnet_id=public.id, tags=tags, opts=led_out)
        table = aws.ec2.RouteTable(name, vpc_id=self._vpc.id, tags=tags, opts=self._below)
        aws.ec2.Route(
            name,
            route_table_id=table.id,
            destination_cidr_block=ANYWHERE,
            nat_gateway_id=way_out.id,
            opts=self._below,
        )
        for subnet, kind, route_table in ((public, "public", public_table), (private, "private", _id(table))):
            aws.ec2.RouteTableAssociation(
                f"{self._name}-{kind}-{zone}", subnet_id=subnet.id, route_table_id=route_table, opts=self._below
            )
        return _id(private)

    def _subnet(self, kind: str, zone: str, cidr: str, *, role: str) -> aws.ec2.Subnet:
        name = f"{self._name}-{kind}-{zone}"
        return aws.ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            cidr_block=cidr,
            availability_zone=zone,
            tags={"Name": name, ZONE_TAG: zone, f"kubernetes.io/role/{role}": "1"},
            opts=self._below,
        )


def _id(resource: pulumi.CustomResource) -> pulumi.Output[str]:
    found: pulumi.Output[str] = resource.id
    return found
