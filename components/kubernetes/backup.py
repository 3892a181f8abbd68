"""Backups of what is in the cluster: its objects and its volumes, into the bucket in the country.

Owns Velero's locations and schedules. Leaves Velero itself with its identity and namespace to the
operators, the bucket with its key and lock to the place, and databases to the place's own backups.
Where the place copies volumes itself, as AWS Backup does by the tag that the disks bear, it copies
them and Velero does not: two hands on one disk's snapshots would bill twice and forget neither.
Velero's kinds must be there before.

Objects come from Pulumi, so what a restore is for is what Pulumi does not hold: volumes, and what
people and operators made. Left out is what a restore must not bring back: Secrets, which External
Secrets writes anew and which would lie in the bucket in plain; nodes and Karpenter's claims, whose
instances are gone; and what controllers make of other objects.

On a site's own store, volumes take two things more: a VolumeSnapshotClass of the site's driver with
the label ``velero.io/csi-volumesnapshot-class: "true"``, and Velero's node agent, which reads the
files of the host, so that its namespace is one of the exceptions of admission.

That a backup succeeds and can be restored is not shown by any test here. On a cluster: `velero
backup-location get` says Available, and `velero restore create --from-backup <name>
--namespace-mappings <team>:<other>` brings a team's objects into another namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.backup_settings import (
    ClusterBackupSettings,
    ObjectStore,
    ScheduleSettings,
)

NAMESPACE = "backup"
"""Velero's own."""
API_VERSION = "velero.io/v1"
LOCATION = "in-country"
PROVIDER = "velero.io/aws"

LEFT_OUT = (
    *("secrets", "events", "events.events.k8s.io"),
    *("nodes", "nodeclaims.karpenter.sh", "volumeattachments.storage.k8s.io"),
    *("endpoints", "endpointslices.discovery.k8s.io", "leases.coordination.k8s.io"),
    "workloads.kueue.x-k8s.io",
)
"""Kinds that no backup holds."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The place's bucket, written to by the identity of Velero's pod."""

    name: pulumi.Input[str]
    region: str
    key_arn: pulumi.Input[str]
    """Of the domain `backups`: each object is encrypted under it."""
    prefix: str = "cluster"


@dataclass(frozen=True, kw_only=True)
class ClusterBackupArgs:
    """What is kept, and where."""

    settings: ClusterBackupSettings
    namespaces: Sequence[str]
    """Those of the teams and of the platform's parts that keep something."""
    bucket: Bucket | None = None
    """`None` where the settings name a store of the site."""
    namespace: pulumi.Input[str] = NAMESPACE
    wait_for: Sequence[pulumi.Resource] = ()
    """Velero, the association of its identity, the bucket's policy."""

    def __post_init__(self) -> None:
        """Raises `ValueError` unless there is one bucket, and each namespace named is there."""
        problems = []
        if self.bucket is None and self.settings.store is None:
            problems.append(
                "store: is missing, and the place has no bucket for backups: name one in the "
                "country, with what encrypts it"
            )
        if self.bucket is not None and self.settings.store is not None:
            problems.append(
                "store: is set, and the place has a bucket for backups of its own: leave it out"
            )
        problems += [
            f"schedules.{name}.namespaces: {one} is none of {', '.join(sorted(self.namespaces))}"
            for name, schedule in self.settings.schedules.items()
            for one in schedule.namespaces
            if one not in self.namespaces
        ]
        problems += [
            f"schedules.{name}.volumes: is true, and the place copies volumes itself (AWS Backup, "
            "by their tag, under aws.backup); Velero has no right to their snapshots: leave it out"
            for name, schedule in self.settings.schedules.items()
            if schedule.volumes and self.bucket is not None
        ]
        if problems:
            raise ValueError("\n".join(f"backup.{problem}" for problem in problems))


class ClusterBackup(pulumi.ComponentResource):
    """Locations and schedules; `ready` holds the schedules."""

    def __init__(
        self, name: str, args: ClusterBackupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:ClusterBackup", name, None, opts)
        first = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        locations: list[pulumi.Resource] = [
            CustomResource(
                f"{name}-location",
                api_version=API_VERSION,
                kind="BackupStorageLocation",
                metadata=_metadata(LOCATION, args),
                spec=location(args),
                opts=first,
            )
        ]
        self.ready: list[pulumi.Resource] = [
            CustomResource(
                f"{name}-{noun}",
                api_version=API_VERSION,
                kind="Schedule",
                metadata=_metadata(noun, args),
                spec=schedule_spec(schedule, args),
                # a schedule without its location fails, and is not tried again for a day
                opts=pulumi.ResourceOptions(parent=self, depends_on=locations),
            )
            for noun, schedule in args.settings.schedules.items()
        ]
        self.register_outputs({})


def location(args: ClusterBackupArgs) -> dict[str, Any]:
    """The `spec` of the one place that backups go to."""
    common: dict[str, Any] = {
        "provider": PROVIDER,
        "default": True,
        "accessMode": "ReadWrite",
        "validationFrequency": "1h0m0s",
    }
    if args.bucket is not None:
        return common | {
            "objectStorage": {"bucket": args.bucket.name, "prefix": args.bucket.prefix},
            "config": {
                "region": args.bucket.region,
                "serverSideEncryption": "aws:kms",
                "kmsKeyId": args.bucket.key_arn,
            },
        }
    store = args.settings.store
    if store is None:
        raise ValueError("backup.store: is missing")
    return common | _of_site(store)


def _of_site(store: ObjectStore) -> dict[str, Any]:
    return {
        "objectStorage": {"bucket": store.bucket, "prefix": "cluster"},
        "config": {
            "region": store.region,
            "s3Url": store.endpoint,
            "s3ForcePathStyle": "true",
            "insecureSkipTLSVerify": "false",
        },
        "credential": {"name": store.credentials_secret, "key": "cloud"},
    }


def schedule_spec(schedule: ScheduleSettings, args: ClusterBackupArgs) -> dict[str, Any]:
    """The `spec` of one schedule."""
    template: dict[str, Any] = {
        "includedNamespaces": sorted(schedule.namespaces or args.namespaces),
        "excludedResources": list(LEFT_OUT),
        "storageLocation": LOCATION,
        "ttl": f"{schedule.keep_days * 24}h0m0s",
        "snapshotVolumes": False,
        "defaultVolumesToFsBackup": False,
    }
    if args.bucket is None and schedule.volumes is not False:
        # a snapshot of the site's own driver is on the site's own disks: its data goes to the store
        template |= {"snapshotVolumes": True, "snapshotMoveData": True}
    return {
        "schedule": schedule.cron,
        "template": template,
        # a backup outlives the schedule that made it
        "useOwnerReferencesInBackup": False,
        "skipImmediately": True,
        "paused": False,
    }


def _metadata(name: str, args: ClusterBackupArgs) -> Any:
    return {
        "name": name,
        "namespace": args.namespace,
        "labels": {"app.kubernetes.io/managed-by": "pulumi"},
    }
