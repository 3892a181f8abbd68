"""Rules on what stores or carries data for others: each under a key of its owner."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator

from policies.common.properties import (
    EACH,
    Encrypted,
    is_not,
    names_key,
    under_customer_key,
)
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

Table = Mapping[str, tuple[Encrypted, ...]]
"""Type of resource → how it says it."""

_KEY = Encrypted(key=("kmsKeyId",))
_KEY_ARN = Encrypted(key=("kmsKeyArn",))
_SEARCH = Encrypted(within=("encryptAtRest",), on=("enabled",), key=("kmsKeyId",))
_REPOSITORY = Encrypted(
    within=("encryptionConfigurations", 0),
    says={("encryptionType",): ("KMS", "KMS_DSSE")},
    key=("kmsKey",),
)

_FILE_SYSTEMS: Table = {
    "aws:efs/fileSystem:FileSystem": (Encrypted(on=("encrypted",), key=("kmsKeyId",)),),
    "aws:efs/replicationConfiguration:ReplicationConfiguration": (
        Encrypted(within=("destination",), key=("kmsKeyId",)),
    ),
    "aws:fsx/fileCache:FileCache": (_KEY,),
    "aws:fsx/lustreFileSystem:LustreFileSystem": (_KEY,),
    "aws:fsx/ontapFileSystem:OntapFileSystem": (_KEY,),
    "aws:fsx/openZfsFileSystem:OpenZfsFileSystem": (_KEY,),
    "aws:fsx/windowsFileSystem:WindowsFileSystem": (_KEY,),
    "aws:s3/filesFileSystem:FilesFileSystem": (_KEY,),
}
_REPOSITORIES: Table = {
    "aws:ecr/repository:Repository": (_REPOSITORY,),
    "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate": (_REPOSITORY,),
}

_QUEUE = "aws:sqs/queue:Queue"
_DELIVERY = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
_SOURCES = ("kinesisSourceConfiguration", "mskSourceConfiguration")
_MESSAGING: Table = {
    "aws:sns/topic:Topic": (Encrypted(key=("kmsMasterKeyId",)),),
    _QUEUE: (Encrypted(key=("kmsMasterKeyId",)),),
    "aws:kinesis/stream:Stream": (
        Encrypted(says={("encryptionType",): ("KMS",)}, key=("kmsKeyId",)),
    ),
    _DELIVERY: (
        Encrypted(
            within=("serverSideEncryption",),
            on=("enabled",),
            says={("keyType",): ("CUSTOMER_MANAGED_CMK",)},
            key=("keyArn",),
        ),
    ),
    "aws:msk/cluster:Cluster": (Encrypted(key=("encryptionInfo", "encryptionAtRestKmsKeyArn")),),
    "aws:mq/broker:Broker": (Encrypted(key=("encryptionOptions", "kmsKeyId")),),
    "aws:cloudwatch/eventArchive:EventArchive": (Encrypted(key=("kmsKeyIdentifier",)),),
    "aws:cloudwatch/eventBus:EventBus": (Encrypted(key=("kmsKeyIdentifier",)),),
}

_CACHE = "aws:elasticache/cluster:Cluster"
_STORES: Table = {
    "aws:dynamodb/table:Table": (
        Encrypted(within=("serverSideEncryption",), on=("enabled",), key=("kmsKeyArn",)),
        Encrypted(within=("replicas", EACH), key=("kmsKeyArn",)),
    ),
    "aws:dynamodb/tableReplica:TableReplica": (_KEY_ARN,),
    "aws:elasticache/replicationGroup:ReplicationGroup": (
        Encrypted(on=("atRestEncryptionEnabled",), key=("kmsKeyId",)),
    ),
    "aws:elasticache/serverlessCache:ServerlessCache": (_KEY,),
    "aws:memorydb/cluster:Cluster": (_KEY_ARN,),
    "aws:opensearch/domain:Domain": (_SEARCH,),
    "aws:elasticsearch/domain:Domain": (_SEARCH,),
    "aws:amp/workspace:Workspace": (_KEY_ARN,),
    "aws:docdb/cluster:Cluster": (Encrypted(on=("storageEncrypted",), key=("kmsKeyId",)),),
    "aws:docdb/elasticCluster:ElasticCluster": (_KEY,),
    "aws:neptune/cluster:Cluster": (Encrypted(on=("storageEncrypted",), key=("kmsKeyArn",)),),
    "aws:redshift/cluster:Cluster": (Encrypted(on=("encrypted",), key=("kmsKeyId",)),),
    "aws:redshiftserverless/namespace:Namespace": (_KEY,),
    "aws:timestreamwrite/database:Database": (_KEY,),
}

_LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
_SECRET = "aws:secretsmanager/secret:Secret"  # noqa: S105 a type  # pragma: allowlist secret
_PARAMETER = "aws:ssm/parameter:Parameter"
_VAULTS: Table = {
    "aws:backup/vault:Vault": (_KEY_ARN,),
    "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault": (
        Encrypted(key=("encryptionKeyArn",)),
    ),
}


def file_system_uses_customer_key(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """A copy into a file system that is already there takes the key of that one."""
    into = resource.at("destination", "fileSystemId")
    if into is UNKNOWN and is_missing(resource.at("destination", "kmsKeyId")):
        yield pending(resource, "destination.fileSystemId")
    elif into is UNKNOWN or is_missing(into):
        yield from under_customer_key(resource, _FILE_SYSTEMS[resource.type])


def ecr_repository_uses_customer_key(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """The key of a repository cannot be changed once it is there."""
    yield from under_customer_key(resource, _REPOSITORIES[resource.type])


def messaging_uses_customer_key(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """Messages lie somewhere while they wait."""
    if resource.type == _DELIVERY:
        unknown = [name for name in _SOURCES if resource.at(name) is UNKNOWN]
        if unknown:
            yield pending(resource, unknown[0])
            return
    yield from under_customer_key(resource, _MESSAGING[resource.type])
    if resource.type == _QUEUE:
        yield from is_not(resource, ("sqsManagedSseEnabled",), True)


def _carries(resource: Resource) -> bool:
    """A delivery stream with a source of its own stores nothing itself."""
    return resource.type in _MESSAGING and (
        resource.type != _DELIVERY
        or all(is_missing(resource.at(name)) or resource.at(name) is UNKNOWN for name in _SOURCES)
    )


class Caches(Parameters):
    """Which caches may be without encryption at rest."""

    exemptCaches: tuple[str, ...] = ()  # noqa: N815
    """Names of cache clusters outside replication groups, which cannot encrypt."""


def data_store_uses_customer_key(resource: Resource, parameters: Caches) -> Iterator[Finding]:
    """A copy in another region has a key of its own to name."""
    if resource.type != _CACHE:
        yield from under_customer_key(resource, _STORES[resource.type])
    elif is_missing(resource.at("replicationGroupId")) and (
        resource.name not in parameters.exemptCaches
    ):
        what = "is not set: a cache cluster by itself cannot be encrypted at rest"
        yield Finding(resource=resource, where="replicationGroupId", what=what)


def log_group_uses_customer_key(group: Resource, _: Parameters) -> Iterator[Finding]:
    """Logs hold what programs say, and that is data too."""
    yield from names_key(group, ("kmsKeyId",))


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


class Secrets(Parameters):
    """Which parameters hold secrets."""

    secretNamePattern: Annotated[str, AfterValidator(_pattern)] = (  # noqa: N815
        r"(?i:passwords?|passwd|secrets?|tokens?|private[-_./]?keys?)(?![a-z])"
        r"(?!.*([-_./](?i:arn|name|id|url|path)|Arn|Name|Id|Url|Path)$)"
    )
    """Of names. Not `tokenizer`, not `secret-arn`: these say where a secret is, not what."""


def secret_uses_customer_key(resource: Resource, parameters: Secrets) -> Iterator[Finding]:
    """A secret in plain text is one that many have read."""
    if resource.type == _SECRET:
        yield from names_key(resource, ("kmsKeyId",))
        kept = Encrypted(within=("replicas", EACH), key=("kmsKeyId",))
        yield from under_customer_key(resource, [kept])
        return
    kind, name = resource.at("type"), resource.at("name")
    name = resource.name if is_missing(name) else name
    if kind is UNKNOWN:
        yield pending(resource, "type")
    elif kind == "SecureString":
        yield from names_key(resource, ("keyId",))
        if not is_missing(resource.at("insecureValue")):
            what = "shows a secret to whoever reads the state"
            yield Finding(resource=resource, where="insecureValue", what=what)
    elif name is UNKNOWN:
        yield pending(resource, "name")
    elif re.search(parameters.secretNamePattern, str(name)):
        what = f"is {'not set' if is_missing(kind) else kind} and not SecureString for a secret"
        yield Finding(resource=resource, where="type", what=what)


def backup_vault_uses_customer_key(vault: Resource, _: Parameters) -> Iterator[Finding]:
    """Copies are as secret as what they are copies of."""
    yield from under_customer_key(vault, _VAULTS[vault.type])


RULES = (
    Rule(
        name="file-system-uses-customer-key",
        description="Every file system is encrypted under a key of its owner.",
        mend="set encrypted and kmsKeyId; an EFS file system that is there must be replaced.",
        applies_to=lambda resource: resource.type in _FILE_SYSTEMS,
        each=file_system_uses_customer_key,
    ),
    Rule(
        name="ecr-repository-uses-customer-key",
        description="Every registry of images is encrypted under a key of its owner.",
        mend="set encryptionConfigurations with the key of the artifacts domain from the start.",
        applies_to=lambda resource: resource.type in _REPOSITORIES,
        each=ecr_repository_uses_customer_key,
    ),
    Rule(
        name="messaging-uses-customer-key",
        description="Every topic, queue, stream and bus is encrypted under a key of its owner.",
        mend="name a customer key on the topic, queue, stream or bus.",
        applies_to=_carries,
        each=messaging_uses_customer_key,
    ),
    Rule(
        name="data-store-uses-customer-key",
        description="Every table, cache and index is encrypted under a key of its owner.",
        mend="set encryption with a customer key; a store that is there may need replacement.",
        applies_to=lambda resource: resource.type in _STORES or resource.type == _CACHE,
        parameters=Caches,
        each=data_store_uses_customer_key,
    ),
    Rule(
        name="log-group-uses-customer-key",
        description="Every log group is encrypted under a key of its owner.",
        mend=(
            "set kmsKeyId to the key of the logs domain, "
            "whose policy allows logs.<region>.amazonaws.com."
        ),
        applies_to=lambda resource: resource.type == _LOG_GROUP,
        each=log_group_uses_customer_key,
    ),
    Rule(
        name="secret-uses-customer-key",
        description="Every secret is one, and is encrypted under a key of its owner.",
        mend="set the key of the secrets domain, on a parameter with type SecureString.",
        applies_to=lambda resource: resource.type in (_SECRET, _PARAMETER),
        parameters=Secrets,
        each=secret_uses_customer_key,
    ),
    Rule(
        name="backup-vault-uses-customer-key",
        description="Every backup vault is encrypted under a key of its owner.",
        mend="set the key of the backups domain.",
        applies_to=lambda resource: resource.type in _VAULTS,
        each=backup_vault_uses_customer_key,
    ),
)
