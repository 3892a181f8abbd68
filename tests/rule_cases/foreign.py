"""Cases of `policies/residency/foreign.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from policies.common.exceptions import today
from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, PROVIDER, Cases, mutated, resource
from rule_cases.copies import ARNS, MADE, REPLICAS, SNAPSHOTS
from rule_cases.values import nested

HOME, APPROVED, OTHER = "me-central-1", "eu-central-1", "eu-west-1"
ABROAD = resource("pulumi:providers:aws", "abroad", {"region": APPROVED})
APPROVAL = {
    "dataClass": "internal",
    "region": APPROVED,
    "reference": "DPO-1",
    "expires": str(today() + timedelta(days=30)),
}
PARAMETERS: dict[str, Any] = {
    "mode": "approved-foreign-copy",
    "approvedForeignCopies": [APPROVAL],
    "knownBuckets": {"far": APPROVED, "near": HOME},
}
INTERNAL, RESTRICTED = {"data-classification": "internal"}, {"data-classification": "restricted"}

BUCKET, BUCKET_V2 = "aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"
REPLICATION = "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
PLAN, VAULT = "aws:backup/plan:Plan", "aws:backup/vault:Vault"
AIR_GAPPED = "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault"
EFS = "aws:efs/replicationConfiguration:ReplicationConfiguration"
NO_TAGS = (EFS, "aws:ecr/replicationConfiguration:ReplicationConfiguration")


def one(kind: str, path: str, value: Any, tags: Any = ABSENT, **more: Any) -> list[Resource]:
    said = {**nested(path, value), **({} if tags is ABSENT else {"tags": tags})}
    return [resource(kind, "one", said, **{"provider": PROVIDER, **more})]


def source(**tags: Any) -> Resource:
    tags = {key.replace("_", "-"): value for key, value in tags.items()}
    return resource(BUCKET, "store", {"bucket": "store-1", "tags": tags}, provider=PROVIDER)


def replicated(to: Any = "arn:aws:s3:::far", key: Any = ABSENT, **more: Any) -> Resource:
    destination = {"bucket": to}
    if key is not ABSENT:
        destination["encryptionConfiguration"] = {"replicaKmsKeyId": key}
    said = {"bucket": "store-1", "rules": [{"destination": destination}]}
    return resource(REPLICATION, "replication", said, **more)


def files(tags: Any) -> list[Resource]:
    said = {"sourceFileSystemId": "fs-1", "destination": {"region": APPROVED}}
    return [
        resource("aws:efs/fileSystem:FileSystem", "files", {"id": "fs-1", "tags": tags}),
        resource(EFS, "replica", said, provider=PROVIDER),
    ]


# --- keys -----------------------------------------------------------------------------------------

FAR_KEY = f"arn:aws:kms:{APPROVED}:{ACCOUNT}:key/2"
HELD = {"arn": FAR_KEY, "customKeyStoreId": "cks-1", "xksKeyId": "xks-1"}


def key(*changes: Any) -> Resource:
    return resource("aws:kms/key:Key", "far", mutated(HELD, *changes), provider=ABROAD)


NEW_KEY = key((("arn",), UNKNOWN))
VAULT_ARN = f"arn:aws:backup:{{}}:{ACCOUNT}:backup-vault:far"
FAR_VAULT = VAULT_ARN.format(APPROVED)


def vault(kind: str = VAULT, arn: Any = FAR_VAULT, **named: Any) -> Resource:
    return resource(kind, "far", {"name": "far", "arn": arn, **named}, provider=ABROAD)


def plan(arn: Any = FAR_VAULT, **more: Any) -> Resource:
    said = {"rules": [{"copyActions": [{"destinationVaultArn": arn}]}]}
    return resource(PLAN, "plan", said, **more)


NEW_VAULT = vault(arn=UNKNOWN, kmsKeyArn=UNKNOWN)
NEW_VAULT_UNDER = resource(
    VAULT, "far", NEW_VAULT.properties, provider=ABROAD, references={"kmsKeyArn": (NEW_KEY.urn,)}
)

CASES = (
    Cases(
        rule="foreign-copy-is-approved-and-unexpired",
        parameters=PARAMETERS,
        baseline=one("aws:secretsmanager/secret:Secret", "replicas*.region", APPROVED, INTERNAL),
        fails={
            **{
                f"{kind} {path}, another class": one(kind, path, APPROVED, RESTRICTED)
                for kind, path in (*REPLICAS, *SNAPSHOTS)
            },
            **{
                f"{kind} {path}, no class": one(kind, path, text.format(APPROVED))
                for kind, path, text in ARNS
            },
            **{
                f"{kind} made abroad": one(kind, path, "a", RESTRICTED, provider=ABROAD)
                for kind, path in MADE
            },
            "objects of another class": [source(data_classification="restricted"), replicated()],
            "objects of no class": [source(), replicated()],
            "files of another class": files(RESTRICTED),
            "backups of another class": [plan()],
            "inline": one(
                BUCKET,
                "replicationConfiguration.rules*.destination.bucket",
                "arn:aws:s3:::far",
                RESTRICTED,
            ),
            "inline, before": one(
                BUCKET_V2,
                "replicationConfigurations*.rules*.destinations*.bucket",
                "arn:aws:s3:::far",
                RESTRICTED,
            ),
        },
        passes={
            **{
                f"{kind} {path}": one(kind, path, APPROVED, INTERNAL)
                for kind, path in REPLICAS
                if kind not in NO_TAGS and "GlobalTable" not in kind
            },
            "objects": [source(data_classification="internal"), replicated()],
            "files": files(INTERNAL),
            "at home": one("aws:dynamodb/table:Table", "replicas*.regionName", HOME),
            "for the rules on copies": one(
                "aws:dynamodb/table:Table", "replicas*.regionName", OTHER
            ),
        },
        pending={
            "where to": one("aws:dynamodb/table:Table", "replicas*.regionName", UNKNOWN),
            "of what class": one(
                "aws:dynamodb/table:Table", "replicas*.regionName", APPROVED, UNKNOWN
            ),
        },
    ),
    Cases(
        rule="foreign-copy-key-is-held-in-country",
        parameters={"knownBuckets": PARAMETERS["knownBuckets"]},
        baseline=[source(), replicated(key=FAR_KEY), key()],
        fails={
            "no key": [source(), replicated()],
            "a key of another stack": [source(), replicated(key=FAR_KEY)],
            "made abroad": [
                source(),
                replicated(key=FAR_KEY),
                key((("customKeyStoreId",), ABSENT), (("xksKeyId",), ABSENT)),
            ],
            "in a store of the region's": [
                source(),
                replicated(key=FAR_KEY),
                key((("xksKeyId",), None)),
            ],
            "made abroad, at preview": [
                source(),
                replicated(key=UNKNOWN, references={"rules": (NEW_KEY.urn,)}),
                key(
                    (("arn",), UNKNOWN), (("customKeyStoreId",), UNKNOWN), (("xksKeyId",), UNKNOWN)
                ),
            ],
            "said to be in the clear": [source(client_side_encrypted="false"), replicated()],
            "inline": one(
                BUCKET,
                "replicationConfiguration.rules*.destination",
                {"bucket": "arn:aws:s3:::far"},
            ),
            "inline, before": one(
                BUCKET_V2,
                "replicationConfigurations*.rules*.destinations*",
                {"bucket": "arn:aws:s3:::far"},
            ),
            "a vault of another account": [plan()],
            "a vault under no key": [plan(), vault()],
            "a vault under a key made abroad": [
                plan(),
                vault(kmsKeyArn=FAR_KEY),
                key((("xksKeyId",), ABSENT)),
            ],
            "an air-gapped vault": [plan(), vault(AIR_GAPPED, encryptionKeyArn=None)],
        },
        passes={
            "encrypted before": [source(client_side_encrypted="true"), replicated()],
            "at home": [source(), replicated("arn:aws:s3:::near")],
            "inline": [
                key(),
                *one(
                    BUCKET,
                    "replicationConfiguration.rules*.destination",
                    {"bucket": "arn:aws:s3:::far", "replicaKmsKeyId": FAR_KEY},
                ),
            ],
            "at preview": [
                source(),
                replicated(key=UNKNOWN, references={"rules": (NEW_KEY.urn,)}),
                NEW_KEY,
            ],
            "a vault": [plan(), vault(kmsKeyArn=FAR_KEY), key()],
            "an air-gapped vault": [plan(), vault(AIR_GAPPED, encryptionKeyArn=FAR_KEY), key()],
            "a vault at preview": [plan(), NEW_VAULT_UNDER, NEW_KEY],
            "a vault at home": [plan(VAULT_ARN.format(HOME))],
            "a secret is for another rule": one(
                "aws:secretsmanager/secret:Secret", "replicas*.region", APPROVED
            ),
        },
        pending={
            "where to": [source(), replicated(UNKNOWN)],
            "under which key": [source(), replicated(key=UNKNOWN)],
            "whether it is encrypted before": [source(client_side_encrypted=UNKNOWN), replicated()],
            "which vault": [plan(UNKNOWN)],
            "under which key a vault is": [plan(), NEW_VAULT],
        },
    ),
)
