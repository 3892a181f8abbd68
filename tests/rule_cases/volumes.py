"""Cases of `policies/encryption/volumes.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import KEY_ARN, Cases, mutated, resource

CLASS = "kubernetes:storage.k8s.io/v1:StorageClass"
VOLUME = "kubernetes:core/v1:PersistentVolume"
DISK = {
    "provisioner": "ebs.csi.aws.com",
    "parameters": {"type": "gp3", "encrypted": "true", "kmsKeyId": KEY_ARN},
}
PARAMETERS = "parameters"


def disk(*changes: Any) -> list[Resource]:
    return [resource(CLASS, "disk", mutated(DISK, *changes))]


def volume(**source: Any) -> list[Resource]:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], **source}
    return [resource(VOLUME, "volume", {"spec": spec})]


def shared(**attributes: Any) -> list[Resource]:
    csi = {"driver": "efs.csi.aws.com", "volumeHandle": "fs-1", "volumeAttributes": attributes}
    return volume(csi=csi)


SYSTEM_ARN = "arn:aws:elasticfilesystem:me-central-1:123456789012:file-system/fs-1"
SYSTEM = resource("aws:efs/fileSystem:FileSystem", "files", {"id": "fs-1", "arn": SYSTEM_ARN})
NEW = resource("aws:efs/fileSystem:FileSystem", "files", {"id": UNKNOWN, "arn": UNKNOWN})
DENIAL = {
    "Effect": "Deny",
    "Principal": {"AWS": "*"},
    "Action": "*",
    "Resource": SYSTEM_ARN,
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def policy(system: Any = "fs-1", references: Any = (), **change: Any) -> Resource:
    statement = {key: one for key, one in {**DENIAL, **change}.items() if one is not ABSENT}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    properties = {"fileSystemId": system, "policy": text}
    kind = "aws:efs/fileSystemPolicy:FileSystemPolicy"
    return resource(kind, "policy", properties, references=dict(references))


CASES = (
    Cases(
        rule="kubernetes-storage-class-is-encrypted",
        baseline=[*disk(), *volume(csi={"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"})],
        fails={
            "off": disk(((PARAMETERS, "encrypted"), "false")),
            "nothing said": disk(((PARAMETERS, "encrypted"), ABSENT)),
            "no text": disk(((PARAMETERS, "encrypted"), True)),
            "no parameters": disk(((PARAMETERS,), ABSENT)),
            "no key": disk(((PARAMETERS, "kmsKeyId"), ABSENT)),
            "a key of AWS": disk(((PARAMETERS, "kmsKeyId"), "alias/aws/ebs")),
            "of automatic mode": disk(
                (("provisioner",), "ebs.csi.eks.amazonaws.com"),
                ((PARAMETERS, "encrypted"), ABSENT),
            ),
            "another driver": disk((("provisioner",), "kubernetes.io/aws-ebs")),
            "none": disk((("provisioner",), ABSENT)),
            "the node's disk": volume(hostPath={"path": "/data"}),
            "before drivers": volume(awsElasticBlockStore={"volumeID": "vol-1"}),
            "NFS": volume(nfs={"server": "10.0.0.1", "path": "/"}),
        },
        passes={
            "files, encrypted by their file system": [
                resource(CLASS, "files", {"provisioner": "efs.csi.aws.com"})
            ],
            "other case": [
                resource(
                    CLASS,
                    "disk",
                    {
                        "provisioner": "ebs.csi.aws.com",
                        "parameters": {"encrypted": "true", "kmskeyid": KEY_ARN},
                    },
                )
            ],
            "null": volume(csi={"driver": "ebs.csi.aws.com"}, hostPath=None),
        },
        pending={
            "key": disk(((PARAMETERS, "kmsKeyId"), UNKNOWN)),
            "switch": disk(((PARAMETERS, "encrypted"), UNKNOWN)),
            "parameters": disk(((PARAMETERS,), UNKNOWN)),
            "driver": disk((("provisioner",), UNKNOWN)),
            "volume": [resource(VOLUME, "volume", {"spec": UNKNOWN})],
        },
    ),
    Cases(
        rule="efs-mount-uses-tls",
        baseline=[SYSTEM, policy(), *shared(encryptInTransit="true")],
        fails={
            "no policy": [SYSTEM],
            "of another": [SYSTEM, policy("fs-2")],
            "names another": [SYSTEM, policy(Resource=SYSTEM_ARN[:-1] + "2")],
            "narrowed": [
                SYSTEM,
                policy(
                    Condition={
                        "Bool": {"aws:SecureTransport": "false"},
                        "StringEquals": {"aws:SourceVpc": "vpc-1"},
                    }
                ),
            ],
            "of some": [SYSTEM, policy(Principal={"AWS": "arn:aws:iam::123456789012:role/a"})],
            "writing alone": [SYSTEM, policy(Action="elasticfilesystem:ClientWrite")],
            "volume": [SYSTEM, policy(), *shared(encryptInTransit="false")],
            "volume alone": shared(encryptInTransit="False"),
            "class": [
                resource(
                    CLASS,
                    "files",
                    {"provisioner": "efs.csi.aws.com", "parameters": {"encryptInTransit": "false"}},
                )
            ],
        },
        passes={
            "no resource": [SYSTEM, policy(Resource=ABSENT)],
            "all of the service": [SYSTEM, policy(Action=["elasticfilesystem:Client*"])],
            "at preview": [NEW, policy(UNKNOWN, {"fileSystemId": (NEW.urn,)})],
            "nothing said": shared(),
            "disks know no such thing": [
                *shared(),
                *volume(
                    csi={
                        "driver": "ebs.csi.aws.com",
                        "volumeAttributes": {"encryptInTransit": "false"},
                    }
                ),
            ],
        },
        pending={
            "policy": [SYSTEM, policy(UNKNOWN)],
            "its text": [
                SYSTEM,
                resource(
                    "aws:efs/fileSystemPolicy:FileSystemPolicy",
                    "policy",
                    {"fileSystemId": "fs-1", "policy": UNKNOWN},
                ),
            ],
            "volume": shared(encryptInTransit=UNKNOWN),
        },
    ),
)
