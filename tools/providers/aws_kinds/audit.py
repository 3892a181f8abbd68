"""Logs, trails, alarms, secrets, backups."""

from __future__ import annotations

from aws_forms import account, arn, filled, named, part
from standin import Kind

_SECRET = arn("secretsmanager", "secret:{name}-AbCdEf")

KINDS: dict[str, Kind] = {
    "aws:backup/plan:Plan": Kind(
        identifier=filled("{uuid}"),
        outputs={"arn": arn("backup", "backup-plan:{uuid}"), "version": filled("{unique}")},
        name="name",
        within=None,
        replaced_by=frozenset({"region"}),
    ),
    "aws:backup/selection:Selection": Kind(
        identifier=filled("{uuid}"), name="name", within=frozenset({"planId"})
    ),
    "aws:backup/vault:Vault": named(
        "name", "backup", "backup-vault:{name}", replaced_by=frozenset({"kmsKeyArn"})
    ),
    "aws:backup/vaultLockConfiguration:VaultLockConfiguration": part(
        "{backupVaultName}",
        "backupVaultName",
        overwrites=True,
        backupVaultArn=arn("backup", "backup-vault:{backupVaultName}"),
    ),
    "aws:backup/vaultPolicy:VaultPolicy": part(
        "{backupVaultName}",
        "backupVaultName",
        overwrites=True,
        backupVaultArn=arn("backup", "backup-vault:{backupVaultName}"),
    ),
    "aws:cloudtrail/trail:Trail": named(
        "name", "cloudtrail", "trail/{name}", homeRegion=filled("{region}")
    ),
    "aws:cloudwatch/eventRule:EventRule": named(
        "name", "events", "rule/{name}", replaced_by=frozenset({"eventBusName"})
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Kind(
        identifier=filled("{rule}-{targetId}"),
        name="targetId",
        within=frozenset({"rule"}),
        replaced_by=frozenset({"rule", "eventBusName"}),
        overwrites=True,
    ),
    "aws:cloudwatch/logGroup:LogGroup": named("name", "logs", "log-group:{name}"),
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": part(
        "{policyName}", "policyName", overwrites=True
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": named("name", "cloudwatch", "alarm:{name}"),
    "aws:guardduty/detector:Detector": Kind(
        identifier=filled("{unique}"),
        outputs={"accountId": account, "arn": arn("guardduty", "detector/{unique}")},
    ),
    "aws:secretsmanager/secret:Secret": Kind(
        identifier=_SECRET,
        outputs={"arn": _SECRET},
        name="name",
        replaced_by=frozenset({"region"}),
    ),
    "aws:secretsmanager/secretPolicy:SecretPolicy": part(
        "{secretArn}", "secretArn", overwrites=True
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Kind(
        identifier=filled("{secretId}|{uuid}"),
        outputs={"arn": filled("{secretId}"), "versionId": filled("{uuid}")},
        replaced_by=frozenset({"secretId", "secretString"}),
    ),
}
