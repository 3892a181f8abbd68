"""A bucket: versioned, encrypted, private, over TLS only, kept as long as it must be.

Owns the bucket and everything that is set on it. Leaves the key to `keys` and the permissions of
readers and writers to their identities. The key must exist before, and so must the bucket that
takes its access logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from components.aws.bucket_policy import Guard, refusals
from components.aws.policy_document import Statement, document
from components.aws.settings.storage import ObjectLock
from components.tags import DataClassification


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """When what is in a bucket moves to cheaper storage and when it is deleted, in days."""

    noncurrent_days: int
    abort_upload_days: int
    transition_days: int | None = None
    transition_to: Literal["INTELLIGENT_TIERING", "GLACIER_IR"] = "INTELLIGENT_TIERING"
    expire_days: int | None = None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """A list of all objects with their keys and locks, written to another bucket."""

    frequency: Literal["Daily", "Weekly"]
    destination_arn: pulumi.Input[str]
    account_id: str


@dataclass(frozen=True, kw_only=True)
class ArtifactStoreArgs:
    """How a bucket is called, encrypted, guarded and kept."""

    bucket: str
    """Its name, unique in all of S3, 3 to 63 characters."""
    key_arn: pulumi.Input[str] | None
    """The customer-managed key that S3 encrypts with; `None` for S3's own, only for what AWS cannot
    deliver under a customer key."""
    data_classification: DataClassification
    keep: bool
    """Whether the bucket outlives the stack: protected from deletion, and left when its stack is
    destroyed. Where it is false the bucket is emptied and deleted with the stack."""
    guard: Guard
    lifecycle: Lifecycle
    purpose: str | None = None
    """Tag by which policies know what the bucket is for."""
    backed_up: bool = True
    """Whether backup plans take it; tagged `backup=none` where they do not."""
    lock: ObjectLock | None = None
    access_logs: ArtifactStore | None = None
    """Where requests to the bucket are logged; `None` for the bucket that takes the logs."""
    inventory: Inventory | None = None
    deliveries: Sequence[Statement] = ()
    """What the policy of the bucket allows AWS services to write."""


class ArtifactStore(pulumi.ComponentResource):
    """A bucket, with its address `uri` (``s3://…``), `arn` and `bucket_id`.

    Whoever is let in by its policy waits for `ready`.
    """

    bucket_id: pulumi.Output[str]
    ready: list[pulumi.Resource]

    def __init__(
        self, name: str, args: ArtifactStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ArtifactStore", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        locked = args.lock is not None and args.lock.mode != "none"
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket,
            force_destroy=not args.keep,
            object_lock_enabled=locked,
            tags={"data-classification": args.data_classification}
            | ({"purpose": args.purpose} if args.purpose else {})
            | ({} if args.backed_up else {"backup": "none"}),
            # the data is worth more than the stack
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep),
        )
        access_block = aws.s3.BucketPublicAccessBlock(
            f"{name}-access-block",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.id,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        encryption: Any = {"sse_algorithm": "AES256"}
        if args.key_arn is not None:
            encryption = {"sse_algorithm": "aws:kms", "kms_master_key_id": args.key_arn}
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": encryption,
                    "bucket_key_enabled": args.key_arn is not None,
                }
            ],
            opts=child,
        )
        policy = aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=document(*refusals(args.guard, bucket.arn, args.key_arn), *args.deliveries),
            # S3 refuses two changes of a bucket's access at once
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access_block]),
        )
        # S3 takes rules on versions, and a lock, only of a bucket that is versioned by then
        versioned = pulumi.ResourceOptions(parent=self, depends_on=[versioning])
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=[_rule(args.lifecycle)],
            opts=versioned,
        )
        if args.lock is not None and locked:
            aws.s3.BucketObjectLockConfiguration(
                f"{name}-lock",
                bucket=bucket.id,
                rule={
                    "default_retention": {"mode": args.lock.mode.upper(), "days": args.lock.days}
                },
                opts=versioned,
            )
        if args.access_logs is not None:
            aws.s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket.id,
                target_bucket=args.access_logs.bucket_id,
                target_prefix=f"s3/{args.bucket}/",
                # what comes before the policy allows it is lost
                opts=pulumi.ResourceOptions(parent=self, depends_on=args.access_logs.ready),
            )
        if args.inventory is not None:
            aws.s3.Inventory(
                f"{name}-inventory",
                bucket=bucket.id,
                name="all",
                included_object_versions="All",
                schedule={"frequency": args.inventory.frequency},
                optional_fields=[
                    *("Size", "LastModifiedDate", "EncryptionStatus", "BucketKeyStatus"),
                    *("ObjectLockMode", "ObjectLockRetainUntilDate"),
                ],
                destination={
                    "bucket": {
                        "bucket_arn": args.inventory.destination_arn,
                        "account_id": args.inventory.account_id,
                        "format": "Parquet",
                        "prefix": "inventory",
                        "encryption": {"sse_s3": {}},
                    }
                },
                opts=child,
            )
        self.arn = bucket.arn
        self.bucket_id = bucket.id
        self.uri = pulumi.Output.concat("s3://", bucket.bucket)
        self.ready = [policy]
        self.register_outputs({"arn": self.arn, "uri": self.uri})


def _rule(lifecycle: Lifecycle) -> Any:
    """One rule for everything in the bucket."""
    rule: dict[str, Any] = {
        "id": "everything",
        "status": "Enabled",
        "filter": {},
        "abort_incomplete_multipart_upload": {"days_after_initiation": lifecycle.abort_upload_days},
        "noncurrent_version_expiration": {"noncurrent_days": lifecycle.noncurrent_days},
    }
    if lifecycle.transition_days is not None:
        rule["transitions"] = [
            {"days": lifecycle.transition_days, "storage_class": lifecycle.transition_to}
        ]
    if lifecycle.expire_days is not None:
        rule["expiration"] = {"days": lifecycle.expire_days}
    return rule
