"""Backups of the cluster: into the bucket in the country, under the key, as long as is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from components.kubernetes.backup import Bucket, ClusterBackup, ClusterBackupArgs
from components.kubernetes.backup_settings import ClusterBackupSettings, ScheduleSettings
from components.kubernetes.flows import PLATFORM

Record = Callable[[Callable[[], object]], Any]

KEY = "arn:aws:kms:me-central-1:123456789012:key/backups"
BUCKET = Bucket(name="falaj-prod-backups-123456789012", region="me-central-1", key_arn=KEY)
SITE = {
    "endpoint": "https://objects.site.ae",
    "bucket": "falaj",
    "encrypted_by": "the store's own KMS, keys held by the site's security office",
    "credentials_secret": "backup-store",
}


def settings(**change: Any) -> ClusterBackupSettings:
    return ClusterBackupSettings.model_validate(change)


def args(bucket: Bucket | None = BUCKET, **change: Any) -> ClusterBackupArgs:
    return ClusterBackupArgs(
        settings=settings(**change), namespaces=("wheat", "tracking", "dates"), bucket=bucket
    )


def made(record: Record, given: ClusterBackupArgs) -> dict[str, Any]:
    """Kind/name → spec."""
    recording = record(lambda: ClusterBackup("backup", given))
    return {
        f"{one.inputs['kind']}/{one.inputs['metadata']['name']}": one.inputs["spec"]
        for one in recording.resources
        if one.inputs.get("kind")
    }


def test_backups_go_to_the_bucket_in_the_country_under_its_key(record: Record) -> None:
    found = made(record, args())
    where = found["BackupStorageLocation/in-country"]
    assert where["objectStorage"] == {"bucket": BUCKET.name, "prefix": "cluster"}
    assert where["config"] == {
        "region": "me-central-1",
        "serverSideEncryption": "aws:kms",
        "kmsKeyId": KEY,
    }
    assert not [name for name in found if name.startswith("VolumeSnapshotLocation")]
    locations = [name for name in found if name.startswith("BackupStorageLocation")]
    assert [found[name]["default"] for name in locations] == [True]


def test_a_schedule_names_its_locations_and_what_it_keeps(record: Record) -> None:
    found = made(
        record,
        args(
            schedules={
                "daily": {},
                "hourly": {"cron": "5 * * * *", "keep_days": 2, "namespaces": ["wheat"]},
                "objects": {"volumes": False},
            }
        ),
    )
    daily = found["Schedule/daily"]
    assert daily["template"]["includedNamespaces"] == ["dates", "tracking", "wheat"]
    assert daily["template"]["ttl"] == "840h0m0s"
    assert daily["template"]["storageLocation"] == "in-country"
    # AWS Backup takes them, and Velero has no right to
    assert daily["template"]["snapshotVolumes"] is False
    # else all backups go with the schedule
    assert daily["useOwnerReferencesInBackup"] is False
    hourly = found["Schedule/hourly"]
    assert (hourly["schedule"], hourly["template"]["ttl"]) == ("5 * * * *", "48h0m0s")
    assert hourly["template"]["includedNamespaces"] == ["wheat"]
    assert found["Schedule/objects"]["template"]["snapshotVolumes"] is False


@pytest.mark.parametrize(
    "kind", ["secrets", "nodes", "nodeclaims.karpenter.sh", "events", "leases.coordination.k8s.io"]
)
def test_what_a_restore_must_not_bring_back_is_left_out(record: Record, kind: str) -> None:
    left_out = made(record, args())["Schedule/daily"]["template"]["excludedResources"]
    assert kind in left_out
    assert not {"persistentvolumeclaims", "persistentvolumes", "configmaps"} & set(left_out)


def test_on_a_site_the_store_is_named_and_volumes_are_copied_into_it(record: Record) -> None:
    found = made(record, args(bucket=None, store=SITE))
    where = found["BackupStorageLocation/in-country"]
    assert where["config"]["s3Url"] == "https://objects.site.ae"
    assert where["config"]["insecureSkipTLSVerify"] == "false"
    assert where["credential"] == {"name": "backup-store", "key": "cloud"}
    assert "VolumeSnapshotLocation/in-country" not in found
    template = found["Schedule/daily"]["template"]
    assert (template["snapshotVolumes"], template["snapshotMoveData"]) == (True, True)


def test_volumes_that_the_place_copies_are_not_copied_twice(record: Record) -> None:
    with pytest.raises(ValueError, match=r"schedules\.all\.volumes: is true, and the place copies"):
        args(schedules={"all": {"volumes": True}})
    found = made(record, args(bucket=None, store=SITE, schedules={"objects": {"volumes": False}}))
    template = found["Schedule/objects"]["template"]
    assert (template["snapshotVolumes"], "snapshotMoveData" in template) == (False, False)


def test_there_is_one_bucket_and_each_namespace_is_there() -> None:
    with pytest.raises(ValueError, match=r"backup\.store: is missing, and the place has no bucket"):
        args(bucket=None)
    with pytest.raises(ValueError, match=r"backup\.store: is set, and the place has a bucket"):
        args(store=SITE)
    with pytest.raises(ValueError, match=r"schedules\.daily\.namespaces: barley is none of dates,"):
        args(schedules={"daily": {"namespaces": ["barley"]}})


@pytest.mark.parametrize(
    "cron",
    ["", "daily", "@daily", "60 2 * * *", "0 24 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * *",
     "0 5-2 * * *", "0 2 * * MON", "0 2 * * * *"],
)  # fmt: skip
def test_a_schedule_that_never_runs_is_an_error(cron: str) -> None:
    with pytest.raises(ValidationError, match="minute, hour, day, month and day of the week"):
        ScheduleSettings(cron=cron)


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/15 * * * *", "0 1,13 * * 1-5", "5 0 1 */3 0"])
def test_a_schedule_that_runs_is_taken(cron: str) -> None:
    assert ScheduleSettings(cron=cron).cron == cron


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedules": {}}, "schedules: is empty"),
        ({"store": SITE | {"endpoint": "http://objects.site.ae"}}, "endpoint"),
        ({"store": SITE | {"encrypted_by": "yes"}}, "encrypted_by"),
        ({"schedules": {"daily": {"keep_days": 0}}}, "keep_days"),
    ],
)
def test_a_store_in_plain_and_a_backup_of_nothing_are_errors(change: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_the_namespace_of_backups_has_flows() -> None:
    assert "backup" in PLATFORM
