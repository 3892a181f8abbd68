"""What AWS services need to be told, so that they can deliver logs and alarms.

Statements as data for the policies of the bucket `logs`, of the bucket `config` and of the key of
the domain `logs`. Those policies are made by their buckets and key; nothing is made here. Names and
ARNs are those of `Scope`, so the policies can be there before the trail and the topic.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.aws.policy_document import Conditions, Statement
from components.aws.scope import Scope

TRAIL = "trail"
TOPIC = "alarms"
SHIPPING_ROLE = "log-shipping"
STREAM_ROLE = "log-stream"
"""Nouns of `Scope` by which the policies and the parts mean the same thing."""

LOGS = "logs"
CONFIG = "config"
"""What the buckets hold. AWS Config has one of its own: it cannot deliver to a bucket whose object
lock has a default retention (AWS Config developer guide, managing the delivery channel)."""


def trail_arn(scope: Scope) -> str:
    """The ARN of the trail, before it exists."""
    return scope.arn("cloudtrail", f"trail/{scope.name(TRAIL)}")


def topic_arn(scope: Scope) -> str:
    """The ARN of the topic of alarms, before it exists."""
    return scope.arn("sns", scope.name(TOPIC))


def log_delivery_statements(scope: Scope) -> tuple[Statement, ...]:
    """For the policy of the bucket `logs`: the trail, and what AWS delivers by its log delivery.

    The latter are VPC flow logs, the logs of Network Firewall and of network load balancers. Roles
    of this account (`SHIPPING_ROLE`, `STREAM_ROLE`) write by their own permissions.
    """
    from_trail = {"StringEquals": {"aws:SourceArn": trail_arn(scope)}}
    from_delivery = {
        "StringEquals": {"aws:SourceAccount": scope.account_id},
        "ArnLike": {"aws:SourceArn": scope.arn("logs", "*")},
    }
    return (
        *_delivers(scope, LOGS, "CloudTrail", "cloudtrail", from_trail),
        *_delivers(scope, LOGS, "LogDelivery", "delivery.logs", from_delivery),
    )


def config_delivery_statements(scope: Scope) -> tuple[Statement, ...]:
    """For the policy of the bucket `config`, to which AWS Config delivers history and snapshots."""
    from_here = {"StringEquals": {"aws:SourceAccount": scope.account_id}}
    return _delivers(scope, CONFIG, "Config", "config", from_here)


def log_key_statements(scope: Scope) -> tuple[Statement, ...]:
    """For the policy of the key of the domain `logs`.

    The trail is named by its ARN alone, not by CloudTrail's encryption context as well: with a
    bucket key S3's own context takes its place. The topic is named by the encryption context,
    because EventBridge sends no source account when it publishes to an encrypted topic.
    """
    publishing = {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic_arn(scope)}}
    return (
        _for_key(
            "TrailEncrypts",
            ("cloudtrail.amazonaws.com",),
            ("kms:GenerateDataKey*", "kms:DescribeKey"),
            {"StringEquals": {"aws:SourceArn": trail_arn(scope)}},
        ),
        _for_key(
            "LogGroupsEncrypt",
            (scope.service("logs"),),
            (
                *("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"),
                "kms:DescribeKey",
            ),
            {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": scope.arn("logs", "log-group:*")}},
        ),
        _for_key(
            "LogDeliveryEncrypts",
            ("delivery.logs.amazonaws.com",),
            ("kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"),
            {
                "StringEquals": {"aws:SourceAccount": scope.account_id},
                "ArnLike": {"aws:SourceArn": scope.arn("logs", "*")},
            },
        ),
        _for_key(
            "ConfigEncrypts",
            ("config.amazonaws.com",),
            ("kms:Decrypt", "kms:GenerateDataKey*"),
            {"StringEquals": {"aws:SourceAccount": scope.account_id}},
        ),
        _for_key(
            "AlarmsArePublished",
            ("cloudwatch.amazonaws.com", "events.amazonaws.com"),
            ("kms:Decrypt", "kms:GenerateDataKey*"),
            publishing,
        ),
        Statement(
            sid="ShippersEncrypt",
            effect="Allow",
            actions=("kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"),
            resources=["*"],
            # KMS refuses a role that does not exist yet, so it is named by a condition
            principals={"AWS": (f"arn:aws:iam::{scope.account_id}:root",)},
            conditions={
                "ArnEquals": {
                    "aws:PrincipalArn": (
                        scope.role_arn(SHIPPING_ROLE),
                        scope.role_arn(STREAM_ROLE),
                    )
                },
                "StringEquals": {"kms:ViaService": (scope.service("s3"),)},
            },
        ),
    )


def _delivers(
    scope: Scope, bucket: str, who: str, service: str, conditions: Conditions
) -> tuple[Statement, ...]:
    """A service looks at the bucket, then writes below its folder of the account."""
    principals = {"Service": (f"{service}.amazonaws.com",)}
    theirs = {"s3:x-amz-acl": "bucket-owner-full-control"}
    return (
        Statement(
            sid=f"{who}FindsBucket",
            effect="Allow",
            actions=("s3:GetBucketAcl", "s3:ListBucket"),
            resources=[scope.bucket_arn(bucket)],
            principals=principals,
            conditions=conditions,
        ),
        Statement(
            sid=f"{who}Delivers",
            effect="Allow",
            actions=("s3:PutObject",),
            resources=[f"{scope.bucket_arn(bucket)}/AWSLogs/{scope.account_id}/*"],
            principals=principals,
            conditions={
                **conditions,
                "StringEquals": {**conditions.get("StringEquals", {}), **theirs},
            },
        ),
    )


def _for_key(
    sid: str, services: Sequence[str], actions: Sequence[str], conditions: Conditions
) -> Statement:
    return Statement(
        sid=sid,
        effect="Allow",
        actions=actions,
        resources=["*"],
        principals={"Service": services},
        conditions=conditions,
    )
