"""The topic that alarms and findings go to, and whom it tells.

Owns topic, policy and subscriptions. What raises an alarm is said by the parts that watch. The key
of the domain `logs` must exist before. Its policy lets CloudWatch and EventBridge use it for this
topic by the encryption context: EventBridge hands no source account on to KMS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.log_delivery import TOPIC, topic_arn
from components.aws.policy_document import Statement, document
from components.aws.scope import Scope


@dataclass(frozen=True, kw_only=True)
class AlarmTopicArgs:
    """Whom alarms reach."""

    scope: Scope
    key_arn: pulumi.Input[str]
    webhooks: Sequence[str] = ()
    """HTTPS addresses that AWS can reach."""
    queue: bool = False
    """Whether alarms also wait in a queue."""


class AlarmTopic(pulumi.ComponentResource):
    """An encrypted topic, with its `arn`."""

    def __init__(
        self, name: str, args: AlarmTopicArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AlarmTopic", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        scope = args.scope
        topic = aws.sns.Topic(
            f"{name}-topic", name=scope.name(TOPIC), kms_master_key_id=args.key_arn, opts=child
        )
        raised = {
            "Alarm": ("cloudwatch", scope.arn("cloudwatch", f"alarm:{scope.name('*')}")),
            "Event": ("events", scope.arn("events", f"rule/{scope.name('*')}")),
        }
        policy = aws.sns.TopicPolicy(
            f"{name}-policy",
            arn=topic.arn,
            policy=document(
                *(
                    Statement(
                        sid=f"{what}IsPublished",
                        effect="Allow",
                        actions=("sns:Publish",),
                        # the name says it already: the topic's own ARN would not be known yet
                        resources=[topic_arn(scope)],
                        principals={"Service": (f"{service}.amazonaws.com",)},
                        conditions={"ArnLike": {"aws:SourceArn": source}},
                    )
                    for what, (service, source) in raised.items()
                )
            ),
            opts=child,
        )
        for place, webhook in enumerate(args.webhooks):
            aws.sns.TopicSubscription(
                f"{name}-webhook-{place}",
                topic=topic.arn,
                protocol="https",
                endpoint=webhook,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
        if args.queue:
            self._queue(name, args, topic)
        self.arn = topic.arn
        self.register_outputs({"arn": self.arn})

    def _queue(self, name: str, args: AlarmTopicArgs, topic: aws.sns.Topic) -> None:
        """The key's policy must let SNS in for this queue as well."""
        child = pulumi.ResourceOptions(parent=self)
        queue = aws.sqs.Queue(
            f"{name}-queue",
            name=args.scope.name(TOPIC),
            kms_master_key_id=args.key_arn,
            message_retention_seconds=14 * 24 * 3600,
            opts=child,
        )
        policy = aws.sqs.QueuePolicy(
            f"{name}-queue-policy",
            queue_url=queue.id,
            policy=document(
                Statement(
                    sid="TopicTells",
                    effect="Allow",
                    actions=("sqs:SendMessage",),
                    resources=[queue.arn],
                    principals={"Service": ("sns.amazonaws.com",)},
                    conditions={"ArnEquals": {"aws:SourceArn": topic_arn(args.scope)}},
                )
            ),
            opts=child,
        )
        aws.sns.TopicSubscription(
            f"{name}-waiting",
            topic=topic.arn,
            protocol="sqs",
            endpoint=queue.arn,
            raw_message_delivery=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )


def on_event(
    name: str,
    scope: Scope,
    *,
    noun: str,
    pattern: str,
    topic: pulumi.Input[str],
    parent: pulumi.Resource,
) -> None:
    """Tells the topic of each event of a service of this region that `pattern` (JSON) matches."""
    child = pulumi.ResourceOptions(parent=parent)
    rule = aws.cloudwatch.EventRule(
        f"{name}-{noun}", name=scope.name(noun), event_pattern=pattern, opts=child
    )
    aws.cloudwatch.EventTarget(
        f"{name}-{noun}-topic", rule=rule.name, arn=topic, target_id="alarms", opts=child
    )


def alarm_of_silence(
    name: str,
    alarm: str,
    description: str,
    *,
    metric: tuple[str, str],
    dimensions: Mapping[str, pulumi.Input[str]],
    period_seconds: int,
    topic_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.cloudwatch.MetricAlarm:
    """Goes off when what must happen has not happened once in `period_seconds`.

    `metric` is a namespace and a name. No figure at all counts as silence.
    """
    namespace, metric_name = metric
    return aws.cloudwatch.MetricAlarm(
        name,
        name=alarm,
        alarm_description=description,
        namespace=namespace,
        metric_name=metric_name,
        dimensions=dimensions,
        statistic="Sum",
        period=period_seconds,
        evaluation_periods=1,
        comparison_operator="LessThanThreshold",
        threshold=1,
        treat_missing_data="breaching",
        alarm_actions=[topic_arn],
        opts=opts,
    )
