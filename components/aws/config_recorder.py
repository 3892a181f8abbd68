"""AWS Config: what the account's resources are like, and whether they keep the declaration.

Owns recorder, delivery channel and rules. The bucket `config`, whose policy holds
`log_delivery.config_delivery_statements` and which has no object lock, and the key of the domain
`logs` must exist before.

It records this region. In regions opened since February 2022, the UAE among them, Config cannot
record IAM users, groups, roles and policies, and rules that follow their changes never run; what
they would say is watched by the audit trail and Access Analyzer. Nor is there a rule on the region:
a recorder sees its own only. Use of others is refused by the permissions boundary and watched by
the trail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.scope import Scope
from components.aws.settings.audit import RecorderSettings

MANAGED_RULES: Mapping[str, Mapping[str, str]] = {
    # encryption
    "BACKUP_RECOVERY_POINT_ENCRYPTED": {},
    "CLOUDWATCH_LOG_GROUP_ENCRYPTED": {},
    "CLOUD_TRAIL_ENCRYPTION_ENABLED": {},
    "CMK_BACKING_KEY_ROTATION_ENABLED": {},
    "EC2_EBS_ENCRYPTION_BY_DEFAULT": {},
    "EKS_SECRETS_ENCRYPTED": {},
    "ENCRYPTED_VOLUMES": {},
    "KMS_CMK_NOT_SCHEDULED_FOR_DELETION": {},
    "RDS_SNAPSHOT_ENCRYPTED": {},
    "RDS_STORAGE_ENCRYPTED": {},
    "S3_BUCKET_SSL_REQUESTS_ONLY": {},
    "S3_DEFAULT_ENCRYPTION_KMS": {},
    "SECRETSMANAGER_USING_CMK": {},
    "SNS_ENCRYPTED_KMS": {},
    # nothing public
    "EC2_IMDSV2_CHECK": {},
    "EKS_ENDPOINT_NO_PUBLIC_ACCESS": {},
    "INCOMING_SSH_DISABLED": {},
    "RDS_INSTANCE_PUBLIC_ACCESS_CHECK": {},
    "RDS_SNAPSHOTS_PUBLIC_PROHIBITED": {},
    "S3_ACCOUNT_LEVEL_PUBLIC_ACCESS_BLOCKS_PERIODIC": {},
    "S3_BUCKET_LEVEL_PUBLIC_ACCESS_PROHIBITED": {},
    "SUBNET_AUTO_ASSIGN_PUBLIC_IP_DISABLED": {},
    "VPC_DEFAULT_SECURITY_GROUP_CLOSED": {},
    # the record
    "CLOUD_TRAIL_LOG_FILE_VALIDATION_ENABLED": {},
    "CW_LOGGROUP_RETENTION_PERIOD_CHECK": {"MinRetentionTime": "365"},
    "MULTI_REGION_CLOUD_TRAIL_ENABLED": {},
    "VPC_FLOW_LOGS_ENABLED": {"trafficType": "ALL"},
    # recovery
    "DB_INSTANCE_BACKUP_ENABLED": {},
    "RDS_INSTANCE_DELETION_PROTECTION_ENABLED": {},
    "S3_BUCKET_VERSIONING_ENABLED": {},
    # identity, as far as it is asked of the account and not of recorded IAM resources
    "IAM_ROOT_ACCESS_KEY_CHECK": {},
    "ROOT_ACCOUNT_MFA_ENABLED": {},
}
"""Rules that AWS keeps → their parameters: what this declaration promises, seen from outside it.
Several are not offered in every region: `RecorderSettings.omit_rules` leaves one out."""


@dataclass(frozen=True, kw_only=True)
class ConfigRecorderArgs:
    """Where the recorder delivers to."""

    scope: Scope
    settings: RecorderSettings
    bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    ready: Sequence[pulumi.Resource] = ()
    """The policies of bucket and key: Config tries both when the channel is made."""


class ConfigRecorder(pulumi.ComponentResource):
    """A running recorder, and a rule for each entry of `MANAGED_RULES`."""

    def __init__(
        self, name: str, args: ConfigRecorderArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ConfigRecorder", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        service = "config.amazonaws.com"
        account = args.scope.account_id
        linked: pulumi.Input[str] = (
            f"arn:aws:iam::{account}:role/aws-service-role/{service}/AWSServiceRoleForConfig"
        )
        if not args.settings.service_linked_role_exists:
            linked = aws.iam.ServiceLinkedRole(
                f"{name}-role", aws_service_name=service, opts=child
            ).arn
        recorder = aws.cfg.Recorder(
            f"{name}-recorder",
            name=args.scope.name("recorder"),
            role_arn=linked,
            recording_group={"all_supported": True, "include_global_resource_types": False},
            opts=child,
        )
        channel = aws.cfg.DeliveryChannel(
            f"{name}-channel",
            name=args.scope.name("recorder"),
            s3_bucket_name=args.bucket,
            s3_kms_key_arn=args.key_arn,
            snapshot_delivery_properties={"delivery_frequency": "TwentyFour_Hours"},
            # Config refuses a channel without a recorder
            opts=pulumi.ResourceOptions(parent=self, depends_on=[recorder, *args.ready]),
        )
        running = aws.cfg.RecorderStatus(
            f"{name}-running",
            name=recorder.name,
            is_enabled=True,
            # and refuses to start a recorder without a channel
            opts=pulumi.ResourceOptions(parent=self, depends_on=[channel]),
        )
        for rule, parameters in MANAGED_RULES.items():
            if rule in args.settings.omit_rules:
                continue
            noun = rule.lower().replace("_", "-")
            aws.cfg.Rule(
                f"{name}-{noun}",
                name=args.scope.name(noun),
                source={"owner": "AWS", "source_identifier": rule},
                input_parameters=json.dumps(parameters) if parameters else None,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[running]),
            )
        self.register_outputs({})
