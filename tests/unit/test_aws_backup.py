"""Backups, on mocks: vault, lock, plans, tests of restoring, and copies elsewhere."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pulumi_aws as aws
import pytest
from policy_decision import statements
from pydantic import ValidationError

from components.aws.alarm_topic import AlarmTopic, AlarmTopicArgs
from components.aws.backup import (
    KINDS,
    TAG,
    Backup,
    BackupArgs,
    copy_vault_statements,
    vault_statements,
)
from components.aws.log_delivery import topic_arn
from components.aws.off_site_copy import OffSiteCopy, OffSiteCopyArgs
from components.aws.scope import Scope
from components.aws.settings.backup import (
    NONE,
    STANDARD,
    BackupSettings,
    problems_of_backup,
    unapproved_copies,
)
from components.off_site import SECRET_VARIABLES, off_site_job
from components.residency import ForeignCopy, Residency

if TYPE_CHECKING:
    from conftest import Recorded, Recording

Record = Callable[[Callable[[], object]], "Recording"]
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
KEY = SCOPE.arn("kms", "key/backups")
TOPIC = topic_arn(SCOPE)
SITE = {"endpoint": "https://s3.site.ae", "bucket": "falaj-prod", "location": "Abu Dhabi"}
FOREIGN = {
    "endpoint": "https://s3.eu-central-1.amazonaws.com",
    "bucket": "falaj-models-eu",
    "location": "Frankfurt",
    "region": "eu-central-1",
    "contents": ["models"],
}


def make(*, keep: bool = True, **settings: Any) -> Backup:
    args = BackupArgs(
        scope=SCOPE,
        settings=BackupSettings.model_validate(settings),
        key_arn=KEY,
        topic_arn=TOPIC,
        allowed_regions=["me-central-1"],
        keep=keep,
        database_subnet_group="falaj-prod-database",
    )
    return Backup("backup", args)


def backup_of(record: Record, *, keep: bool = True, **settings: Any) -> Recording:
    return record(lambda: make(keep=keep, **settings))


@pytest.fixture
def backup(record: Record) -> Recording:
    return backup_of(record)


# --- coverage -------------------------------------------------------------------------------------

STATEFUL = {
    "aws:dynamodb/table:Table",
    "aws:ebs/volume:Volume",
    "aws:efs/fileSystem:FileSystem",
    "aws:rds/cluster:Cluster",
    "aws:rds/instance:Instance",
    "aws:s3/bucket:Bucket",
}


def not_backed_up(resources: Iterable[Recorded], default_tags: Mapping[str, str]) -> list[str]:
    """The stateful resources that no selection takes and that do not say `none`."""
    made = list(resources)
    taken = {
        (tag["key"], tag["value"])
        for one in made
        if one.type == "aws:backup/selection:Selection"
        for tag in one.inputs.get("selectionTags", ())
    }
    return [
        one.name
        for one in made
        if one.type in STATEFUL
        and (policy := {**default_tags, **one.inputs.get("tags", {})}.get(TAG)) != NONE
        and (TAG, policy) not in taken
    ]


@pytest.mark.parametrize(
    ("tags", "left_out"),
    [
        ({}, []),
        ({TAG: STANDARD}, []),
        ({TAG: NONE}, []),
        ({TAG: "forgotten"}, ["store"]),
    ],
)
def test_what_holds_data_is_backed_up_unless_it_says_none(
    record: Record, tags: dict[str, str], left_out: list[str]
) -> None:
    def build() -> None:
        aws.s3.Bucket("store", tags=tags)
        make()

    assert not_backed_up(record(build).resources, {TAG: STANDARD}) == left_out


def test_without_the_default_tag_an_untagged_store_would_be_missed(record: Record) -> None:
    assert not_backed_up(record(lambda: aws.s3.Bucket("store")).resources, {}) == ["store"]


# --- vault and plans ------------------------------------------------------------------------------


def test_the_vault_is_under_its_key_and_locked(backup: Recording) -> None:
    vault, lock = backup.the("Vault"), backup.the("VaultLockConfiguration")

    assert vault.inputs["kmsKeyArn"] == KEY
    assert vault.inputs["forceDestroy"] is False
    assert lock.inputs["backupVaultName"] == vault.inputs["name"]
    assert lock.inputs["minRetentionDays"] >= 35
    assert "changeableForDays" not in lock.inputs


def test_only_a_compliance_lock_has_a_date_after_which_nobody_lifts_it(record: Record) -> None:
    lock = backup_of(record, lock={"mode": "compliance"}).the("VaultLockConfiguration")

    assert lock.inputs["changeableForDays"] >= 3


def test_where_nothing_is_kept_the_vault_goes_with_its_stack(record: Record) -> None:
    made = backup_of(record, keep=False, lock={"mode": "none"})

    assert made.the("Vault").inputs["forceDestroy"] is True
    assert not made.of("VaultLockConfiguration")
    assert "DenyWeakening" not in made.the("VaultPolicy").inputs["policy"]


def test_only_break_glass_and_the_service_weaken_the_vault_and_no_copy_goes_abroad() -> None:
    at_home, lasting = vault_statements(SCOPE, ["me-central-1"], keep=True)

    assert lasting.conditions == {
        "ArnNotEquals": {
            "aws:PrincipalArn": [
                "arn:aws:iam::123456789012:role/falaj-prod-break-glass",
                "arn:aws:iam::123456789012:role/falaj-prod-backup",
            ]
        }
    }
    assert "backup:DeleteRecoveryPoint" in lasting.actions
    assert at_home.conditions["ForAnyValue:ArnNotLike"]["backup:CopyTargets"] == [
        "arn:aws:backup:me-central-1:*:backup-vault:*"
    ]
    assert {at_home.effect, lasting.effect} == {"Deny"}


def test_each_policy_has_a_plan_that_takes_what_is_tagged_with_it(record: Record) -> None:
    rules = {"daily": {"schedule": "cron(0 22 * * ? *)", "keep_days": 35}}
    made = backup_of(record, policies={"standard": rules, "long": rules})
    selections = {
        one.inputs["planId"]: (one.inputs["selectionTags"], one.inputs["iamRoleArn"])
        for one in made.of("Selection")
    }

    assert selections == {
        f"id:backup-{policy}": (
            [{"type": "STRINGEQUALS", "key": TAG, "value": policy}],
            "arn:backup-role",
        )
        for policy in ("standard", "long")
    }


def test_the_standard_policy_is_daily_and_stays_in_the_locked_range(backup: Recording) -> None:
    rules = {one["ruleName"]: one for one in backup.the("Plan", "standard").inputs["rules"]}
    lock = backup.the("VaultLockConfiguration").inputs

    assert rules["daily"]["schedule"] == "cron(0 22 * * ? *)"
    assert rules["monthly"]["lifecycle"]["deleteAfter"] >= 1827
    for rule in rules.values():
        assert rule["targetVaultName"] == backup.the("Vault").inputs["name"]
        kept = rule["lifecycle"]["deleteAfter"]
        assert lock["minRetentionDays"] <= kept <= lock["maxRetentionDays"]
        # AWS Backup would take the database's own backup window over
        assert rule["enableContinuousBackup"] is False


def test_the_role_is_taken_by_the_service_for_this_account_and_may_read_objects(
    backup: Recording,
) -> None:
    (trust,) = statements(backup.the("Role", "backup-role").inputs["assumeRolePolicy"])
    attached = {one.inputs["policyArn"] for one in backup.of("RolePolicyAttachment")}

    assert trust["Principal"] == {"Service": ["backup.amazonaws.com"]}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup" in attached
    assert "arn:aws:iam::aws:policy/AWSBackupServiceRolePolicyForS3Backup" in attached


def test_the_account_opts_in_to_each_kind_since_others_are_passed_over(backup: Recording) -> None:
    chosen = backup.the("RegionSettings").inputs["resourceTypeOptInPreference"]

    assert chosen == dict.fromkeys(KINDS, True)
    assert {"RDS", "S3", "EBS"} <= set(KINDS)


# --- restoring, and what fails --------------------------------------------------------------------


def test_restoring_is_tried_on_databases_and_buckets_from_this_vault(backup: Recording) -> None:
    plan = backup.the("RestoreTestingPlan").inputs
    tried = {
        one.inputs["protectedResourceType"]: one.inputs
        for one in backup.of("RestoreTestingSelection")
    }

    assert plan["recoveryPointSelection"]["includeVaults"] == ["arn:backup-vault"]
    assert tried.keys() == {"RDS", "S3"}
    for one in tried.values():
        assert one["restoreTestingPlanName"] == plan["name"]
        assert one["iamRoleArn"] == "arn:backup-role"
        assert one["name"].replace("_", "").isalnum(), "AWS takes no hyphen in these names"
    assert tried["RDS"]["restoreMetadataOverrides"] == {"dbSubnetGroupName": "falaj-prod-database"}


def test_tests_of_restoring_can_be_left_out(record: Record) -> None:
    made = backup_of(record, restore_tests=False)

    assert not made.of("RestoreTestingPlan") + made.of("RestoreTestingSelection")


def test_failed_jobs_and_missing_backups_reach_the_topic(backup: Recording) -> None:
    pattern = json.loads(backup.the("EventRule").inputs["eventPattern"])
    missing = backup.the("MetricAlarm").inputs

    assert pattern["source"] == ["aws.backup"]
    assert "Copy Job State Change" in pattern["detail-type"]
    assert [list(one) for one in pattern["detail"]["$or"]] == [["state"], ["status"]]
    assert backup.the("EventTarget").inputs["arn"] == TOPIC
    assert (missing["treatMissingData"], missing["alarmActions"]) == ("breaching", [TOPIC])
    assert missing["dimensions"] == {"BackupVaultName": backup.the("Vault").inputs["name"]}


def test_alarms_of_backups_are_let_in_by_the_policy_of_the_topic(record: Record) -> None:
    def build() -> None:
        AlarmTopic("alarms", AlarmTopicArgs(scope=SCOPE, key_arn=KEY))
        make()

    made = record(build)
    allowed = statements(made.the("TopicPolicy").inputs["policy"])
    patterns = [str(one["Condition"]["ArnLike"]["aws:SourceArn"]).rstrip("*") for one in allowed]
    named = [one.inputs["name"] for one in made.of("MetricAlarm") + made.of("EventRule")]

    for name in named:
        assert any(
            f"{name}".startswith(pattern.split(":")[-1].split("/")[-1]) for pattern in patterns
        )


# --- copies ---------------------------------------------------------------------------------------


def test_the_other_account_gets_a_copy_in_the_same_region(record: Record) -> None:
    made = backup_of(record, copy_account={"account_id": "210987654321", "vault": "falaj-copies"})

    for rule in made.the("Plan").inputs["rules"]:
        (copy,) = rule["copyActions"]
        assert copy["destinationVaultArn"] == (
            "arn:aws:backup:me-central-1:210987654321:backup-vault:falaj-copies"
        )
        assert copy["lifecycle"] == rule["lifecycle"]


def test_the_vault_of_the_other_account_lets_this_account_only_put() -> None:
    (statement,) = copy_vault_statements(SCOPE)

    assert statement.actions == ("backup:CopyIntoBackupVault",)
    assert statement.principals == {"AWS": ("arn:aws:iam::123456789012:root",)}


def off_site(record: Record, *, keep: bool = True) -> tuple[Recording, OffSiteCopy]:
    made: list[OffSiteCopy] = []
    args = OffSiteCopyArgs(
        scope=SCOPE,
        noun="second-site",
        endpoint="https://s3.site.ae",
        target="falaj-prod/",
        schedule="30 1 * * *",
        contents=("models", "backups"),
        secrets_key_arn=SCOPE.arn("kms", "key/secrets"),
        source_key_arns=[SCOPE.arn("kms", "key/artifacts"), KEY],
        team_keys=True,
        cluster_name="falaj-prod",
        keep=keep,
    )
    recording = record(lambda: made.append(OffSiteCopy("copy", args)))
    return recording, made[0]


def test_the_copying_job_reads_its_buckets_and_its_secret_and_writes_nothing(
    record: Record,
) -> None:
    made, _ = off_site(record)
    allowed = statements(made.the("RolePolicy").inputs["policy"])

    assert {action for one in allowed for action in one["Action"]} == {
        *("s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "kms:Decrypt"),
        "secretsmanager:GetSecretValue",
    }
    by_sid = {one["Sid"]: one for one in allowed}
    assert by_sid["ReadObjects"]["Resource"] == [
        f"{SCOPE.bucket_arn('models')}/*",
        f"{SCOPE.bucket_arn('backups')}/*",
    ]
    # teams' objects are under keys of theirs, too many to be named one by one
    assert by_sid["KeysOfTeams"]["Condition"]["ForAnyValue:StringLike"] == {
        "kms:ResourceAliases": "alias/falaj/prod/team/*"
    }
    assert by_sid["ReadItsSecret"]["Resource"] == ["arn:copy-secret"]
    # reading a secret under a customer key takes the key as well
    assert by_sid["OpenItsSecret"]["Resource"] == [made.the("Secret").inputs["kmsKeyId"]]


def test_the_pods_of_the_job_take_its_role(record: Record) -> None:
    made, copy = off_site(record)
    association = made.the("PodIdentityAssociation").inputs

    assert association["roleArn"] == "arn:copy-role"
    assert association["namespace"] == copy.job.namespace
    assert association["serviceAccount"] == copy.job.service_account


def test_the_name_of_the_secret_is_free_at_once_where_nothing_is_kept(record: Record) -> None:
    assert off_site(record, keep=True)[0].the("Secret").inputs["recoveryWindowInDays"] == 30
    assert off_site(record, keep=False)[0].the("Secret").inputs["recoveryWindowInDays"] == 0


def test_what_leaves_is_sealed_first_never_deleted_and_compared_afterwards() -> None:
    job = off_site_job(
        name="backup-copy-second-site",
        region="me-central-1",
        secret="falaj-prod-second-site",
        endpoint="https://s3.site.ae",
        target="falaj-prod/copies/",
        schedule="30 1 * * *",
        sources={"models": "falaj-prod-models-123456789012"},
    )
    copy, check = job.commands

    assert copy[:2] == ("rclone", "copy")
    assert copy[-2:] == ("source:falaj-prod-models-123456789012", "sealed:models")
    assert check[:2] == ("rclone", "cryptcheck")
    assert job.variables["RCLONE_CONFIG_SEALED_REMOTE"] == "site:falaj-prod/copies/"
    assert not {verb for verb, *_ in (command[1:] for command in job.commands)} & {"sync", "delete"}
    assert not set(SECRET_VARIABLES) & set(job.variables), "secrets come from the secret alone"


# --- settings -------------------------------------------------------------------------------------

DAILY = {"schedule": "cron(0 22 * * ? *)", "keep_days": 35}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "off"}, "without a reason"),
        ({"policies": {"standard": {"daily": DAILY | {"keep_days": 7}}}}, "greater than or equal"),
        ({"policies": {"standard": {"daily": DAILY | {"schedule": "daily"}}}}, "pattern"),
        ({"policies": {"other": {"daily": DAILY}}}, "policies: has no 'standard'"),
        (
            {"policies": {"standard": {"daily": DAILY}, "none": {"daily": DAILY}}},
            "policies.none: is the name for what is not backed up",
        ),
        ({"policies": {"standard": {}}}, "policies.standard: has no rule"),
        (
            {"policies": {"standard": {"yearly": DAILY | {"keep_days": 4000}}}},
            r"policies.standard.yearly.keep_days: is 4000.*lock.max_days",
        ),
        (
            {"policies": {"standard": {"daily": DAILY | {"cold_after_days": 30}}}},
            "stays there for 90",
        ),
        ({"lock": {"mode": "compliance", "changeable_days": 1}}, "greater than or equal to 3"),
        (
            {"second_site": SITE | {"endpoint": "https://s3.me-central-1.amazonaws.com"}},
            "second_site.endpoint: .* a store of the cloud",
        ),
        ({"second_site": SITE | {"endpoint": "http://s3.site.ae"}}, "pattern"),
        ({"second_site": SITE | {"secret_key": "x"}}, "Extra inputs"),
        (
            {"foreign_copies": {"models": FOREIGN | {"region": "eu-west-1"}}},
            "foreign_copies.models.endpoint: is in eu-central-1",
        ),
        (
            {"second_site": SITE, "foreign_copies": {"models": FOREIGN | SITE}},
            "foreign_copies.models: is the same place as second_site",
        ),
        ({"foreign_copies": {"m" * 31: FOREIGN}}, "too long a name"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BackupSettings.model_validate(settings)


def test_a_copy_in_the_same_account_is_no_second_one() -> None:
    settings = BackupSettings.model_validate(
        {"copy_account": {"account_id": "123456789012", "vault": "copies"}}
    )

    (problem,) = problems_of_backup(settings, account_id="123456789012", keep_data=True)
    assert problem.startswith("backup.copy_account.account_id: is this account")
    assert problems_of_backup(settings, account_id="210987654321", keep_data=True) == []


def test_a_vault_that_must_go_with_its_stack_has_no_lock_for_ever() -> None:
    settings = BackupSettings.model_validate({"lock": {"mode": "compliance"}})

    (problem,) = problems_of_backup(settings, account_id="1" * 12, keep_data=False)
    assert problem.startswith("backup.lock.mode: is 'compliance'")
    assert problems_of_backup(settings, account_id="1" * 12, keep_data=True) == []


def test_a_foreign_copy_needs_the_mode_and_an_approval_of_its_class_and_region() -> None:
    settings = BackupSettings.model_validate({"foreign_copies": {"models": FOREIGN}})

    def approved(data_class: str, region: str) -> Residency:
        copy = ForeignCopy(
            data_class=data_class,
            region=region,
            reference="R-1",
            expires=datetime.date(2999, 1, 1),
        )
        return Residency(mode="approved-foreign-copy", approved_copies=(copy,))

    assert "in-country" in unapproved_copies(settings, Residency())[0]
    assert unapproved_copies(settings, approved("models", "eu-central-1")) == []
    assert "models to eu-west-1" in unapproved_copies(settings, approved("models", "eu-west-1"))[0]
    assert unapproved_copies(settings, approved("data", "eu-central-1"))
    assert unapproved_copies(BackupSettings(), Residency()) == []
