"""The image registry: a repository for every image and chart of others that the platform runs.

Owns the repositories and what is set on them, the scanning of the registry, and in dev the caches
that fetch at the first pull. Leaves filling them to the mirror job that follows `falaj images
plan`, and what there is to `components/images.yaml`. The key must exist before. Nothing is
replicated: ECR copies to other regions and accounts only where a replication configuration says so,
and none is made here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import ANYONE, Statement, document
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.image_registry import ImageRegistrySettings, Upstream

NODE_ROLES = ("nodes-*", "elastic-nodes")
"""How the roles of nodes are called, managed and elastic ones: they pull the images."""

_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_PUSH = (
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
_IMPORT = ("ecr:BatchImportUpstreamImage", "ecr:CreateRepository")
_ADDRESSES: dict[Upstream, str] = {"docker.io": "registry-1.docker.io"}
"""What ECR calls a registry, where that is not its usual name."""


@dataclass(frozen=True, kw_only=True)
class ImageRegistryArgs:
    """What is kept, and how."""

    scope: Scope
    repositories: Sequence[str]
    """The paths of the repositories below `scope.repository`, such as ``mlflow``."""
    key_arn: pulumi.Input[str]
    """The customer-managed key of the domain `artifacts`; it must allow itself to be used through
    ECR, with grants."""
    keep: bool
    """Whether repositories outlive the stack; else they are deleted with their images."""
    settings: ImageRegistrySettings = field(default_factory=ImageRegistrySettings)
    organisation_id: str | None = None
    """Whose accounts may pull; without it, this account alone."""
    key_ready: Sequence[pulumi.Resource] = ()
    """What the key needs before it can be used: its policy."""


class ImageRegistry(pulumi.ComponentResource):
    """Repositories of an environment; `repository_arns` holds the ARN of each, by its path."""

    def __init__(
        self, name: str, args: ImageRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ImageRegistry", name, None, opts)
        self.repository_arns = {
            path: self._repository(name, path, args) for path in args.repositories
        }
        if args.settings.owns_account_settings:
            self._scanning(name, args.settings)
        if args.settings.pull_through:
            self._caches(name, args)
        self.register_outputs({"repository_arns": self.repository_arns})

    def _repository(self, name: str, path: str, args: ImageRegistryArgs) -> pulumi.Output[str]:
        role = path.replace("/", "-")
        repository = aws.ecr.Repository(
            f"{name}-{role}",
            name=args.scope.repository(path),
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[
                aws.ecr.RepositoryEncryptionConfigurationArgs(
                    encryption_type="KMS", kms_key=args.key_arn
                )
            ],
            force_delete=not args.keep,
            opts=pulumi.ResourceOptions(
                parent=self,
                # an image that is gone upstream cannot be had again
                protect=args.keep,
                retain_on_delete=args.keep,
                # the name is fixed, so the old one must go before a new one has it
                delete_before_replace=True,
                # ECR takes a grant on the key when the repository is made
                depends_on=args.key_ready,
            ),
        )
        child = pulumi.ResourceOptions(parent=self)
        aws.ecr.LifecyclePolicy(
            f"{name}-{role}-lifecycle",
            repository=repository.name,
            policy=_lifecycle(args.settings),
            opts=child,
        )
        aws.ecr.RepositoryPolicy(
            f"{name}-{role}-policy",
            repository=repository.name,
            policy=_access(args),
            opts=child,
        )
        arn: pulumi.Output[str] = repository.arn
        return arn

    def _scanning(self, name: str, settings: ImageRegistrySettings) -> None:
        enhanced = settings.scanning == "enhanced"
        aws.ecr.RegistryScanningConfiguration(
            f"{name}-scanning",
            scan_type="ENHANCED" if enhanced else "BASIC",
            rules=[
                {
                    "scan_frequency": "CONTINUOUS_SCAN" if enhanced else "SCAN_ON_PUSH",
                    "repository_filters": [{"filter": "*", "filter_type": "WILDCARD"}],
                }
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _caches(self, name: str, args: ImageRegistryArgs) -> None:
        """Repositories that ECR makes itself get what ours have: key, lifecycle, policy."""
        child = pulumi.ResourceOptions(parent=self)
        maker = Role(
            f"{name}-maker",
            RoleArgs(
                scope=args.scope,
                role="image-cache",
                trust=[taken_by_service("ecr")],
                permissions={
                    "make-repositories": [
                        Statement(
                            sid="MakeRepositories",
                            effect="Allow",
                            actions=(
                                "ecr:CreateRepository",
                                "ecr:ReplicateImage",
                                "ecr:TagResource",
                            ),
                            resources=[args.scope.repository_arn("*")],
                        ),
                        Statement(
                            sid="EncryptThem",
                            effect="Allow",
                            actions=("kms:CreateGrant", "kms:RetireGrant", "kms:DescribeKey"),
                            resources=[args.key_arn],
                            conditions={
                                "StringEquals": {"kms:ViaService": args.scope.service("ecr")}
                            },
                        ),
                    ]
                },
            ),
            child,
        )
        rules = {}
        for upstream, how in args.settings.pull_through.items():
            template = aws.ecr.RepositoryCreationTemplate(
                f"{name}-{upstream}-template",
                prefix=args.scope.repository(upstream),
                description=f"Copies from {upstream}",
                applied_fors=["PULL_THROUGH_CACHE"],
                image_tag_mutability="IMMUTABLE",
                encryption_configurations=[
                    aws.ecr.RepositoryCreationTemplateEncryptionConfigurationArgs(
                        encryption_type="KMS", kms_key=args.key_arn
                    )
                ],
                lifecycle_policy=_lifecycle(args.settings),
                repository_policy=_access(args),
                custom_role_arn=maker.arn,
                opts=pulumi.ResourceOptions(
                    parent=self, depends_on=[*maker.policies, *args.key_ready]
                ),
            )
            rules[upstream] = aws.ecr.PullThroughCacheRule(
                f"{name}-{upstream}-cache",
                ecr_repository_prefix=args.scope.repository(upstream),
                upstream_registry_url=_ADDRESSES.get(upstream, upstream),
                credential_arn=how.credential_arn,
                # before there is a template, a pull would make a repository without our key
                opts=pulumi.ResourceOptions(parent=self, depends_on=[template]),
            )
        if args.settings.owns_account_settings:
            aws.ecr.RegistryPolicy(
                f"{name}-registry-policy",
                policy=document(
                    Statement(
                        sid="NodesFetchAtTheFirstPull",
                        effect="Allow",
                        actions=_IMPORT,
                        resources=[
                            args.scope.repository_arn(f"{upstream}/*") for upstream in rules
                        ],
                        principals=ANYONE,
                        conditions={
                            "StringEquals": {"aws:PrincipalAccount": args.scope.account_id},
                            "ArnLike": {
                                "aws:PrincipalArn": [args.scope.role_arn(one) for one in NODE_ROLES]
                            },
                        },
                    )
                ),
                opts=child,
            )


def filled_by(scope: Scope) -> list[Statement]:
    """The rights of the mirror job: to add images to the environment's repositories, never to
    take one away or to change how a repository is kept."""
    return [
        Statement(
            sid="LogIn",
            effect="Allow",
            actions=("ecr:GetAuthorizationToken",),
            # ECR gives one token for all of a registry
            resources=["*"],
        ),
        Statement(
            sid="AddImages",
            effect="Allow",
            actions=(*_PULL, *_PUSH),
            resources=[scope.repository_arn("*")],
        ),
    ]


def _lifecycle(settings: ImageRegistrySettings) -> str:
    """Only what no tag holds expires; ECR keeps the parts of an index as long as the index."""
    return json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "description": f"untagged for {settings.untagged_days} days",
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "sinceImagePushed",
                        "countUnit": "days",
                        "countNumber": settings.untagged_days,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    )


def _access(args: ImageRegistryArgs) -> pulumi.Output[str]:
    """Nobody from outside the account, or the organisation; AWS services, such as the scanner, may.

    A policy of a repository has no resources: it is about that repository.
    """
    organisation = args.organisation_id
    inside = (
        {"aws:PrincipalOrgID": organisation}
        if organisation
        else {"aws:PrincipalAccount": args.scope.account_id}
    )
    deny = Statement(
        sid="DenyFromOutside",
        effect="Deny",
        actions=("ecr:*",),
        principals=ANYONE,
        conditions={
            "StringNotEquals": inside,
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        },
    )
    if not organisation:
        return document(deny)
    pull = Statement(
        sid="OrganisationPulls",
        effect="Allow",
        actions=_PULL,
        principals=ANYONE,
        conditions={"StringEquals": inside},
    )
    return document(deny, pull)
