"""Who may use which key, and through which service: the table that key policies are made of.

The uses through S3 and SQS by workloads follow from `access`; the table holds the others. Imports
no Pulumi.

A role is named by its noun, as `Scope.role_arn` takes it, or by its path where AWS makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from components.aws.access import BUCKET_DOMAINS, Domain, Identity, Mode, identities, team_role

ANY_TEAM = team_role("*")
"""Stands for the role of each team: 500 of them would not fit into a key policy."""

ANY_COPY = "backup-copy-*"
"""Stands for the job of each copy to a place outside the region."""

APPLIER = "apply"
DEPLOYERS = (APPLIER, "break-glass")
"""The roles that make and change an environment."""

LAUNCHERS = tuple(
    f"aws-service-role/{service}.amazonaws.com/AWSServiceRoleFor{name}"
    for service, name in (
        ("autoscaling", "AutoScaling"),
        ("spot", "EC2Spot"),
        ("ec2fleet", "EC2Fleet"),
    )
)
"""The service-linked roles that start nodes of managed groups and spot nodes."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """Roles that use a key through services, which then act with the rights of the role."""

    sid: str
    roles: tuple[str, ...]
    services: tuple[str, ...]
    """Names as in ``kms:ViaService``; empty where the role asks KMS itself."""
    mode: Mode | None
    """`None` where the role only hands the key on."""
    grants: Literal["to-resources", "to-anything"] | None = None
    """Whether the key may be handed on for as long as a resource needs it: disks, databases and
    repositories do, objects do not. `to-anything` is what EKS asks of whoever makes a cluster: it
    does not set ``kms:GrantIsForAWSResource``."""


@dataclass(frozen=True, kw_only=True)
class ServiceUse:
    """An AWS service that uses a key in its own name, for resources of this environment alone.

    `conditions` hold that: operator → condition key → pattern, with ``{region}``, ``{account}`` and
    ``{name}``, the beginning of our resources' names, in braces. Where a service hands no
    ``aws:SourceArn`` on, the encryption context names the resource.
    """

    sid: str
    services: tuple[str, ...]
    """Names before ``.amazonaws.com``."""
    mode: Mode
    conditions: Mapping[str, Mapping[str, str]]


_OUR_TOPICS = {
    "ArnLike": {"kms:EncryptionContext:aws:sns:topicArn": "arn:aws:sns:{region}:{account}:{name}-*"}
}
_OUR_QUEUES = {
    "ArnLike": {"kms:EncryptionContext:aws:sqs:arn": "arn:aws:sqs:{region}:{account}:{name}-*"}
}
_OUR_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "{account}"}}

_USES: Mapping[Domain, tuple[Use, ...]] = {
    "state": (
        # S3 asks for the state, and Pulumi's secrets provider asks KMS itself
        Use(sid="PlanReadsState", roles=("plan",), services=(), mode="read"),
        Use(sid="DeployersKeepState", roles=DEPLOYERS, services=(), mode="write"),
        Use(sid="RunnerFetchesBundles", roles=("runner",), services=("s3",), mode="read"),
    ),
    "artifacts": (
        Use(
            sid="DeployersMakeRepositories",
            roles=DEPLOYERS,
            services=("ecr",),
            mode="write",
            grants="to-resources",
        ),
        Use(
            sid="CachesMakeRepositories",
            roles=("image-cache",),
            services=("ecr",),
            mode=None,
            grants="to-resources",
        ),
        Use(sid="Backup", roles=("backup",), services=("s3", "backup"), mode="write"),
        Use(sid="CopiesAreMade", roles=(ANY_COPY,), services=("s3",), mode="read"),
    ),
    "database": (
        Use(
            sid="DeployersMakeStores",
            roles=DEPLOYERS,
            services=("rds", "elasticache", "kafka"),
            mode="write",
            grants="to-resources",
        ),
        Use(
            sid="Backup",
            roles=("backup",),
            services=("rds", "backup"),
            mode="write",
            grants="to-resources",
        ),
    ),
    "secrets": (
        # RDS keeps the password that it makes for a database in a secret, for whoever asked
        Use(
            sid="DeployersMakeDatabasePasswords",
            roles=DEPLOYERS,
            services=("secretsmanager", "rds"),
            mode="write",
            grants="to-resources",
        ),
        Use(
            sid="RotationWritesValues",
            roles=("secret-values",),
            services=("secretsmanager",),
            mode="write",
        ),
        Use(sid="CopiesAreSealed", roles=(ANY_COPY,), services=("secretsmanager",), mode="read"),
    ),
    "cluster": (
        Use(
            sid="LaunchersAttachDisks",
            roles=(*LAUNCHERS, "karpenter", "ebs-csi"),
            services=("ec2",),
            mode="write",
            grants="to-resources",
        ),
        Use(sid="KarpenterTakesEvents", roles=("karpenter",), services=("sqs",), mode="read"),
        Use(
            sid="DeployersMakeCluster",
            roles=DEPLOYERS,
            services=(),
            mode=None,
            grants="to-anything",
        ),
        Use(sid="ClusterOpensSecrets", roles=("cluster",), services=(), mode="write"),
        Use(
            sid="Backup",
            roles=("backup",),
            services=("ec2", "backup"),
            mode="write",
            grants="to-resources",
        ),
    ),
    "logs": (
        Use(sid="StreamsDeliver", roles=("log-stream",), services=("s3",), mode="write"),
        Use(
            sid="DeployersMakeStreams",
            roles=DEPLOYERS,
            services=("firehose",),
            mode=None,
            grants="to-resources",
        ),
        Use(sid="RecordsAreRead", roles=("siem",), services=("s3",), mode="read"),
    ),
    "backups": (
        Use(
            sid="Backup",
            roles=("backup", *DEPLOYERS),
            services=("backup", "ec2", "rds", "s3"),
            mode="write",
            grants="to-resources",
        ),
        Use(sid="CopiesAreMade", roles=(ANY_COPY,), services=("s3",), mode="read"),
    ),
}

SERVICE_USES: Mapping[Domain, tuple[ServiceUse, ...]] = {
    "state": (),
    "artifacts": (
        ServiceUse(sid="StoreTells", services=("s3",), mode="write", conditions=_OUR_QUEUES),
    ),
    "database": (),
    "secrets": (),
    "cluster": (
        ServiceUse(sid="EventsTell", services=("events",), mode="write", conditions=_OUR_QUEUES),
    ),
    "logs": (
        ServiceUse(
            sid="LogGroups",
            services=("logs.{region}",),
            mode="write",
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:logs:arn": (
                        "arn:aws:logs:{region}:{account}:log-group:*"
                    )
                }
            },
        ),
        ServiceUse(
            sid="Trail",
            services=("cloudtrail",),
            mode="append",
            conditions={
                "ArnLike": {"aws:SourceArn": "arn:aws:cloudtrail:{region}:{account}:trail/{name}-*"}
            },
        ),
        ServiceUse(
            sid="Deliveries",
            services=("config", "delivery.logs", "guardduty"),
            mode="write",
            conditions=_OUR_ACCOUNT,
        ),
        ServiceUse(
            sid="Inventories",
            services=("s3",),
            mode="append",
            conditions=_OUR_ACCOUNT | {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::{name}-*"}},
        ),
        ServiceUse(
            sid="Alarms",
            services=("cloudwatch", "events", "backup"),
            mode="write",
            # EventBridge hands no aws:SourceArn and no aws:SourceAccount on to KMS for a topic
            conditions=_OUR_TOPICS,
        ),
        ServiceUse(sid="AlarmsAreQueued", services=("sns",), mode="write", conditions=_OUR_QUEUES),
    ),
    "backups": (),
}


def uses(domain: Domain, *, team_keys: bool = False) -> tuple[Use, ...]:
    """Every use of the key of `domain` by roles; with `team_keys` teams' objects are not under it.

    A team reads what is shared with all, and that stays under the key of the domain.
    """
    of = {
        name: (one, modes(one, domain, team_keys=team_keys))
        for name, one in identities(["*"]).items()
    }
    return (
        *_of_objects({name: found for name, (_, found) in of.items()}),
        *_of_messages_and_secrets(domain, {name: one for name, (one, _) in of.items()}),
        *_USES[domain],
    )


def uses_of_team(team: str) -> tuple[Use, ...]:
    """Every use of the key of one team: by itself, and by those who read or copy its objects."""
    of = {name: modes_of_teams(one) for name, one in identities([team]).items()}
    return (
        *_of_objects(of),
        Use(sid="Backup", roles=("backup",), services=("s3", "backup"), mode="write"),
        Use(sid="CopiesAreMade", roles=(ANY_COPY,), services=("s3",), mode="read"),
    )


def _of_objects(of: Mapping[str, set[Mode]]) -> tuple[Use, ...]:
    done: Mapping[Mode, str] = {"read": "Read", "append": "Appended", "write": "Written"}
    by_mode = {mode: tuple(name for name, found in of.items() if mode in found) for mode in done}
    return tuple(
        Use(sid=f"ObjectsAre{done[mode]}", roles=roles, services=("s3",), mode=mode)
        for mode, roles in by_mode.items()
        if roles
    )


def _of_messages_and_secrets(domain: Domain, of: Mapping[str, Identity]) -> tuple[Use, ...]:
    found = (
        Use(
            sid="QueuesAreRead",
            roles=tuple(name for name, one in of.items() if one.queues and domain == "artifacts"),
            services=("sqs",),
            mode="read",
        ),
        Use(
            sid="SecretsAreRead",
            roles=tuple(n for n, one in of.items() if one.reads_secrets and domain == "secrets"),
            services=("secretsmanager",),
            mode="read",
        ),
    )
    return tuple(use for use in found if use.roles)


def modes(identity: Identity, domain: Domain, *, team_keys: bool = False) -> set[Mode]:
    """In which ways `identity` uses objects under the key of `domain`."""
    return {
        one.mode
        for one in identity.prefixes
        if BUCKET_DOMAINS[one.bucket] == domain and not (team_keys and one.of_teams)
    }


def modes_of_teams(identity: Identity) -> set[Mode]:
    """In which ways `identity` uses objects of teams, which are under keys of theirs."""
    return {one.mode for one in identity.prefixes if one.of_teams}
