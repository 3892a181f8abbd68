"""What the policies of buckets say, so that AWS services can deliver logs to them.

Statements as data for the buckets `logs` and `config`, whose policies are made with the buckets;
nothing is made here. The key of the domain `logs` lets the same services in by its own policy.
Names and ARNs are those of `Scope`, so a policy can be there before the trail.
"""

from __future__ import annotations

from components.aws.policy_document import Conditions, Statement
from components.aws.scope import Scope

TRAIL = "trail"
TOPIC = "alarms"
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
    of this account write by their own permissions.
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
