"""Rules on networks: what joins them, leads to them and names them stays in the country."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.arns import host_of, region_in, region_of_host
from policies.common.places import document, found, shown
from policies.common.resources import ABSENT, UNKNOWN, Resource
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack
from policies.residency.regions import Regions, judged

_EDGES = ("aws:cloudfront/", "aws:globalaccelerator/")
_EDGE_TYPES = frozenset(
    {
        "aws:lightsail/distribution:Distribution",
        "aws:s3control/multiRegionAccessPoint:MultiRegionAccessPoint",
    }
)
_ACCELERATION = {
    "aws:s3/bucket:Bucket": "accelerationStatus",
    "aws:s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration": "status",
    "aws:s3/bucketAccelerateConfigurationV2:BucketAccelerateConfigurationV2": "status",
    "aws:s3/bucketV2:BucketV2": "accelerationStatus",
}
_GATEWAYS = frozenset({"aws:apigateway/restApi:RestApi", "aws:apigateway/domainName:DomainName"})
_GATEWAY_TYPES = "endpointConfiguration.types"


def edge_network(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """What is nearest to the client is rarely in the country of the data."""
    if _is_edge(resource):
        yield Finding(resource=resource, where="it", what="carries data through locations abroad")
    elif resource.type in _GATEWAYS:
        kinds = list(found(resource.properties, _GATEWAY_TYPES))
        if not kinds:
            what = "is not set, and the default is EDGE: requests come in through CloudFront"
            yield Finding(resource=resource, where=_GATEWAY_TYPES, what=what)
        for place, kind in kinds:
            if kind is UNKNOWN:
                yield pending(resource, shown(place))
            elif kind == "EDGE":
                what = "is EDGE: requests come in through CloudFront"
                yield Finding(resource=resource, where=shown(place), what=what)
    else:
        where = _ACCELERATION[resource.type]
        if resource.at(where) is UNKNOWN:
            yield pending(resource, where)
        elif resource.at(where) == "Enabled":
            what = "is Enabled: objects come in through locations abroad"
            yield Finding(resource=resource, where=where, what=what)


def _is_edge(resource: Resource) -> bool:
    return resource.type.startswith(_EDGES) or resource.type in _EDGE_TYPES


def _may_be_edge(resource: Resource) -> bool:
    return _is_edge(resource) or resource.type in _GATEWAYS or resource.type in _ACCELERATION


_ACCEPTER = "aws:ec2transitgateway/peeringAttachmentAccepter:PeeringAttachmentAccepter"
_CLOUD_WAN = "aws:networkmanager/transitGatewayPeering:TransitGatewayPeering"
_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
_CORE_POLICIES = {
    "aws:networkmanager/coreNetwork:CoreNetwork": "basePolicyDocument",
    "aws:networkmanager/coreNetworkPolicyAttachment:CoreNetworkPolicyAttachment": "policyDocument",
}
_PEERS: dict[str, tuple[str, ...]] = {
    _ACCEPTER: ("peerRegion",),
    _CLOUD_WAN: (),
    _ENDPOINT: ("serviceRegion",),
    "aws:ec2/vpcEndpointService:VpcEndpointService": ("supportedRegions",),
    "aws:ec2/vpcPeeringConnection:VpcPeeringConnection": ("peerRegion",),
    "aws:ec2transitgateway/peeringAttachment:PeeringAttachment": ("peerRegion",),
    "aws:networkmanager/coreNetwork:CoreNetwork": ("basePolicyRegions",),
    "aws:networkmanager/coreNetworkPolicyAttachment:CoreNetworkPolicyAttachment": (),
}


def network_peering(stack: Stack, parameters: Regions) -> Iterator[Finding]:
    """Who accepts a peering learns where its other end is: an output, not an input."""
    for resource in stack.of(_PEERS):
        for path in _PEERS[resource.type]:
            for place, region in found(resource.properties, path):
                if region is not UNKNOWN or _is_input(resource, path):
                    yield from judged(resource, shown(place), region, parameters)
        if resource.type == _ACCEPTER and resource.at("peerRegion") in (UNKNOWN, ABSENT):
            yield pending(resource, "peerRegion")
        if resource.type == _CLOUD_WAN and len(parameters.allowedRegions) == 1:
            what = "joins the network to others by a core network, which spans regions"
            yield Finding(resource=resource, where="it", what=what)
        if resource.type == _ENDPOINT:
            yield from _service(resource, parameters)
        if policy := _CORE_POLICIES.get(resource.type):
            yield from _core_network(resource, policy, parameters)


def _is_input(resource: Resource, name: str) -> bool:
    """Whether somebody said `name`, whose value is not known yet: then it refers to something."""
    return bool(resource.references.get(name))


def _service(endpoint: Resource, parameters: Regions) -> Iterator[Finding]:
    name = endpoint.at("serviceName")
    if name is UNKNOWN:
        if _is_input(endpoint, "serviceName"):
            yield pending(endpoint, "serviceName")
    elif isinstance(name, str) and (region := region_in(name)):
        yield from judged(endpoint, "region of serviceName", region, parameters)


def _core_network(resource: Resource, name: str, parameters: Regions) -> Iterator[Finding]:
    policy = document(resource.at(name))
    if policy is UNKNOWN:
        if _is_input(resource, name):
            yield pending(resource, name)
        return
    path = "core-network-configuration.edge-locations.location"
    for place, region in found(policy, path):
        yield from judged(resource, shown((name, *place)), region, parameters)


_DNS: dict[str, tuple[str, ...]] = {
    "aws:route53/record:Record": (
        "latencyRoutingPolicies.region",
        "geoproximityRoutingPolicy.awsRegion",
    ),
    "aws:route53/recordsExclusive:RecordsExclusive": (
        "resourceRecordSets.region",
        "resourceRecordSets.geoproximityLocation.awsRegion",
    ),
    "aws:route53/vpcAssociationAuthorization:VpcAssociationAuthorization": ("vpcRegion",),
    "aws:route53/zone:Zone": ("vpcs.vpcRegion",),
    "aws:route53/zoneAssociation:ZoneAssociation": ("vpcRegion",),
}
_QUERY_LOG = "aws:route53/queryLog:QueryLog"
_ANSWERS: dict[str, tuple[str, ...]] = {
    "aws:route53/record:Record": ("aliases.name", "records"),
    "aws:route53/recordsExclusive:RecordsExclusive": (
        "resourceRecordSets.aliasTarget.dnsName",
        "resourceRecordSets.resourceRecords.value",
    ),
}
"""Hosts that clients are sent to."""


def dns(resource: Resource, parameters: Regions) -> Iterator[Finding]:
    """Names are known all over the world; networks and queries need not be."""
    if resource.type == _QUERY_LOG:
        what = "writes to us-east-1, the only region for the queries of public zones"
        yield Finding(resource=resource, where="cloudwatchLogGroupArn", what=what)
    for path in _DNS.get(resource.type, ()):
        for place, region in found(resource.properties, path):
            yield from judged(resource, shown(place), region, parameters)
    for path in _ANSWERS.get(resource.type, ()):
        for place, host in found(resource.properties, path):
            yield from _answer(resource, shown(place), host, parameters)


def _answer(resource: Resource, where: str, host: Any, parameters: Regions) -> Iterator[Finding]:
    if host is UNKNOWN:
        yield pending(resource, where)
    elif region := region_of_host(host_of(str(host)) or ""):
        yield from judged(resource, f"region of {where}", region, parameters)


RULES = (
    Rule(
        name="edge-network-is-not-used",
        description="No data goes through edge locations or access points of many regions.",
        mend="serve from a regional load balancer and the regional S3 endpoint.",
        applies_to=_may_be_edge,
        each=edge_network,
    ),
    Rule(
        name="network-peering-stays-in-region",
        description="No network is joined to one in a region that data may not be in.",
        mend="peer only networks of the same allowed region.",
        applies_to=lambda resource: resource.type in _PEERS,
        parameters=Regions,
        together=network_peering,
    ),
    Rule(
        name="dns-stays-in-country",
        description="No zone, record or log of queries involves a region that data may not be in.",
        mend="use private zones and Resolver query logging in the allowed region.",
        applies_to=lambda resource: resource.type in _DNS or resource.type == _QUERY_LOG,
        parameters=Regions,
        each=dns,
    ),
)
