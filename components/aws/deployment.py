"""What making and changing an environment takes of AWS, service by service, as data.

The actions of a deploying role are given by verb (``ec2:Create*``): one program makes, changes,
looks at and deletes what is listed in ``components/aws``, and AWS adds attributes, each with an
action, faster than a list of hundreds could follow. What the list holds back instead is data: no
object, no secret's value, no message and no log line can be read with it. Resources are limited
by name wherever a service lets names be chosen; else to this account and region, where AWS knows no
resource of a kind before it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.aws.keys import USE
from components.aws.policy_document import Conditions, Statement
from components.aws.scope import Scope

_ALL = ("Create*", "Delete*", "Describe*", "Get*", "List*", "Put*", "Update*")
_TAGS = ("Tag*", "Untag*")
_PARTS_OF_CLUSTER = (
    *("nodegroup", "addon", "access-entry", "podidentityassociation", "identityproviderconfig"),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Actions on the resources of one service, or of one kind of it."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    conditions: Conditions | None = None
    reason: str | None = None
    """Why `resources` is everything, where it is."""

    def statement(self) -> Statement:
        """As a policy has it."""
        return Statement(
            sid=self.sid,
            effect="Allow",
            actions=self.actions,
            resources=self.resources,
            conditions=self.conditions or {},
        )


def _of(service: str, *verbs: str) -> tuple[str, ...]:
    return tuple(f"{service}:{verb}" for verb in verbs)


_MADE_WITHOUT_NAME = "has ids that AWS chooses, so nothing can be named before it is made"
_SETTING_OF_ACCOUNT = "is one setting of the account and region, and has no resources"


def deployment(scope: Scope, *, keep: bool) -> dict[str, list[Part]]:
    """What `up` and `destroy` need, by the name of the policy that grants it.

    With `keep` false, buckets may be emptied to be deleted.
    """
    ours = scope.name("*")

    def here(service: str, *resources: str) -> tuple[str, ...]:
        return tuple(scope.arn(service, resource) for resource in resources)

    buckets = (scope.bucket_arn("*"),)
    roles = (scope.role_arn("*"),)
    emptying = Part(
        sid="BucketsAreEmptied",
        actions=_of("s3", "DeleteObject", "DeleteObjectVersion"),
        resources=(f"{scope.bucket_arn('*')}/*",),
    )
    return {
        "network": [
            Part(
                sid="Network",
                actions=_of(
                    "ec2",
                    *("Allocate*", "Associate*", "Attach*", "Authorize*", "Create*", "Delete*"),
                    *("Describe*", "Detach*", "Disassociate*", "Get*", "Modify*", "Release*"),
                    *("Replace*", "Revoke*", "RunInstances", "TerminateInstances"),
                    *("EnableEbsEncryptionByDefault", "EnableImageBlockPublicAccess"),
                    "EnableSnapshotBlockPublicAccess",
                )
                + _of("elasticloadbalancing", "Describe*")
                + _of("network-firewall", *_ALL, *_TAGS, "Associate*", "Disassociate*")
                + _of("route53resolver", *_ALL, *_TAGS, "Associate*", "Disassociate*"),
                reason=_MADE_WITHOUT_NAME,
            ),
            Part(
                sid="WayIn",
                actions=_of(
                    "elasticloadbalancing",
                    *("AddTags", "Create*", "Delete*", "Modify*", "RemoveTags", "Set*"),
                ),
                resources=here(
                    "elasticloadbalancing",
                    *(f"{kind}/{ours}/*" for kind in ("loadbalancer/net", "listener/net")),
                    f"targetgroup/{ours}/*",
                ),
            ),
            Part(
                sid="Names",
                actions=_of(
                    "route53",
                    *("AssociateVPCWithHostedZone", "ChangeResourceRecordSets"),
                    *("ChangeTagsForResource", "CreateHostedZone", "DeleteHostedZone"),
                    *("DisassociateVPCFromHostedZone", "Get*", "List*"),
                ),
                reason=_MADE_WITHOUT_NAME,
            ),
        ],
        "cluster": [
            Part(
                sid="Cluster",
                actions=_of("eks", *_ALL, *_TAGS, "Associate*", "Disassociate*"),
                # a cluster without a suffix is called as the environment is
                resources=here(
                    "eks",
                    *(f"cluster/{cluster}" for cluster in (scope.cluster(), ours)),
                    *(
                        f"{part}/{cluster}/*"
                        for part in _PARTS_OF_CLUSTER
                        for cluster in (scope.cluster(), ours)
                    ),
                ),
            ),
            Part(
                sid="ClusterVersions",
                actions=_of(
                    "eks", "DescribeAddonVersions", "ListClusters", "DescribeClusterVersions"
                ),
                reason="lists what AWS offers",
            ),
            Part(
                sid="Images",
                actions=_of("ecr", *_ALL, *_TAGS, "SetRepositoryPolicy"),
                resources=here("ecr", "repository/*"),
            ),
            Part(
                sid="ImageRegistry",
                actions=_of(
                    "ecr",
                    *("CreatePullThroughCacheRule", "CreateRepositoryCreationTemplate"),
                    *("DeletePullThroughCacheRule", "DeleteRegistryPolicy"),
                    *("DeleteRepositoryCreationTemplate", "Describe*", "GetAuthorizationToken"),
                    *("GetRegistry*", "PutRegistry*", "UpdatePullThroughCacheRule"),
                    *("UpdateRepositoryCreationTemplate", "ValidatePullThroughCacheRule"),
                ),
                reason=_SETTING_OF_ACCOUNT,
            ),
            Part(
                sid="Scaling",
                actions=_of("autoscaling", "Describe*"),
                reason="reads only, and has no resources for it",
            ),
        ],
        "storage": [
            Part(
                sid="Buckets",
                # by name: s3:Get* and s3:Put* would hold the objects
                actions=_of(
                    "s3",
                    *("CreateBucket", "DeleteBucket", "DeleteBucketPolicy", "GetAcceleration*"),
                    *("GetAccelerateConfiguration", "GetAnalyticsConfiguration", "GetBucket*"),
                    *("GetEncryptionConfiguration", "GetInventoryConfiguration"),
                    *("GetIntelligentTieringConfiguration", "GetLifecycleConfiguration"),
                    *("GetMetricsConfiguration", "GetReplicationConfiguration", "ListBucket*"),
                    *("ListTagsForResource", "PutBucket*", "PutEncryptionConfiguration"),
                    *("PutIntelligentTieringConfiguration", "PutInventoryConfiguration"),
                    *("PutLifecycleConfiguration", "TagResource", "UntagResource"),
                ),
                resources=buckets,
            ),
            *([] if keep else [emptying]),
            Part(
                sid="AccessPoints",
                actions=_of(
                    "s3",
                    *("CreateAccessPoint", "DeleteAccessPoint*", "GetAccessPoint*"),
                    "PutAccessPointPolicy",
                ),
                resources=here("s3", f"accesspoint/{ours}"),
            ),
            Part(
                sid="AccountOfBuckets",
                actions=_of("s3", "GetAccountPublicAccessBlock", "PutAccountPublicAccessBlock"),
                reason=_SETTING_OF_ACCOUNT,
            ),
            Part(
                sid="Stores",
                actions=_of("rds", "Add*", "Remove*", "Create*", "Delete*", "Describe*", "List*")
                + _of("rds", "Modify*", "RebootDBInstance")
                + _of("elasticache", "Add*", "Remove*", "Create*", "Delete*", "Describe*", "List*")
                + _of("elasticache", "Modify*"),
                resources=(
                    *here(
                        "rds", *(f"{kind}:{ours}" for kind in ("db", "subgrp", "pg", "snapshot"))
                    ),
                    *here("elasticache", *(f"{kind}:{ours}" for kind in _CACHE_KINDS)),
                ),
            ),
            Part(
                sid="StoresAreSeen",
                actions=_of("rds", "Describe*") + _of("elasticache", "Describe*"),
                reason="lists what AWS offers, and waits for what is being made",
            ),
            Part(
                sid="Streams",
                actions=_of("kafka", *_ALL, *_TAGS),
                reason=_MADE_WITHOUT_NAME,
            ),
            Part(
                sid="Queues",
                actions=_of(
                    "sqs",
                    *("AddPermission", "CreateQueue", "DeleteQueue", "GetQueue*", "ListQueueTags"),
                    *("RemovePermission", "SetQueueAttributes", "TagQueue", "UntagQueue"),
                )
                + _of(
                    "sns",
                    *("CreateTopic", "DeleteTopic", "Get*", "List*", "SetTopicAttributes"),
                    *("SetSubscriptionAttributes", "Subscribe", "Unsubscribe", *_TAGS),
                ),
                resources=(*here("sqs", ours), *here("sns", ours)),
            ),
            Part(
                sid="Backups",
                actions=_of("backup", *_ALL, *_TAGS) + _of("backup-storage", "MountCapsule"),
                reason=_MADE_WITHOUT_NAME,
            ),
        ],
        "protection": [
            Part(
                sid="KeysAreMade",
                actions=_of("kms", "CreateKey", "List*"),
                reason=_MADE_WITHOUT_NAME,
            ),
            Part(
                sid="Keys",
                actions=_of(
                    "kms",
                    *(
                        "CreateAlias",
                        "CreateGrant",
                        "DeleteAlias",
                        "Describe*",
                        "EnableKeyRotation",
                    ),
                    *("Get*", "List*", "PutKeyPolicy", "ScheduleKeyDeletion", "TagResource"),
                    *("UntagResource", "Update*"),
                ),
                resources=here("kms", "key/*", f"alias/falaj/{scope.environment}/*"),
            ),
            Part(
                sid="KeysAreUsedThroughServices",
                actions=USE["write"],
                resources=here("kms", "key/*"),
                conditions={
                    "StringEquals": {
                        "kms:ViaService": [
                            scope.service(service) for service in _SERVICES_THAT_TAKE_KEYS
                        ]
                    }
                },
            ),
            Part(
                sid="Secrets",
                # neither reads a value nor writes one
                actions=_of(
                    "secretsmanager",
                    *("CreateSecret", "DeleteResourcePolicy", "DeleteSecret", "DescribeSecret"),
                    *("GetResourcePolicy", "PutResourcePolicy", "RestoreSecret", "RotateSecret"),
                    *("CancelRotateSecret", "TagResource", "UntagResource", "UpdateSecret"),
                ),
                resources=(scope.secret_arn("*"), *here("secretsmanager", "secret:rds!*")),
            ),
            Part(
                sid="SecretValues",
                actions=_of("lambda", *_ALL, *_TAGS, "AddPermission", "RemovePermission")
                + _of("lambda", "InvokeFunction"),
                resources=here("lambda", f"function:{ours}"),
            ),
            Part(
                sid="Records",
                actions=_of("cloudtrail", *_ALL, "AddTags", "RemoveTags", "StartLogging")
                + _of("cloudtrail", "StopLogging")
                + _of("config", *_ALL, *_TAGS, "StartConfigurationRecorder")
                + _of("config", "StopConfigurationRecorder")
                + _of("guardduty", *_ALL, *_TAGS)
                + _of("securityhub", *_ALL, *_TAGS, "BatchEnable*", "BatchDisable*", "Enable*")
                + _of("securityhub", "DisableSecurityHub")
                + _of("access-analyzer", *_ALL, *_TAGS),
                reason=_SETTING_OF_ACCOUNT,
            ),
            Part(
                sid="LogGroups",
                # by name: logs:Get* would hold what is logged
                actions=_of(
                    "logs",
                    *("AssociateKmsKey", "Create*", "Delete*", "Describe*", "DisassociateKmsKey"),
                    *("List*", "PutMetricFilter", "PutResourcePolicy", "PutRetentionPolicy"),
                    *("PutSubscriptionFilter", *_TAGS),
                )
                + _of("cloudwatch", "DeleteAlarms", "Describe*", "ListTagsForResource")
                + _of("cloudwatch", "PutMetricAlarm", *_TAGS)
                + _of("events", *_ALL, *_TAGS, "EnableRule", "DisableRule", "RemoveTargets")
                + _of("firehose", *_ALL, *_TAGS),
                resources=(
                    *here("logs", "*"),
                    *here("cloudwatch", "alarm:*"),
                    *here("events", f"rule/{ours}"),
                    *here("firehose", f"deliverystream/{ours}"),
                ),
            ),
            Part(
                sid="Limits",
                actions=_of("servicequotas", "Get*", "List*") + _of("ssm", "GetParameter*"),
                reason="reads what AWS publishes of an account and of its images",
            ),
        ],
        "identity": [
            Part(
                sid="Roles",
                actions=_of(
                    "iam",
                    *("AddRoleToInstanceProfile", "AttachRolePolicy", "Create*", "DeleteInstance*"),
                    *("DeletePolicy*", "DeleteRole", "DeleteRolePolicy", "DetachRolePolicy"),
                    *("Get*", "List*", "PutRolePolicy", "PutRolePermissionsBoundary"),
                    *("RemoveRoleFromInstanceProfile", "SetDefaultPolicyVersion", *_TAGS),
                    *("UpdateAssumeRolePolicy", "UpdateRole*"),
                ),
                resources=(
                    *roles,
                    scope.policy_arn("*"),
                    f"arn:aws:iam::{scope.account_id}:instance-profile/{ours}",
                ),
            ),
            Part(
                sid="RolesAreHandedOn",
                actions=_of("iam", "PassRole"),
                resources=roles,
                conditions={"StringLike": {"iam:PassedToService": "*.amazonaws.com"}},
            ),
            Part(
                sid="RolesOfServices",
                actions=_of("iam", "CreateServiceLinkedRole", "GetRole"),
                resources=(f"arn:aws:iam::{scope.account_id}:role/aws-service-role/*",),
            ),
            Part(
                sid="Issuers",
                actions=_of("iam", "GetOpenIDConnectProvider"),
                resources=(f"arn:aws:iam::{scope.account_id}:oidc-provider/*",),
            ),
        ],
    }


_CACHE_KINDS = ("replicationgroup", "cluster", "subnetgroup", "parametergroup", "user", "usergroup")
_SERVICES_THAT_TAKE_KEYS = (*("backup", "ecr", "elasticache", "kafka", "rds", "secretsmanager"),)
"""They ask for the key in the name of whoever makes a resource."""


def guard_rails(scope: Scope) -> dict[str, list[Part]]:
    """What break-glass may besides: change the guard rails, and save a key from deletion."""
    return {
        "guard-rails": [
            Part(
                sid="Issuers",
                actions=_of(
                    "iam",
                    *("AddClientIDToOpenIDConnectProvider", "CreateOpenIDConnectProvider"),
                    *("DeleteOpenIDConnectProvider", "ListOpenIDConnectProviderTags"),
                    *("RemoveClientIDFromOpenIDConnectProvider", "TagOpenIDConnectProvider"),
                ),
                resources=(f"arn:aws:iam::{scope.account_id}:oidc-provider/*",),
            ),
            Part(
                sid="KeysAreSaved",
                actions=_of("kms", "CancelKeyDeletion", "DisableKey", "EnableKey"),
                resources=(scope.arn("kms", "key/*"),),
            ),
        ]
    }


def state_access(
    scope: Scope, key_arn: pulumi.Input[str] | None, *, write: bool
) -> list[Statement]:
    """What reading, or keeping, the stack's state takes.

    A preview takes no lock and writes nothing. Pulumi's secrets provider asks KMS itself, S3 asks
    in the role's name: so the key is not limited to a service. All that Pulumi keeps is below one
    prefix; beside it lie the bundles that runners install, which whoever deploys must not change.
    """
    bucket = scope.bucket_arn("state")
    objects = ("s3:GetObject", *(("s3:PutObject", "s3:DeleteObject") if write else ()))
    return [
        Statement(sid="State", effect="Allow", actions=objects, resources=[f"{bucket}/.pulumi/*"]),
        Statement(
            sid="StateList",
            effect="Allow",
            actions=("s3:ListBucket", "s3:GetBucketLocation"),
            resources=[bucket],
        ),
        Statement(
            sid="KeyOfState",
            effect="Allow",
            actions=USE["write" if write else "read"],
            resources=[key_arn if key_arn is not None else scope.arn("kms", "key/*")],
            # the alias is the bootstrap's, and known before its key is
            conditions={}
            if key_arn is not None
            else {
                "ForAnyValue:StringEquals": {
                    "kms:ResourceAliases": f"alias/falaj/{scope.environment}/state"
                }
            },
        ),
    ]


def statements(parts: dict[str, list[Part]]) -> dict[str, Sequence[Statement]]:
    """Name of a policy → its statements."""
    return {name: [part.statement() for part in held] for name, held in parts.items()}
