"""Networks: VPCs and what is inside them, names, the firewall."""

from __future__ import annotations

import zlib
from typing import Any

from aws_forms import account, always, filled, given, id_of, named, part, region, thing
from standin import Kind, Resource


def _zone_id(resource: Resource) -> str:
    """``mec1-az1`` for ``me-central-1a``. The real numbers differ from account to account."""
    zone = str(resource.inputs.get("availabilityZone") or f"{region(resource)}a")
    direction, way, number = zone[:-1].split("-")
    return f"{direction}{way[0]}{number}-az{'abcdef'.index(zone[-1]) + 1}"


def _names(resource: Resource) -> list[dict[str, Any]]:
    service = str(resource.inputs.get("serviceName", "")).rpartition(".")[2]
    if resource.inputs.get("vpcEndpointType", "Gateway") == "Gateway":
        return []
    host = f"{id_of('vpce')(resource)}.{service}.{region(resource)}.vpce.amazonaws.com"
    return [{"dnsName": host, "hostedZoneId": "Z0STANDIN"}]


def _interfaces(resource: Resource) -> list[str]:
    subnets = resource.inputs.get("subnetIds") or []
    return [id_of("eni", str(subnet))(resource) for subnet in subnets]


def _prefix_list(resource: Resource) -> str | None:
    gateway = resource.inputs.get("vpcEndpointType", "Gateway") == "Gateway"
    return id_of("pl")(resource) if gateway else None


def _firewall_status(resource: Resource) -> list[dict[str, Any]]:
    """One endpoint a subnet; routes name it."""
    mappings = resource.inputs.get("subnetMappings") or []
    zones = "abcdef"
    return [
        {
            "syncStates": [
                {
                    "availabilityZone": f"{region(resource)}{zones[place % len(zones)]}",
                    "attachments": [
                        {
                            "endpointId": id_of("vpce", str(mapping.get("subnetId")))(resource),
                            "subnetId": mapping.get("subnetId"),
                        }
                    ],
                }
                for place, mapping in enumerate(mappings)
            ]
        }
    ]


def _zone(resource: Resource) -> str:
    return f"Z0{resource.unique[:18].upper()}"


def _target(resource: Resource) -> str:
    targets = ("destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId")
    target = next(resource.inputs[name] for name in targets if resource.inputs.get(name))
    return f"r-{resource.inputs['routeTableId']}{zlib.crc32(target.encode())}"


_RULE = thing(
    "sgr",
    "security-group-rule",
    replaced_by=frozenset({"securityGroupId"}),
    securityGroupRuleId=id_of("sgr"),
)

KINDS: dict[str, Kind] = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": thing("sg", "security-group"),
    "aws:ec2/eip:Eip": thing(
        "eipalloc",
        "elastic-ip",
        allocationId=id_of("eipalloc"),
        publicIp=lambda resource: f"203.0.113.{int(resource.unique[:2], 16)}",
    ),
    "aws:ec2/flowLog:FlowLog": thing("fl", "vpc-flow-log", replaced_by=frozenset({"vpcId"})),
    "aws:ec2/internetGateway:InternetGateway": thing("igw", "internet-gateway", ownerId=account),
    "aws:ec2/natGateway:NatGateway": thing(
        "nat",
        networkInterfaceId=id_of("eni"),
        publicIp=lambda resource: f"203.0.113.{int(resource.unique[:2], 16)}",
        replaced_by=frozenset({"subnetId", "allocationId"}),
    ),
    "aws:ec2/networkAcl:NetworkAcl": thing("acl", "network-acl", ownerId=account),
    "aws:ec2/networkInterface:NetworkInterface": thing("eni", "network-interface"),
    "aws:ec2/route:Route": Kind(
        identifier=_target,
        outputs={"origin": always("CreateRoute"), "state": always("active")},
        replaced_by=frozenset({"routeTableId", "destinationCidrBlock", "region"}),
    ),
    "aws:ec2/routeTable:RouteTable": thing(
        "rtb", "route-table", ownerId=account, replaced_by=frozenset({"vpcId"})
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": thing(
        "rtbassoc", replaced_by=frozenset({"subnetId", "gatewayId"})
    ),
    "aws:ec2/securityGroup:SecurityGroup": Kind(
        identifier=id_of("sg"),
        outputs={
            "arn": lambda resource: (
                f"arn:aws:ec2:{region(resource)}:{account(resource)}"
                f":security-group/{id_of('sg')(resource)}"
            ),
            "ownerId": account,
        },
        name="name",
        within=frozenset({"vpcId"}),
        replaced_by=frozenset({"description", "namePrefix", "region", "vpcId"}),
    ),
    "aws:ec2/subnet:Subnet": thing(
        "subnet",
        "subnet",
        ownerId=account,
        availabilityZoneId=_zone_id,
        replaced_by=frozenset({"availabilityZone", "availabilityZoneId", "cidrBlock", "vpcId"}),
    ),
    "aws:ec2/vpc:Vpc": thing(
        "vpc",
        "vpc",
        ownerId=account,
        defaultNetworkAclId=id_of("acl"),
        defaultRouteTableId=id_of("rtb"),
        mainRouteTableId=id_of("rtb"),
        defaultSecurityGroupId=id_of("sg"),
        dhcpOptionsId=id_of("dopt"),
        replaced_by=frozenset({"cidrBlock", "instanceTenancy"}),
    ),
    "aws:ec2/vpcDhcpOptions:VpcDhcpOptions": thing("dopt", "dhcp-options", ownerId=account),
    "aws:ec2/vpcEndpoint:VpcEndpoint": thing(
        "vpce",
        "vpc-endpoint",
        dnsEntries=_names,
        networkInterfaceIds=_interfaces,
        prefixListId=_prefix_list,
        ownerId=account,
        state=always("available"),
        replaced_by=frozenset({"serviceName", "vpcEndpointType", "vpcId"}),
    ),
    "aws:ec2/vpcPeeringConnection:VpcPeeringConnection": thing("pcx"),
    "aws:networkfirewall/firewall:Firewall": named(
        "name",
        "network-firewall",
        "firewall/{name}",
        identifier=filled("arn:aws:network-firewall:{region}:{account}:firewall/{name}"),
        firewallStatuses=_firewall_status,
        updateToken=filled("{uuid}"),
        replaced_by=frozenset({"vpcId"}),
    ),
    "aws:networkfirewall/firewallPolicy:FirewallPolicy": named(
        "name",
        "network-firewall",
        "firewall-policy/{name}",
        identifier=filled("arn:aws:network-firewall:{region}:{account}:firewall-policy/{name}"),
        updateToken=filled("{uuid}"),
    ),
    "aws:networkfirewall/ruleGroup:RuleGroup": named(
        "name",
        "network-firewall",
        "stateful-rulegroup/{name}",
        identifier=filled("arn:aws:network-firewall:{region}:{account}:stateful-rulegroup/{name}"),
        updateToken=filled("{uuid}"),
        replaced_by=frozenset({"capacity", "type"}),
    ),
    "aws:route53/record:Record": Kind(
        identifier=filled("{zoneId}_{name}_{type}"),
        outputs={"fqdn": given("name")},
        replaced_by=frozenset({"name", "type", "zoneId"}),
    ),
    "aws:route53/zone:Zone": Kind(
        identifier=_zone,
        outputs={
            "arn": lambda resource: f"arn:aws:route53:::hostedzone/{_zone(resource)}",
            "nameServers": always(["ns-0.awsdns-00.com", "ns-1.awsdns-01.net"]),
            "zoneId": _zone,
        },
        name="name",
        within=None,  # a private zone may have the name of a public one
    ),
    "aws:ec2/vpcDhcpOptionsAssociation:VpcDhcpOptionsAssociation": part(
        "{dhcpOptionsId}-{vpcId}", "vpcId"
    ),
    "aws:ec2/vpcEndpointRouteTableAssociation:VpcEndpointRouteTableAssociation": part(
        "a-{vpcEndpointId}{routeTableId}", "vpcEndpointId", "routeTableId"
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _RULE,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _RULE,
}
