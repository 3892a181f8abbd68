"""Rules on what a resource names: other regions, ARNs and zones, at any depth."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.arns import arn_of, is_region
from policies.common.places import Place, document, found, leaves, property_of, shown
from policies.common.resources import UNKNOWN, Resource
from policies.common.rule import Finding, Rule, pending
from policies.residency.regions import Regions, judged

_FREE = frozenset(
    {
        *("tags", "tagsAll", "defaultTags", "labels", "annotations", "matchLabels"),
        *("nodeSelector", "parameters", "variables"),
    }
)
"""Properties whose entries people name as they like."""
_PATTERNS = frozenset({"eventPattern", "filterPattern", "filterPolicy"})
"""Texts in JSON that say which events count, not where they go."""
_HEALTH_CHECK = "aws:route53/healthCheck:HealthCheck"
_SYSTEM = ("aws:", "kubernetes:")


class NestedRegions(Regions):
    """By which names a property says a region."""

    regionKeys: tuple[str, ...] = (  # noqa: N815
        *("region", "regions", "regionName", "regionLists", "awsRegion", "awsAccountRegion"),
        *("accountRegion", "targetRegion", "workflowTargetRegion", "destinationRegion"),
        *("endpointGroupRegion", "peerRegion", "serviceRegion", "supportedRegions", "vpcRegion"),
        *("basePolicyRegions", "enabledRegions", "primaryRegion", "s3Region", "bucketRegion"),
        *("snsRegion", "lexRegion", "idcRegion", "signingRegion", "originShieldRegion"),
        *("witnessRegion", "linkedRegions", "specifiedRegions", "authorizedAwsRegion"),
        *("stackSetInstanceRegion", "notificationHubRegion", "consumerRegion", "awslogs-region"),
    )
    inboundKeys: tuple[str, ...] = ("sourceRegion", "sourceAmiRegion")  # noqa: N815
    """Where data comes from, and whatever is below them."""


def nested_regions(resource: Resource, parameters: NestedRegions) -> Iterator[Finding]:
    """A region at the top of a resource is where it is itself, of which another rule tells."""
    for place, value in _below(resource.properties):
        if place == ("region",) or property_of(place) not in parameters.regionKeys or not value:
            continue
        if _FREE.union(parameters.inboundKeys).intersection(place):
            continue
        # what is no region may mean something else to a custom resource, but not to AWS
        if resource.type.startswith("aws:") or value is UNKNOWN or is_region(value):
            yield from judged(resource, shown(place), value, parameters)


def _below(properties: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for place, value in leaves(properties):
        if place == ("containerDefinitions",) and value is not UNKNOWN:
            yield from leaves(document(value), place)
        else:
            yield place, value


def arn_regions(resource: Resource, parameters: Regions) -> Iterator[Finding]:
    """What a resource names by an ARN it reads, writes or runs."""
    unknown = []
    for place, value in leaves(resource.properties):
        name = property_of(place)
        if value is UNKNOWN:
            if name.lower().endswith(("arn", "arns")):
                unknown.append(shown(place))
        elif value.startswith("arn:"):
            yield from _judge_arn(resource, shown(place), value, parameters)
        elif '"arn:' in value and value.lstrip()[:1] in ("{", "[") and name not in _PATTERNS:
            for inner, one in leaves(_not_a_policy(document(value))):
                where = shown((*place, *inner))
                yield from _judge_arn(resource, where, one, parameters)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        yield pending(resource, f"{unknown[0]}{more}", "names an ARN that is not known yet")


def _judge_arn(
    resource: Resource, where: str, value: Any, parameters: Regions
) -> Iterator[Finding]:
    arn = arn_of(value)
    # a pattern says of which resources, not where; the services judge what it matches
    if arn and arn.region and not any(map(_matching(arn.region), parameters.allowedRegions)):
        allowed = ", ".join(parameters.allowedRegions)
        what = f"names the region {arn.region} ({value}); allowed: {allowed}"
        yield Finding(resource=resource, where=where, what=what)


def _matching(pattern: str) -> Any:
    return lambda region: fnmatch.fnmatchcase(region, pattern)


def _not_a_policy(content: Any) -> Any:
    """Policies grant and deny, also abroad: rules on policies judge them."""
    is_policy = isinstance(content, dict) and any(key.lower() == "statement" for key in content)
    return {} if is_policy else content


class Zones(Regions):
    """Which zones data may be in."""

    allowedZoneIds: tuple[str, ...] = ("mec1-az1", "mec1-az2", "mec1-az3")  # noqa: N815
    """Their ids, which are the same in every account."""


_ZONES: dict[str, tuple[str, ...]] = {
    "aws:autoscaling/group:Group": ("availabilityZones",),
    "aws:cloudhsmv2/hsm:Hsm": ("availabilityZone",),
    "aws:dax/cluster:Cluster": ("availabilityZones",),
    "aws:dms/replicationConfig:ReplicationConfig": ("computeConfig.availabilityZone",),
    "aws:dms/replicationInstance:ReplicationInstance": ("availabilityZone",),
    "aws:docdb/cluster:Cluster": ("availabilityZones",),
    "aws:docdb/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:ebs/fastSnapshotRestore:FastSnapshotRestore": ("availabilityZone",),
    "aws:ebs/volume:Volume": ("availabilityZone",),
    "aws:ec2/capacityReservation:CapacityReservation": ("availabilityZone",),
    "aws:ec2/defaultSubnet:DefaultSubnet": ("availabilityZone",),
    "aws:ec2/fleet:Fleet": ("launchTemplateConfigs.overrides.availabilityZone",),
    "aws:ec2/instance:Instance": ("availabilityZone",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("placement.availabilityZone",),
    "aws:ec2/natGateway:NatGateway": ("availabilityZoneAddresses.availabilityZone",),
    "aws:ec2/secondarySubnet:SecondarySubnet": ("availabilityZone",),
    "aws:ec2/spotFleetRequest:SpotFleetRequest": (
        "launchSpecifications.availabilityZone",
        "launchTemplateConfigs.overrides.availabilityZone",
    ),
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": ("availabilityZone",),
    "aws:ec2/subnet:Subnet": ("availabilityZone",),
    "aws:efs/fileSystem:FileSystem": ("availabilityZoneName",),
    "aws:efs/replicationConfiguration:ReplicationConfiguration": (
        "destination.availabilityZoneName",
    ),
    "aws:elasticache/cluster:Cluster": ("availabilityZone", "preferredAvailabilityZones"),
    "aws:elasticache/replicationGroup:ReplicationGroup": (
        "preferredCacheClusterAzs",
        "nodeGroupConfigurations.primaryAvailabilityZone",
        "nodeGroupConfigurations.replicaAvailabilityZones",
    ),
    "aws:elb/loadBalancer:LoadBalancer": ("availabilityZones",),
    "aws:glue/connection:Connection": ("physicalConnectionRequirements.availabilityZone",),
    "aws:imagebuilder/infrastructureConfiguration:InfrastructureConfiguration": (
        "placement.availabilityZone",
    ),
    "aws:neptune/cluster:Cluster": ("availabilityZones",),
    "aws:neptune/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:rds/cluster:Cluster": ("availabilityZones",),
    "aws:rds/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:rds/instance:Instance": ("availabilityZone",),
    "aws:rds/snapshotCopy:SnapshotCopy": ("targetCustomAvailabilityZone",),
    "aws:redshift/cluster:Cluster": ("availabilityZone",),
}
"""Where a type names a zone: that of a region with one letter more."""
_ZONE_IDS: dict[str, tuple[str, ...]] = {
    "aws:ec2/natGateway:NatGateway": ("availabilityZoneAddresses.availabilityZoneId",),
    "aws:ec2/secondarySubnet:SecondarySubnet": ("availabilityZoneId",),
    "aws:ec2/subnet:Subnet": ("availabilityZoneId",),
    "aws:networkfirewall/firewall:Firewall": ("availabilityZoneMappings.availabilityZoneId",),
    "aws:s3/directoryBucket:DirectoryBucket": ("location.name",),
}
"""Where it names one by its id."""


def zones(resource: Resource, parameters: Zones) -> Iterator[Finding]:
    """Local and wavelength zones belong to a region and may be in another country."""
    for path in _ZONES.get(resource.type, ()):
        yield from _judge_zones(resource, path, parameters.allowedRegions, "a zone of ")
    for path in _ZONE_IDS.get(resource.type, ()):
        yield from _judge_zones(resource, path, parameters.allowedZoneIds, "")


def _judge_zones(
    resource: Resource, path: str, allowed: tuple[str, ...], kind: str
) -> Iterator[Finding]:
    for place, zone in found(resource.properties, path):
        known = str(zone)
        name = known[:-1] if kind and known[-1:].isalpha() else known if not kind else None
        if zone is UNKNOWN:
            yield pending(resource, shown(place))
        elif name not in allowed:
            what = f"is {zone}; allowed: {kind}{', '.join(allowed)}"
            yield Finding(resource=resource, where=shown(place), what=what)


def _is_judged(resource: Resource) -> bool:
    return resource.type.startswith(_SYSTEM) and resource.type != _HEALTH_CHECK


def _names_a_zone(resource: Resource) -> bool:
    paths = (*_ZONES.get(resource.type, ()), *_ZONE_IDS.get(resource.type, ()))
    return any(True for path in paths for _ in found(resource.properties, path))


RULES = (
    Rule(
        name="nested-region-values-are-allowed",
        description="No property inside a resource names a region that data may not be in.",
        mend="point the nested region at an allowed region or drop the cross-region feature.",
        applies_to=_is_judged,
        parameters=NestedRegions,
        each=nested_regions,
    ),
    Rule(
        name="arn-region-is-allowed",
        description="No resource refers to another in a region that data may not be in.",
        mend="refer to a resource that lives in an allowed region.",
        applies_to=lambda resource: resource.type.startswith(_SYSTEM),
        parameters=Regions,
        each=arn_regions,
    ),
    Rule(
        name="availability-zone-is-in-region",
        description="Every zone that a resource names is one of a region that data may be in.",
        mend="choose a zone from aws.get_availability_zones of the pinned provider.",
        applies_to=_names_a_zone,
        parameters=Zones,
        each=zones,
    ),
)
