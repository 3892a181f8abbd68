"""Cases of `policies/hardening/reach.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

NETWORK = resource("aws:ec2/vpc:Vpc", "one", {"id": "vpc-1"})
NEW = resource("aws:ec2/vpc:Vpc", "one", {"id": UNKNOWN})
GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
CLOSED: dict[str, Any] = {"ingress": [], "egress": []}
RULE = [{"protocol": "-1", "cidrBlocks": ["10.0.0.0/8"]}]


def group(network: Any = "vpc-1", references: Any = (), **rules: Any) -> Resource:
    said = {"vpcId": network, **CLOSED, **rules}
    return resource(GROUP, "group", said, references=dict(references))


SUBNET, DEFAULT_SUBNET = "aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"
MACHINE, TEMPLATE = "aws:ec2/instance:Instance", "aws:ec2/launchTemplate:LaunchTemplate"
ADDRESS = "aws:ec2/eip:Eip"
NODES = "kubernetes:karpenter.k8s.aws/{}:EC2NodeClass"
SWITCHES = (
    ("aws:cloudwatch/eventTarget:EventTarget", "ecsTarget.networkConfiguration.assignPublicIp"),
    (DEFAULT_SUBNET, "mapPublicIpOnLaunch"),
    (DEFAULT_SUBNET, "assignIpv6AddressOnCreation"),
    (MACHINE, "associatePublicIpAddress"),
    ("aws:ec2/launchConfiguration:LaunchConfiguration", "associatePublicIpAddress"),
    (TEMPLATE, "networkInterfaces*.associatePublicIpAddress"),
    ("aws:ec2/spotInstanceRequest:SpotInstanceRequest", "associatePublicIpAddress"),
    (SUBNET, "mapPublicIpOnLaunch"),
    (SUBNET, "assignIpv6AddressOnCreation"),
    ("aws:ecs/service:Service", "networkConfiguration.assignPublicIp"),
    ("aws:ecs/taskSet:TaskSet", "networkConfiguration.assignPublicIp"),
)
PUBLIC = {"kubernetes.io/role/elb": "1"}


def one(kind: str, path: str = "name", value: Any = "one", **more: Any) -> list[Resource]:
    return [resource(kind, "one", {**nested(path, value), **more})]


def balancer(module: str = "lb", **properties: Any) -> list[Resource]:
    return [resource(f"aws:{module}/loadBalancer:LoadBalancer", "front", properties)]


CASES = (
    Cases(
        rule="default-security-group-is-closed",
        baseline=[NETWORK, group()],
        fails={
            "nobody closes it": [NETWORK],
            "nobody closes that of the account": [
                resource("aws:ec2/defaultVpc:DefaultVpc", "one", {"id": "vpc-1"})
            ],
            "of another network": [NETWORK, group("vpc-2")],
            "in": [NETWORK, group(ingress=RULE)],
            "out": [NETWORK, group(egress=RULE)],
            "of a network elsewhere": [group(ingress=RULE)],
        },
        passes={
            "nothing said is closed": [NETWORK, group(ingress=None, egress=None)],
            "at preview": [NEW, group(UNKNOWN, {"vpcId": (NEW.urn,)})],
            "of a network elsewhere": [group("vpc-9")],
        },
        pending={
            "whose": [NETWORK, group(UNKNOWN)],
            "in": [NETWORK, group(ingress=UNKNOWN)],
            "out": [NETWORK, group(egress=UNKNOWN)],
        },
    ),
    Cases(
        rule="compute-has-no-public-ip",
        baseline=one(SUBNET, "mapPublicIpOnLaunch", False),
        fails={
            **{f"{kind} {path}": one(kind, path, True) for kind, path in SWITCHES},
            "as a text": one(TEMPLATE, SWITCHES[5][1], "true"),
            "the second interface": one(
                TEMPLATE,
                "networkInterfaces",
                [{"associatePublicIpAddress": "false"}, {"associatePublicIpAddress": "true"}],
            ),
            "a subnet with another tag": one(
                SUBNET, "mapPublicIpOnLaunch", True, tags={"kubernetes.io/role/internal-elb": "1"}
            ),
            "a machine with the tag of a subnet": one(
                MACHINE, "associatePublicIpAddress", True, tags=PUBLIC
            ),
            "an address": one(ADDRESS),
            "an address of a machine": one(ADDRESS, "instance", "i-1", tags={"purpose": "web"}),
            "an address is attached": one("aws:ec2/eipAssociation:EipAssociation"),
            "nodes as their subnet": one(NODES.format("v1"), "spec", {}),
            "nodes": one(NODES.format("v1beta1"), "spec.associatePublicIPAddress", True),
        },
        passes={
            "nothing said": one(SUBNET),
            "said not to, as a text": one(TEMPLATE, SWITCHES[5][1], "false"),
            "a subnet for load balancers": one(
                SUBNET, "mapPublicIpOnLaunch", True, tags={"kubernetes.io/role/elb": "1"}
            ),
            "an address for the way out": one(ADDRESS, "tags", {"purpose": "nat"}),
            "nodes": one(NODES.format("v1"), "spec.associatePublicIPAddress", False),
        },
        pending={
            "switch": one(SUBNET, "mapPublicIpOnLaunch", UNKNOWN),
            "tags": one(SUBNET, "mapPublicIpOnLaunch", True, tags=UNKNOWN),
            "an interface": one(TEMPLATE, "networkInterfaces", [UNKNOWN]),
            "purpose": one(ADDRESS, "tags", UNKNOWN),
            "nodes": one(NODES.format("v1"), "spec", UNKNOWN),
        },
    ),
    Cases(
        rule="load-balancer-is-internal",
        parameters={"publicLoadBalancers": ["front-1", "edge"]},
        baseline=balancer(internal=True),
        fails={
            **{
                module: balancer(module)
                for module in (
                    *("alb", "applicationloadbalancing", "elasticloadbalancingv2", "lb"),
                    *("elb", "elasticloadbalancing"),
                )
            },
            "said": balancer(internal=False),
            "null": balancer(internal=None),
            "another name": balancer(name="front-2", dropInvalidHeaderFields=True),
            "public, of packets": balancer(
                name="front-1", loadBalancerType="network", dropInvalidHeaderFields=True
            ),
            "public, lets headers through": balancer(name="front-1"),
            "public, classic": balancer("elb", name="front-1", dropInvalidHeaderFields=True),
        },
        passes={
            "public": balancer(name="front-1", dropInvalidHeaderFields=True),
            "public, said": balancer(
                name="front-1", loadBalancerType="application", dropInvalidHeaderFields=True
            ),
            "public, by its resource": [
                resource(
                    "aws:lb/loadBalancer:LoadBalancer", "edge", {"dropInvalidHeaderFields": True}
                )
            ],
            "a way to firewalls": balancer(loadBalancerType="gateway"),
        },
        pending={
            "whether": balancer(internal=UNKNOWN),
            "which": balancer(name=UNKNOWN),
            "public, headers": balancer(name="front-1", dropInvalidHeaderFields=UNKNOWN),
            "public, of what": balancer(name="front-1", loadBalancerType=UNKNOWN),
        },
    ),
)
