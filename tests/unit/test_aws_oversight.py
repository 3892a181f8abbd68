"""Trail, backups and log shipping joined: what is made of which settings, and from whose keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

from components.aws.log_delivery import topic_arn
from components.aws.oversight import (
    Oversight,
    OversightArgs,
    OversightSettings,
    make_oversight,
)
from components.aws.scope import Scope
from components.aws.settings.audit import AuditSettings
from components.aws.settings.backup import BackupSettings
from components.aws.settings.log_shipping import LogShippingSettings
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
DOMAINS = ("artifacts", "backups", "cluster", "logs", "secrets")
OFF = {"mode": "off", "reason": "a test"}
NOTHING = dict.fromkeys(
    ("trail", "recorder", "threats", "posture", "access_analyzer", "account_defaults"), OFF
)
SITE = {"endpoint": "https://s3.site.ae", "bucket": "falaj-prod", "location": "Abu Dhabi"}


def made_of(
    record: Record,
    *,
    audit: dict[str, Any] | None = None,
    backup: dict[str, Any] | None = None,
    logs: dict[str, Any] | None = None,
    keys: bool = True,
) -> tuple[Recording, Oversight]:
    args = OversightArgs(
        scope=SCOPE,
        settings=OversightSettings(
            audit=AuditSettings.model_validate(audit or {}),
            backup=BackupSettings.model_validate(backup or {}),
            logs=LogShippingSettings.model_validate(logs or {}),
        ),
        allowed_regions=["me-central-1"],
        key_arns={domain: SCOPE.arn("kms", f"key/{domain}") for domain in DOMAINS if keys},
        cluster_name="falaj-prod",
        cluster_log_group="/aws/eks/falaj-prod/cluster",
        keep=True,
    )
    made: list[Oversight] = []

    recording = record(lambda: made.append(make_oversight("prod", args, pulumi.ResourceOptions())))
    return recording, made[0]


@pytest.fixture
def everything(record: Record) -> Recording:
    return made_of(record)[0]


def test_where_all_is_off_nothing_is_made_and_no_key_is_asked_for(record: Record) -> None:
    made, oversight = made_of(record, audit=NOTHING, backup=OFF, logs=OFF, keys=False)

    assert made.resources == []
    assert (oversight.topic_arn, oversight.off_site_jobs, oversight.log_outputs) == (None, [], ())


def test_every_encrypted_resource_names_the_key_of_its_domain(everything: Recording) -> None:
    expected = {
        "Trail": ("kmsKeyId", "logs"),
        "LogGroup": ("kmsKeyId", "logs"),
        "Topic": ("kmsMasterKeyId", "logs"),
        "DeliveryChannel": ("s3KmsKeyArn", "logs"),
        "Vault": ("kmsKeyArn", "backups"),
    }

    for kind, (setting, domain) in expected.items():
        found = everything.of(kind)
        assert found, kind
        for one in found:
            assert one.inputs[setting] == SCOPE.arn("kms", f"key/{domain}"), one.name


def test_the_account_refuses_what_is_public_plain_or_old_by_default(everything: Recording) -> None:
    block = everything.the("AccountPublicAccessBlock").inputs
    metadata = everything.the("InstanceMetadataDefaults").inputs

    assert [value for value in block.values() if value is True] == [True] * 4
    assert everything.the("EncryptionByDefault").inputs["enabled"] is True
    assert everything.the("DefaultKmsKey").inputs["keyArn"] == SCOPE.arn("kms", "key/cluster")
    assert everything.the("SnapshotBlockPublicAccess").inputs["state"] == "block-all-sharing"
    assert everything.the("SerialConsoleAccess").inputs["enabled"] is False
    assert (metadata["httpTokens"], metadata["httpPutResponseHopLimit"]) == ("required", 1)


def test_everything_that_raises_an_alarm_tells_the_one_topic(everything: Recording) -> None:
    alarms = everything.of("MetricAlarm")
    targets = everything.of("EventTarget")

    assert len(everything.of("Topic")) == 1
    assert {tuple(one.inputs["alarmActions"]) for one in alarms} == {("arn:prod-alarms-topic",)}
    assert {one.inputs["arn"] for one in targets} == {"arn:prod-alarms-topic"}
    assert topic_arn(SCOPE).endswith(everything.the("Topic").inputs["name"])


def test_every_log_group_is_kept_for_a_year(everything: Recording) -> None:
    assert len(everything.of("LogGroup")) == 2
    assert all(one.inputs["retentionInDays"] >= 365 for one in everything.of("LogGroup"))


def test_trail_and_recorder_deliver_to_the_buckets_of_the_environment(
    everything: Recording,
) -> None:
    assert everything.the("Trail").inputs["s3BucketName"] == SCOPE.bucket("logs")
    assert everything.the("DeliveryChannel").inputs["s3BucketName"] == SCOPE.bucket("config")


def test_backups_alone_have_a_topic_for_their_failures(record: Record) -> None:
    made, oversight = made_of(record, audit=NOTHING, logs=OFF)

    assert oversight.topic_arn is not None
    assert made.the("EventRule").inputs["name"] == "falaj-prod-backup-failed"
    assert not made.of("Trail")


def test_each_copy_outside_the_region_has_its_own_identity_secret_and_job(record: Record) -> None:
    foreign = SITE | {
        "endpoint": "https://s3.eu-central-1.amazonaws.com",
        "region": "eu-central-1",
        "contents": ["models"],
    }
    backup = {"second_site": SITE, "foreign_copies": {"models": foreign}}
    made, oversight = made_of(record, audit=NOTHING, logs=OFF, backup=backup)
    jobs = {job.name: job for job in oversight.off_site_jobs}

    assert jobs.keys() == {"backup-copy-second-site", "backup-copy-foreign-models"}
    assert {one.inputs["serviceAccount"] for one in made.of("PodIdentityAssociation")} == set(jobs)
    assert {one.inputs["name"] for one in made.of("Secret")} == {
        job.secret for job in jobs.values()
    }
    roles = {one.inputs["name"]: one.inputs for one in made.of("Role") if "aws:iam" in one.type}
    assert {f"falaj-prod-{name}" for name in jobs} < set(roles)
    allowed = made.the("RolePolicy", "foreign-models").inputs["policy"]
    assert SCOPE.bucket("models") in allowed
    assert SCOPE.bucket("data") not in allowed, "an approval covers its class alone"


def test_roles_trust_only_services_and_pods_of_this_account(everything: Recording) -> None:
    for role in everything.of("Role"):
        if role.type.startswith("aws:"):
            trust = role.inputs["assumeRolePolicy"]
            assert '"AWS"' not in trust, role.name
            assert "123456789012" in trust, role.name


AWS = {
    "account_id": "123456789012",
    "existing_cluster": {
        "name": "falaj-prod",
        "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
    },
    "node_pools": {"system": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}},
}
ABROAD = {
    "backup": {
        "foreign_copies": {"models": SITE | {"region": "eu-central-1", "contents": ["models"]}}
    },
    "logs": {
        "siem": {
            "kind": "http",
            "host": "siem.bank.ae",
            "service_name": "com.amazonaws.vpce.eu-west-1.vpce-svc-0a1b2c3d",
        }
    },
}


def problems_of(sections: dict[str, Any], **more: Any) -> str:
    config = {"aws": AWS | sections, **more}
    with pytest.raises(SettingsError) as caught:
        parse("prod", {f"falaj:{key}": json.dumps(value) for key, value in config.items()})
    return "\n".join(caught.value.problems)


def test_what_does_not_fit_inside_and_between_sections_is_said_in_one_list() -> None:
    copies = {"copy_account": {"account_id": "123456789012", "vault": "copies"}}
    said = problems_of({"audit": {"recorder": OFF}, "backup": copies})

    assert "falaj:aws.audit: posture.mode: is own, but Security Hub judges" in said
    assert "falaj:aws: backup.copy_account.account_id: is this account" in said


def test_what_residency_forbids_of_copies_and_logs_is_said_in_one_list() -> None:
    said = problems_of(ABROAD)

    assert "falaj:aws.backup.foreign_copies.models: nothing leaves" in said
    assert "falaj:aws.logs.siem.service_name: is in eu-west-1" in said


def test_an_approval_opens_its_class_and_region_and_nothing_else() -> None:
    approval = {
        "data_class": "data",
        "region": "eu-central-1",
        "reference": "R-1",
        "expires": "2999-01-01",
    }
    residency = {"mode": "approved-foreign-copy", "approved_copies": [approval]}
    said = problems_of(ABROAD, residency=residency)

    assert "residency.approved_copies approves: data to eu-central-1" in said
