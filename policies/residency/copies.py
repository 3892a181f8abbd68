"""Rules on copies: replicas, snapshots, images, backups and objects stay where data may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.common.accounts import accounts_of
from policies.common.arns import arn_of
from policies.common.places import Place, found, property_of, shown
from policies.common.resources import ABSENT, UNKNOWN, Missing, Resource, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.taggable import TAGGABLE
from policies.residency.approvals import Copies, KnownBuckets, judged_copy
from policies.residency.buckets import BucketRegions
from policies.residency.regions import region_of

_ECR = "aws:ecr/replicationConfiguration:ReplicationConfiguration"
_EFS = "aws:efs/replicationConfiguration:ReplicationConfiguration"
_TABLE_REPLICA = "aws:dynamodb/tableReplica:TableReplica"
_REPLICAS: dict[str, tuple[str, ...]] = {
    "aws:directoryservice/serviceRegion:ServiceRegion": ("regionName",),
    "aws:dynamodb/globalTable:GlobalTable": ("replicas.regionName",),
    "aws:dynamodb/table:Table": ("replicas.regionName", "globalTableWitness.regionName"),
    _TABLE_REPLICA: (),
    _ECR: ("replicationConfiguration.rules.destinations.region",),
    _EFS: ("destination.region",),
    "aws:msk/replicator:Replicator": ("replicationInfoList.targetKafkaClusterArn",),
    "aws:s3tables/tableBucketReplication:TableBucketReplication": (
        "rule.destinations.destinationTableBucketArn",
    ),
    "aws:s3tables/tableReplication:TableReplication": (
        "rule.destinations.destinationTableBucketArn",
    ),
    "aws:secretsmanager/secret:Secret": ("replicas.region",),
    "aws:ssmincidents/replicationSet:ReplicationSet": ("regions.name", "region.name"),
}
"""Where a type names the regions, or things in them, that it copies what it holds to."""

_RDS = frozenset({"aws:rds/instance:Instance", "aws:rds/cluster:Cluster"})
_SOURCES = ("replicateSourceDb", "replicationSourceIdentifier")
_SNAPSHOTS: dict[str, tuple[str, ...]] = {
    "aws:dlm/lifecyclePolicy:LifecyclePolicy": (
        "policyDetails.schedules.crossRegionCopyRules.targetRegion",
        "policyDetails.schedules.crossRegionCopyRules.target",
        "policyDetails.action.crossRegionCopies.target",
    ),
    "aws:imagebuilder/distributionConfiguration:DistributionConfiguration": (
        "distributions.region",
    ),
    "aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy": ("destinationRegion",),
    "aws:rds/snapshotCopy:SnapshotCopy": ("destinationRegion",),
    "aws:redshift/snapshotCopy:SnapshotCopy": ("destinationRegion",),
}
_MADE_HERE = frozenset(
    {
        "aws:ebs/snapshotCopy:SnapshotCopy",
        "aws:ec2/amiCopy:AmiCopy",
        "aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy",
        "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication",
        "aws:rds/snapshotCopy:SnapshotCopy",
    }
)
"""Copies that are made in the region of the resource itself."""

_PLAN = "aws:backup/plan:Plan"
_VAULTS = ("rules.copyActions.destinationVaultArn", "rules.targetLogicallyAirGappedBackupVaultArn")

_REPLICATION = "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
_DESTINATIONS = {
    _REPLICATION: "rules.destination.bucket",
    "aws:s3/bucket:Bucket": "replicationConfiguration.rules.destination.bucket",
    "aws:s3/bucketV2:BucketV2": "replicationConfigurations.rules.destinations.bucket",
}


_SOURCES_OF: dict[str, tuple[str, frozenset[str], str]] = {
    _EFS: ("sourceFileSystemId", frozenset({"aws:efs/fileSystem:FileSystem"}), "id"),
    _REPLICATION: ("bucket", BUCKETS, "bucket"),
}
"""What takes no tags → how it names what it copies."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Something that is copied to a region."""

    holder: Resource
    """What says so."""
    place: Place
    region: Any
    source: Resource | Missing
    """What is copied, as far as its tags tell of it."""

    @property
    def of_bucket(self) -> bool:
        """Whether it is of objects."""
        return self.holder.type in _DESTINATIONS

    @property
    def of_backup(self) -> bool:
        """Whether it is of recovery points."""
        return self.holder.type == _PLAN


def copied(stack: Stack, known: Mapping[str, str]) -> Iterator[Copy]:
    """All that is copied anywhere; `known` says where buckets are that the stack does not make."""
    paths = {**_REPLICAS, **_SNAPSHOTS, _PLAN: _VAULTS}
    for holder in stack.of({*paths, *_MADE_HERE, *_RDS}):
        for path in paths.get(holder.type, ()):
            for place, target in found(holder.properties, path):
                arn = arn_of(target)
                region = arn.region if arn else target
                yield Copy(holder=holder, place=place, region=region, source=_of(stack, holder))
        if holder.type == _TABLE_REPLICA or holder.type in _MADE_HERE or _is_replica(holder):
            region = region_of(holder, output=True)
            yield Copy(holder=holder, place=("region",), region=region, source=holder)
    regions = BucketRegions(stack, known)
    for holder in stack.of(_DESTINATIONS):
        if _replicates(holder):
            named = found(holder.properties, _DESTINATIONS[holder.type])
            for place, region in regions.of(named, holder):
                yield Copy(holder=holder, place=place, region=region, source=_of(stack, holder))


def _of(stack: Stack, holder: Resource) -> Resource | Missing:
    if holder.type not in _SOURCES_OF:
        return holder if holder.type in TAGGABLE else ABSENT
    by, types, own = _SOURCES_OF[holder.type]
    return stack.named(holder, by, types, own)


def copies_something(resource: Resource) -> bool:
    """Whether `resource` may say that something is copied."""
    return resource.type in {_PLAN, *_REPLICAS} or _replicates(resource) or _is_copied(resource)


class Replicas(Copies):
    """Where data may be copied to, and to whom."""

    allowedAccounts: tuple[str, ...] = ()  # noqa: N815
    """Besides those that the provider of the resource is held to (``allowedAccountIds``)."""


def replicas(resource: Resource, parameters: Replicas) -> Iterator[Finding]:
    """Each service has a name of its own for the region that it copies to."""
    for path in _REPLICAS[resource.type]:
        for place, region in found(resource.properties, path):
            yield from judged_copy(resource, shown(place), region, parameters)
    if resource.type == _TABLE_REPLICA:
        yield from judged_copy(resource, "region", region_of(resource), parameters)
    elif resource.type == _EFS and not _says_where(resource):
        what = "is not set: say the region of the copy"
        yield Finding(resource=resource, where="destination.region", what=what)
    elif resource.type == _ECR:
        yield from _registries(resource, parameters)


def _says_where(replication: Resource) -> bool:
    """A zone says its region, and another rule judges it."""
    paths = ("destination.region", "destination.availabilityZoneName")
    return any(True for path in paths for _ in found(replication.properties, path))


def _registries(resource: Resource, parameters: Replicas) -> Iterator[Finding]:
    allowed = accounts_of(resource, parameters.allowedAccounts)
    path = "replicationConfiguration.rules.destinations.registryId"
    for place, account in found(resource.properties, path):
        if account is UNKNOWN:
            if property_of(place) == "registryId":
                yield pending(resource, shown(place))
        elif account not in allowed:
            what = f"is {account}, which is not in allowedAccounts"
            yield Finding(resource=resource, where=shown(place), what=what)


def snapshots(resource: Resource, parameters: Copies) -> Iterator[Finding]:
    """A copy is named by what makes it, or is itself made in another region."""
    for path in _SNAPSHOTS.get(resource.type, ()):
        for place, region in found(resource.properties, path):
            yield from judged_copy(resource, shown(place), region, parameters)
    if resource.type in _MADE_HERE | _RDS:
        yield from judged_copy(resource, "region", region_of(resource), parameters)


def _is_replica(resource: Resource) -> bool:
    return resource.type in _RDS and any(not is_missing(resource.at(source)) for source in _SOURCES)


def _is_copied(resource: Resource) -> bool:
    if resource.type in _RDS:
        return _is_replica(resource)
    return resource.type in _MADE_HERE or resource.type in _SNAPSHOTS


def backups(plan: Resource, parameters: Copies) -> Iterator[Finding]:
    """The vault's ARN says where a recovery point is copied to."""
    for path in _VAULTS:
        for place, vault in found(plan.properties, path):
            yield from judged_copy(plan, shown(place), vault, parameters)


def s3_replication(stack: Stack, parameters: KnownBuckets) -> Iterator[Finding]:
    """The ARN of a bucket names no region, so the bucket itself must be known."""
    regions = BucketRegions(stack, parameters.knownBuckets)
    for resource in stack.of(_DESTINATIONS):
        if not _replicates(resource):
            continue
        named = found(resource.properties, _DESTINATIONS[resource.type])
        for place, region in regions.of(named, resource):
            if is_missing(region):
                what = "is a bucket whose region nobody knows: its ARN names none"
                yield Finding(resource=resource, where=shown(place), what=what)
            else:
                yield from judged_copy(resource, shown(place), region, parameters)


def _replicates(resource: Resource) -> bool:
    if resource.type not in BUCKETS:
        return resource.type in _DESTINATIONS
    name = _DESTINATIONS[resource.type].partition(".")[0]
    value: Any = resource.at(name)
    # an output that nobody set is what S3 will do by itself
    return bool(resource.references.get(name)) if value is UNKNOWN else not is_missing(value)


RULES = (
    Rule(
        name="s3-replication-stays-in-country",
        description="No bucket is replicated to a region that data may not be in.",
        mend="replicate to a bucket in an allowed region and list external ones in knownBuckets.",
        applies_to=_replicates,
        parameters=KnownBuckets,
        together=s3_replication,
    ),
    Rule(
        name="backup-copy-stays-in-country",
        description="No backup is copied to a region that data may not be in.",
        mend="copy to a vault in an allowed region.",
        applies_to=lambda resource: resource.type == _PLAN,
        parameters=Copies,
        each=backups,
    ),
    Rule(
        name="replica-stays-in-country",
        description="No registry, secret, file system, table or topic is replicated abroad.",
        mend="remove the foreign replica or name an allowed region.",
        applies_to=lambda resource: resource.type in _REPLICAS,
        parameters=Replicas,
        each=replicas,
    ),
    Rule(
        name="snapshot-and-image-copy-stays-in-country",
        description="No snapshot, image, read replica or automated backup is copied abroad.",
        mend="keep snapshots, replicas, backups and images in an allowed region.",
        applies_to=_is_copied,
        parameters=Copies,
        each=snapshots,
    ),
)
