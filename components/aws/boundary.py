"""The permissions boundary: what no role of an environment can do, whatever its policies say.

Owns one managed policy, made before every role. It pins all roles to the allowed regions, keeps
them to the services that the platform is made of, and takes from them the means to switch the
guard rails off. Two ways remain around a guard rail, both seen by the trail: the role break-glass,
and an administrator of the account, who has no boundary and whom the organisation's policy
(`policies.guards.organisation`) holds. What both deny is said once, in `policies.guards`.

The deploying role cannot change the boundary, nor the roles that deploy: a change of those is
applied by break-glass. So a change of the program cannot widen its own rights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import Statement, document
from components.aws.scope import Scope
from policies.guards.actions import LOSING_KEYS, SHARING, STOPPING_RECORDS
from policies.guards.conditions import outside
from policies.guards.worldwide import GLOBAL_ACTIONS

NOUN = "boundary"

SERVICES = (
    *("access-analyzer", "acm", "application-autoscaling", "autoscaling", "backup"),
    *("backup-storage", "budgets", "cloudtrail", "cloudwatch", "config", "ec2", "ec2messages"),
    *("ecr", "eks", "eks-auth", "elasticache", "elasticloadbalancing", "events", "firehose"),
    *("guardduty", "kafka", "kafka-cluster", "lambda", "logs", "network-firewall", "pi", "rds"),
    *("rds-db", "route53", "route53resolver", "s3", "secretsmanager", "securityhub"),
    *("servicequotas", "sns", "sqs", "ssm", "ssmmessages", "tag"),
)
"""Every service that the platform may use at all."""

_OF_IDENTITY = ("Add", "Attach", "Create", "Delete", "Detach", "Get", "List", "Pass", "Put")
_OF_IDENTITY_TOO = ("Remove", "Set", "Simulate", "Tag", "Untag", "Update")
_SENSITIVE = (
    *(f"iam:{verb}*" for verb in (*_OF_IDENTITY, *_OF_IDENTITY_TOO)),
    *("kms:Cancel*", "kms:Create*", "kms:De*", "kms:Disable*", "kms:Enable*"),
    *("kms:Encrypt", "kms:Generate*", "kms:Get*", "kms:List*", "kms:Put*", "kms:ReEncrypt*"),
    *("kms:Retire*", "kms:Revoke*", "kms:ScheduleKeyDeletion", "kms:Tag*", "kms:Untag*"),
    *("kms:Update*", "sts:AssumeRole", "sts:Get*", "sts:TagSession"),
)

OPENING = (
    *("s3:PutAccountPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:PutBucketPolicy"),
    *("s3:DeleteBucketPolicy", "s3:PutBucketOwnershipControls", "s3:PutBucketAcl"),
    *("secretsmanager:PutResourcePolicy", "kms:PutKeyPolicy", "ecr:SetRepositoryPolicy"),
)


@dataclass(frozen=True, kw_only=True)
class BoundaryArgs:
    """Where roles may act, and how firmly the environment is held."""

    scope: Scope
    allowed_regions: Sequence[str]
    keep: bool
    """Whether only break-glass may delete keys and records; else the deploying role may, which must
    be able to take its whole environment away."""


class Boundary(pulumi.ComponentResource):
    """The managed policy, by its `arn`, for `Scope.boundary_arn`."""

    def __init__(
        self, name: str, args: BoundaryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Boundary", name, None, opts)
        policy = aws.iam.Policy(
            f"{name}-policy",
            name=args.scope.name(NOUN),
            description="What no role of this environment can do, whatever its policies say",
            policy=document(*boundary_statements(args)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = policy.arn
        self.register_outputs({"arn": self.arn})


def boundary_statements(args: BoundaryArgs) -> list[Statement]:
    """The statements of the boundary. What it allows is granted to nobody by that alone."""
    scope = args.scope
    own = scope.policy_arn(NOUN)
    break_glass = [scope.role_arn("break-glass")]
    deployers = [scope.role_arn("apply"), *break_glass]

    def deny_to_others(
        sid: str, actions: Sequence[str], resources: Sequence[str], exempt: Sequence[str]
    ) -> Statement:
        return Statement(
            sid=sid,
            effect="Deny",
            actions=actions,
            resources=resources,
            conditions={"ArnNotEquals": {"aws:PrincipalArn": exempt}},
        )

    return [
        Statement(
            sid="Services",
            effect="Allow",
            actions=(*(f"{service}:*" for service in SERVICES), *_SENSITIVE),
            resources=["*"],
        ),
        Statement(
            sid="DenyOutsideTheRegions",
            effect="Deny",
            not_actions=GLOBAL_ACTIONS,
            resources=["*"],
            conditions=outside(args.allowed_regions),
        ),
        Statement(
            sid="DenyRolesWithoutThisBoundary",
            effect="Deny",
            actions=("iam:CreateRole", "iam:PutRolePermissionsBoundary"),
            resources=["*"],
            conditions={"StringNotEquals": {"iam:PermissionsBoundary": own}},
        ),
        Statement(
            sid="DenyLeavingTheBoundary",
            effect="Deny",
            actions=(
                *("iam:DeleteRolePermissionsBoundary", "iam:CreateUser", "iam:CreateAccessKey"),
                *("iam:CreateLoginProfile", "iam:AttachUserPolicy", "iam:PutUserPolicy"),
            ),
            resources=["*"],
        ),
        deny_to_others(
            "DenyChangingTheBoundary",
            (
                *("iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion"),
                "iam:SetDefaultPolicyVersion",
            ),
            [own, scope.policy_arn("deploy-*")],
            break_glass,
        ),
        deny_to_others(
            "DenyChangingWhoDeploys",
            (
                *("iam:AttachRolePolicy", "iam:DeleteRole*", "iam:DetachRolePolicy"),
                *("iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole*"),
            ),
            [scope.role_arn("plan"), *deployers],
            break_glass,
        ),
        deny_to_others(
            "DenyChangingWhoseTokensCount",
            (
                *("iam:AddClientIDToOpenIDConnectProvider", "iam:CreateOpenIDConnectProvider"),
                *("iam:DeleteOpenIDConnectProvider", "iam:UpdateOpenIDConnectProviderThumbprint"),
            ),
            ["*"],
            break_glass,
        ),
        deny_to_others(
            "DenyLosingKeysAndRecords",
            (*LOSING_KEYS, *STOPPING_RECORDS),
            ["*"],
            break_glass if args.keep else deployers,
        ),
        deny_to_others("DenyOpening", OPENING, ["*"], deployers),
        Statement(sid="DenySharing", effect="Deny", actions=SHARING, resources=["*"]),
    ]
