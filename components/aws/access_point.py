"""A team's own doors to the buckets: its folder of each, from the network of the platform only.

Owns the access points with their policies. The buckets must exist before, with policies by which
their access points decide; the team's role may be made later, since a condition names it. Where
the team has a key, it must exist before: the door lets nothing in under another one. An access
point has no default encryption, and the bucket's is another key, so whoever uploads names the
team's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.access import SHARED_FOLDERS, readers_of_teams, team_prefix, team_role
from components.aws.bucket_policy import KEY, LIST_ACTIONS, OBJECT_ACTIONS
from components.aws.policy_document import ANYONE, Statement, document
from components.aws.scope import Scope
from components.aws.settings.storage import Content, access_point_name

_READ = ("s3:GetObject", "s3:GetObjectVersion")
_USE = (
    *_READ,
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


_CHANGES = tuple(action for action in OBJECT_ACTIONS if not action.startswith("s3:Get"))


@dataclass(frozen=True, kw_only=True)
class TeamAccessArgs:
    """Whose doors they are, and to which buckets."""

    scope: Scope
    team: str
    bucket_ids: Mapping[Content, pulumi.Input[str]]
    vpc_id: pulumi.Input[str]
    key_arn: pulumi.Input[str] | None = None
    """The team's own key; `None` where teams have none and the bucket's encrypts their folders."""


class TeamAccess(pulumi.ComponentResource):
    """An access point to each bucket; `aliases` stand where the buckets' names do.

    `folders` are the team's own addresses, ``s3://<alias>/teams/<team>/``.
    """

    arns: dict[Content, pulumi.Output[str]]
    folders: dict[Content, pulumi.Output[str]]
    aliases: dict[Content, pulumi.Output[str]]

    def __init__(
        self, name: str, args: TeamAccessArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:TeamAccess", name, None, opts)
        points = {
            content: aws.s3.AccessPoint(
                f"{name}-{content}",
                name=access_point_name(args.scope.environment, content, args.team),
                bucket=bucket_id,
                vpc_configuration={"vpc_id": args.vpc_id},
                public_access_block_configuration={
                    "block_public_acls": True,
                    "block_public_policy": True,
                    "ignore_public_acls": True,
                    "restrict_public_buckets": True,
                },
                policy=document(
                    *access_point_statements(args.scope, content, args.team, args.key_arn)
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for content, bucket_id in args.bucket_ids.items()
        }
        self.arns = {content: point.arn for content, point in points.items()}
        self.aliases = {content: point.alias for content, point in points.items()}
        self.folders = {
            content: pulumi.Output.concat("s3://", alias, f"/{team_prefix(args.team)}")
            for content, alias in self.aliases.items()
        }
        self.register_outputs({"aliases": self.aliases})


def access_point_statements(
    scope: Scope, content: Content, team: str, key_arn: pulumi.Input[str] | None = None
) -> list[Statement]:
    """What the access point of `team` lets in: its own role, to its folder and what is shared.

    And the platform's roles that read what teams keep. With `key_arn` nothing is written under
    another key. The refusals hold for roles that their own policies would let in, other teams'
    above all.
    """
    arn = scope.access_point_arn(content, team)
    own, shared = team_prefix(team), SHARED_FOLDERS.get(content)
    folders = [own, *([shared] if shared else [])]
    listed = {"s3:prefix": [f"{folder}*" for folder in folders]}
    owner = [scope.role_arn(team_role(team))]
    readers = [scope.role_arn(reader) for reader in readers_of_teams(content)]

    def allow(
        sid: str, actions: Sequence[str], resource: str, to: Sequence[str] = owner, **more: Any
    ) -> Statement:
        return Statement(
            sid=sid,
            effect="Allow",
            actions=actions,
            resources=[resource],
            # S3 refuses a role that does not exist yet, so it is named by a condition
            principals={"AWS": (f"arn:aws:iam::{scope.account_id}:root",)},
            conditions={"ArnEquals": {"aws:PrincipalArn": to}, **more},
        )

    def deny(sid: str, actions: Sequence[str], **about: Any) -> Statement:
        return Statement(sid=sid, effect="Deny", actions=actions, principals=ANYONE, **about)

    statements = [
        allow("TeamUsesItsFolder", _USE, f"{arn}/object/{own}*"),
        allow("TeamListsItsFolders", ("s3:ListBucket",), arn, StringLike=listed),
        deny(
            "DenyEveryoneElse",
            (*OBJECT_ACTIONS, *LIST_ACTIONS),
            resources=[arn, f"{arn}/object/*"],
            conditions={"ArnNotEquals": {"aws:PrincipalArn": [*owner, *readers]}},
        ),
        deny(
            "DenyOtherFolders",
            OBJECT_ACTIONS,
            not_resources=[f"{arn}/object/{folder}*" for folder in folders],
        ),
        deny(
            "DenyListingOtherFolders",
            LIST_ACTIONS,
            resources=[arn],
            conditions={"StringNotLike": listed},
        ),
    ]
    if shared:
        statements += [
            allow("TeamReadsWhatIsShared", _READ, f"{arn}/object/{shared}*"),
            deny("DenyChangingWhatIsShared", _CHANGES, resources=[f"{arn}/object/{shared}*"]),
        ]
    if readers:
        listed_own = {"s3:prefix": [f"{own}*"]}
        changing = {"ArnEquals": {"aws:PrincipalArn": readers}}
        statements += [
            allow("PlatformReads", _READ, f"{arn}/object/{own}*", readers),
            allow("PlatformLists", ("s3:ListBucket",), arn, readers, StringLike=listed_own),
            deny(
                "DenyPlatformChanges",
                _CHANGES,
                resources=[f"{arn}/object/*"],
                conditions=changing,
            ),
        ]
    if key_arn is not None:
        statements.append(
            deny(
                "DenyOtherKeys",
                ("s3:PutObject",),
                resources=[f"{arn}/object/{own}*"],
                # what names no key is not equal either: S3 would take the bucket's
                conditions={"StringNotEquals": {KEY: key_arn}},
            )
        )
    return statements
