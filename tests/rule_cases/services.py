"""Cases of `policies/encryption/services.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import KEY_ARN, Cases, mutated, resource

AWS_KEY = "arn:aws:kms:me-central-1:123456789012:alias/aws/any"

Kept = Mapping[str, tuple[dict[str, Any], tuple[tuple[str | int, ...], ...]]]
"""Type → compliant properties, and where in them the keys are."""


def each(kept: Kept) -> list[Resource]:
    """One compliant resource of each type."""
    return [resource(kind, "one", properties) for kind, (properties, _) in kept.items()]


def with_key(kept: Kept, *values: Any) -> dict[str, list[Resource]]:
    """Each type with another value at each of its keys."""
    return {
        f"{kind} {'.'.join(map(str, path))} {value}": [
            resource(kind, "one", mutated(properties, (path, value)))
        ]
        for kind, (properties, paths) in kept.items()
        for path in paths
        for value in values
    }


def one(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties)]


def without(kept: Kept, kind: str, *changes: Any) -> list[Resource]:
    return [resource(kind, "one", mutated(kept[kind][0], *changes))]


def plain(kinds: Iterable[str], key: str = "kmsKeyId", **more: Any) -> Kept:
    return {kind: ({key: KEY_ARN, **more}, ((key,),)) for kind in kinds}


EFS = "aws:efs/fileSystem:FileSystem"
COPY = "aws:efs/replicationConfiguration:ReplicationConfiguration"
FILE_SYSTEMS: Kept = {
    **plain([EFS], encrypted=True),
    COPY: ({"destination": {"kmsKeyId": KEY_ARN}}, (("destination", "kmsKeyId"),)),
    **plain(
        [
            "aws:fsx/fileCache:FileCache",
            "aws:fsx/lustreFileSystem:LustreFileSystem",
            "aws:fsx/ontapFileSystem:OntapFileSystem",
            "aws:fsx/openZfsFileSystem:OpenZfsFileSystem",
            "aws:fsx/windowsFileSystem:WindowsFileSystem",
            "aws:s3/filesFileSystem:FilesFileSystem",
        ]
    ),
}

IMAGES = "aws:ecr/repository:Repository"
ENCRYPTION = ("encryptionConfigurations", 0)
REPOSITORIES: Kept = {
    kind: (
        {"encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": KEY_ARN}]},
        ((*ENCRYPTION, "kmsKey"),),
    )
    for kind in (IMAGES, "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate")
}

QUEUE = "aws:sqs/queue:Queue"
STREAM = "aws:kinesis/stream:Stream"
DELIVERY = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
MESSAGING: Kept = {
    **plain(["aws:sns/topic:Topic", QUEUE], "kmsMasterKeyId"),
    **plain([STREAM], encryptionType="KMS"),
    DELIVERY: (
        {
            "serverSideEncryption": {
                "enabled": True,
                "keyType": "CUSTOMER_MANAGED_CMK",
                "keyArn": KEY_ARN,
            }
        },
        (("serverSideEncryption", "keyArn"),),
    ),
    "aws:msk/cluster:Cluster": (
        {"encryptionInfo": {"encryptionAtRestKmsKeyArn": KEY_ARN}},
        (("encryptionInfo", "encryptionAtRestKmsKeyArn"),),
    ),
    "aws:mq/broker:Broker": (
        {"encryptionOptions": {"kmsKeyId": KEY_ARN, "useAwsOwnedKey": False}},
        (("encryptionOptions", "kmsKeyId"),),
    ),
    **plain(
        ["aws:cloudwatch/eventArchive:EventArchive", "aws:cloudwatch/eventBus:EventBus"],
        "kmsKeyIdentifier",
    ),
}

TABLE = "aws:dynamodb/table:Table"
CACHE = "aws:elasticache/cluster:Cluster"
GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
SEARCH = "aws:opensearch/domain:Domain"
SEARCHING = {"encryptAtRest": {"enabled": True, "kmsKeyId": KEY_ARN}}
STORES: Kept = {
    TABLE: (
        {
            "serverSideEncryption": {"enabled": True, "kmsKeyArn": KEY_ARN},
            "replicas": [{"regionName": "me-central-1", "kmsKeyArn": KEY_ARN}],
        },
        (("serverSideEncryption", "kmsKeyArn"), ("replicas", 0, "kmsKeyArn")),
    ),
    **plain(
        [
            "aws:dynamodb/tableReplica:TableReplica",
            "aws:memorydb/cluster:Cluster",
            "aws:amp/workspace:Workspace",
        ],
        "kmsKeyArn",
    ),
    **plain([GROUP], atRestEncryptionEnabled=True),
    **plain(
        [
            "aws:elasticache/serverlessCache:ServerlessCache",
            "aws:docdb/elasticCluster:ElasticCluster",
            "aws:redshiftserverless/namespace:Namespace",
            "aws:timestreamwrite/database:Database",
        ]
    ),
    SEARCH: (SEARCHING, (("encryptAtRest", "kmsKeyId"),)),
    "aws:elasticsearch/domain:Domain": (SEARCHING, (("encryptAtRest", "kmsKeyId"),)),
    **plain(["aws:docdb/cluster:Cluster"], storageEncrypted=True),
    **plain(["aws:neptune/cluster:Cluster"], "kmsKeyArn", storageEncrypted=True),
    **plain(["aws:redshift/cluster:Cluster"], encrypted=True),
}

LOGS = plain(["aws:cloudwatch/logGroup:LogGroup"])

SECRET = "aws:secretsmanager/secret:Secret"
PARAMETER = "aws:ssm/parameter:Parameter"
SECURE = {"name": "/prod/db/password", "type": "SecureString", "keyId": KEY_ARN}
SECRETS: Kept = {
    SECRET: (
        {"kmsKeyId": KEY_ARN, "replicas": [{"region": "me-central-1", "kmsKeyId": KEY_ARN}]},
        (("kmsKeyId",), ("replicas", 0, "kmsKeyId")),
    ),
    PARAMETER: (SECURE, (("keyId",),)),
}

VAULTS: Kept = {
    **plain(["aws:backup/vault:Vault"], "kmsKeyArn"),
    **plain(["aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault"], "encryptionKeyArn"),
}

WRONG = (ABSENT, None, "", AWS_KEY)

CASES = (
    Cases(
        rule="file-system-uses-customer-key",
        baseline=each(FILE_SYSTEMS),
        fails={
            **with_key(FILE_SYSTEMS, *WRONG),
            "switched off": without(FILE_SYSTEMS, EFS, (("encrypted",), False)),
            "nothing said": without(FILE_SYSTEMS, EFS, (("encrypted",), ABSENT)),
        },
        passes={
            "a copy into a file system that is there": one(
                COPY, destination={"fileSystemId": "fs-1"}
            ),
        },
        pending={
            **with_key(FILE_SYSTEMS, UNKNOWN),
            "switch": without(FILE_SYSTEMS, EFS, (("encrypted",), UNKNOWN)),
            "where the copy goes": one(COPY, destination={"fileSystemId": UNKNOWN}),
        },
    ),
    Cases(
        rule="ecr-repository-uses-customer-key",
        baseline=each(REPOSITORIES),
        fails={
            **with_key(REPOSITORIES, *WRONG),
            "AES": without(REPOSITORIES, IMAGES, ((*ENCRYPTION, "encryptionType"), "AES256")),
            "nothing said": one(IMAGES),
            "empty": one(IMAGES, encryptionConfigurations=[]),
        },
        passes={
            "two layers": without(
                REPOSITORIES, IMAGES, ((*ENCRYPTION, "encryptionType"), "KMS_DSSE")
            ),
        },
        pending={
            **with_key(REPOSITORIES, UNKNOWN),
            "all of it": one(IMAGES, encryptionConfigurations=UNKNOWN),
        },
    ),
    Cases(
        rule="messaging-uses-customer-key",
        baseline=each(MESSAGING),
        fails={
            **with_key(MESSAGING, *WRONG),
            "alias of the service": one("aws:sns/topic:Topic", kmsMasterKeyId="alias/aws/sns"),
            "both kinds": one(QUEUE, kmsMasterKeyId=KEY_ARN, sqsManagedSseEnabled=True),
            "no encryption": without(MESSAGING, STREAM, (("encryptionType",), "NONE")),
            "key of AWS": without(
                MESSAGING,
                DELIVERY,
                (("serverSideEncryption", "keyType"), "AWS_OWNED_CMK"),
            ),
            "switched off": without(
                MESSAGING, DELIVERY, (("serverSideEncryption", "enabled"), False)
            ),
            "no block": one(DELIVERY),
        },
        passes={
            "SQS's own said to be off": one(
                QUEUE, kmsMasterKeyId=KEY_ARN, sqsManagedSseEnabled=False
            ),
            "a stream that only hands on": [
                *one(DELIVERY, kinesisSourceConfiguration={"kinesisStreamArn": "arn"}),
                *one(QUEUE, kmsMasterKeyId="alias/falaj"),
            ],
        },
        pending={
            **with_key(MESSAGING, UNKNOWN),
            "where it comes from": one(DELIVERY, mskSourceConfiguration=UNKNOWN),
        },
    ),
    Cases(
        rule="data-store-uses-customer-key",
        baseline=[*each(STORES), *one(CACHE, replicationGroupId="group")],
        fails={
            **with_key(STORES, *WRONG),
            "table": without(STORES, TABLE, (("serverSideEncryption", "enabled"), False)),
            "no block": without(STORES, TABLE, (("serverSideEncryption",), ABSENT)),
            "cache": without(STORES, GROUP, (("atRestEncryptionEnabled",), False)),
            "search": without(STORES, SEARCH, (("encryptAtRest", "enabled"), False)),
            "a cache by itself": one(CACHE, engine="memcached"),
        },
        passes={
            "an exempt cache": [resource(CACHE, "sessions", {})],
            "no replicas": without(STORES, TABLE, (("replicas",), [])),
        },
        pending={
            **with_key(STORES, UNKNOWN),
            "which replicas": without(STORES, TABLE, (("replicas",), UNKNOWN)),
        },
        parameters={"exemptCaches": ["sessions"]},
    ),
    Cases(
        rule="log-group-uses-customer-key",
        baseline=each(LOGS),
        fails=with_key(LOGS, *WRONG),
        passes={"by alias": one("aws:cloudwatch/logGroup:LogGroup", kmsKeyId="alias/logs")},
        pending=with_key(LOGS, UNKNOWN),
    ),
    Cases(
        rule="secret-uses-customer-key",
        baseline=each(SECRETS),
        fails={
            **with_key(SECRETS, *WRONG),
            "a text": one(PARAMETER, name="/prod/db/password", type="String", value="x"),
            "camel case": one(PARAMETER, name="dbPasswordHash", type="String"),
            "no name but the resource's": [
                resource(PARAMETER, "api-token", {"type": "StringList"})
            ],
            "shown": one(PARAMETER, **SECURE, insecureValue="x"),
        },
        passes={
            "a text that is none": one(PARAMETER, name="/prod/region", type="String"),
            "says where it is": one(PARAMETER, name="/prod/db/secret-arn", type="String"),
            "a private subnet": one(PARAMETER, name="/prod/private-subnets", type="StringList"),
            "a tokenizer": one(PARAMETER, name="/models/tokenizer", type="String"),
        },
        pending={
            **with_key(SECRETS, UNKNOWN),
            "type": one(PARAMETER, name="/prod/region", type=UNKNOWN),
            "name": one(PARAMETER, name=UNKNOWN, type="String"),
            "replicas": one(SECRET, kmsKeyId=KEY_ARN, replicas=UNKNOWN),
        },
    ),
    Cases(
        rule="backup-vault-uses-customer-key",
        baseline=each(VAULTS),
        fails=with_key(VAULTS, *WRONG),
        passes={"by alias": one("aws:backup/vault:Vault", kmsKeyArn="alias/backups")},
        pending=with_key(VAULTS, UNKNOWN),
    ),
)
