"""Cases of `policies/residency/copies.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from policies.common.exceptions import today
from policies.common.resources import UNKNOWN, Resource
from rule_cases import ACCOUNT, PROVIDER, Cases, resource
from rule_cases.values import nested

HOME, AWAY, APPROVED, LAPSED = "me-central-1", "eu-west-1", "eu-central-1", "eu-north-1"
APPROVALS = [
    {
        "dataClass": "internal",
        "region": region,
        "reference": "DPO-1",
        "expires": str(today() + timedelta(days=days)),
    }
    for region, days in ((APPROVED, 30), (LAPSED, -1))
]
PARAMETERS: dict[str, Any] = {"approvedForeignCopies": APPROVALS}
ABROAD = resource("pulumi:providers:aws", "abroad", {"region": AWAY})
PINNED = resource(
    "pulumi:providers:aws", "pinned", {"region": HOME, "allowedAccountIds": f'["{ACCOUNT}"]'}
)

ECR = "aws:ecr/replicationConfiguration:ReplicationConfiguration"
EFS = "aws:efs/replicationConfiguration:ReplicationConfiguration"
SECRET = "aws:secretsmanager/secret:Secret"
TABLE = "aws:dynamodb/table:Table"
TABLE_REPLICA = "aws:dynamodb/tableReplica:TableReplica"
REPLICAS = (
    ("aws:directoryservice/serviceRegion:ServiceRegion", "regionName"),
    ("aws:dynamodb/globalTable:GlobalTable", "replicas*.regionName"),
    (TABLE, "replicas*.regionName"),
    (TABLE, "globalTableWitness.regionName"),
    (TABLE_REPLICA, "region"),
    (ECR, "replicationConfiguration.rules*.destinations*.region"),
    (EFS, "destination.region"),
    (SECRET, "replicas*.region"),
    ("aws:ssmincidents/replicationSet:ReplicationSet", "regions*.name"),
    ("aws:ssmincidents/replicationSet:ReplicationSet", "region*.name"),
)
ARNS = (
    (
        "aws:msk/replicator:Replicator",
        "replicationInfoList.targetKafkaClusterArn",
        "arn:aws:kafka:{}:1:cluster/a/1",
    ),
    (
        "aws:s3tables/tableBucketReplication:TableBucketReplication",
        "rule.destinations*.destinationTableBucketArn",
        "arn:aws:s3tables:{}:1:bucket/a",
    ),
    (
        "aws:s3tables/tableReplication:TableReplication",
        "rule.destinations*.destinationTableBucketArn",
        "arn:aws:s3tables:{}:1:bucket/a",
    ),
)

DLM = "aws:dlm/lifecyclePolicy:LifecyclePolicy"
COPY = "aws:rds/snapshotCopy:SnapshotCopy"
DATABASE, CLUSTER = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"
RULE = "policyDetails.schedules*.crossRegionCopyRules*"
SNAPSHOTS = (
    (DLM, f"{RULE}.targetRegion"),
    (DLM, f"{RULE}.target"),
    (DLM, "policyDetails.action.crossRegionCopies*.target"),
    (
        "aws:imagebuilder/distributionConfiguration:DistributionConfiguration",
        "distributions*.region",
    ),
    ("aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy", "destinationRegion"),
    (COPY, "destinationRegion"),
    ("aws:redshift/snapshotCopy:SnapshotCopy", "destinationRegion"),
)
MADE = (
    ("aws:ebs/snapshotCopy:SnapshotCopy", "sourceSnapshotId"),
    ("aws:ec2/amiCopy:AmiCopy", "sourceAmiId"),
    ("aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy", "copyTags"),
    (
        "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication",
        "sourceDbInstanceArn",
    ),
    (COPY, "copyTags"),
    (DATABASE, "replicateSourceDb"),
    (CLUSTER, "replicationSourceIdentifier"),
)

VAULT = "arn:aws:backup:{}:1:backup-vault:a"
AIR_GAPPED = "targetLogicallyAirGappedBackupVaultArn"

BUCKET, BUCKET_V2 = "aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"


def one(kind: str, path: str, value: Any, provider: Resource = PROVIDER) -> list[Resource]:
    return [resource(kind, "one", nested(path, value), provider=provider)]


def tagged(kind: str, path: str, value: Any, data_class: str) -> list[Resource]:
    properties = {**nested(path, value), "tags": {"data-classification": data_class}}
    return [resource(kind, "one", properties, provider=PROVIDER)]


def registry(account: Any) -> list[Resource]:
    destination = {"region": HOME, "registryId": account}
    path = "replicationConfiguration.rules*.destinations*"
    return one(ECR, path, destination, provider=PINNED)


def bucket(name: Any, provider: Resource = PROVIDER, **properties: Any) -> Resource:
    return resource(BUCKET, "copy", {"bucket": name, **properties}, provider=provider)


def replication(target: Any, *referred: Resource) -> Resource:
    return resource(
        "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
        "replication",
        {"bucket": "store", **nested("rules*.destination.bucket", target)},
        provider=PROVIDER,
        references={"rules": tuple(one.urn for one in referred)},
    )


def inline(target: str) -> Resource:
    path = "replicationConfiguration.rules*.destination.bucket"
    return resource(BUCKET, "store", {"bucket": "store", **nested(path, target)}, provider=PROVIDER)


def inline_v2(target: str) -> Resource:
    path = "replicationConfigurations*.rules*.destinations*.bucket"
    properties = {"bucket": "store", **nested(path, target)}
    return resource(BUCKET_V2, "store", properties, provider=PROVIDER)


ARN = "arn:aws:s3:::copy"

CASES = (
    Cases(
        rule="replica-stays-in-country",
        baseline=one(SECRET, "replicas*.region", HOME),
        fails={
            **{f"{kind}: {path}": one(kind, path, AWAY) for kind, path in REPLICAS},
            **{kind: one(kind, path, arn.format(AWAY)) for kind, path, arn in ARNS},
            "a table's, through a provider abroad": one(TABLE_REPLICA, "tags", {}, ABROAD),
            "approved until yesterday": one(SECRET, "replicas*.region", LAPSED),
            "approved for another class": tagged(
                SECRET, "replicas*.region", APPROVED, "restricted"
            ),
            "a file system's, wherever it likes": one(EFS, "destination.kmsKeyId", "key"),
            "a registry of somebody else": registry("999999999999"),
        },
        passes={
            **{f"{kind}: {path}": one(kind, path, HOME) for kind, path in REPLICAS},
            **{kind: one(kind, path, arn.format(HOME)) for kind, path, arn in ARNS},
            "none": one(SECRET, "tags", {}),
            "an empty list": [resource(SECRET, "one", {"replicas": []}, provider=PROVIDER)],
            "approved": one(SECRET, "replicas*.region", APPROVED),
            "approved for its class": tagged(SECRET, "replicas*.region", APPROVED, "internal"),
            "a file system's, in a zone": one(EFS, "destination.availabilityZoneName", f"{HOME}a"),
            "a registry that the provider is held to": registry(ACCOUNT),
        },
        pending={
            "which region": one(SECRET, "replicas*.region", UNKNOWN),
            "which replicas": one(TABLE, "replicas", UNKNOWN),
            "where a table's is": one(TABLE_REPLICA, "region", UNKNOWN),
            "where a file system's is": one(EFS, "destination", UNKNOWN),
            "whose registry": registry(UNKNOWN),
        },
        parameters=PARAMETERS,
    ),
    Cases(
        rule="snapshot-and-image-copy-stays-in-country",
        baseline=one(COPY, "destinationRegion", HOME),
        fails={
            **{f"{kind}: {path}": one(kind, path, AWAY) for kind, path in SNAPSHOTS},
            **{f"{kind}, made abroad": one(kind, path, "it", ABROAD) for kind, path in MADE},
            "to an outpost abroad": one(
                DLM, f"{RULE}.target", f"arn:aws:outposts:{AWAY}:1:outpost/op-1"
            ),
            "by a region of its own": [
                resource(
                    "aws:ec2/amiCopy:AmiCopy",
                    "one",
                    {"sourceAmiRegion": HOME, "region": AWAY},
                    provider=PROVIDER,
                )
            ],
        },
        passes={
            **{f"{kind}: {path}": one(kind, path, HOME) for kind, path in SNAPSHOTS},
            **{f"{kind}, made here": one(kind, path, "it") for kind, path in MADE},
            "a copy from abroad": one("aws:ec2/amiCopy:AmiCopy", "sourceAmiRegion", AWAY),
            "approved": one(COPY, "destinationRegion", APPROVED),
            "no copies": one(DLM, "policyDetails.schedules*.copyTags", value=True),
            # in a stack, for the rule is about none of it
            "a database that copies nothing": [
                *one(DATABASE, "engine", "postgres", ABROAD),
                *one(COPY, "destinationRegion", HOME),
            ],
        },
        pending={
            "to which region": one(COPY, "destinationRegion", UNKNOWN),
            "made where": one("aws:ec2/amiCopy:AmiCopy", "region", UNKNOWN),
            "which schedules": one(DLM, "policyDetails", UNKNOWN),
        },
        parameters=PARAMETERS,
    ),
    Cases(
        rule="backup-copy-stays-in-country",
        baseline=one(
            "aws:backup/plan:Plan", "rules*.copyActions*.destinationVaultArn", VAULT.format(HOME)
        ),
        fails={
            "to a vault abroad": one(
                "aws:backup/plan:Plan",
                "rules*.copyActions*.destinationVaultArn",
                VAULT.format(AWAY),
            ),
            "to a vault abroad that is cut off": one(
                "aws:backup/plan:Plan", f"rules*.{AIR_GAPPED}", VAULT.format(AWAY)
            ),
            "to no vault": one(
                "aws:backup/plan:Plan", "rules*.copyActions*.destinationVaultArn", "a"
            ),
            "second of two": one(
                "aws:backup/plan:Plan",
                "rules*.copyActions",
                [{"destinationVaultArn": VAULT.format(one)} for one in (HOME, AWAY)],
            ),
        },
        passes={
            "no copies": one("aws:backup/plan:Plan", "rules*.targetVaultName", "a"),
            "approved": one(
                "aws:backup/plan:Plan",
                "rules*.copyActions*.destinationVaultArn",
                VAULT.format(APPROVED),
            ),
            "cut off, but here": one(
                "aws:backup/plan:Plan", f"rules*.{AIR_GAPPED}", VAULT.format(HOME)
            ),
        },
        pending={
            "which vault": one(
                "aws:backup/plan:Plan", "rules*.copyActions*.destinationVaultArn", UNKNOWN
            ),
            "which actions": one("aws:backup/plan:Plan", "rules*.copyActions", UNKNOWN),
        },
        parameters=PARAMETERS,
    ),
    Cases(
        rule="s3-replication-stays-in-country",
        baseline=[bucket("copy"), replication(ARN)],
        fails={
            "to a bucket abroad": [bucket("copy", ABROAD), replication(ARN)],
            "to one with a region of its own": [bucket("copy", region=AWAY), replication(ARN)],
            "to one that nobody knows": [bucket("other"), replication(ARN)],
            "to one that is known abroad": [replication("arn:aws:s3:::known-abroad")],
            "by reference": [
                target := bucket(UNKNOWN, ABROAD),
                replication(UNKNOWN, target),
            ],
            "inline": [bucket("copy", ABROAD), inline(ARN)],
            "inline, under the old name": [bucket("copy", ABROAD), inline_v2(ARN)],
        },
        passes={
            "to one that is known": [replication("arn:aws:s3:::known")],
            "by reference": [here := bucket(UNKNOWN), replication(UNKNOWN, here)],
            "of which the region is an output": [
                made := bucket("copy", region=UNKNOWN),
                replication(ARN, made),
            ],
            "inline": [bucket("copy"), inline(ARN)],
            "inline, under the old name": [bucket("copy"), inline_v2(ARN)],
            "approved": [bucket("copy", region=APPROVED), replication(ARN)],
            "what S3 says of a bucket that nobody replicates": [
                bucket("copy", replicationConfiguration=UNKNOWN),
                replication(ARN),
            ],
        },
        pending={
            "to which": [bucket("copy"), replication(UNKNOWN)],
            "whether to one whose name is not known yet": [bucket(UNKNOWN), replication(ARN)],
        },
        parameters={**PARAMETERS, "knownBuckets": {"known": HOME, "known-abroad": AWAY}},
    ),
)
