"""Actions that take a guard rail away, or data out: named once for boundaries and organisations."""

from __future__ import annotations

LOSING_KEYS = ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DisableKeyRotation")
STOPPING_RECORDS = (
    *("cloudtrail:DeleteTrail", "cloudtrail:StopLogging", "config:DeleteConfigurationRecorder"),
    *("config:DeleteDeliveryChannel", "config:StopConfigurationRecorder", "ec2:DeleteFlowLogs"),
    *("guardduty:DeleteDetector", "securityhub:DisableSecurityHub", "logs:DeleteLogGroup"),
    *("backup:DeleteBackupVault", "backup:DeleteRecoveryPoint"),
)
SHARING = (
    *("ec2:ModifyImageAttribute", "ec2:ModifySnapshotAttribute", "rds:ModifyDBSnapshotAttribute"),
    *("rds:ModifyDBClusterSnapshotAttribute", "s3:PutObjectAcl", "s3:PutBucketReplication"),
)
"""What gives a copy to another account."""
