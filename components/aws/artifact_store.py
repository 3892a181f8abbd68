"""A bucket for what people and jobs produce: versioned, encrypted, private, over TLS only.

Owns the bucket and everything that is set on it. Leaves the key to `keys` and the permissions of
readers and writers to their identities. The key must exist before.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import ANYONE, Statement, document
from components.tags import DataClassification


@dataclass(frozen=True, kw_only=True)
class ArtifactStoreArgs:
    """How a bucket is called, encrypted and kept."""

    bucket: str
    """Its name, unique in all of S3, 3 to 63 characters."""
    key_arn: pulumi.Input[str]
    """The customer-managed key that S3 encrypts with."""
    data_classification: DataClassification
    keep: bool
    """Whether the bucket outlives the stack: protected from deletion, and left when its stack is
    destroyed. Where it is false the bucket is emptied and deleted with the stack."""


class ArtifactStore(pulumi.ComponentResource):
    """A bucket, with its address `uri` (``s3://…``) and `arn`."""

    def __init__(
        self, name: str, args: ArtifactStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ArtifactStore", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket,
            force_destroy=not args.keep,
            tags={"data-classification": args.data_classification},
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
        aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": args.key_arn,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=child,
        )
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=document(
                Statement(
                    sid="DenyWithoutTls",
                    effect="Deny",
                    actions=("s3:*",),
                    resources=[bucket.arn, pulumi.Output.concat(bucket.arn, "/*")],
                    principals=ANYONE,
                    conditions={"Bool": {"aws:SecureTransport": "false"}},
                )
            ),
            # S3 refuses two changes of a bucket's access at once
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access_block]),
        )
        self.arn = bucket.arn
        self.uri = pulumi.Output.concat("s3://", bucket.bucket)
        self.register_outputs({"arn": self.arn, "uri": self.uri})
