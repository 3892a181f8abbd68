"""Customer-managed keys: one for each domain of data.

A key owns its rotation, alias and policy. Which resources are encrypted with it is said by those
resources. A key needs nothing to exist before it but the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import ANYONE, Statement, document
from components.aws.scope import Scope

Domain = Literal["state", "artifacts", "cluster", "logs", "backups", "database", "secrets"]

DOMAINS: tuple[Domain, ...] = ("artifacts", "cluster", "logs", "backups", "database", "secrets")
"""The domains whose keys an environment makes; that of `state` is made before it, by the
bootstrap."""

SERVICES: dict[Domain, str] = {
    "state": "s3",
    "artifacts": "s3",
    "cluster": "ec2",
    "logs": "logs",
    "backups": "s3",
    "database": "rds",
    "secrets": "secretsmanager",  # pragma: allowlist secret
}
"""The AWS service that encrypts a domain's data, and through which alone its key is used."""

DELETION_WINDOW_DAYS = 30
"""The longest that AWS offers: time to notice that a key was scheduled for deletion."""

_ADMINISTRATION = (
    "kms:Create*",
    "kms:Describe*",
    "kms:Enable*",
    "kms:List*",
    "kms:Put*",
    "kms:Update*",
    "kms:Revoke*",
    "kms:Disable*",
    "kms:Get*",
    "kms:Delete*",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
)
_USE = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncrypt*",
    "kms:GenerateDataKey*",
    "kms:DescribeKey",
)


@dataclass(frozen=True, kw_only=True)
class DomainKeyArgs:
    """What a key protects, and where."""

    scope: Scope
    domain: Domain


class DomainKey(pulumi.ComponentResource):
    """The key of one data domain, with `arn`, and the alias `falaj/<environment>/<domain>`.

    The account's administrators look after the key but cannot decrypt with it. Principals of the
    account use it through the service that encrypts with it alone, so that whoever may read the
    encrypted thing is said in one place, the permissions of that thing. Grants are for AWS
    resources only: an instance cannot attach an encrypted volume without one.
    """

    def __init__(
        self, name: str, args: DomainKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:DomainKey", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        through_service = {
            "kms:CallerAccount": args.scope.account_id,
            "kms:ViaService": args.scope.service(SERVICES[args.domain]),
        }
        key = aws.kms.Key(
            f"{name}-key",
            description=f"Falaj {args.scope.environment}: data domain {args.domain}",
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            policy=document(
                Statement(
                    sid="AccountAdministersKey",
                    effect="Allow",
                    actions=_ADMINISTRATION,
                    resources=["*"],
                    principals={"AWS": (f"arn:aws:iam::{args.scope.account_id}:root",)},
                ),
                Statement(
                    sid="AccountUsesKeyThroughService",
                    effect="Allow",
                    actions=_USE,
                    resources=["*"],
                    principals=ANYONE,
                    conditions={"StringEquals": through_service},
                ),
                Statement(
                    sid="ServiceGrantsKeyToItsResources",
                    effect="Allow",
                    actions=("kms:CreateGrant",),
                    resources=["*"],
                    principals=ANYONE,
                    conditions={
                        "StringEquals": through_service,
                        "Bool": {"kms:GrantIsForAWSResource": "true"},
                    },
                ),
                *_of_services(args),
            ),
            tags={"data-domain": args.domain},
            opts=child,
        )
        aws.kms.Alias(
            f"{name}-alias",
            name=f"alias/falaj/{args.scope.environment}/{args.domain}",
            target_key_id=key.key_id,
            opts=child,
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})


def _of_services(args: DomainKeyArgs) -> tuple[Statement, ...]:
    """What is asked of a key with no service between, or by a service with no caller behind it."""
    if args.domain == "state":
        return (
            Statement(
                sid="AccountKeepsSecretsOfState",
                effect="Allow",
                actions=_USE,
                resources=["*"],
                principals=ANYONE,
                conditions={"StringEquals": {"kms:CallerAccount": args.scope.account_id}},
            ),
        )
    if args.domain != "logs":
        return ()
    return (
        Statement(
            sid="LogsUseKeyForOurGroups",
            effect="Allow",
            actions=_USE,
            resources=["*"],
            principals={"Service": (args.scope.service("logs"),)},
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:logs:arn": args.scope.arn("logs", "log-group:*")
                }
            },
        ),
    )
