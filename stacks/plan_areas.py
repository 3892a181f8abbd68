"""A plan in areas: which component owns a resource, what needs what, what is exposed.

Pure functions over the plain data of `stacks.plan.Plan`; drawn by `stacks.plan_page`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from components.stateful import STATEFUL

if TYPE_CHECKING:
    from stacks.plan import Plan

PROVIDER = "RegionProvider"
"""The component that every resource goes through; left out of relations, since all have it."""

EVERYWHERE = ("0.0.0.0/0", "::/0")

_NARROWING = (
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "kms:calleraccount",
)
"""Condition keys that make of everybody somebody."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How something can be reached from outside, or reach out."""

    way: Literal["in", "out"]
    sentence: str


@dataclass(kw_only=True)
class Area:
    """The components of one type below the place, with everything in them."""

    kind: str
    """The component's type without its package, such as ``ArtifactStore``."""
    instances: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Name of a component → its resources."""
    needs: dict[str, int] = field(default_factory=dict)
    """Kind of another area → how many resources here need one there."""

    @property
    def title(self) -> str:
        """The kind in words."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+", self.kind)
        return " ".join(words).capitalize()

    @property
    def resources(self) -> list[Mapping[str, Any]]:
        """All resources in it."""
        return [one for found in self.instances.values() for one in found]

    @property
    def stateful(self) -> list[Mapping[str, Any]]:
        """Those that hold what cannot be made again."""
        return [one for one in self.resources if one["type"] in STATEFUL]

    @property
    def exposed(self) -> list[tuple[Mapping[str, Any], Exposure]]:
        """Those that can be reached from outside, or reach out."""
        found = ((one, exposure(one)) for one in self.resources)
        return [(one, how) for one, how in found if how is not None]


def areas(plan: Plan) -> list[Area]:
    """The areas of `plan`, by title."""
    found: dict[str, Area] = {}
    home: dict[str, str] = {}
    for resource in plan.resources:
        owner = _owner(resource["parent"], plan.components)
        kind = _kind(owner) if owner else "Program"
        area = found.setdefault(kind, Area(kind=kind))
        name = _name(owner) if owner else plan.environment
        area.instances.setdefault(name, []).append(resource)
        home[resource["urn"]] = kind
    for urn in plan.components:
        owner = _owner(urn, plan.components)
        if owner:
            home.setdefault(urn, _kind(owner))
    for resource in plan.resources:
        here = home[resource["urn"]]
        there = {home[urn] for urn in resource["dependencies"] if urn in home}
        for kind in there - {here, PROVIDER}:
            found[here].needs[kind] = found[here].needs.get(kind, 0) + 1
    for area in found.values():
        # a component without resources of its own is no area
        area.needs = {kind: count for kind, count in area.needs.items() if kind in found}
    return sorted(found.values(), key=lambda area: area.title)


def _owner(urn: str | None, components: Mapping[str, str | None]) -> str | None:
    """The component right below the place that holds `urn`, else the place itself."""
    path = []
    while urn is not None and _type(urn).startswith("falaj:"):
        path.append(urn)
        urn = components.get(urn)
    # platform, place, area, parts of the area
    return path[max(len(path) - 3, 0)] if path else None


def _type(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _kind(urn: str) -> str:
    return _type(urn).rpartition(":")[2]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


# --- what is exposed ------------------------------------------------------------------------------


def exposure(resource: Mapping[str, Any]) -> Exposure | None:
    """How `resource`, a row of a plan, can be reached from outside or reach out; `None` if not."""
    inputs = resource["inputs"]
    judge = _JUDGES.get(resource["type"])
    found = judge(inputs) if judge else None
    if found is None:
        for name in ("policy", "repositoryPolicy"):
            if _is_open(inputs.get(name)):
                return Exposure(way="in", sentence="Its policy lets anyone in.")
    return found


def _is_open(policy: Any) -> bool:
    try:
        statements = json.loads(policy)["Statement"]
    except (KeyError, TypeError, ValueError):
        return False
    for one in [statements] if isinstance(statements, dict) else statements:
        principals = one.get("Principal")
        named = principals.values() if isinstance(principals, dict) else [principals]
        anyone = any(who == "*" or (isinstance(who, list) and "*" in who) for who in named)
        keys = {key.lower() for test in one.get("Condition", {}).values() for key in test}
        if one.get("Effect") == "Allow" and anyone and not keys & set(_NARROWING):
            return True
    return False


def _always(way: Literal["in", "out"], sentence: str) -> Callable[[Any], Exposure | None]:
    return lambda _: Exposure(way=way, sentence=sentence)


def _where(
    way: Literal["in", "out"], sentence: str, holds: Callable[[Mapping[str, Any]], bool]
) -> Callable[[Mapping[str, Any]], Exposure | None]:
    return lambda inputs: Exposure(way=way, sentence=sentence) if holds(inputs) else None


def _rules(inputs: Mapping[str, Any]) -> Exposure | None:
    """A security group, or one rule of one in any of its three shapes."""
    into = [*inputs.get("ingress", ()), *([inputs] if inputs.get("type") == "ingress" else ())]
    out = [*inputs.get("egress", ()), *([inputs] if inputs.get("type") == "egress" else ())]
    if any(_reaches_everywhere(rule) for rule in into):
        return Exposure(way="in", sentence="Lets the whole internet in.")
    if any(_reaches_everywhere(rule) for rule in out):
        return Exposure(way="out", sentence="Lets connections out to any address.")
    return None


def _reaches_everywhere(rule: Mapping[str, Any]) -> bool:
    blocks: Iterable[Any] = (
        *(rule.get("cidrBlocks") or ()),
        *(rule.get("ipv6CidrBlocks") or ()),
        *(rule.get(name) for name in ("cidrIpv4", "cidrIpv6", "destinationCidrBlock")),
        rule.get("destinationIpv6CidrBlock"),
    )
    return any(block in EVERYWHERE for block in blocks)


_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-scheme"

_JUDGES: Mapping[str, Callable[[Mapping[str, Any]], Exposure | None]] = {
    "aws:cloudfront/distribution:Distribution": _always("in", "Answers the whole internet."),
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": _always(
        "out", "A way out to the internet."
    ),
    "aws:ec2/eip:Eip": _always("in", "A public address."),
    "aws:ec2/internetGateway:InternetGateway": _always(
        "in", "A door between network and internet."
    ),
    "aws:ec2/natGateway:NatGateway": _always("out", "A way out to the internet."),
    "aws:ec2/route:Route": _where(
        "out", "Sends what has no other route to a gateway.", _reaches_everywhere
    ),
    "aws:ec2/securityGroup:SecurityGroup": _rules,
    "aws:ec2/securityGroupRule:SecurityGroupRule": _rules,
    "aws:ec2/subnet:Subnet": _where(
        "in", "Gives public addresses.", lambda one: one.get("mapPublicIpOnLaunch") is True
    ),
    "aws:ec2/vpcPeeringConnection:VpcPeeringConnection": _always(
        "out", "A way to a network beside."
    ),
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment": _always(
        "out", "A way to networks beside."
    ),
    "aws:ecr/pullThroughCacheRule:PullThroughCacheRule": _always(
        "out", "Fetches images of others at their first pull."
    ),
    "aws:ecrpublic/repository:Repository": _always("in", "Anyone may pull from it."),
    "aws:eks/cluster:Cluster": _where(
        "in",
        "Its API answers the internet.",
        # AWS opens it unless told not to
        lambda one: one.get("vpcConfig", {}).get("endpointPublicAccess") is not False,
    ),
    "aws:lambda/functionUrl:FunctionUrl": _always("in", "Answers the whole internet."),
    "aws:lb/loadBalancer:LoadBalancer": _where(
        "in", "Answers the internet.", lambda one: one.get("internal") is not True
    ),
    "aws:networkfirewall/firewall:Firewall": _always("out", "Lets named domains through."),
    "aws:rds/instance:Instance": _where(
        "in", "Has a public address.", lambda one: one.get("publiclyAccessible") is True
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _where(
        "in",
        "Leaves a bucket open.",
        lambda one: not all(one.get(name) is True for name in _BLOCKS),
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _where(
        "out", "Lets connections out to any address.", _reaches_everywhere
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _where(
        "in", "Lets the whole internet in.", _reaches_everywhere
    ),
    "kubernetes:core/v1:Service": _where(
        "in",
        "A load balancer that is not said to be internal.",
        lambda one: (
            one.get("spec", {}).get("type") == "LoadBalancer"
            and (one.get("metadata", {}).get("annotations") or {}).get(_INTERNAL) != "internal"
        ),
    ),
}
