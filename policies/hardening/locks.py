"""Rules on what must outlive mistakes and intruders: versions, locks, protection of databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from policies.common.properties import is_not, is_on, is_said
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.tags import tag

_VERSIONINGS = frozenset(
    {
        "aws:s3/bucketVersioning:BucketVersioning",
        "aws:s3/bucketVersioningV2:BucketVersioningV2",
    }
)
_INLINE_VERSIONING = {
    "aws:s3/bucket:Bucket": "versioning",
    "aws:s3/bucketV2:BucketV2": "versionings",
}

_LOCKS = frozenset(
    {
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        "aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2",
    }
)
_INLINE_LOCK = "objectLockConfiguration"

_VAULTS = frozenset({"aws:backup/vault:Vault"})
_VAULT_LOCKS = frozenset({"aws:backup/vaultLockConfiguration:VaultLockConfiguration"})
_AIR_GAPPED = "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault"

_OF_RDS = {
    "deletionProtection": True,
    "skipFinalSnapshot": False,
    "deleteAutomatedBackups": False,
    "copyTagsToSnapshot": True,
}
_SWITCHES: Mapping[str, Mapping[str, bool]] = {
    "aws:docdb/cluster:Cluster": {"deletionProtection": True, "skipFinalSnapshot": False},
    "aws:neptune/cluster:Cluster": {
        "deletionProtection": True,
        "skipFinalSnapshot": False,
        "copyTagsToSnapshot": True,
    },
    "aws:rds/cluster:Cluster": _OF_RDS,
    "aws:rds/instance:Instance": _OF_RDS,
}
"""Databases, and how each switch must be. All but that of the snapshot are wrong by default."""
_OF_BACKUPS = frozenset({"skipFinalSnapshot", "deleteAutomatedBackups"})
"""Which a replica of another database does not have."""


class Scratch(Parameters):
    """Which buckets need no versions."""

    scratchPurposes: tuple[str, ...] = ("scratch",)  # noqa: N815
    """Values of the tag ``purpose``."""


def bucket_is_versioned(stack: Stack, parameters: Scratch) -> Iterator[Finding]:
    """What is overwritten or deleted can be had again; S3 keeps versions of what it locks."""
    settings = stack.joined(BUCKETS, _VERSIONINGS)
    for bucket in stack.of(BUCKETS):
        purpose, own = tag(bucket, "purpose"), settings.of(bucket)
        if purpose in parameters.scratchPurposes:
            continue
        for one in own:
            status = one.at("versioningConfiguration", "status")
            where = "versioningConfiguration.status"
            if UNKNOWN in (status, purpose) and status != "Enabled":
                yield pending(one, where)
            elif status != "Enabled":
                what = "is not set" if is_missing(status) else f"is {status}"
                yield Finding(resource=one, where=where, what=f"{what}; allowed: Enabled")
        if not own:
            yield from _versioned_by_itself(bucket, unsure=settings.strays or purpose is UNKNOWN)


def _versioned_by_itself(bucket: Resource, *, unsure: bool) -> Iterator[Finding]:
    name = _INLINE_VERSIONING[bucket.type]
    block = bucket.at(name) if is_said(bucket, name) else ABSENT
    block = block[0] if isinstance(block, list) and block else block
    enabled = at(block, "enabled")
    if enabled is True or bucket.at("objectLockEnabled") is True:
        return
    if unsure or enabled is UNKNOWN or _unknown_lock(bucket):
        yield pending(bucket, "its BucketVersioning")
    else:
        what = "is not declared: what is overwritten is gone"
        yield Finding(resource=bucket, where="its BucketVersioning", what=what)


def _unknown_lock(bucket: Resource) -> bool:
    return bucket.at("objectLockEnabled") is UNKNOWN and is_said(bucket, "objectLockEnabled")


class Locked(Parameters):
    """What nobody may delete for how long."""

    lockedPurposes: tuple[str, ...] = ("audit", "evidence", "backup")  # noqa: N815
    """Values of the tag ``purpose`` of buckets."""
    minLockDays: int = 365  # noqa: N815
    lockModes: tuple[Literal["COMPLIANCE", "GOVERNANCE"], ...] = ("COMPLIANCE",)  # noqa: N815
    """GOVERNANCE gives way to whoever has a permission for it."""


def evidence_bucket_is_locked(stack: Stack, parameters: Locked) -> Iterator[Finding]:
    """Who can delete the record of what he did leaves none."""
    settings = stack.joined(BUCKETS, _LOCKS)
    for bucket in stack.of(BUCKETS):
        purpose = tag(bucket, "purpose")
        if purpose is not UNKNOWN and purpose not in parameters.lockedPurposes:
            continue
        for finding in _locked(bucket, settings.of(bucket), parameters, strays=settings.strays):
            if purpose is UNKNOWN:
                yield pending(finding.resource, finding.where, "may be of evidence")
            else:
                yield finding


def _locked(bucket: Resource, own: Any, parameters: Locked, *, strays: bool) -> Iterator[Finding]:
    if bucket.at("objectLockEnabled") is False:
        yield Finding(resource=bucket, where="objectLockEnabled", what="is false")
    elif _unknown_lock(bucket):
        yield pending(bucket, "objectLockEnabled")
    holders = [(one, one.at("rule")) for one in own]
    if is_said(bucket, _INLINE_LOCK) and not own:
        block = bucket.at(_INLINE_LOCK)
        rule = at(block, "rule")
        holders.append((bucket, _first(at(block, "rules")) if rule is ABSENT else rule))
    if not holders and strays:
        yield pending(bucket, "its BucketObjectLockConfiguration")
    elif not holders:
        what = "is not declared: whoever may write may delete"
        yield Finding(resource=bucket, where="its BucketObjectLockConfiguration", what=what)
    for holder, rule in holders:
        retention = at(rule, "defaultRetention")
        if retention is ABSENT:
            retention = _first(at(rule, "defaultRetentions"))
        yield from _retained(holder, retention, parameters)


def _first(value: Any) -> Any:
    return (value[0] if value else ABSENT) if isinstance(value, list) else value


def _retained(holder: Resource, retention: Any, parameters: Locked) -> Iterator[Finding]:
    where = "rule.defaultRetention"
    mode, days, years = (at(retention, name) for name in ("mode", "days", "years"))
    if mode is UNKNOWN:
        yield pending(holder, f"{where}.mode")
    elif mode not in parameters.lockModes:
        what = "is not set" if is_missing(mode) else f"is {mode}"
        allowed = ", ".join(parameters.lockModes)
        yield Finding(resource=holder, where=f"{where}.mode", what=f"{what}; allowed: {allowed}")
    # one of the two is set, and the other is then an output that nobody set
    kept = years * 365 if isinstance(years, int) and years else days
    if isinstance(kept, int):
        if kept < parameters.minLockDays:
            what = f"is {kept}; allowed: {parameters.minLockDays} at least"
            yield Finding(resource=holder, where=f"{where}.days", what=what)
    elif UNKNOWN in (days, years):
        yield pending(holder, f"{where}.days")
    else:
        yield Finding(resource=holder, where=f"{where}.days", what="is not set")


class Backups(Parameters):
    """For how long backups are kept."""

    minBackupDays: int = 35  # noqa: N815


def rds_is_protected_and_backed_up(database: Resource, parameters: Backups) -> Iterator[Finding]:
    """A replica has the backups of its source."""
    source = database.at("replicateSourceDb")
    for name, right in _SWITCHES[database.type].items():
        if not is_missing(source) and name in _OF_BACKUPS:
            continue
        if right:
            yield from is_on(database, (name,))
        elif name == "deleteAutomatedBackups":
            yield from _is_off(database, name)
        else:
            yield from is_not(database, (name,), True)
    days = database.at("backupRetentionPeriod")
    if not is_missing(source):
        return
    if days is UNKNOWN:
        yield pending(database, "backupRetentionPeriod")
    elif is_missing(days) or days < parameters.minBackupDays:
        what = "is not set" if is_missing(days) else f"is {days}"
        what = f"{what}; allowed: {parameters.minBackupDays} at least"
        yield Finding(resource=database, where="backupRetentionPeriod", what=what)


def _is_off(resource: Resource, name: str) -> Iterator[Finding]:
    value = resource.at(name)
    if value is UNKNOWN:
        yield pending(resource, name)
    elif value not in (False, "false"):
        yield Finding(resource=resource, where=name, what="is not false")


class VaultLocks(Backups):
    """How vaults are locked."""

    requireChangeableForDays: bool = True  # noqa: N815
    """Without it whoever may lock a vault may unlock it."""


def backup_vault_is_locked(stack: Stack, parameters: VaultLocks) -> Iterator[Finding]:
    """Backups are what an intruder deletes first."""
    locks = stack.joined(_VAULTS, _VAULT_LOCKS, "backupVaultName", "name")
    for vault in stack.of(_VAULTS):
        yield from is_not(vault, ("forceDestroy",), True)
        own = locks.of(vault)
        if not own and locks.strays:
            yield pending(vault, "its VaultLockConfiguration")
        elif not own:
            what = "is not declared: recovery points can be deleted"
            yield Finding(resource=vault, where="its VaultLockConfiguration", what=what)
        for lock in own:
            yield from _at_least(lock, parameters.minBackupDays)
            changeable = lock.at("changeableForDays")
            if parameters.requireChangeableForDays and changeable is UNKNOWN:
                yield pending(lock, "changeableForDays")
            elif parameters.requireChangeableForDays and is_missing(changeable):
                what = "is not set, so the lock can be taken away at any time"
                yield Finding(resource=lock, where="changeableForDays", what=what)
    for vault in stack.of({_AIR_GAPPED}):
        yield from _at_least(vault, parameters.minBackupDays)


def _at_least(lock: Resource, least: int) -> Iterator[Finding]:
    days = lock.at("minRetentionDays")
    if days is UNKNOWN:
        yield pending(lock, "minRetentionDays")
    elif is_missing(days) or days < least:
        what = "is not set" if is_missing(days) else f"is {days}"
        what = f"{what}; allowed: {least} at least"
        yield Finding(resource=lock, where="minRetentionDays", what=what)


RULES = (
    Rule(
        name="s3-bucket-is-versioned",
        description="What is overwritten or deleted in a bucket can be had again.",
        mend="add a BucketVersioning with status Enabled.",
        applies_to=lambda resource: resource.type in BUCKETS,
        parameters=Scratch,
        together=bucket_is_versioned,
    ),
    Rule(
        name="s3-evidence-bucket-is-locked",
        description="Nobody can delete evidence, audit logs or backups before their time.",
        mend="create the bucket with objectLockEnabled and a default retention.",
        applies_to=lambda resource: (
            resource.type in BUCKETS and not is_missing(tag(resource, "purpose"))
        ),
        parameters=Locked,
        together=evidence_bucket_is_locked,
    ),
    Rule(
        name="rds-is-protected-and-backed-up",
        description="No database goes, with its backups, by mistake.",
        mend="set deletionProtection, the days of backups, and what is kept of a deleted database.",
        applies_to=lambda resource: resource.type in _SWITCHES,
        parameters=Backups,
        each=rds_is_protected_and_backed_up,
    ),
    Rule(
        name="backup-vault-is-locked",
        description="No recovery point can be deleted before its time.",
        mend="add a VaultLockConfiguration with minRetentionDays and changeableForDays.",
        applies_to=lambda resource: resource.type in _VAULTS | {_AIR_GAPPED},
        parameters=VaultLocks,
        together=backup_vault_is_locked,
    ),
)
