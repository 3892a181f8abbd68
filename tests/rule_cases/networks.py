"""Cases of `policies/residency/networks.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

HOME, AWAY = "me-central-1", "eu-west-1"
BUCKET, API = "aws:s3/bucket:Bucket", "aws:apigateway/restApi:RestApi"
DOMAIN = "aws:apigateway/domainName:DomainName"
KINDS = "endpointConfiguration.types"
ACCELERATED = {
    BUCKET: "accelerationStatus",
    "aws:s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration": "status",
    "aws:s3/bucketAccelerateConfigurationV2:BucketAccelerateConfigurationV2": "status",
    "aws:s3/bucketV2:BucketV2": "accelerationStatus",
}
EDGES = (
    *("aws:cloudfront/distribution:Distribution", "aws:cloudfront/function:Function"),
    *("aws:cloudfront/keyValueStore:KeyValueStore", "aws:cloudfront/vpcOrigin:VpcOrigin"),
    "aws:cloudfront/multitenantDistribution:MultitenantDistribution",
    *("aws:globalaccelerator/accelerator:Accelerator", "aws:lightsail/distribution:Distribution"),
    "aws:globalaccelerator/endpointGroup:EndpointGroup",
    "aws:s3control/multiRegionAccessPoint:MultiRegionAccessPoint",
)

PEERING = "aws:ec2/vpcPeeringConnection:VpcPeeringConnection"
ACCEPTER = "aws:ec2transitgateway/peeringAttachmentAccepter:PeeringAttachmentAccepter"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
CORE = "aws:networkmanager/coreNetwork:CoreNetwork"
CORE_POLICY = "aws:networkmanager/coreNetworkPolicyAttachment:CoreNetworkPolicyAttachment"
PEERS = (
    (PEERING, "peerRegion"),
    (ACCEPTER, "peerRegion"),
    ("aws:ec2transitgateway/peeringAttachment:PeeringAttachment", "peerRegion"),
    (CORE, "basePolicyRegions*"),
    (ENDPOINT, "serviceRegion"),
    ("aws:ec2/vpcEndpointService:VpcEndpointService", "supportedRegions*"),
)

RECORD, RECORDS = "aws:route53/record:Record", "aws:route53/recordsExclusive:RecordsExclusive"
NAMES = (
    (RECORD, "latencyRoutingPolicies*.region"),
    (RECORD, "geoproximityRoutingPolicy.awsRegion"),
    (RECORDS, "resourceRecordSets*.region"),
    (RECORDS, "resourceRecordSets*.geoproximityLocation.awsRegion"),
    ("aws:route53/vpcAssociationAuthorization:VpcAssociationAuthorization", "vpcRegion"),
    ("aws:route53/zone:Zone", "vpcs*.vpcRegion"),
    ("aws:route53/zoneAssociation:ZoneAssociation", "vpcRegion"),
)
ANSWERS = (
    (RECORD, "aliases*.name"),
    (RECORD, "records*"),
    (RECORDS, "resourceRecordSets*.aliasTarget.dnsName"),
    (RECORDS, "resourceRecordSets*.resourceRecords*.value"),
)
BALANCER = "dualstack.front-1.{}.elb.amazonaws.com."


def one(kind: str, path: str = "name", value: Any = "one", **more: Any) -> list[Resource]:
    return [resource(kind, "one", nested(path, value), **more)]


def core_policy(region: str) -> str:
    edges = {"core-network-configuration": {"edge-locations": [{"location": region}]}}
    return json.dumps({"version": "2021.12", **edges})


REFERRING = {"references": {"peerRegion": ("urn:other",), "serviceName": ("urn:other",)}}

CASES = (
    Cases(
        rule="edge-network-is-not-used",
        baseline=one(BUCKET),
        fails={
            **{kind: one(kind) for kind in EDGES},
            **{kind: one(kind, path, "Enabled") for kind, path in ACCELERATED.items()},
            "an API that says nothing": one(API),
            "an API at the edge": one(API, KINDS, "EDGE"),
            "an API at the edge, in a list": one(API, f"{KINDS}*", "EDGE"),
            "a domain of an API at the edge": one(DOMAIN, KINDS, "EDGE"),
        },
        passes={
            **{
                f"{kind} suspended": one(kind, path, "Suspended")
                for kind, path in ACCELERATED.items()
            },
            "an API in the region": one(API, KINDS, "REGIONAL"),
            "an API in the network": one(API, KINDS, "PRIVATE"),
            "a domain of one": one(DOMAIN, KINDS, "REGIONAL"),
        },
        pending={
            "whether a bucket is": one(BUCKET, "accelerationStatus", UNKNOWN),
            "where an API is": one(API, "endpointConfiguration", UNKNOWN),
        },
    ),
    Cases(
        rule="network-peering-stays-in-region",
        baseline=one(PEERING, "peerVpcId", "vpc-2"),
        fails={
            **{kind: one(kind, path, AWAY) for kind, path in PEERS},
            "a network over regions": one(
                "aws:networkmanager/transitGatewayPeering:TransitGatewayPeering"
            ),
            "a service abroad": one(ENDPOINT, "serviceName", "com.amazonaws.eu-west-1.s3"),
            "somebody's service abroad": one(
                ENDPOINT, "serviceName", "com.amazonaws.vpce.eu-west-1.vpce-svc-0a1b"
            ),
            "an edge of a core network": one(CORE, "basePolicyDocument", core_policy(AWAY)),
            "an edge of its policy": one(CORE_POLICY, "policyDocument", core_policy(AWAY)),
        },
        passes={
            **{f"{kind} here": one(kind, path, HOME) for kind, path in PEERS},
            "its own region is an output": one(PEERING, "peerRegion", UNKNOWN),
            "a service here": one(ENDPOINT, "serviceName", "com.amazonaws.me-central-1.s3"),
            "a service without region": one(ENDPOINT, "serviceName", "aws.sagemaker.studio"),
            "an edge here": one(CORE_POLICY, "policyDocument", core_policy(HOME)),
        },
        pending={
            "to where": one(PEERING, "peerRegion", UNKNOWN, **REFERRING),
            "from where": one(ACCEPTER, "peerRegion", UNKNOWN),
            "from where, before it is made": one(ACCEPTER),
            "which service": one(ENDPOINT, "serviceName", UNKNOWN, **REFERRING),
            "which edges": one(
                CORE_POLICY,
                "policyDocument",
                UNKNOWN,
                references={"policyDocument": ("urn:other",)},
            ),
        },
    ),
    Cases(
        rule="dns-stays-in-country",
        baseline=one(RECORD, "records*", "10.0.0.1"),
        fails={
            **{f"{kind}: {path}": one(kind, path, AWAY) for kind, path in NAMES},
            **{f"{kind}: {path}": one(kind, path, BALANCER.format(AWAY)) for kind, path in ANSWERS},
            "queries of a public zone": one("aws:route53/queryLog:QueryLog"),
        },
        passes={
            **{f"{kind}: {path}": one(kind, path, HOME) for kind, path in NAMES},
            **{f"{kind}: {path}": one(kind, path, BALANCER.format(HOME)) for kind, path in ANSWERS},
            "a zone in the provider's region": one("aws:route53/zone:Zone", "vpcs*.vpcId", "vpc-1"),
            "a name that only looks like AWS's": one(RECORD, "records*", "eu-west-1.bank.ae"),
            "text": one(RECORD, "records*", "v=spf1 include:amazonses.com ~all"),
        },
        pending={
            "which network": one("aws:route53/zone:Zone", "vpcs*.vpcRegion", UNKNOWN),
            "which answer": one(RECORD, "records*", UNKNOWN),
        },
    ),
)
