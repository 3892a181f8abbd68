"""What looks for attacks and wrong settings by itself: GuardDuty, Security Hub, Access Analyzer.

Owns the three of this account and region, each where it is asked for, and tells the topic of alarms
what GuardDuty finds. AWS Config must record, here or centrally, before Security Hub can judge.
Findings stay in the region: nothing is aggregated into another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.alarm_topic import on_event
from components.aws.scope import Scope
from components.aws.settings.audit import AuditSettings

LEAST_SEVERITY = 4
"""Of the findings that somebody is told about at once: medium and worse, on GuardDuty's scale."""

_STANDARDS = {
    "fsbp": "aws-foundational-security-best-practices/v/1.0.0",
    "cis": "cis-aws-foundations-benchmark/v/3.0.0",
    "nist": "nist-800-53/v/5.0.0",
}
_EXCEPTIONS: Mapping[str, Mapping[str, str]] = {
    "nist": {"S3.7": "asks for replication to another region; residency forbids it"},
}
"""Standard → control that the declaration contradicts → why."""


@dataclass(frozen=True, kw_only=True)
class ThreatDetectionArgs:
    """Which detectors there are, and whom they tell."""

    scope: Scope
    settings: AuditSettings
    topic_arn: pulumi.Input[str]
    recorder: Sequence[pulumi.Resource] = ()
    """The recorder of AWS Config, where it is made here."""


class ThreatDetection(pulumi.ComponentResource):
    """The detectors that `settings` asks for."""

    def __init__(
        self, name: str, args: ThreatDetectionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ThreatDetection", name, None, opts)
        if args.settings.threats.own:
            self._threats(name, args)
        if args.settings.posture.own:
            self._posture(name, args)
        if args.settings.access_analyzer.own:
            aws.accessanalyzer.Analyzer(
                f"{name}-analyzer",
                analyzer_name=args.scope.name("analyzer"),
                type="ACCOUNT",
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})

    def _threats(self, name: str, args: ThreatDetectionArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        detector = aws.guardduty.Detector(
            f"{name}-detector",
            enable=True,
            finding_publishing_frequency="FIFTEEN_MINUTES",
            opts=child,
        )
        for feature in ("S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "RDS_LOGIN_EVENTS"):
            aws.guardduty.DetectorFeature(
                f"{name}-{feature.lower().replace('_', '-')}",
                detector_id=detector.id,
                name=feature,
                status="ENABLED",
                opts=child,
            )
        runtime = args.settings.threats.runtime
        aws.guardduty.DetectorFeature(
            f"{name}-runtime",
            detector_id=detector.id,
            name="RUNTIME_MONITORING",
            status="ENABLED" if runtime else "DISABLED",
            additional_configurations=[
                # what GuardDuty installs by itself is in no state, and outlives its network
                {"name": kind, "status": "DISABLED"}
                for kind in (
                    *("EKS_ADDON_MANAGEMENT", "ECS_FARGATE_AGENT_MANAGEMENT"),
                    "EC2_AGENT_MANAGEMENT",
                )
            ],
            opts=child,
        )
        on_event(
            name,
            args.scope,
            noun="findings",
            pattern=json.dumps(
                {
                    "source": ["aws.guardduty"],
                    "detail-type": ["GuardDuty Finding"],
                    "detail": {"severity": [{"numeric": [">=", LEAST_SEVERITY]}]},
                }
            ),
            topic=args.topic_arn,
            parent=self,
        )

    def _posture(self, name: str, args: ThreatDetectionArgs) -> None:
        hub = aws.securityhub.Account(
            f"{name}-hub",
            enable_default_standards=False,
            control_finding_generator="SECURITY_CONTROL",
            auto_enable_controls=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.recorder)),
        )
        for standard in args.settings.posture.standards:
            arn = f"arn:aws:securityhub:{args.scope.region}::standards/{_STANDARDS[standard]}"
            subscription = aws.securityhub.StandardsSubscription(
                f"{name}-{standard}",
                standards_arn=arn,
                # a standard belongs to the hub, but names nothing of it
                opts=pulumi.ResourceOptions(parent=self, depends_on=[hub]),
            )
            for control, why in _EXCEPTIONS.get(standard, {}).items():
                aws.securityhub.StandardsControlAssociation(
                    f"{name}-{standard}-{control.lower().replace('.', '-')}",
                    standards_arn=arn,
                    security_control_id=control,
                    association_status="DISABLED",
                    updated_reason=why,
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[subscription]),
                )
