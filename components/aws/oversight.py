"""Trail, recorder, detectors, backups and log shipping of an environment, side by side.

Owns which of them are made and how they meet; what each is, it says itself. Keys, buckets, network
and cluster must exist before, as their arguments name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.aws.account_defaults import AccountDefaults, AccountDefaultsArgs
from components.aws.alarm_topic import AlarmTopic, AlarmTopicArgs
from components.aws.audit_trail import AuditTrail, AuditTrailArgs
from components.aws.backup import Backup, BackupArgs
from components.aws.config_recorder import ConfigRecorder, ConfigRecorderArgs
from components.aws.log_delivery import CONFIG, LOGS
from components.aws.log_shipping import LogShipping, LogShippingArgs, SiemNetwork
from components.aws.off_site_copy import OffSiteCopy, OffSiteCopyArgs
from components.aws.scope import Scope
from components.aws.settings.audit import AuditSettings
from components.aws.settings.backup import BackupSettings
from components.aws.settings.log_shipping import LogShippingSettings
from components.aws.threat_detection import ThreatDetection, ThreatDetectionArgs
from components.log_shipper import Output
from components.off_site import OffSiteJob

WATCHED = ("artifacts", "data", "models")
"""Buckets whose objects' reads and writes the trail records."""


@dataclass(frozen=True, kw_only=True)
class OversightSettings:
    """What is asked for."""

    audit: AuditSettings
    backup: BackupSettings
    logs: LogShippingSettings


@dataclass(frozen=True, kw_only=True)
class OversightArgs:
    """What is asked for, and what it stands on."""

    scope: Scope
    settings: OversightSettings
    allowed_regions: Sequence[str]
    key_arns: Mapping[str, pulumi.Input[str]]
    """Data domain → its key; of parts that are off, none is needed."""
    team_keys: bool = False
    """Whether teams' objects are under keys of theirs, which copies need as well."""
    cluster_name: pulumi.Input[str]
    cluster_log_group: pulumi.Input[str]
    keep: bool
    ready: Sequence[pulumi.Resource] = ()
    """The policies of the buckets and keys, which services try when they are told of them."""
    database_subnet_group: pulumi.Input[str] | None = None
    siem_network: SiemNetwork | None = None


@dataclass(frozen=True, kw_only=True)
class Oversight:
    """What others need of it."""

    topic_arn: pulumi.Output[str] | None
    """Where alarms go; `None` where nothing is made here that watches or backs up."""
    off_site_jobs: Sequence[OffSiteJob]
    """What the cluster must run, so that data is outside the region as well."""
    log_outputs: Sequence[Output]
    """What the log agent on the nodes is told; empty where logs are not shipped here."""


def make_oversight(name: str, args: OversightArgs, opts: pulumi.ResourceOptions) -> Oversight:
    """Makes what `args` asks for; each is a component of its own, called after `name`."""
    if args.settings.audit.account_defaults.own:
        AccountDefaults(
            f"{name}-defaults",
            AccountDefaultsArgs(
                account_id=args.scope.account_id, disk_key_arn=args.key_arns["cluster"]
            ),
            opts,
        )
    topic = _topic(name, args, opts)
    jobs: list[OffSiteJob] = []
    if topic is not None:
        _watch(name, args, topic, opts)
        jobs = _back_up(name, args, topic, opts) if args.settings.backup.own else []
    return Oversight(
        topic_arn=topic,
        off_site_jobs=jobs,
        log_outputs=_ship(name, args, opts).outputs if args.settings.logs.own else (),
    )


def _topic(
    name: str, args: OversightArgs, opts: pulumi.ResourceOptions
) -> pulumi.Output[str] | None:
    audit = args.settings.audit
    silent = (audit.recorder, audit.posture, audit.access_analyzer)
    if not any(part.own for part in (audit.trail, audit.threats, args.settings.backup, *silent)):
        return None
    return AlarmTopic(
        f"{name}-alarms",
        AlarmTopicArgs(
            scope=args.scope,
            key_arn=args.key_arns["logs"],
            webhooks=args.settings.audit.alarms.webhooks,
            queue=args.settings.audit.alarms.queue,
        ),
        opts,
    ).arn


def _watch(
    name: str, args: OversightArgs, topic: pulumi.Output[str], opts: pulumi.ResourceOptions
) -> None:
    scope, audit = args.scope, args.settings.audit
    if audit.trail.own:
        AuditTrail(
            f"{name}-trail",
            AuditTrailArgs(
                scope=scope,
                settings=audit.trail,
                allowed_regions=args.allowed_regions,
                log_bucket=scope.bucket(LOGS),
                key_arn=args.key_arns["logs"],
                topic_arn=topic,
                watched_buckets=[scope.bucket_arn(content) for content in WATCHED],
                keep=args.keep,
                ready=args.ready,
            ),
            opts,
        )
    recorder: list[pulumi.Resource] = []
    if audit.recorder.own:
        recorder.append(
            ConfigRecorder(
                f"{name}-recorder",
                ConfigRecorderArgs(
                    scope=scope,
                    settings=audit.recorder,
                    bucket=scope.bucket(CONFIG),
                    key_arn=args.key_arns["logs"],
                    ready=args.ready,
                ),
                opts,
            )
        )
    ThreatDetection(
        f"{name}-threats",
        ThreatDetectionArgs(scope=scope, settings=audit, topic_arn=topic, recorder=recorder),
        opts,
    )


def _back_up(
    name: str, args: OversightArgs, topic: pulumi.Output[str], opts: pulumi.ResourceOptions
) -> list[OffSiteJob]:
    backup = args.settings.backup
    Backup(
        f"{name}-backup",
        BackupArgs(
            scope=args.scope,
            settings=backup,
            key_arn=args.key_arns["backups"],
            topic_arn=topic,
            allowed_regions=args.allowed_regions,
            keep=args.keep,
            database_subnet_group=args.database_subnet_group,
        ),
        opts,
    )
    return [
        OffSiteCopy(
            f"{name}-{noun}",
            OffSiteCopyArgs(
                scope=args.scope,
                noun=noun,
                endpoint=target.endpoint,
                target=f"{target.bucket}/{target.prefix}",
                schedule=target.schedule,
                contents=target.contents,
                secrets_key_arn=args.key_arns["secrets"],
                source_key_arns=[args.key_arns["artifacts"], args.key_arns["backups"]],
                team_keys=args.team_keys,
                cluster_name=args.cluster_name,
                keep=args.keep,
            ),
            opts,
        ).job
        for noun, target in backup.targets().items()
    ]


def _ship(name: str, args: OversightArgs, opts: pulumi.ResourceOptions) -> LogShipping:
    return LogShipping(
        f"{name}-logs",
        LogShippingArgs(
            scope=args.scope,
            settings=args.settings.logs,
            bucket=args.scope.bucket(LOGS),
            key_arn=args.key_arns["logs"],
            control_plane_group=args.cluster_log_group,
            network=args.siem_network,
        ),
        opts,
    )
