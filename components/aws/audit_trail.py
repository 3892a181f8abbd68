"""The audit trail: who did what in the account, kept where nobody can change it, and watched.

Owns the trail, its log group and the alarms on it. The bucket `logs` (with object lock) and the key
of the domain `logs`, both with the statements of `log_delivery` in their policies, and the topic of
alarms must exist before.

The trail is over all regions although data may be in one only: what it brings home are the records
of calls made elsewhere, which is how use of another region is seen at all. They are written to the
bucket in the country; the trail leaves nothing in other regions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.alarm_topic import alarm_of_silence
from components.aws.log_delivery import TRAIL, trail_arn
from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.audit import TrailSettings
from components.aws.watches import Watch, watches


@dataclass(frozen=True, kw_only=True)
class AuditTrailArgs:
    """What is recorded, and where it is kept."""

    scope: Scope
    settings: TrailSettings
    allowed_regions: Sequence[str]
    log_bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    watched_buckets: Sequence[str]
    """ARNs of the buckets whose objects' reads and writes are recorded too. The log bucket is not
    one of them: each record would make another."""
    keep: bool
    """Whether trail and log group outlive the stack."""
    ready: Sequence[pulumi.Resource] = ()
    """The policies of bucket and key: CloudTrail tries both when a trail is made."""


class AuditTrail(pulumi.ComponentResource):
    """A trail with its `arn`, the `log_group` that it is copied to, and an alarm for each watch."""

    def __init__(
        self, name: str, args: AuditTrailArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AuditTrail", name, None, opts)
        # the record is worth more than the stack
        kept = pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep)
        group = aws.cloudwatch.LogGroup(
            f"{name}-group",
            name=args.scope.log_group(TRAIL),
            kms_key_id=args.key_arn,
            retention_in_days=args.settings.retention_days,
            deletion_protection_enabled=args.keep,
            # CloudWatch Logs tries the key when a group is made
            opts=pulumi.ResourceOptions.merge(
                kept, pulumi.ResourceOptions(depends_on=list(args.ready))
            ),
        )
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role=TRAIL,
                trust=[
                    dataclasses.replace(
                        taken_by_service("cloudtrail", "TrailAssumes"),
                        conditions={"StringEquals": {"aws:SourceArn": trail_arn(args.scope)}},
                    )
                ],
                permissions={
                    "write": [
                        Statement(
                            sid="WriteToLogGroup",
                            effect="Allow",
                            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
                            resources=[_streams(args.scope)],
                        )
                    ]
                },
            ),
            pulumi.ResourceOptions(parent=self),
        )
        trail = aws.cloudtrail.Trail(
            f"{name}-trail",
            name=args.scope.name(TRAIL),
            s3_bucket_name=args.log_bucket,
            kms_key_id=args.key_arn,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            enable_logging=True,
            cloud_watch_logs_group_arn=pulumi.Output.concat(group.arn, ":*"),
            cloud_watch_logs_role_arn=role.arn,
            advanced_event_selectors=_selectors(args.watched_buckets),
            opts=pulumi.ResourceOptions.merge(
                kept, pulumi.ResourceOptions(depends_on=[*args.ready, *role.policies])
            ),
        )
        for watch in watches(args.scope, args.allowed_regions):
            self._watch(name, args, watch, group)
        self._silence(name, args, group)
        self.arn = trail.arn
        self.log_group = group.name
        self.register_outputs({"arn": self.arn})

    def _watch(
        self, name: str, args: AuditTrailArgs, watch: Watch, group: aws.cloudwatch.LogGroup
    ) -> None:
        child = pulumi.ResourceOptions(parent=self)
        space = f"Falaj/{args.scope.environment}"
        counted = aws.cloudwatch.LogMetricFilter(
            f"{name}-{watch.name}",
            name=args.scope.name(watch.name),
            log_group_name=group.name,
            pattern=watch.pattern,
            metric_transformation={"name": watch.name, "namespace": space, "value": "1"},
            opts=child,
        )
        aws.cloudwatch.MetricAlarm(
            f"{name}-{watch.name}-alarm",
            name=args.scope.name(watch.name),
            alarm_description=watch.what,
            namespace=space,
            metric_name=watch.name,
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=1,
            treat_missing_data="notBreaching",
            alarm_actions=[args.topic_arn],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[counted]),
        )

    def _silence(self, name: str, args: AuditTrailArgs, group: aws.cloudwatch.LogGroup) -> None:
        """Whoever stops the trail also stops its filters, so silence is an alarm as well."""
        alarm_of_silence(
            f"{name}-silent-alarm",
            args.scope.name("trail-silent"),
            "Nothing reached the audit trail's log group for an hour.",
            metric=("AWS/Logs", "IncomingLogEvents"),
            dimensions={"LogGroupName": group.name},
            period_seconds=3600,
            topic_arn=args.topic_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )


def _streams(scope: Scope) -> str:
    return scope.arn("logs", f"log-group:{scope.log_group(TRAIL)}:log-stream:*")


def _selectors(
    buckets: Sequence[str],
) -> list[aws.cloudtrail.TrailAdvancedEventSelectorArgsDict]:
    """All management events, and the objects of `buckets`, read or written.

    CloudTrail takes either kind of selector, basic or advanced, never both.
    """
    management: aws.cloudtrail.TrailAdvancedEventSelectorArgsDict = {
        "name": "management",
        "field_selectors": [{"field": "eventCategory", "equals": ["Management"]}],
    }
    objects: aws.cloudtrail.TrailAdvancedEventSelectorArgsDict = {
        "name": "objects",
        "field_selectors": [
            {"field": "eventCategory", "equals": ["Data"]},
            {"field": "resources.type", "equals": ["AWS::S3::Object"]},
            {"field": "resources.ARN", "starts_withs": [f"{bucket}/" for bucket in buckets]},
        ],
    }
    return [management, objects] if buckets else [management]
