"""Customer-managed keys: one for each domain of data, and one for each team where it is asked for.

A key owns its rotation, alias and policy. Who uses it, and through which service, is said in
`key_use`; which resources are encrypted with it is said by those resources. A key needs nothing to
exist before it but the account: KMS refuses a policy that names a principal that does not exist,
and roles are made after keys, so the policy allows the account's own principals
(`kms:CallerAccount`) and then names roles by the condition `aws:PrincipalArn`, which is compared at
the time of use only. For the same reason a fresh account needs no service-linked role before its
first key.

Deleting the key of a team erases what is in the team's folders, old versions included: nothing
enters them under another key (`bucket_policy`, `access_point`), KMS stops using the key at once,
and after `deletion_days` nobody, AWS included, can decrypt with it. Until then ``aws kms
cancel-key-deletion`` brings all back. Backups are under keys of their own: how to erase a team's
data, and what outlives its key, is in docs/operations.md. Leaving the team out of the settings
erases nothing where data is kept: the key is protected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.access import Domain, Mode
from components.aws.key_use import APPLIER, SERVICE_USES, ServiceUse, Use, uses, uses_of_team
from components.aws.policy_document import ANYONE, Conditions, Statement, document
from components.aws.scope import Scope
from components.aws.settings.keys import KeySettings
from policies.guards.conditions import outside

DOMAINS: tuple[Domain, ...] = ("artifacts", "database", "secrets", "cluster", "logs", "backups")
"""The domains whose keys an environment makes. The key of `state` is made before there is a stack
that could hold it, by the bootstrap."""

_LOOKING = ("kms:Describe*", "kms:Get*", "kms:List*")
_MANAGEMENT = (
    "kms:Enable*",
    "kms:Update*",
    "kms:Disable*",
    "kms:Delete*",
    # by name: kms:Create* and kms:Put* would hold what hands the key on
    "kms:CreateAlias",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
)
USE: Mapping[Mode, tuple[str, ...]] = {
    "read": ("kms:Decrypt", "kms:DescribeKey"),
    "append": ("kms:GenerateDataKey*", "kms:DescribeKey"),
    "write": (
        *("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"),
        "kms:DescribeKey",
    ),
}
"""What a key is asked for by whoever reads, appends or writes what it encrypts."""


@dataclass(frozen=True, kw_only=True)
class DomainKeyArgs:
    """What a key protects, and where."""

    scope: Scope
    domain: Domain | None = None
    team: str | None = None
    """Set instead of `domain` for the key of one team."""
    settings: KeySettings = field(default_factory=KeySettings)
    keep: bool = True
    """Whether the key outlives the stack, as the data under it does."""
    deployers: Sequence[str] = ()
    """ARNs of roles of people that do with the key what the role `apply` does."""
    managers: Sequence[str] = ()
    """ARNs of the roles that alone change the key and its policy, beside the account's root user,
    so that nobody is locked out for good; empty for whoever of the account IAM lets."""
    managers_use_through: Sequence[str] = ()
    """Services, such as ``ec2``, through which those of `managers` may use the key, to make what is
    encrypted with it."""


class DomainKey(pulumi.ComponentResource):
    """A key, with `arn`, `key_id`, its alias ``falaj/<environment>/<domain>``, and `ready`.

    Whoever looks after the key can neither decrypt with it nor hand it on by that alone.
    """

    def __init__(
        self, name: str, args: DomainKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:DomainKey", name, None, opts)
        subject = args.domain or f"team/{args.team}"
        key = aws.kms.Key(
            f"{name}-key",
            description=f"Falaj {args.scope.environment}: {subject}",
            enable_key_rotation=True,
            rotation_period_in_days=args.settings.rotation_days,
            deletion_window_in_days=args.settings.deletion_days,
            multi_region=False,
            policy=document(*key_policy(args)),
            tags={"data-domain": args.domain} if args.domain else _tags_of_team(args.team),
            # without its key data is lost
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep),
        )
        aws.kms.Alias(
            f"{name}-alias",
            name=f"alias/falaj/{args.scope.environment}/{subject}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.key_id = key.key_id
        self.ready: list[pulumi.Resource] = [key]
        self.register_outputs({"arn": self.arn})


def _tags_of_team(team: str | None) -> dict[str, str]:
    return {"data-domain": "team", "team": team or ""}


def key_policy(args: DomainKeyArgs) -> list[Statement]:
    """The statements of a key's policy. Raises `ValueError` unless it is a domain's or a team's."""
    if args.domain is not None and args.team is None:
        by_roles = uses(args.domain, team_keys=args.settings.team_keys)
        by_services = SERVICE_USES[args.domain]
    elif args.team is not None and args.domain is None:
        by_roles, by_services = uses_of_team(args.team), ()
    else:
        raise ValueError("a key is that of one domain or of one team")
    return [
        *_administration(args.scope, args.managers),
        *(s for use in by_roles for s in _by_roles(args.scope, use, args.deployers)),
        *(_by_service(args.scope, use) for use in by_services),
        *_by_managers(args),
        Statement(
            sid="DenyOutsideTheRegion",
            effect="Deny",
            actions=(*USE["write"][:-1], "kms:CreateGrant"),
            resources=["*"],
            principals=ANYONE,
            conditions=outside([args.scope.region]),
        ),
    ]


def use_of_team_keys(scope: Scope, actions: Sequence[str]) -> Statement:
    """For a role that touches the objects of every team: it may ask the keys of all for `actions`.

    By alias, since the ARNs of hundreds of keys would not fit into a role's policy. Each key's own
    policy says whom it serves.
    """
    return Statement(
        sid="KeysOfTeams",
        effect="Allow",
        actions=actions,
        resources=[scope.arn("kms", "key/*")],
        conditions={
            "StringEquals": {"kms:ViaService": scope.service("s3")},
            "ForAnyValue:StringLike": {
                "kms:ResourceAliases": f"alias/falaj/{scope.environment}/team/*"
            },
        },
    )


def _administration(scope: Scope, managers: Sequence[str]) -> Iterator[Statement]:
    """Through the account, whose IAM must allow it too: a role that is gone and made again is let
    in, where one that the policy named as its principal would not be."""
    root = f"arn:aws:iam::{scope.account_id}:root"
    everyone: dict[str, Any] = {
        "effect": "Allow",
        "resources": ["*"],
        "principals": {"AWS": (root,)},
    }
    if not managers:
        yield Statement(sid="AccountAdministersKey", actions=(*_LOOKING, *_MANAGEMENT), **everyone)
        return
    # AWS Config and auditors look at a key that they may not change
    yield Statement(sid="AccountLooksAtKey", actions=_LOOKING, **everyone)
    yield Statement(
        sid="ManagersChangeKey",
        actions=_MANAGEMENT,
        conditions={"ArnEquals": {"aws:PrincipalArn": [*managers, root]}},
        **everyone,
    )


def _by_roles(scope: Scope, use: Use, deployers: Sequence[str]) -> Iterator[Statement]:
    roles = [scope.role_arn(role) for role in use.roles]
    if APPLIER in use.roles:
        roles += deployers
    caller: dict[str, str | Sequence[str]] = {"kms:CallerAccount": scope.account_id}
    if use.services:
        caller["kms:ViaService"] = [scope.service(service) for service in use.services]
    conditions: Conditions = {
        "StringEquals": caller,
        "ArnLike": {"aws:PrincipalArn": roles},
    }
    if use.mode is not None:
        yield Statement(
            sid=use.sid,
            effect="Allow",
            actions=USE[use.mode],
            resources=["*"],
            principals=ANYONE,
            conditions=conditions,
        )
    if use.grants is not None:
        yield Statement(
            sid=f"{use.sid}ByGrant",
            effect="Allow",
            actions=("kms:CreateGrant",),
            resources=["*"],
            principals=ANYONE,
            conditions=(
                {**conditions, "Bool": {"kms:GrantIsForAWSResource": "true"}}
                if use.grants == "to-resources"
                else conditions
            ),
        )


def _by_managers(args: DomainKeyArgs) -> Iterator[Statement]:
    if not args.managers_use_through:
        return
    conditions: Conditions = {
        "StringEquals": {
            "kms:CallerAccount": args.scope.account_id,
            "kms:ViaService": [args.scope.service(one) for one in args.managers_use_through],
        },
        "ArnEquals": {"aws:PrincipalArn": list(args.managers)},
    }
    for sid, actions, more in (
        ("ManagersUseKey", USE["write"], {}),
        ("ManagersUseKeyByGrant", ("kms:CreateGrant",), {"kms:GrantIsForAWSResource": "true"}),
    ):
        yield Statement(
            sid=sid,
            effect="Allow",
            actions=actions,
            resources=["*"],
            principals=ANYONE,
            conditions={**conditions, **({"Bool": more} if more else {})},
        )


def _by_service(scope: Scope, use: ServiceUse) -> Statement:
    here = {
        "region": scope.region,
        "account": scope.account_id,
        "name": scope.name("").removesuffix("-"),
    }
    return Statement(
        sid=f"Service{use.sid}",
        effect="Allow",
        actions=USE[use.mode],
        resources=["*"],
        principals={
            "Service": [f"{one.format_map(here)}.amazonaws.com" for one in use.services],
        },
        conditions={
            operator: {key: value.format_map(here) for key, value in keys.items()}
            for operator, keys in use.conditions.items()
        },
    )
