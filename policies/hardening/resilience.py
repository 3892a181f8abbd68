"""Rules on what goes on when a zone is lost, and on what nobody deletes by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from policies.common.places import found, shown
from policies.common.properties import is_not, is_on, is_said
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.tags import tag

_INSTANCE, _DATABASE = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"
_MEMBERS = frozenset({"aws:rds/clusterInstance:ClusterInstance"})

_SUBNETS = frozenset({"aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"})
_NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
_BALANCERS = (
    "aws:alb/loadBalancer:LoadBalancer",
    "aws:applicationloadbalancing/loadBalancer:LoadBalancer",
    "aws:elasticloadbalancingv2/loadBalancer:LoadBalancer",
    "aws:lb/loadBalancer:LoadBalancer",
)
_SPANNING: Mapping[str, tuple[str, ...]] = {
    "aws:autoscaling/group:Group": ("vpcZoneIdentifiers",),
    "aws:docdb/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:eks/cluster:Cluster": ("vpcConfig.subnetIds",),
    "aws:elasticache/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:memorydb/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:msk/cluster:Cluster": ("brokerNodeGroupInfo.clientSubnets",),
    "aws:neptune/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:rds/subnetGroup:SubnetGroup": ("subnetIds",),
    _NODE_GROUP: ("subnetIds",),
    **dict.fromkeys(_BALANCERS, ("subnets", "subnetMappings.subnetId")),
}
"""Where a type names its subnets."""
_ONE_ZONE = frozenset({_NODE_GROUP, "aws:autoscaling/group:Group"})
"""What may be in one zone on purpose."""

_FORCED = {"forceDestroy": False}
_KEPT: Mapping[str, Mapping[str, bool]] = {
    **dict.fromkeys(BUCKETS, _FORCED),
    "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault": {},
    "aws:backup/vault:Vault": _FORCED,
    "aws:cloudtrail/trail:Trail": {},
    "aws:docdb/cluster:Cluster": {"deletionProtection": True},
    "aws:dynamodb/table:Table": {"deletionProtectionEnabled": True},
    "aws:ebs/volume:Volume": {},
    "aws:ecr/repository:Repository": {"forceDelete": False},
    "aws:efs/fileSystem:FileSystem": {},
    "aws:eks/cluster:Cluster": {"deletionProtection": True},
    "aws:fsx/lustreFileSystem:LustreFileSystem": {},
    "aws:kms/externalKey:ExternalKey": {},
    "aws:kms/key:Key": {},
    "aws:kms/replicaKey:ReplicaKey": {},
    "aws:msk/cluster:Cluster": {},
    "aws:neptune/cluster:Cluster": {"deletionProtection": True},
    "aws:opensearch/domain:Domain": {},
    "aws:rds/cluster:Cluster": {"deletionProtection": True},
    "aws:rds/instance:Instance": {"deletionProtection": True},
    "aws:s3/directoryBucket:DirectoryBucket": _FORCED,
    "aws:secretsmanager/secret:Secret": {},
    "kubernetes:core/v1:PersistentVolumeClaim": {},
}
"""What keeps what cannot be made again → its own switches against deletion, as they must be."""


def rds_spans_zones(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """A database in one zone is away with it, and with every upgrade."""
    for instance in stack.of({_INSTANCE}):
        if not is_missing(instance.at("replicateSourceDb")):
            continue
        spans = instance.at("multiAz")
        if spans is UNKNOWN and is_said(instance, "multiAz"):
            yield pending(instance, "multiAz")
        elif spans is not True:
            yield Finding(resource=instance, where="multiAz", what="is not true")
    members = stack.joined(frozenset({_DATABASE}), _MEMBERS, "clusterIdentifier")
    for cluster in stack.of({_DATABASE}):
        engine, mode = cluster.at("engine"), cluster.at("engineMode")
        # any other cluster has its zones by itself, as has one without machines
        if engine is UNKNOWN:
            yield pending(cluster, "engine")
        elif str(engine).startswith("aurora") and mode != "serverless":
            yield from _members(cluster, members.of(cluster), strays=members.strays)


def _members(cluster: Resource, own: Any, *, strays: bool) -> Iterator[Finding]:
    zones = [
        one.at("availabilityZone") if is_said(one, "availabilityZone") else None for one in own
    ]
    named = {zone for zone in zones if zone not in (None, UNKNOWN)}
    if len(own) > 1 and (len(named) > 1 or None in zones):
        return
    if strays or (len(own) > 1 and UNKNOWN in zones):
        yield pending(cluster, "its ClusterInstances")
    elif len(own) > 1:
        what = f"are all in {', '.join(sorted(named))}"
        yield Finding(resource=cluster, where="its ClusterInstances", what=what)
    else:
        what = f"are {len(own)}; allowed: 2 at least"
        yield Finding(resource=cluster, where="its ClusterInstances", what=what)


class Zones(Parameters):
    """Over how many zones things spread."""

    minZones: int = Field(2, ge=1)  # noqa: N815
    singleZoneTag: tuple[str, str] = ("single-zone", "gpu")  # noqa: N815
    """On nodes that may all be in one zone."""


def network_spans_zones(stack: Stack, parameters: Zones) -> Iterator[Finding]:
    """One subnet is in one zone, however many machines are in it."""
    subnets = _Subnets(stack)
    for resource in stack.of(_SPANNING):
        if resource.type in _ONE_ZONE:
            key, value = parameters.singleZoneTag
            if tag(resource, key) == value:
                continue
        for path in _SPANNING[resource.type]:
            name = path.partition(".")[0]
            if is_said(resource, name):
                yield from subnets.judged(resource, path, parameters.minZones)


class _Subnets:
    """The zones of the subnets of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._by_urn = {one.urn: one for one in stack.of(_SUBNETS)}
        self._by_id = {
            one.at("id"): one for one in self._by_urn.values() if isinstance(one.at("id"), str)
        }

    def judged(self, resource: Resource, path: str, least: int) -> Iterator[Finding]:
        """What is wrong with the zones of the subnets that `path` names."""
        listed = list(found(resource.properties, path))
        if not listed:
            return
        ids = [one for _, one in listed if one is not UNKNOWN]
        known = {
            urn: self._by_urn[urn]
            for urn in resource.references.get(path.partition(".")[0], ())
            if urn in self._by_urn
        }
        told = len(known) >= len(listed) - len(ids) and all(one in self._by_id for one in ids)
        known |= {self._by_id[one].urn: self._by_id[one] for one in ids if one in self._by_id}
        zones = {_zone(one) for one in known.values()}
        if len(zones - {UNKNOWN}) >= least:
            return
        where = shown(listed[0][0]).partition("[")[0]
        # a list that is not known may be longer than what it refers to
        counted = all(any(isinstance(step, int) for step in place) for place, _ in listed)
        if counted and (len(listed) < least or (told and UNKNOWN not in zones)):
            what = f"are in fewer than {least} zones"
            yield Finding(resource=resource, where=where, what=what)
        else:
            what = f"may be in fewer than {least} zones: not all of them are known"
            yield pending(resource, where, what)


def _zone(subnet: Resource) -> Any:
    for name in ("availabilityZone", "availabilityZoneId"):
        value = subnet.at(name)
        if isinstance(value, str) and value:
            return value
    return UNKNOWN


class Protection(Parameters):
    """Where deletion is held up."""

    protectedEnvironments: tuple[str, ...] = ()  # noqa: N815
    """Names of stacks; with none, every stack."""
    minRecoveryDays: int = 7  # noqa: N815
    """For which a deleted secret can be had again."""


def stateful_resource_is_protected(resource: Resource, parameters: Protection) -> Iterator[Finding]:
    """A stack is destroyed with one word, and a replacement is a deletion."""
    named = parameters.protectedEnvironments
    if named and resource.stack not in named:
        return
    if not resource.protect:
        yield Finding(resource=resource, where="protect", what="is not set in its options")
    for name, right in _KEPT[resource.type].items():
        if right:
            yield from is_on(resource, (name,))
        else:
            yield from is_not(resource, (name,), True)
    days = resource.at("recoveryWindowInDays")
    if days is UNKNOWN:
        yield pending(resource, "recoveryWindowInDays")
    elif not is_missing(days) and days < parameters.minRecoveryDays:
        what = f"is {days}; allowed: {parameters.minRecoveryDays} at least"
        yield Finding(resource=resource, where="recoveryWindowInDays", what=what)


RULES = (
    Rule(
        name="rds-spans-zones",
        description="Every database goes on when one zone is lost.",
        mend="set multiAz to true, or add a second ClusterInstance in another zone.",
        applies_to=lambda resource: resource.type in (_INSTANCE, _DATABASE),
        together=rds_spans_zones,
    ),
    Rule(
        name="network-spans-zones",
        description="What runs spreads over more than one zone.",
        mend="add subnets in another zone.",
        applies_to=lambda resource: resource.type in _SPANNING,
        parameters=Zones,
        together=network_spans_zones,
    ),
    Rule(
        name="stateful-resource-is-pulumi-protected",
        description="Nothing that keeps what cannot be made again is deleted by mistake.",
        mend="set protect=True on the resource, and its own protection against deletion.",
        applies_to=lambda resource: resource.type in _KEPT,
        parameters=Protection,
        each=stateful_resource_is_protected,
    ),
)
