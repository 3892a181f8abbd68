"""The identities of workloads: a role for each, and which service account takes it.

Owns roles, their policies and the Pod Identity associations. What each may touch is data, in
`access`; that the keys agree is in `key_use`. The permissions boundary and the keys must exist
before; the cluster must, for associations. Service accounts are made with the Kubernetes layer,
under the names in `access`.

A role is pinned twice: its trust names the namespace and the service account, and the association
names the same. So neither whoever edits an association nor whoever makes a pod elsewhere gets it.
EKS puts namespace and service account into every session as tags, and a team's role carries the tag
``team``: CloudTrail shows both with each call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.access import (
    BUCKET_DOMAINS,
    Domain,
    Identity,
    Mode,
    Prefix,
    identities,
    team_role,
)
from components.aws.bucket_policy import KEY
from components.aws.key_use import modes, modes_of_teams
from components.aws.keys import USE, use_of_team_keys
from components.aws.policy_document import ANYONE, Statement
from components.aws.role import Role, RoleArgs, taken_by_pods
from components.aws.scope import Scope

KeyArns = Mapping[Domain, pulumi.Input[str]]

_OBJECTS: Mapping[Mode, tuple[str, ...]] = {
    "read": ("s3:GetObject",),
    "append": ("s3:PutObject",),
    # a deletion leaves the version: nobody here may remove one
    "write": (
        *("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
        *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
    ),
}
_QUEUE = (
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
    "sqs:GetQueueAttributes",
)


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentitiesArgs:
    """Whom to make roles for, and what they lean on."""

    scope: Scope
    teams: Iterable[str]
    orchestrated: Sequence[str] = ()
    """Those of `teams` that have a Dagster."""
    key_arns: KeyArns
    team_key_arns: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Team → its own key; empty where teams have none."""
    signing_keys: Sequence[str] = ()
    """ARNs of the keys, or of their aliases, that sign images. Each key's own policy must hold
    `signing_key_statement` too."""
    cluster_name: pulumi.Input[str] | None
    """The cluster whose pods take the roles; without one, nobody can."""


class WorkloadIdentities(pulumi.ComponentResource):
    """`roles`: noun → ARN; `associations`: what a workload must wait for before its pods start."""

    def __init__(
        self,
        name: str,
        args: WorkloadIdentitiesArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:aws:WorkloadIdentities", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.roles: dict[str, pulumi.Output[str]] = {}
        self.associations: dict[str, pulumi.Resource] = {}
        teams = {team_role(team): team for team in args.teams}
        for noun, identity in identities(teams.values(), orchestrated=args.orchestrated).items():
            team = teams.get(noun)
            role = Role(
                f"{name}-{noun}",
                RoleArgs(
                    scope=args.scope,
                    role=noun,
                    trust=[
                        taken_by_pods(
                            args.scope, account=(identity.namespace, identity.service_account)
                        )
                    ],
                    permissions={"access": list(permissions(args, identity, team))},
                    tags={"team": team} if team else {},
                ),
                child,
            )
            self.roles[noun] = role.arn
            if args.cluster_name is not None:
                self.associations[noun] = aws.eks.PodIdentityAssociation(
                    f"{name}-{noun}-association",
                    cluster_name=args.cluster_name,
                    namespace=identity.namespace,
                    service_account=identity.service_account,
                    role_arn=role.arn,
                    # a pod that starts sooner would run with a role that may do nothing
                    opts=pulumi.ResourceOptions(parent=self, depends_on=role.policies),
                )
        self.register_outputs({"roles": self.roles})


def permissions(
    args: WorkloadIdentitiesArgs, identity: Identity, team: str | None
) -> Iterator[Statement]:
    """The statements of the policy of `identity`, which may be that of a team."""
    scope, team_keys = args.scope, bool(args.team_key_arns)
    own_key = args.team_key_arns[team] if team is not None and team_keys else None
    yield from _objects(scope, identity.prefixes, team, own_key)
    for domain in sorted({BUCKET_DOMAINS[one.bucket] for one in identity.prefixes}):
        for mode in sorted(modes(identity, domain, team_keys=team_keys)):
            yield _key(scope, f"{domain}-{mode}", mode, args.key_arns[domain], "s3")
    if team_keys:
        for mode in sorted(modes_of_teams(identity)):
            if own_key is not None:
                yield _key(scope, f"own-{mode}", mode, own_key, "s3")
            else:
                yield use_of_team_keys(scope, USE[mode])
    if identity.database_user is not None:
        yield Statement(
            sid="SignInToDatabase",
            effect="Allow",
            actions=("rds-db:connect",),
            # the middle part is an id that a restored database changes; users are ours alone
            resources=[scope.arn("rds-db", f"dbuser:*/{identity.database_user}")],
        )
    if identity.queues:
        yield Statement(
            sid="TakeMessages",
            effect="Allow",
            actions=_QUEUE,
            resources=[scope.arn("sqs", scope.name(queue)) for queue in identity.queues],
        )
        yield _key(scope, "queues", "read", args.key_arns["artifacts"], "sqs")
    if identity.reads_secrets:
        yield Statement(
            sid="ReadSecrets",
            effect="Allow",
            actions=("secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"),
            resources=[scope.secret_arn("*")],
        )
        yield _key(scope, "secrets", "read", args.key_arns["secrets"], "secretsmanager")
    if identity.reads_images:
        yield Statement(
            sid="ReadImages",
            effect="Allow",
            actions=("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
            resources=[scope.repository_arn("*")],
        )
        yield from _signing_keys(args.signing_keys)
    for number, unscoped in enumerate(identity.unscoped):
        yield Statement(
            sid=f"WithoutResource{number}",
            effect="Allow",
            actions=unscoped.actions,
            resources=["*"],
        )


READS_KEY = ("kms:GetPublicKey", "kms:DescribeKey")
"""What a signature is checked by: neither makes one."""


def _signing_keys(keys: Sequence[str]) -> Iterator[Statement]:
    if named := [one for one in keys if ":key/" in one]:
        yield Statement(sid="ReadSigningKeys", effect="Allow", actions=READS_KEY, resources=named)
    # IAM knows no alias as a resource: it is a condition on the keys of its account and region
    for number, alias in enumerate(one for one in keys if ":alias/" in one):
        account, _, name = alias.rpartition(":")
        yield Statement(
            sid=f"ReadSigningKeyByAlias{number}",
            effect="Allow",
            actions=READS_KEY,
            resources=[f"{account}:key/*"],
            conditions={"ForAnyValue:StringEquals": {"kms:ResourceAliases": name}},
        )


def signing_key_statement(scope: Scope) -> Statement:
    """What the policy of a key that signs images must hold, so that the verifier of `scope` reads
    its public half and nothing else: the key is somebody else's, and so is its policy.

    The role is named by condition: KMS refuses a policy whose principal does not exist yet.
    """
    return Statement(
        sid=f"FalajVerifies{scope.environment.title()}",
        effect="Allow",
        actions=READS_KEY,
        resources=["*"],
        principals=ANYONE,
        conditions={
            "StringEquals": {"kms:CallerAccount": scope.account_id},
            "ArnLike": {"aws:PrincipalArn": [scope.role_arn("kyverno")]},
        },
    )


def _objects(
    scope: Scope,
    prefixes: Iterable[Prefix],
    team: str | None,
    own_key: pulumi.Input[str] | None,
) -> Iterator[Statement]:
    by_bucket: dict[tuple[str, Mode, bool], list[str]] = {}
    for one in prefixes:
        by_bucket.setdefault((one.bucket, one.mode, one.of_teams), []).append(one.path)
    for (bucket, mode, of_teams), paths in by_bucket.items():
        arn = scope.bucket_arn(bucket)
        # a team comes through its own access point or not at all (`bucket_policy`), to what it
        # shares as well, and IAM takes the point for another resource
        doors = [scope.access_point_arn(bucket, team or "*")] if team or of_teams else []
        what = f"{mode.title()}{'Teams' if of_teams else ''}{bucket.title()}"
        objects = [
            *(f"{arn}/{path}*" for path in paths),
            *(f"{door}/object/{path}*" for door in doors for path in paths),
        ]
        named = own_key if of_teams and "s3:PutObject" in _OBJECTS[mode] else None
        yield Statement(
            sid=what,
            effect="Allow",
            actions=[one for one in _OBJECTS[mode] if named is None or one != "s3:PutObject"],
            resources=objects,
        )
        if named is not None:
            yield Statement(
                sid=f"Put{bucket.title()}",
                effect="Allow",
                actions=("s3:PutObject",),
                resources=objects,
                conditions={"StringEquals": {KEY: named}},
            )
        if mode != "append":
            yield Statement(
                sid=f"{what}List",
                effect="Allow",
                actions=("s3:ListBucket",),
                resources=[arn, *doors],
                conditions={"StringLike": {"s3:prefix": [f"{path}*" for path in paths]}},
            )


def _key(
    scope: Scope, purpose: str, mode: Mode, key_arn: pulumi.Input[str], service: str
) -> Statement:
    return Statement(
        sid="Key" + purpose.title().replace("-", ""),
        effect="Allow",
        actions=USE[mode],
        resources=[key_arn],
        conditions={"StringEquals": {"kms:ViaService": scope.service(service)}},
    )
