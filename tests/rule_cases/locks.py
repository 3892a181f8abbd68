"""Cases of `policies/hardening/locks.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource

BUCKET, BUCKET_V2 = "aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"
STORE = resource(BUCKET, "store", {"bucket": "store-1"})
NEW = resource(BUCKET, "store", {"bucket": UNKNOWN, "versioning": UNKNOWN})


def bucket(kind: str = BUCKET, **properties: Any) -> Resource:
    return resource(kind, "store", {"bucket": "store-1", **properties})


def versions(
    status: Any = "Enabled",
    of: Any = "store-1",
    references: Any = (),
    kind: str = "aws:s3/bucketVersioning:BucketVersioning",
) -> Resource:
    said = {"bucket": of, "versioningConfiguration": {"status": status}}
    return resource(kind, "versions", said, references=dict(references))


EVIDENCE = bucket(tags={"purpose": "evidence"}, objectLockEnabled=True)


def lock(
    of: Any = "store-1",
    references: Any = (),
    kind: str = "BucketObjectLockConfiguration",
    **said: Any,
) -> Resource:
    retention = {"mode": "COMPLIANCE", "days": 365, **said}
    type_ = f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}"
    properties = {"bucket": of, "rule": {"defaultRetention": retention}}
    return resource(type_, "lock", properties, references=dict(references))


INLINE = {"rule": {"defaultRetention": {"mode": "COMPLIANCE", "years": 1}}}
INLINE_V2 = {"rules": [{"defaultRetentions": [{"mode": "COMPLIANCE", "days": 365}]}]}

INSTANCE = "aws:rds/instance:Instance"
SAFE = {
    "deletionProtection": True,
    "backupRetentionPeriod": 35,
    "skipFinalSnapshot": False,
    "deleteAutomatedBackups": False,
    "copyTagsToSnapshot": True,
}
CLUSTERS = ("aws:rds/cluster:Cluster", "aws:docdb/cluster:Cluster", "aws:neptune/cluster:Cluster")


def database(*changes: Any, kind: str = INSTANCE) -> list[Resource]:
    return [resource(kind, "one", mutated(SAFE, *changes))]


REPLICA = {"replicateSourceDb": "one", "deletionProtection": True, "copyTagsToSnapshot": True}

VAULT, AIR_GAPPED = (
    "aws:backup/vault:Vault",
    "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault",
)


def vault(*changes: Any, **properties: Any) -> list[Resource]:
    said = {"backupVaultName": "vault-1", "minRetentionDays": 35, "changeableForDays": 14}
    type_ = "aws:backup/vaultLockConfiguration:VaultLockConfiguration"
    return [
        resource(VAULT, "vault", {"name": "vault-1", **properties}),
        resource(type_, "lock", mutated(said, *changes)),
    ]


CASES = (
    Cases(
        rule="s3-bucket-is-versioned",
        baseline=[STORE, versions()],
        fails={
            "none": [STORE],
            "before": [bucket(BUCKET_V2)],
            "what nobody set": [NEW],
            "suspended": [STORE, versions("Suspended")],
            "null": [STORE, versions(None)],
            "of another": [STORE, versions(of="another-1")],
            "inline, off": [bucket(versioning={"enabled": False})],
            "locked, and suspended": [bucket(objectLockEnabled=True), versions("Suspended")],
        },
        passes={
            "scratch": [bucket(tags={"purpose": "scratch"})],
            "inline": [bucket(versioning={"enabled": True})],
            "inline, before": [bucket(BUCKET_V2, versionings=[{"enabled": True}])],
            "before": [STORE, versions(kind="aws:s3/bucketVersioningV2:BucketVersioningV2")],
            "S3 keeps versions of what it locks": [bucket(objectLockEnabled=True)],
            "at preview": [NEW, versions(of=UNKNOWN, references={"bucket": (NEW.urn,)})],
        },
        pending={
            "status": [STORE, versions(UNKNOWN)],
            "whose": [STORE, versions(of=UNKNOWN)],
            "what for": [bucket(tags={"purpose": UNKNOWN})],
            "inline": [bucket(versioning={"enabled": UNKNOWN})],
        },
    ),
    Cases(
        rule="s3-evidence-bucket-is-locked",
        baseline=[EVIDENCE, lock()],
        fails={
            "none": [EVIDENCE],
            "of another": [EVIDENCE, lock("another-1")],
            "off": [bucket(tags={"purpose": "audit"}, objectLockEnabled=False), lock()],
            "a year less a day": [EVIDENCE, lock(days=364)],
            "no time": [EVIDENCE, lock(days=None)],
            "gives way": [EVIDENCE, lock(mode="GOVERNANCE")],
            "no mode": [EVIDENCE, lock(mode=None)],
            "before": [EVIDENCE, lock(kind="BucketObjectLockConfigurationV2", days=1)],
            "of backups": [bucket(tags={"purpose": "backup"})],
            "a bucket of before": [bucket(BUCKET_V2, tags={"purpose": "audit"})],
        },
        passes={
            "by years": [EVIDENCE, lock(days=UNKNOWN, years=1)],
            "no evidence": [bucket(tags={"purpose": "scratch"})],
            "inline": [bucket(tags={"purpose": "audit"}, objectLockConfiguration=INLINE)],
            "inline, before": [
                bucket(BUCKET_V2, tags={"purpose": "audit"}, objectLockConfiguration=INLINE_V2)
            ],
            "before": [EVIDENCE, lock(kind="BucketObjectLockConfigurationV2")],
            "at preview": [EVIDENCE, lock(UNKNOWN, {"bucket": (EVIDENCE.urn,)})],
        },
        pending={
            "days": [EVIDENCE, lock(days=UNKNOWN)],
            "mode": [EVIDENCE, lock(mode=UNKNOWN)],
            "whose": [EVIDENCE, lock(UNKNOWN)],
            "what for": [bucket(tags={"purpose": UNKNOWN})],
        },
    ),
    Cases(
        rule="rds-is-protected-and-backed-up",
        baseline=database(),
        fails={
            "can be deleted": database((("deletionProtection",), False)),
            "as nobody says": database((("deletionProtection",), ABSENT)),
            "a week": database((("backupRetentionPeriod",), 7)),
            "no backups": database((("backupRetentionPeriod",), 0)),
            "as nobody says how long": database((("backupRetentionPeriod",), ABSENT)),
            "nothing at the end": database((("skipFinalSnapshot",), True)),
            "backups go": database((("deleteAutomatedBackups",), True)),
            "backups go as nobody says": database((("deleteAutomatedBackups",), ABSENT)),
            "no tags": database((("copyTagsToSnapshot",), ABSENT)),
            "a replica": [resource(INSTANCE, "two", REPLICA | {"deletionProtection": False})],
            **{kind: database((("deletionProtection",), False), kind=kind) for kind in CLUSTERS},
        },
        passes={
            "a final snapshot as nobody says": database((("skipFinalSnapshot",), ABSENT)),
            "a replica": [resource(INSTANCE, "two", REPLICA)],
            "these have no backups to delete": [
                resource(
                    CLUSTERS[1], "one", {"deletionProtection": True, "backupRetentionPeriod": 35}
                )
            ],
        },
        pending={name: database(((name,), UNKNOWN)) for name in SAFE},
    ),
    Cases(
        rule="backup-vault-is-locked",
        baseline=vault(),
        fails={
            "none": vault()[:1],
            "of another": vault((("backupVaultName",), "vault-2")),
            "a week": vault((("minRetentionDays",), 7)),
            "nothing said": vault((("minRetentionDays",), ABSENT)),
            "can be unlocked": vault((("changeableForDays",), ABSENT)),
            "goes with what is in it": vault(forceDestroy=True),
            "air-gapped": [resource(AIR_GAPPED, "vault", {"minRetentionDays": 7})],
        },
        passes={
            "said": vault(forceDestroy=False),
            "air-gapped, locked by itself": [
                resource(AIR_GAPPED, "vault", {"minRetentionDays": 35})
            ],
        },
        pending={
            "whose": vault((("backupVaultName",), UNKNOWN)),
            "days": vault((("minRetentionDays",), UNKNOWN)),
            "from when": vault((("changeableForDays",), UNKNOWN)),
        },
    ),
)
