"""Rules on what can be reached, and by whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack

_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_ACCOUNT_BLOCK = "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock"
_SWITCHES = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

_CLUSTER = "aws:eks/cluster:Cluster"

_GROUP = "aws:ec2/securityGroup:SecurityGroup"
_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_INGRESS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"

_NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
_MACHINES = frozenset(
    {
        "aws:ec2/instance:Instance",
        "aws:ec2/launchConfiguration:LaunchConfiguration",
        "aws:ec2/launchTemplate:LaunchTemplate",
        "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
        _NODE_CLASS,
    }
)

_DATABASES = frozenset(
    {
        "aws:msk/cluster:Cluster",
        "aws:rds/cluster:Cluster",
        "aws:rds/clusterInstance:ClusterInstance",
        "aws:rds/instance:Instance",
    }
)


def bucket_blocks_public_access(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """The block is a resource of its own; one switch off is a way in."""
    blocks = stack.joined(BUCKETS, frozenset({_BLOCK}))
    for bucket in stack.of(BUCKETS):
        own = blocks.of(bucket)
        if not own:
            verdict = "pending" if blocks.strays else "violation"
            yield Finding(
                resource=bucket,
                where="public access",
                what="is blocked by no BucketPublicAccessBlock",
                verdict=verdict,  # type: ignore[arg-type]
            )
        for block in own:
            yield from _all_on(block)
    for block in stack.of({_ACCOUNT_BLOCK}):
        yield from _all_on(block)


def _all_on(block: Resource) -> Iterator[Finding]:
    for switch in _SWITCHES:
        value = block.at(switch)
        if value is UNKNOWN:
            yield pending(block, switch)
        elif value is not True:
            yield Finding(resource=block, where=switch, what="is not true")


class PublicEndpoints(Parameters):
    """From where a cluster's API may be reached over the internet."""

    publicEndpointCidrs: tuple[str, ...] = ()  # noqa: N815


def eks_endpoint_is_private(cluster: Resource, parameters: PublicEndpoints) -> Iterator[Finding]:
    """EKS makes the endpoint public unless told otherwise."""
    private = cluster.at("vpcConfig", "endpointPrivateAccess")
    public = cluster.at("vpcConfig", "endpointPublicAccess")
    sources = cluster.at("vpcConfig", "publicAccessCidrs")
    if UNKNOWN in (private, public):
        yield pending(cluster, "vpcConfig")
        return
    if private is not True:
        where = "vpcConfig.endpointPrivateAccess"
        yield Finding(resource=cluster, where=where, what="is not true")
    if public is not False and not (
        isinstance(sources, list)
        and sources
        and all(_inside(one, parameters.publicEndpointCidrs) for one in sources)
    ):
        where = "vpcConfig.endpointPublicAccess"
        yield Finding(resource=cluster, where=where, what="is not false")


class Ingress(Parameters):
    """Which sources a rule of a security group may name."""

    privateCidrs: tuple[str, ...] = (  # noqa: N815
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    )
    maxPrefix: int = 24  # noqa: N815
    """The widest range outside `privateCidrs`, in bits of its prefix."""


def security_group_has_no_open_ingress(
    resource: Resource, parameters: Ingress
) -> Iterator[Finding]:
    """Whoever must be reached from anywhere stands behind a load balancer."""
    if resource.type == _GROUP:
        rules = resource.at("ingress")
        if rules is UNKNOWN:
            yield pending(resource, "ingress")
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            yield from _sources(resource, rule, f"ingress[{index}].", parameters)
    elif resource.type == _GROUP_RULE:
        if resource.at("type") in ("ingress", UNKNOWN):
            yield from _sources(resource, resource.properties, "", parameters)
    else:
        yield from _sources(resource, resource.properties, "", parameters)


def _sources(resource: Resource, rule: Any, path: str, parameters: Ingress) -> Iterator[Finding]:
    if rule is UNKNOWN:
        yield pending(resource, path.rstrip("."))
        return
    all_ports = at(rule, "protocol") in ("-1", "all") or at(rule, "ipProtocol") in ("-1", "all")
    for name in ("cidrBlocks", "ipv6CidrBlocks", "cidrIpv4", "cidrIpv6"):
        value = at(rule, name)
        for source in value if isinstance(value, list) else [value]:
            if is_missing(source):
                continue
            if source is UNKNOWN:
                yield pending(resource, f"{path}{name}")
            elif all_ports:
                what = f"opens all ports to {source}, which is no security group"
                yield Finding(resource=resource, where=f"{path}{name}", what=what)
            elif not _narrow(source, parameters):
                what = (
                    f"is {source}; outside private ranges a /{parameters.maxPrefix} is the widest"
                )
                yield Finding(resource=resource, where=f"{path}{name}", what=what)


def _narrow(source: Any, parameters: Ingress) -> bool:
    if _inside(source, parameters.privateCidrs):
        return True
    try:
        return ipaddress.ip_network(source, strict=False).prefixlen >= parameters.maxPrefix
    except ValueError:
        return False


def _inside(source: Any, ranges: Sequence[str]) -> bool:
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False
    outer = [ipaddress.ip_network(one) for one in ranges]
    return any(
        network.version == one.version and network.subnet_of(one)  # type: ignore[arg-type]
        for one in outer
    )


class Hops(Parameters):
    """How far the instance metadata service answers."""

    maxHopLimit: int = 1  # noqa: N815


def instance_metadata_is_v2_only(resource: Resource, parameters: Hops) -> Iterator[Finding]:
    """One hop further, and every pod has the identity of its node."""
    inside = ("spec",) if resource.type == _NODE_CLASS else ()
    options = resource.at(*inside, "metadataOptions")
    tokens, hops = at(options, "httpTokens"), at(options, "httpPutResponseHopLimit")
    if tokens is UNKNOWN or hops is UNKNOWN:
        yield pending(resource, "metadataOptions")
        return
    if tokens != "required":
        where = "metadataOptions.httpTokens"
        yield Finding(resource=resource, where=where, what="is not required")
    if not isinstance(hops, int) or hops > parameters.maxHopLimit:
        shown = "is not set" if is_missing(hops) else f"is {hops}"
        what = f"{shown}; allowed: {parameters.maxHopLimit} at most"
        where = "metadataOptions.httpPutResponseHopLimit"
        yield Finding(resource=resource, where=where, what=what)


def database_is_not_public(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """A database has no business on the internet."""
    open_to_all = resource.at("publiclyAccessible")
    access = resource.at("brokerNodeGroupInfo", "connectivityInfo", "publicAccess", "type")
    if UNKNOWN in (open_to_all, access):
        yield pending(resource, "publiclyAccessible")
    elif open_to_all is True:
        yield Finding(resource=resource, where="publiclyAccessible", what="is true")
    elif not is_missing(access) and access != "DISABLED":
        where = "brokerNodeGroupInfo.connectivityInfo.publicAccess.type"
        yield Finding(resource=resource, where=where, what=f"is {access}")


RULES = (
    Rule(
        name="s3-bucket-blocks-public-access",
        description="No bucket can be made public, by its policy or by an object's list.",
        mend="add a BucketPublicAccessBlock with all four set to true.",
        applies_to=lambda resource: resource.type in BUCKETS | {_ACCOUNT_BLOCK},
        together=bucket_blocks_public_access,
    ),
    Rule(
        name="eks-endpoint-is-private",
        description="The API of every cluster is reached through the private network.",
        mend="set endpointPublicAccess to false and reach the API through the private network.",
        applies_to=lambda resource: resource.type == _CLUSTER,
        parameters=PublicEndpoints,
        each=eks_endpoint_is_private,
    ),
    Rule(
        name="security-group-has-no-open-ingress",
        description="No security group lets the internet in.",
        mend="replace the range with a security group or a private range.",
        applies_to=lambda resource: resource.type in (_GROUP, _GROUP_RULE, _INGRESS_RULE),
        parameters=Ingress,
        each=security_group_has_no_open_ingress,
    ),
    Rule(
        name="instance-metadata-is-v2-only",
        description="No machine hands out its identity without a token, or beyond itself.",
        mend="set metadataOptions with httpTokens required and hop limit 1.",
        applies_to=lambda resource: resource.type in _MACHINES,
        parameters=Hops,
        each=instance_metadata_is_v2_only,
    ),
    Rule(
        name="database-is-not-public",
        description="No database or stream can be reached from the internet.",
        mend="set publiclyAccessible to false and place it in private subnets.",
        applies_to=lambda resource: resource.type in _DATABASES,
        each=database_is_not_public,
    ),
)
