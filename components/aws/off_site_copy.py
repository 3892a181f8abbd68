"""The AWS half of a copy outside the region: who reads the buckets, and where its secret is.

Owns role, association and the container of the secret, and gives the job that the cluster must run
as data. The buckets and the cluster must exist before. Somebody fills the secret once
(``aws secretsmanager put-secret-value``) with the keys of `off_site.SECRET_VARIABLES` and keeps the
passphrase outside the region too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.keys import use_of_team_keys
from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_pods
from components.aws.scope import Scope
from components.off_site import NAMESPACE, OffSiteJob, off_site_job


@dataclass(frozen=True, kw_only=True)
class OffSiteCopyArgs:
    """What is copied, and where to."""

    scope: Scope
    noun: str
    """Of the target, such as ``second-site``."""
    endpoint: str
    target: str
    """``bucket/prefix`` at the endpoint."""
    schedule: str
    contents: Sequence[str]
    secrets_key_arn: pulumi.Input[str]
    source_key_arns: Sequence[pulumi.Input[str]]
    """Of the keys that the buckets are encrypted with."""
    team_keys: bool
    """Whether teams' objects are under keys of theirs."""
    cluster_name: pulumi.Input[str]
    keep: bool


class OffSiteCopy(pulumi.ComponentResource):
    """A role, with its `arn`, for the job `job`."""

    job: OffSiteJob

    def __init__(
        self, name: str, args: OffSiteCopyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:OffSiteCopy", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        scope = args.scope
        # in the folder that the namespace of the job reads
        held = scope.secret(f"{NAMESPACE}/{args.noun}")
        secret = aws.secretsmanager.Secret(
            f"{name}-secret",
            name=held,
            description=f"Credentials and passphrase of the copy {args.noun}",
            kms_key_id=args.secrets_key_arn,
            # where nothing is kept, the name must be free at once
            recovery_window_in_days=30 if args.keep else 0,
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep),
        )
        buckets = [scope.bucket_arn(content) for content in args.contents]
        job = f"backup-copy-{args.noun}"
        role = Role(
            name,
            RoleArgs(
                scope=scope,
                role=job,
                trust=[taken_by_pods(scope)],
                permissions={
                    "read": [
                        Statement(
                            sid="FindObjects",
                            effect="Allow",
                            actions=("s3:ListBucket", "s3:GetBucketLocation"),
                            resources=buckets,
                        ),
                        Statement(
                            sid="ReadObjects",
                            effect="Allow",
                            actions=("s3:GetObject",),
                            resources=[f"{bucket}/*" for bucket in buckets],
                        ),
                        Statement(
                            sid="OpenObjects",
                            effect="Allow",
                            actions=("kms:Decrypt",),
                            resources=args.source_key_arns,
                            conditions={"StringEquals": {"kms:ViaService": scope.service("s3")}},
                        ),
                        *([use_of_team_keys(scope, ("kms:Decrypt",))] if args.team_keys else []),
                        Statement(
                            sid="ReadItsSecret",
                            effect="Allow",
                            actions=("secretsmanager:GetSecretValue",),
                            resources=[secret.arn],
                        ),
                        Statement(
                            sid="OpenItsSecret",
                            effect="Allow",
                            actions=("kms:Decrypt",),
                            resources=[args.secrets_key_arn],
                            conditions={
                                "StringEquals": {"kms:ViaService": scope.service("secretsmanager")}
                            },
                        ),
                    ]
                },
            ),
            child,
        )
        aws.eks.PodIdentityAssociation(
            f"{name}-association",
            cluster_name=args.cluster_name,
            namespace=NAMESPACE,
            service_account=job,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=role.policies),
        )
        self.arn = role.arn
        self.job = off_site_job(
            name=job,
            region=scope.region,
            secret=held,
            endpoint=args.endpoint,
            target=args.target,
            schedule=args.schedule,
            sources={content: scope.bucket(content) for content in args.contents},
        )
        self.register_outputs({"arn": self.arn})
