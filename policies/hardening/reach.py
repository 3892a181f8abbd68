"""Rules on what the internet can reach: networks, machines and load balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.common.places import found, shown
from policies.common.pods import kind_of
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_NETWORKS = frozenset({"aws:ec2/vpc:Vpc", "aws:ec2/defaultVpc:DefaultVpc"})
_DEFAULT_GROUPS = frozenset({"aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"})


def default_group_is_closed(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """What names no security group gets the network's own, which lets its members talk."""
    groups = stack.joined(_NETWORKS, _DEFAULT_GROUPS, "vpcId", "id")
    for network in stack.of(_NETWORKS):
        own = groups.of(network)
        if not own and groups.strays:
            yield pending(network, "its default group", "may be one whose network is not known")
        elif not own:
            what = "is closed by no DefaultSecurityGroup"
            yield Finding(resource=network, where="its default group", what=what)
    for group in stack.of(_DEFAULT_GROUPS):
        for direction in ("ingress", "egress"):
            rules = group.at(direction)
            if rules is UNKNOWN:
                yield pending(group, direction)
            elif not is_missing(rules):
                yield Finding(resource=group, where=direction, what="is not empty")


_SUBNETS = frozenset({"aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"})
_ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "aws:cloudwatch/eventTarget:EventTarget": ("ecsTarget.networkConfiguration.assignPublicIp",),
    "aws:ec2/defaultSubnet:DefaultSubnet": (
        *("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation"),
    ),
    "aws:ec2/instance:Instance": ("associatePublicIpAddress",),
    "aws:ec2/launchConfiguration:LaunchConfiguration": ("associatePublicIpAddress",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("networkInterfaces.associatePublicIpAddress",),
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": ("associatePublicIpAddress",),
    "aws:ec2/subnet:Subnet": ("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation"),
    "aws:ecs/service:Service": ("networkConfiguration.assignPublicIp",),
    "aws:ecs/taskSet:TaskSet": ("networkConfiguration.assignPublicIp",),
}
"""Type → the switches that give a machine an address on the internet."""
_ADDRESS = "aws:ec2/eip:Eip"
_ATTACHED = "aws:ec2/eipAssociation:EipAssociation"
_NODE_CLASS = ("karpenter.k8s.aws", "EC2NodeClass")


class Addresses(Parameters):
    """Where public addresses may be."""

    publicSubnetTag: str = "kubernetes.io/role/elb"  # noqa: N815
    """Which a subnet has that holds nothing but load balancers."""


def no_public_ip(resource: Resource, parameters: Addresses) -> Iterator[Finding]:
    """A machine with an address on the internet is one rule away from being reached."""
    if resource.type == _ATTACHED:
        yield Finding(resource=resource, where="it", what="gives a machine a public address")
    elif resource.type == _ADDRESS:
        yield from _for_nat(resource)
    elif kind_of(resource) == _NODE_CLASS:
        value = resource.at("spec", "associatePublicIPAddress")
        if value is UNKNOWN:
            yield pending(resource, "spec.associatePublicIPAddress")
        elif value is not False:
            what = "is not false: then the subnet decides"
            yield Finding(resource=resource, where="spec.associatePublicIPAddress", what=what)
    else:
        yield from _switched(resource, parameters)


def _for_nat(address: Resource) -> Iterator[Finding]:
    purpose = address.at("tags", "purpose")
    if purpose is UNKNOWN:
        yield pending(address, "tags.purpose")
    elif purpose != "nat":
        yield Finding(resource=address, where="tags.purpose", what="is not nat")


def _switched(resource: Resource, parameters: Addresses) -> Iterator[Finding]:
    mark = resource.at("tags", parameters.publicSubnetTag)
    for path in _ADDRESSES[resource.type]:
        for place, value in found(resource.properties, path):
            on = value is UNKNOWN or str(value).lower() == "true"
            if not on or (
                resource.type in _SUBNETS and not is_missing(mark) and mark is not UNKNOWN
            ):
                continue
            if value is UNKNOWN or (resource.type in _SUBNETS and mark is UNKNOWN):
                yield pending(resource, shown(place))
            else:
                yield Finding(resource=resource, where=shown(place), what="is true")


_BALANCERS = frozenset(
    f"aws:{module}/loadBalancer:LoadBalancer"
    for module in ("alb", "applicationloadbalancing", "elasticloadbalancingv2", "lb")
)
_CLASSIC = frozenset(
    f"aws:{module}/loadBalancer:LoadBalancer" for module in ("elb", "elasticloadbalancing")
)


class PublicBalancers(Parameters):
    """Which load balancers are meant for the internet."""

    publicLoadBalancers: tuple[str, ...] = ()  # noqa: N815
    """By their names, or those of their resources."""


def balancer_is_internal(balancer: Resource, parameters: PublicBalancers) -> Iterator[Finding]:
    """A load balancer is on the internet unless it says that it is not."""
    internal, name = balancer.at("internal"), balancer.at("name")
    # one for firewalls has no addresses of its own at all
    if internal is True or balancer.at("loadBalancerType") == "gateway":
        return
    listed = parameters.publicLoadBalancers
    if balancer.name in listed or name in listed:
        yield from _fit_for_all(balancer)
    elif internal is UNKNOWN or (name is UNKNOWN and listed):
        yield pending(balancer, "internal")
    else:
        yield Finding(resource=balancer, where="internal", what="is not true")


def _fit_for_all(balancer: Resource) -> Iterator[Finding]:
    kind, drops = balancer.at("loadBalancerType"), balancer.at("dropInvalidHeaderFields")
    if balancer.type in _CLASSIC or not (is_missing(kind) or kind in ("application", UNKNOWN)):
        what = "is not application, and it is public"
        yield Finding(resource=balancer, where="loadBalancerType", what=what)
    elif UNKNOWN in (kind, drops):
        yield pending(balancer, "dropInvalidHeaderFields")
    elif drops is not True:
        what = "is not true, and it is public"
        yield Finding(resource=balancer, where="dropInvalidHeaderFields", what=what)


RULES = (
    Rule(
        name="default-security-group-is-closed",
        description="The group that machines get by default lets nothing in or out.",
        mend="add an aws.ec2.DefaultSecurityGroup without rules for the network.",
        applies_to=lambda resource: resource.type in _NETWORKS | _DEFAULT_GROUPS,
        together=default_group_is_closed,
    ),
    Rule(
        name="compute-has-no-public-ip",
        description="No machine has an address on the internet.",
        mend="use private subnets, and publish through an internal load balancer.",
        applies_to=lambda resource: (
            resource.type in _ADDRESSES
            or resource.type in (_ADDRESS, _ATTACHED)
            or kind_of(resource) == _NODE_CLASS
        ),
        parameters=Addresses,
        each=no_public_ip,
    ),
    Rule(
        name="load-balancer-is-internal",
        description="Every load balancer is inside the network, but those meant for the internet.",
        mend="set internal to true.",
        applies_to=lambda resource: resource.type in _BALANCERS | _CLASSIC,
        parameters=PublicBalancers,
        each=balancer_is_internal,
    ),
)
