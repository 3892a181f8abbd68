"""Whom a bucket refuses, whatever their permissions are, and which AWS services deliver to it.

Owns statements, as data; they are attached by the buckets. A refusal names what is refused and the
exceptions beside it: AWS services that act for us, and the roles that must get in when nothing else
does. Only reading and writing objects is refused from outside, so that a bucket's configuration can
be looked at, and mended, from where the pipelines run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.aws.policy_document import ANYONE, Statement
from components.aws.scope import Scope
from policies.guards.conditions import WITHOUT_TLS, of_strangers

LOWEST_TLS = "1.2"

OBJECT_ACTIONS = (
    "s3:GetObject*",
    "s3:PutObject*",
    "s3:DeleteObject*",
    "s3:RestoreObject",
    "s3:ReplicateObject",
    "s3:ReplicateDelete",
    "s3:BypassGovernanceRetention",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
LIST_ACTIONS = ("s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads")

_ALGORITHM = "s3:x-amz-server-side-encryption"
KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
"""The key that an upload names; S3 wants a policy to name it by its ARN."""
_KEY_OF_CALLER = "s3:x-amz-server-side-encryption-customer-algorithm"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """From where, and by whom, a bucket is used at all."""

    account_id: str
    organisation_id: str | None = None
    """Without it nobody outside the account comes in."""
    vpc_id: pulumi.Input[str] | None = None
    """Objects are read and written from this network only; `None` while there is no network."""
    exempt_roles: Sequence[str] = ()
    """ARNs of roles that come from elsewhere: those that apply the stack, break-glass, and those
    that an AWS service takes and works with from its own network, such as backup."""
    team_roles: str | None = None
    """Pattern of the ARNs of roles that come through their own access point or not at all."""
    keyed_folders: str | None = None
    """Prefix of the folders that are each under a key of their own, which the access point of each
    names: so the policy stays as long as it is, however many there are. `None` where all of the
    bucket is under one key."""
    restorers: Sequence[str] = ()
    """ARNs of roles that write to those folders without their access points, to bring backups
    back; they too must name a key that is not the bucket's."""


def refusals(
    guard: Guard, bucket_arn: pulumi.Input[str], key_arn: pulumi.Input[str] | None
) -> list[Statement]:
    """What a bucket refuses. `key_arn` is the one key for new objects; `None` for S3's own."""
    everything = [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")]
    by_a_service = {"aws:PrincipalIsAWSService": "false"}
    home = (
        {"aws:PrincipalOrgID": guard.organisation_id}
        if guard.organisation_id
        else {"aws:PrincipalAccount": guard.account_id}
    )

    beside = (
        [pulumi.Output.concat(bucket_arn, f"/{guard.keyed_folders}*")]
        if guard.keyed_folders
        else []
    )

    def deny(
        sid: str,
        actions: Sequence[str],
        conditions: Any,
        but: Sequence[pulumi.Input[str]] = (),
    ) -> Statement:
        return Statement(
            sid=sid,
            effect="Deny",
            actions=actions,
            resources=[] if but else everything,
            not_resources=but,
            principals=ANYONE,
            conditions=conditions,
        )

    statements = [
        deny("DenyWithoutTls", ("s3:*",), WITHOUT_TLS),
        deny("DenyOldTls", ("s3:*",), {"NumericLessThan": {"s3:TlsVersion": LOWEST_TLS}}),
        deny(
            "DenyOutsideOrganisation",
            ("s3:*",),
            of_strangers(home),
        ),
        *_encryption_refusals(deny, key_arn, beside),
    ]
    if beside and key_arn is not None:
        statements += _refusals_of_keyed_folders(guard, beside, key_arn)
    if guard.vpc_id is not None:
        outside: dict[str, Any] = {
            "StringNotEqualsIfExists": {"aws:SourceVpc": guard.vpc_id},
            "BoolIfExists": {**by_a_service, "aws:ViaAWSService": "false"},
        }
        if guard.exempt_roles:
            outside["ArnNotEqualsIfExists"] = {"aws:PrincipalArn": tuple(guard.exempt_roles)}
        statements.append(deny("DenyOutsideNetwork", (*OBJECT_ACTIONS, *LIST_ACTIONS), outside))
    if guard.team_roles is not None:
        statements += [
            deny(
                "DenyTeamsBesideTheirAccessPoint",
                (*OBJECT_ACTIONS, *LIST_ACTIONS),
                {
                    "ArnLike": {"aws:PrincipalArn": guard.team_roles},
                    "StringNotEqualsIfExists": {"s3:DataAccessPointAccount": guard.account_id},
                },
            ),
            Statement(
                sid="AccessPointsDecide",
                effect="Allow",
                actions=(*OBJECT_ACTIONS, *LIST_ACTIONS),
                resources=everything,
                principals={"AWS": (f"arn:aws:iam::{guard.account_id}:root",)},
                conditions={
                    "StringEquals": {
                        "s3:DataAccessPointAccount": guard.account_id,
                        "s3:AccessPointNetworkOrigin": "VPC",
                    }
                },
            ),
        ]
    return statements


def _encryption_refusals(
    deny: Any, key_arn: pulumi.Input[str] | None, keyed_folders: Sequence[pulumi.Input[str]]
) -> list[Statement]:
    """An upload that says nothing gets the bucket's key; one that says another is refused.

    What a later part of an upload does not say, S3 knows from its beginning.
    """
    upload = ("s3:PutObject",)
    algorithm = "AES256" if key_arn is None else "aws:kms"
    statements = [
        deny(
            "DenyOtherEncryption",
            upload,
            {"StringNotEquals": {_ALGORITHM: algorithm}, "Null": {_ALGORITHM: "false"}},
        ),
        deny("DenyKeyOfCaller", upload, {"Null": {_KEY_OF_CALLER: "false"}}),
    ]
    if key_arn is not None:
        statements += [
            deny(
                "DenyOtherKey",
                upload,
                {"StringNotEquals": {KEY: key_arn}, "Null": {KEY: "false"}},
                but=keyed_folders,
            ),
            # asked for by algorithm alone, S3 takes a key that AWS manages
            deny(
                "DenyUnnamedKey",
                upload,
                {"StringEquals": {_ALGORITHM: algorithm}, "Null": {KEY: "true"}},
            ),
        ]
    return statements


def _refusals_of_keyed_folders(
    guard: Guard, folders: Sequence[pulumi.Input[str]], key_arn: pulumi.Input[str]
) -> list[Statement]:
    """Into them comes nothing under the bucket's key, and nothing but through an access point."""
    beside: dict[str, Any] = {
        "StringNotEqualsIfExists": {"s3:DataAccessPointAccount": guard.account_id}
    }
    if guard.restorers:
        beside["ArnNotEqualsIfExists"] = {"aws:PrincipalArn": tuple(guard.restorers)}

    def deny(sid: str, conditions: Any) -> Statement:
        return Statement(
            sid=sid,
            effect="Deny",
            actions=("s3:PutObject",),
            resources=folders,
            principals=ANYONE,
            conditions=conditions,
        )

    return [
        # an upload that names no key would get the bucket's
        deny("DenyBucketKeyInKeyedFolders", {"StringEqualsIfExists": {KEY: key_arn}}),
        deny("DenyKeyedFoldersBesideTheirDoors", beside),
    ]


def access_log_deliveries(scope: Scope) -> list[Statement]:
    """For the policy of the bucket `access-logs`: what S3 and load balancers write there."""
    bucket = scope.bucket_arn("access-logs")
    from_buckets = {
        "StringEquals": {"aws:SourceAccount": scope.account_id},
        "ArnLike": {"aws:SourceArn": scope.bucket_arn("*")},
    }
    owned = {"s3:x-amz-acl": "bucket-owner-full-control"}

    def put(sid: str, service: str, prefix: str, conditions: Any) -> Statement:
        return Statement(
            sid=sid,
            effect="Allow",
            actions=("s3:PutObject",),
            resources=[f"{bucket}/{prefix}/*"],
            principals={"Service": (f"{service}.amazonaws.com",)},
            conditions=conditions,
        )

    return [
        put("BucketsLogAccess", "logging.s3", "s3", from_buckets),
        put(
            "BucketsListObjects",
            "s3",
            "inventory",
            {**from_buckets, "StringEquals": {**from_buckets["StringEquals"], **owned}},
        ),
        put(
            "LoadBalancersLogAccess",
            "logdelivery.elasticloadbalancing",
            f"AWSLogs/{scope.account_id}",
            {"ArnLike": {"aws:SourceArn": scope.arn("elasticloadbalancing", "loadbalancer/*")}},
        ),
    ]
