"""Rules on the record of what happened: it is written, whole, and kept for long enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from policies.common.arns import arn_of
from policies.common.properties import is_said, names_key
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.tags import tag
from policies.residency.regions import Regions, judged, region_of

_CLUSTER = "aws:eks/cluster:Cluster"
_GROUPS = frozenset({"aws:cloudwatch/logGroup:LogGroup"})

_VPCS = frozenset({"aws:ec2/vpc:Vpc", "aws:ec2/defaultVpc:DefaultVpc"})
_FLOW_LOGS = frozenset({"aws:ec2/flowLog:FlowLog"})

_LOGGING = frozenset(
    {"aws:s3/bucketLogging:BucketLogging", "aws:s3/bucketLoggingV2:BucketLoggingV2"}
)
_INLINE_LOGGING = {"aws:s3/bucket:Bucket": "logging", "aws:s3/bucketV2:BucketV2": "loggings"}

_LIFECYCLES = frozenset(
    {
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
    }
)

_DATABASES = frozenset({"aws:rds/instance:Instance", "aws:rds/cluster:Cluster"})


class LogTypes(Parameters):
    """What a control plane writes."""

    requiredLogTypes: tuple[str, ...] = (  # noqa: N815
        *("api", "audit", "authenticator", "controllerManager", "scheduler"),
    )


def eks_writes_all_log_types(cluster: Resource, parameters: LogTypes) -> Iterator[Finding]:
    """EKS writes none of them unless told to."""
    where = "enabledClusterLogTypes"
    yield from _holds(cluster, where, cluster.at(where), parameters.requiredLogTypes)


def _holds(
    resource: Resource, where: str, listed: Any, required: Sequence[str]
) -> Iterator[Finding]:
    """What of `required` is not in the list `listed`."""
    entries = listed if isinstance(listed, list) else []
    missing = [one for one in required if one not in entries]
    if missing and (listed is UNKNOWN or UNKNOWN in entries):
        yield pending(resource, where)
    elif missing:
        yield Finding(resource=resource, where=where, what=f"lacks {', '.join(missing)}")


class Kept(Parameters):
    """For how long logs are kept."""

    minRetentionDays: int = 365  # noqa: N815


def kubernetes_audit_log_is_kept(stack: Stack, parameters: Kept) -> Iterator[Finding]:
    """EKS makes the group itself, without key and retention, when it finds none."""
    named = {group.at("name"): group for group in stack.of(_GROUPS)}
    for cluster in stack.of({_CLUSTER}):
        name = cluster.at("name")
        group = named.get(f"/aws/eks/{name}/cluster")
        if name is UNKNOWN or (group is None and UNKNOWN in named):
            yield pending(cluster, "its log group", "may be one whose name is not known yet")
        elif group is None:
            what = f"is not declared: /aws/eks/{name}/cluster"
            yield Finding(resource=cluster, where="its log group", what=what)
        else:
            yield from _audit_group(cluster, group, parameters.minRetentionDays)


def _audit_group(cluster: Resource, group: Resource, days: int) -> Iterator[Finding]:
    if group.urn not in cluster.dependencies:
        what = f"does not wait for its log group '{group.name}', and may make it first"
        yield Finding(resource=cluster, where="it", what=what)
    if not (group.at("kmsKeyId") is UNKNOWN and is_said(group, "kmsKeyId")):
        yield from names_key(group, ("kmsKeyId",))
    yield from _kept_for(group, days)
    protection, skips = group.at("deletionProtectionEnabled"), group.at("skipDestroy")
    if True in (protection, skips):
        return
    where = "deletionProtectionEnabled"
    # at preview the first is not known either where nobody set it
    if skips is UNKNOWN or (protection is UNKNOWN and is_said(group, where)):
        yield pending(group, where)
    else:
        what = "is not true, nor is skipDestroy: the log goes with the stack"
        yield Finding(resource=group, where=where, what=what)


def _kept_for(group: Resource, days: int) -> Iterator[Finding]:
    kept = group.at("retentionInDays")
    if kept is UNKNOWN and is_said(group, "retentionInDays"):
        yield pending(group, "retentionInDays")
    # nothing, and 0, are for ever
    elif kept is not UNKNOWN and not is_missing(kept) and 0 < kept < days:
        what = f"is {kept}; allowed: {days} at least, or nothing"
        yield Finding(resource=group, where="retentionInDays", what=what)


def vpc_has_flow_logs(stack: Stack, parameters: Regions) -> Iterator[Finding]:
    """A log of one subnet, or of what was refused, does not tell who came in."""
    logs = stack.joined(_VPCS, _FLOW_LOGS, "vpcId", "id")
    groups = {group.urn: group for group in stack.of(_GROUPS)}
    for vpc in stack.of(_VPCS):
        own = logs.of(vpc)
        kinds = [log.at("trafficType") for log in own]
        for log in own:
            yield from _destination(log, groups, parameters)
        if "ALL" in kinds:
            continue
        if UNKNOWN in kinds or logs.strays:
            yield pending(vpc, "its FlowLog")
        elif own:
            what = f"is {kinds[0]}" if not is_missing(kinds[0]) else "is not set"
            yield Finding(resource=own[0], where="trafficType", what=f"{what}; allowed: ALL")
        else:
            what = "is not declared: nobody sees its traffic"
            yield Finding(resource=vpc, where="its FlowLog", what=what)


def _destination(
    log: Resource, groups: dict[str, Resource], parameters: Regions
) -> Iterator[Finding]:
    """A bucket's ARN names no region; what a log group of the stack has, it says itself."""
    where, target = "logDestination", log.at("logDestination")
    if target is not UNKNOWN:
        arn = arn_of(target)
        if arn and arn.region:
            yield from judged(log, where, arn.region, parameters)
        return
    referred = [groups[urn] for urn in log.references.get(where, ()) if urn in groups]
    for group in referred:
        yield from judged(log, where, region_of(group, output=True), parameters)
    if not referred and log.references.get(where) and log.at("logDestinationType") != "s3":
        yield pending(log, where)


class AccessLogs(Regions):
    """Which buckets hold logs themselves."""

    logPurposes: tuple[str, ...] = ("logs",)  # noqa: N815
    """Values of the tag ``purpose``."""


def bucket_writes_access_logs(stack: Stack, parameters: AccessLogs) -> Iterator[Finding]:
    """Who read an object is told by nothing else, but by a trail of data events."""
    settings = stack.joined(BUCKETS, _LOGGING)
    targets = _Targets(stack)
    for bucket in stack.of(BUCKETS):
        own = [(one, one.at("targetBucket"), "targetBucket") for one in settings.of(bucket)]
        own += _inline_logging(bucket)
        for holder, target, by in own:
            yield from targets.judged(bucket, holder, target, by, parameters)
        purpose = tag(bucket, "purpose")
        if own or purpose in parameters.logPurposes or targets.hold(bucket):
            continue
        if settings.strays or purpose is UNKNOWN or targets.unknown:
            yield pending(bucket, "its BucketLogging")
        else:
            what = "is not declared: nobody sees who reads it"
            yield Finding(resource=bucket, where="its BucketLogging", what=what)


def _inline_logging(bucket: Resource) -> list[tuple[Resource, Any, str]]:
    name = _INLINE_LOGGING[bucket.type]
    if not is_said(bucket, name):
        return []
    block = bucket.at(name)
    block = block[0] if isinstance(block, list) and block else block
    return [(bucket, at(block, "targetBucket"), name)]


class _Targets:
    """The buckets that others write their access logs into."""

    def __init__(self, stack: Stack) -> None:
        self._buckets = {bucket.urn: bucket for bucket in stack.of(BUCKETS)}
        self._by_name = {
            bucket.at("bucket"): bucket
            for bucket in self._buckets.values()
            if isinstance(bucket.at("bucket"), str)
        }
        self._held: set[str] = set()
        self.unknown = False
        """Whether it is not known yet of one whose logs it holds."""
        for setting in stack.of(_LOGGING):
            target = setting.at("targetBucket")
            source = setting.references.get("bucket", ())
            found = self._of(setting, target, "targetBucket")
            named = setting.at("bucket")
            if found is not None and found.urn not in source and found.at("bucket") != named:
                self._held.add(found.urn)
            self.unknown = self.unknown or (found is None and target is UNKNOWN)
        for bucket in self._buckets.values():
            for holder, target, by in _inline_logging(bucket):
                found = self._of(holder, target, by)
                if found is not None and found.urn != bucket.urn:
                    self._held.add(found.urn)

    def _of(self, holder: Resource, target: Any, by: str) -> Resource | None:
        if target is not UNKNOWN:
            return self._by_name.get(target)
        referred = [urn for urn in holder.references.get(by, ()) if urn in self._buckets]
        return self._buckets[referred[0]] if len(referred) == 1 else None

    def hold(self, bucket: Resource) -> bool:
        """Whether another writes its logs into `bucket`."""
        return bucket.urn in self._held

    def judged(
        self, bucket: Resource, holder: Resource, target: Any, by: str, parameters: Regions
    ) -> Iterator[Finding]:
        """What is wrong with where `bucket` writes its logs to."""
        found = self._of(holder, target, by)
        if found is not None and found.urn == bucket.urn:
            what = "is the bucket itself: each log makes another"
            yield Finding(resource=holder, where="targetBucket", what=what)
        elif found is not None:
            yield from judged(holder, by, region_of(found, output=True), parameters)
        elif is_missing(target):
            yield Finding(resource=holder, where="targetBucket", what="is not set")
        # S3 takes no other than a bucket of the same region, which need not be of the stack


class Records(Kept):
    """For how long logs, and records of consumers, are kept."""

    consumerRecordDays: int = 1827  # noqa: N815
    """With the tag ``record=consumer``."""
    logPurposes: tuple[str, ...] = ("logs", "audit", "evidence")  # noqa: N815
    """Values of the tag ``purpose`` of buckets that hold logs."""


def log_retention_is_long_enough(stack: Stack, parameters: Records) -> Iterator[Finding]:
    """What happened is often asked for a year later."""
    for group in stack.of(_GROUPS):
        sure, unsure = _days(group, parameters, parameters.minRetentionDays)
        found = list(_kept_for(group, sure))
        yield from found
        if not found:
            for finding in _kept_for(group, unsure):
                yield pending(group, finding.where, "may be of consumers")
    lifecycles = stack.joined(BUCKETS, _LIFECYCLES)
    for bucket in stack.of(BUCKETS):
        purpose = tag(bucket, "purpose")
        least = parameters.minRetentionDays if purpose in parameters.logPurposes else 0
        sure, unsure = _days(bucket, parameters, least)
        if purpose is UNKNOWN:
            unsure = max(unsure, parameters.minRetentionDays)
        holders = [(one, "rules") for one in lifecycles.of(bucket)]
        if is_said(bucket, "lifecycleRules"):
            holders.append((bucket, "lifecycleRules"))
        for holder, where in holders:
            found = list(_expiring(holder, where, sure))
            yield from found
            if not found:
                for finding in _expiring(holder, where, unsure):
                    yield pending(holder, finding.where, "may be of logs")


def _days(resource: Resource, parameters: Records, least: int) -> tuple[int, int]:
    """For how long it must be kept, as far as its tags are known and at most."""
    record, most = tag(resource, "record"), max(least, parameters.consumerRecordDays)
    if record == "consumer":
        return most, most
    return least, most if record is UNKNOWN else least


def _expiring(holder: Resource, where: str, days: int) -> Iterator[Finding]:
    """Rules that take objects away that are younger than `days`."""
    if not days:
        return
    rules = holder.at(where)
    if rules is UNKNOWN:
        yield pending(holder, where)
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if at(rule, "status") == "Disabled" or at(rule, "enabled") is False:
            continue
        expiry = at(rule, "expiration")
        many = at(rule, "expirations")
        expiry = many[0] if isinstance(many, list) and many else expiry
        place = f"{where}[{index}].expiration"
        after = at(expiry, "days")
        if UNKNOWN in (rule, expiry, after, at(rule, "status"), at(rule, "enabled")):
            yield pending(holder, place)
        elif not is_missing(at(expiry, "date")):
            what = "names a date, and takes what was written the day before"
            yield Finding(resource=holder, where=f"{place}.date", what=what)
        elif not is_missing(after) and 0 < after < days:
            what = f"is {after}; allowed: {days} at least"
            yield Finding(resource=holder, where=f"{place}.days", what=what)


class Exports(Parameters):
    """Which logs a database's engine writes."""

    requiredExports: dict[str, tuple[str, ...]] = Field(  # noqa: N815
        {
            "aurora-mysql": ("audit", "error", "slowquery"),
            "aurora-postgresql": ("postgresql",),
            "mariadb": ("audit", "error", "slowquery"),
            "mysql": ("audit", "error", "slowquery"),
            "postgres": ("postgresql", "upgrade"),
        }
    )


def rds_exports_logs(database: Resource, parameters: Exports) -> Iterator[Finding]:
    """On the database itself they are gone within days."""
    where, engine = "enabledCloudwatchLogsExports", database.at("engine")
    listed = database.at(where)
    if engine is UNKNOWN and listed is not UNKNOWN:
        known = [set(one) for one in parameters.requiredExports.values()]
        if not isinstance(listed, list) or not any(one <= set(listed) for one in known):
            yield pending(database, where, "cannot be judged: its engine is not known yet")
    elif isinstance(engine, str) and engine in parameters.requiredExports:
        yield from _holds(database, where, listed, parameters.requiredExports[engine])
    # a replica, or what is restored, has the engine of its source
    elif listed is UNKNOWN:
        yield pending(database, where)
    elif is_missing(listed):
        yield Finding(resource=database, where=where, what="is empty: no log leaves the database")


RULES = (
    Rule(
        name="eks-writes-all-log-types",
        description="Every control plane writes all of its logs.",
        mend="set enabledClusterLogTypes to all five.",
        applies_to=lambda resource: resource.type == _CLUSTER,
        parameters=LogTypes,
        each=eks_writes_all_log_types,
    ),
    Rule(
        name="kubernetes-audit-log-is-kept",
        description="The log group of every control plane is declared, under a key, and kept.",
        mend="declare the log group before the cluster, with a key, retention and protection.",
        applies_to=lambda resource: resource.type == _CLUSTER,
        parameters=Kept,
        together=kubernetes_audit_log_is_kept,
    ),
    Rule(
        name="vpc-has-flow-logs",
        description="All traffic of every network is on record.",
        mend="add a FlowLog with trafficType ALL to a log group in an allowed region.",
        applies_to=lambda resource: resource.type in _VPCS,
        parameters=Regions,
        together=vpc_has_flow_logs,
    ),
    Rule(
        name="s3-bucket-writes-access-logs",
        description="Who reads and writes objects is on record, of every bucket.",
        mend="add a BucketLogging to the bucket of logs.",
        applies_to=lambda resource: resource.type in BUCKETS,
        parameters=AccessLogs,
        together=bucket_writes_access_logs,
    ),
    Rule(
        name="log-retention-is-long-enough",
        description="No log is taken away before its time.",
        mend="raise retentionInDays, or the days after which objects expire.",
        applies_to=lambda resource: resource.type in _GROUPS | BUCKETS,
        parameters=Records,
        together=log_retention_is_long_enough,
    ),
    Rule(
        name="rds-exports-logs",
        description="The logs of every database outlive it.",
        mend="set enabledCloudwatchLogsExports to the log types of the engine.",
        applies_to=lambda resource: resource.type in _DATABASES,
        parameters=Exports,
        each=rds_exports_logs,
    ),
)
