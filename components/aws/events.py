"""New data as messages: a bucket tells a queue, and whoever retrains reads it.

Owns the queue, the queue of messages that nobody could handle, and the bucket's notification. The
bucket must exist before; so must the key, whose policy lets S3 encrypt messages for the queue. The
reader's permissions are said by its identity.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import ANYONE, Statement, document
from components.aws.scope import Scope
from components.aws.settings.storage import Arrivals, Content
from policies.guards.conditions import WITHOUT_TLS

QUEUE = "arrivals"
UNHANDLED = "arrivals-unhandled"
_DAY_SECONDS = 86_400
_HANDLING_SECONDS = 300
"""How long a reader has before the message is given to another."""
_KEY_REUSE_SECONDS = 300
_LONGEST_WAIT_SECONDS = 20
"""Long polling: a reader asks KMS and SQS three times a minute, not all the time."""
_LONGEST_RETENTION_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class ArrivalQueueArgs:
    """Which bucket tells which queue of what."""

    scope: Scope
    arrivals: Arrivals
    content: Content
    bucket_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]


class ArrivalQueue(pulumi.ComponentResource):
    """A queue with a message for each new object, with `arn` and `url`."""

    def __init__(
        self, name: str, args: ArrivalQueueArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ArrivalQueue", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        unhandled = aws.sqs.Queue(
            f"{name}-unhandled",
            name=args.scope.name(UNHANDLED),
            kms_master_key_id=args.key_arn,
            kms_data_key_reuse_period_seconds=_KEY_REUSE_SECONDS,
            message_retention_seconds=_LONGEST_RETENTION_DAYS * _DAY_SECONDS,
            opts=child,
        )
        queue = aws.sqs.Queue(
            f"{name}-queue",
            name=args.scope.name(QUEUE),
            kms_master_key_id=args.key_arn,
            kms_data_key_reuse_period_seconds=_KEY_REUSE_SECONDS,
            message_retention_seconds=args.arrivals.retention_days * _DAY_SECONDS,
            visibility_timeout_seconds=_HANDLING_SECONDS,
            receive_wait_time_seconds=_LONGEST_WAIT_SECONDS,
            redrive_policy=unhandled.arn.apply(
                lambda arn: json.dumps(
                    {"deadLetterTargetArn": arn, "maxReceiveCount": args.arrivals.attempts}
                )
            ),
            opts=child,
        )
        arn = args.scope.arn("sqs", args.scope.name(QUEUE))
        policy = aws.sqs.QueuePolicy(
            f"{name}-policy",
            queue_url=queue.id,
            policy=document(*queue_statements(args.scope, args.content, arn)),
            opts=child,
        )
        aws.sqs.QueuePolicy(
            f"{name}-unhandled-policy",
            queue_url=unhandled.id,
            policy=document(_without_tls(args.scope.arn("sqs", args.scope.name(UNHANDLED)))),
            opts=child,
        )
        aws.s3.BucketNotification(
            f"{name}-notification",
            bucket=args.bucket_id,
            # AWS Backup follows a bucket by these events and switches them on itself; unsaid here,
            # the next `up` would switch them off and end the backups between two snapshots
            eventbridge=True,
            queues=[
                {
                    "id": "arrivals",
                    "queue_arn": queue.arn,
                    "events": ["s3:ObjectCreated:*"],
                    "filter_prefix": args.arrivals.prefix or None,
                    "filter_suffix": args.arrivals.suffix or None,
                }
            ],
            # S3 sends a test message at once, and refuses a queue that does not take it
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        self.arn = queue.arn
        self.url = queue.url
        self.register_outputs({"arn": self.arn, "url": self.url})


def queue_statements(scope: Scope, content: Content, queue_arn: str) -> tuple[Statement, ...]:
    """Who sends to the queue: the bucket, over TLS."""
    return (
        Statement(
            sid="BucketSends",
            effect="Allow",
            actions=("sqs:SendMessage",),
            resources=[queue_arn],
            principals={"Service": ("s3.amazonaws.com",)},
            conditions={
                "StringEquals": {"aws:SourceAccount": scope.account_id},
                "ArnEquals": {"aws:SourceArn": scope.bucket_arn(content)},
            },
        ),
        _without_tls(queue_arn),
    )


def _without_tls(queue_arn: str) -> Statement:
    return Statement(
        sid="DenyWithoutTls",
        effect="Deny",
        actions=("sqs:*",),
        resources=[queue_arn],
        principals=ANYONE,
        conditions=WITHOUT_TLS,
    )
