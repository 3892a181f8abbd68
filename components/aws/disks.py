"""EBS volumes as the storage classes of a cluster ask for them: pure, made of a key and of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from components.kubernetes.storage_classes import Disks

PROVISIONER = "ebs.csi.aws.com"


def ebs_disks(
    key_arn: pulumi.Input[str],
    tags: Mapping[str, str],
    ready: Sequence[pulumi.Resource] = (),
) -> Disks:
    """Volumes of type gp3 under `key_arn`, the key that the driver's role may hand on.

    `tags` are on each volume: nobody else puts them there, and AWS Backup finds a volume by its
    tag. Source: EBS CSI driver, docs, "CreateVolume Parameters" and "Tagging".
    """
    return Disks(
        provisioner=PROVISIONER,
        parameters={
            "type": "gp3",
            "encrypted": "true",
            "kmsKeyId": key_arn,
            **{
                f"tagSpecification_{number}": f"{tag}={value}"
                for number, (tag, value) in enumerate(sorted(tags.items()), 1)
            },
        },
        ready=ready,
    )
