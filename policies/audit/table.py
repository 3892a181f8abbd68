"""What the audit looks for: a row a kind. A new kind is a row, and what `plain` makes of it.

Operations and answers are checked against the descriptions of the APIs that botocore brings
(``tests/unit/policies/test_policies_audit_table.py``). Which action an operation needs, no machine
here can tell: those named otherwise than their operation are from the Service Authorization
Reference, and `aws iam simulate-custom-policy` or a first run shows one that is wrong as refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.audit.kinds import ACCOUNT, Ask, Entry, Kind, Origin, Plain

_SHARED = "snapshot-and-image-are-not-shared"
_MADE_BY_SERVICES = (
    *("aws:autoscaling:groupName", "aws:backup:source-resource", "aws:eks:cluster-name"),
    *("ebs.csi.aws.com/cluster", "elbv2.k8s.aws/cluster", "karpenter.sh/nodepool"),
)
"""Tags of what a service or a cluster made for something that is declared."""


def _tags(entry: Entry) -> dict[str, str]:
    """The tags, however the service writes them."""
    tags = entry.get("Tags") or entry.get("TagSet") or entry.get("TagList") or {}
    if isinstance(tags, Mapping):
        return dict(tags)
    return {one.get("Key", one.get("TagKey")): one.get("Value") for one in tags}


def by_service(entry: Entry) -> Origin:
    """Whether a tag says that a service made it."""
    return "service" if any(tag in _MADE_BY_SERVICES for tag in _tags(entry)) else ""


# --- S3 -------------------------------------------------------------------------------------------


def _bucket(entry: Entry) -> Iterator[Plain]:
    name = entry["Name"]
    arn = f"arn:aws:s3:::{name}"
    yield (
        "aws:s3/bucket:Bucket",
        {"bucket": name, "arn": arn, "tags": _tags({"Tags": entry.get("tags")})},
    )
    if block := entry.get("block"):
        switches = {name[0].lower() + name[1:]: value for name, value in block.items()}
        yield (
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            {"bucket": name, **switches},
        )
    if encryption := entry.get("encryption"):
        rules = [
            {
                "applyServerSideEncryptionByDefault": {
                    "sseAlgorithm": default.get("SSEAlgorithm"),
                    "kmsMasterKeyId": default.get("KMSMasterKeyID"),
                }
            }
            for rule in encryption
            for default in [rule.get("ApplyServerSideEncryptionByDefault", {})]
        ]
        yield (
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            {"bucket": name, "rules": rules},
        )
    if replication := entry.get("replication"):
        rules = [{"destination": {"bucket": rule["Destination"]["Bucket"]}} for rule in replication]
        yield (
            "aws:s3/bucketReplicationConfig:BucketReplicationConfig",
            {"bucket": name, "rules": rules},
        )


_S3 = (
    Kind(
        type="aws:s3/bucket:Bucket",
        also=("aws:s3/bucketV2:BucketV2",),
        service="s3",
        operation="list_buckets",
        # with an argument the answer says each bucket's region
        arguments={"MaxBuckets": 1000},
        items="Buckets",
        name="Name",
        arn="arn:{partition}:s3:::{name}",
        worldwide=True,
        region="BucketRegion",
        locate=Ask(
            operation="get_bucket_location",
            arguments={"Bucket": "Name"},
            into="location",
            answer="LocationConstraint",
        ),
        asks=(
            Ask(
                operation="get_public_access_block",
                arguments={"Bucket": "Name"},
                into="block",
                answer="PublicAccessBlockConfiguration",
                none=("NoSuchPublicAccessBlockConfiguration",),
            ),
            Ask(
                operation="get_bucket_encryption",
                arguments={"Bucket": "Name"},
                into="encryption",
                answer="ServerSideEncryptionConfiguration.Rules",
                none=("ServerSideEncryptionConfigurationNotFoundError",),
            ),
            Ask(
                operation="get_bucket_replication",
                arguments={"Bucket": "Name"},
                into="replication",
                answer="ReplicationConfiguration.Rules",
                none=("ReplicationConfigurationNotFoundError",),
            ),
            Ask(
                operation="get_bucket_tagging",
                arguments={"Bucket": "Name"},
                into="tags",
                answer="TagSet",
                none=("NoSuchTagSet",),
            ),
        ),
        plain=_bucket,
        rules=(
            *("s3-bucket-blocks-public-access", "s3-bucket-uses-customer-key"),
            "s3-replication-stays-in-country",
        ),
        actions={
            "list_buckets": "s3:ListAllMyBuckets",
            "get_public_access_block": "s3:GetBucketPublicAccessBlock",
            "get_bucket_encryption": "s3:GetEncryptionConfiguration",
            "get_bucket_replication": "s3:GetReplicationConfiguration",
        },
    ),
)

# --- keys and secrets -----------------------------------------------------------------------------


def _key(entry: Entry) -> Iterator[Plain]:
    key = entry["key"]
    said = {"keyUsage": key.get("KeyUsage"), "customerMasterKeySpec": key.get("KeySpec")}
    if key.get("Origin", "AWS_KMS") != "AWS_KMS":
        said["customKeyStoreId"] = key.get("CustomKeyStoreId", key["Origin"])
    regions = key.get("MultiRegionConfiguration", {})
    if regions.get("MultiRegionKeyType") == "REPLICA":
        yield (
            "aws:kms/replicaKey:ReplicaKey",
            {"primaryKeyArn": regions.get("PrimaryKey", {}).get("Arn")},
        )
        return
    rotation = entry.get("rotation") or {}
    yield (
        "aws:kms/key:Key",
        {
            **said,
            "multiRegion": key.get("MultiRegion", False),
            "enableKeyRotation": rotation.get("KeyRotationEnabled", False),
            "rotationPeriodInDays": rotation.get("RotationPeriodInDays"),
        },
    )


def _of_aws(entry: Entry) -> Origin:
    return "aws" if entry.get("key", {}).get("KeyManager") == "AWS" else ""


def _secret(entry: Entry) -> Iterator[Plain]:
    said = entry["secret"]
    yield (
        "aws:secretsmanager/secret:Secret",
        {
            "kmsKeyId": said.get("KmsKeyId"),
            "replicas": [
                {"region": one.get("Region"), "kmsKeyId": one.get("KmsKeyId")}
                for one in said.get("ReplicationStatus", ())
            ],
        },
    )


_KEYS = (
    Kind(
        type="aws:kms/key:Key",
        also=("aws:kms/externalKey:ExternalKey", "aws:kms/replicaKey:ReplicaKey"),
        service="kms",
        operation="list_keys",
        items="Keys",
        name="KeyId",
        arn="KeyArn",
        asks=(
            Ask(
                operation="describe_key",
                arguments={"KeyId": "KeyId"},
                into="key",
                answer="KeyMetadata",
            ),
            Ask(
                operation="get_key_rotation_status",
                arguments={"KeyId": "KeyId"},
                into="rotation",
                needed="key.KeyManager=='CUSTOMER' && key.KeySpec=='SYMMETRIC_DEFAULT'"
                " && key.Origin=='AWS_KMS' && key.KeyState!='PendingDeletion'",
            ),
        ),
        plain=_key,
        rules=("kms-key-is-single-region", "kms-key-rotates"),
        origin=_of_aws,
    ),
    Kind(
        type="aws:kms/alias:Alias",
        service="kms",
        operation="list_aliases",
        items="Aliases",
        name="AliasName",
        arn="AliasArn",
        plain=lambda entry: [
            ("aws:kms/alias:Alias", {"targetKeyId": entry.get("TargetKeyId", "")})
        ],
        origin=lambda entry: "aws" if entry["AliasName"].startswith("alias/aws/") else "",
    ),
    Kind(
        type="aws:secretsmanager/secret:Secret",
        service="secretsmanager",
        operation="list_secrets",
        items="SecretList",
        name="Name",
        arn="ARN",
        asks=(
            Ask(
                operation="describe_secret",
                arguments={"SecretId": "ARN"},  # pragma: allowlist secret
                into="secret",
            ),
        ),
        plain=_secret,
        rules=("replica-stays-in-country", "secret-uses-customer-key"),
        # such as rds!db-…, which RDS keeps for a database
        origin=lambda entry: "service" if entry.get("OwningService") else by_service(entry),
    ),
)

# --- machines, disks, images, networks ------------------------------------------------------------

_EC2_ARN = "arn:{partition}:ec2:{region}:{account}:"


def _volume(entry: Entry) -> Iterator[Plain]:
    said = {"encrypted": entry.get("Encrypted", False), "kmsKeyId": entry.get("KmsKeyId")}
    yield "aws:ebs/volume:Volume", said


def _snapshot(entry: Entry) -> Iterator[Plain]:
    yield "aws:ebs/snapshot:Snapshot", {"encrypted": entry.get("Encrypted", False)}
    for one in entry.get("shared") or ():
        yield (
            "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission",
            {"accountId": one.get("UserId", one.get("Group"))},
        )


def _image(entry: Entry) -> Iterator[Plain]:
    yield "aws:ec2/ami:Ami", {"name": entry.get("Name")}
    names = {
        "UserId": "accountId",
        "Group": "group",
        "OrganizationArn": "organizationArn",
        "OrganizationalUnitArn": "organizationalUnitArn",
    }
    for one in entry.get("shared") or ():
        said = {names[name]: value for name, value in one.items() if name in names}
        yield "aws:ec2/amiLaunchPermission:AmiLaunchPermission", said


def _instance(entry: Entry) -> Iterator[Plain]:
    options = entry.get("MetadataOptions", {})
    yield (
        "aws:ec2/instance:Instance",
        {
            "associatePublicIpAddress": bool(entry.get("PublicIpAddress")),
            "metadataOptions": {
                "httpTokens": options.get("HttpTokens"),
                "httpPutResponseHopLimit": options.get("HttpPutResponseHopLimit"),
            },
        },
    )


def _group(entry: Entry) -> Iterator[Plain]:
    ingress = [
        {
            "protocol": rule.get("IpProtocol"),
            "cidrBlocks": [one["CidrIp"] for one in rule.get("IpRanges", ())],
            "ipv6CidrBlocks": [one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ())],
        }
        for rule in entry.get("IpPermissions", ())
    ]
    yield "aws:ec2/securityGroup:SecurityGroup", {"ingress": ingress}


_EC2 = (
    Kind(
        type="aws:ebs/volume:Volume",
        service="ec2",
        operation="describe_volumes",
        items="Volumes",
        name="VolumeId",
        arn=_EC2_ARN + "volume/{name}",
        plain=_volume,
        rules=("disk-uses-customer-key",),
        origin=by_service,
    ),
    Kind(
        type="aws:ebs/snapshot:Snapshot",
        also=("aws:ebs/snapshotCopy:SnapshotCopy",),
        service="ec2",
        operation="describe_snapshots",
        arguments={"OwnerIds": [ACCOUNT]},
        items=f"Snapshots[?OwnerId=='{ACCOUNT}']",
        name="SnapshotId",
        arn="arn:{partition}:ec2:{region}::snapshot/{name}",
        asks=(
            Ask(
                operation="describe_snapshot_attribute",
                arguments={"SnapshotId": "SnapshotId", "Attribute": "=createVolumePermission"},
                into="shared",
                answer="CreateVolumePermissions",
            ),
        ),
        plain=_snapshot,
        rules=(_SHARED,),
        origin=by_service,
    ),
    Kind(
        type="aws:ec2/ami:Ami",
        also=("aws:ec2/amiCopy:AmiCopy", "aws:ec2/amiFromInstance:AmiFromInstance"),
        service="ec2",
        operation="describe_images",
        arguments={"Owners": [ACCOUNT]},
        items=f"Images[?OwnerId=='{ACCOUNT}']",
        name="ImageId",
        arn="arn:{partition}:ec2:{region}::image/{name}",
        asks=(
            Ask(
                operation="describe_image_attribute",
                arguments={"ImageId": "ImageId", "Attribute": "=launchPermission"},
                into="shared",
                answer="LaunchPermissions",
            ),
        ),
        plain=_image,
        rules=(_SHARED,),
        origin=by_service,
    ),
    Kind(
        type="aws:ec2/instance:Instance",
        service="ec2",
        operation="describe_instances",
        items="Reservations[].Instances[?State.Name!='terminated'][]",
        name="InstanceId",
        arn=_EC2_ARN + "instance/{name}",
        plain=_instance,
        rules=("compute-has-no-public-ip", "instance-metadata-is-v2-only"),
        origin=by_service,
    ),
    Kind(
        type="aws:ec2/vpc:Vpc",
        also=("aws:ec2/defaultVpc:DefaultVpc",),
        service="ec2",
        operation="describe_vpcs",
        items="Vpcs",
        name="VpcId",
        arn=_EC2_ARN + "vpc/{name}",
        origin=lambda entry: "aws" if entry.get("IsDefault") else by_service(entry),
    ),
    Kind(
        type="aws:ec2/securityGroup:SecurityGroup",
        also=("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",),
        service="ec2",
        operation="describe_security_groups",
        items="SecurityGroups",
        name="GroupId",
        arn=_EC2_ARN + "security-group/{name}",
        plain=_group,
        rules=("security-group-has-no-open-ingress",),
        origin=lambda entry: "aws" if entry.get("GroupName") == "default" else by_service(entry),
    ),
)

# --- databases ------------------------------------------------------------------------------------

_MODULES = {"docdb": "docdb", "neptune": "neptune"}
"""Engines that RDS lists and Pulumi has apart."""


def _database(entry: Entry) -> Iterator[Plain]:
    module = _MODULES.get(entry.get("Engine", ""), "rds")
    public = {"publiclyAccessible": entry.get("PubliclyAccessible", False)}
    if entry.get("DBClusterIdentifier"):
        yield f"aws:{module}/clusterInstance:ClusterInstance", public
    else:
        yield "aws:rds/instance:Instance", {**public, **_storage(entry)}


def _storage(entry: Entry) -> dict[str, Any]:
    secret = entry.get("MasterUserSecret") or {}
    return {
        "storageEncrypted": entry.get("StorageEncrypted", False),
        "kmsKeyId": entry.get("KmsKeyId"),
        "performanceInsightsEnabled": entry.get("PerformanceInsightsEnabled", False),
        "performanceInsightsKmsKeyId": entry.get("PerformanceInsightsKMSKeyId"),
        "manageMasterUserPassword": bool(secret),
        "masterUserSecretKmsKeyId": secret.get("KmsKeyId"),
    }


def _cluster_of_databases(entry: Entry) -> Iterator[Plain]:
    module = _MODULES.get(entry.get("Engine", ""), "rds")
    yield f"aws:{module}/cluster:Cluster", _storage(entry)


def _kept(kind: str) -> Any:
    def plain(entry: Entry) -> Iterator[Plain]:
        shared = [account for one in entry.get("shared") or () for account in one]
        yield kind, {"sharedAccounts": shared}

    return plain


def _of_backup(entry: Entry) -> Origin:
    """RDS and AWS Backup make snapshots by themselves."""
    return "" if entry.get("SnapshotType", "manual") == "manual" else "service"


_RDS = (
    Kind(
        type="aws:rds/instance:Instance",
        also=tuple(
            f"aws:{module}/clusterInstance:ClusterInstance"
            for module in ("docdb", "neptune", "rds")
        ),
        service="rds",
        operation="describe_db_instances",
        items="DBInstances",
        name="DBInstanceIdentifier",
        arn="DBInstanceArn",
        plain=_database,
        rules=("database-is-not-public", "rds-storage-uses-customer-key"),
    ),
    Kind(
        type="aws:rds/cluster:Cluster",
        also=("aws:docdb/cluster:Cluster", "aws:neptune/cluster:Cluster"),
        service="rds",
        operation="describe_db_clusters",
        items="DBClusters",
        name="DBClusterIdentifier",
        arn="DBClusterArn",
        plain=_cluster_of_databases,
        rules=("rds-storage-uses-customer-key",),
    ),
    Kind(
        type="aws:rds/snapshot:Snapshot",
        service="rds",
        operation="describe_db_snapshots",
        items="DBSnapshots",
        name="DBSnapshotIdentifier",
        arn="DBSnapshotArn",
        asks=(
            Ask(
                operation="describe_db_snapshot_attributes",
                arguments={"DBSnapshotIdentifier": "DBSnapshotIdentifier"},
                into="shared",
                answer="DBSnapshotAttributesResult.DBSnapshotAttributes"
                "[?AttributeName=='restore'].AttributeValues",
                needed="SnapshotType=='manual'",
            ),
        ),
        plain=_kept("aws:rds/snapshot:Snapshot"),
        rules=(_SHARED,),
        origin=_of_backup,
    ),
    Kind(
        type="aws:rds/clusterSnapshot:ClusterSnapshot",
        service="rds",
        operation="describe_db_cluster_snapshots",
        items="DBClusterSnapshots",
        name="DBClusterSnapshotIdentifier",
        arn="DBClusterSnapshotArn",
        asks=(
            Ask(
                operation="describe_db_cluster_snapshot_attributes",
                arguments={"DBClusterSnapshotIdentifier": "DBClusterSnapshotIdentifier"},
                into="shared",
                answer="DBClusterSnapshotAttributesResult.DBClusterSnapshotAttributes"
                "[?AttributeName=='restore'].AttributeValues",
                needed="SnapshotType=='manual'",
            ),
        ),
        plain=_kept("aws:rds/clusterSnapshot:ClusterSnapshot"),
        rules=(_SHARED,),
        origin=_of_backup,
    ),
)


def _table(entry: Entry) -> Iterator[Plain]:
    table = entry["table"]
    encryption = table.get("SSEDescription", {})
    yield (
        "aws:dynamodb/table:Table",
        {
            "serverSideEncryption": {
                "enabled": encryption.get("Status") in ("ENABLED", "UPDATING"),
                "kmsKeyArn": encryption.get("KMSMasterKeyArn"),
            },
            "replicas": [
                {"regionName": one.get("RegionName"), "kmsKeyArn": one.get("KMSMasterKeyId")}
                for one in table.get("Replicas", ())
            ],
        },
    )


_DYNAMODB = (
    Kind(
        type="aws:dynamodb/table:Table",
        service="dynamodb",
        operation="list_tables",
        items="TableNames[].{Name: @}",
        name="Name",
        arn="arn:{partition}:dynamodb:{region}:{account}:table/{name}",
        asks=(
            Ask(
                operation="describe_table",
                arguments={"TableName": "Name"},
                into="table",
                answer="Table",
            ),
        ),
        plain=_table,
        rules=("data-store-uses-customer-key", "replica-stays-in-country"),
    ),
)

# --- containers, functions, logs ------------------------------------------------------------------


def _repository(entry: Entry) -> Iterator[Plain]:
    encryption = entry.get("encryptionConfiguration", {})
    yield (
        "aws:ecr/repository:Repository",
        {
            "imageTagMutability": entry.get("imageTagMutability"),
            "imageTagMutabilityExclusionFilters": entry.get(
                "imageTagMutabilityExclusionFilters", []
            ),
            "encryptionConfigurations": [
                {
                    "encryptionType": encryption.get("encryptionType"),
                    "kmsKey": encryption.get("kmsKey"),
                }
            ],
        },
    )


def _registry(entry: Entry) -> Iterator[Plain]:
    rules = [{"destinations": rule.get("destinations", [])} for rule in entry["rules"]]
    said = {"replicationConfiguration": {"rules": rules}}
    yield "aws:ecr/replicationConfiguration:ReplicationConfiguration", said


def _cluster(entry: Entry) -> Iterator[Plain]:
    cluster = entry["cluster"]
    network = cluster.get("resourcesVpcConfig", {})
    keys = cluster.get("encryptionConfig") or [{}]
    yield (
        "aws:eks/cluster:Cluster",
        {
            "vpcConfig": {
                name: network.get(name)
                for name in ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
            },
            "encryptionConfig": {
                "resources": keys[0].get("resources", []),
                "provider": {"keyArn": keys[0].get("provider", {}).get("keyArn")},
            },
        },
    )


_WORK = (
    Kind(
        type="aws:ecr/repository:Repository",
        service="ecr",
        operation="describe_repositories",
        items="repositories",
        name="repositoryName",
        arn="repositoryArn",
        plain=_repository,
        rules=("ecr-repository-uses-customer-key", "ecr-tags-are-immutable"),
    ),
    Kind(
        type="aws:ecr/replicationConfiguration:ReplicationConfiguration",
        service="ecr",
        operation="describe_registry",
        # every registry has one; it is a resource where it says something
        items="[@][?replicationConfiguration.rules].{id: registryId,"
        " rules: replicationConfiguration.rules}",
        name="id",
        arn="arn:{partition}:ecr:{region}:{account}:replication-configuration",
        plain=_registry,
        rules=("replica-stays-in-country",),
    ),
    Kind(
        type="aws:eks/cluster:Cluster",
        service="eks",
        operation="list_clusters",
        items="clusters[].{name: @}",
        name="name",
        arn="arn:{partition}:eks:{region}:{account}:cluster/{name}",
        asks=(
            Ask(
                operation="describe_cluster",
                arguments={"name": "name"},
                into="cluster",
                answer="cluster",
            ),
        ),
        plain=_cluster,
        rules=("eks-endpoint-is-private", "eks-secrets-use-customer-key"),
    ),
    Kind(
        type="aws:lambda/function:Function",
        service="lambda",
        operation="list_functions",
        items="Functions",
        name="FunctionName",
        arn="FunctionArn",
    ),
    Kind(
        type="aws:cloudwatch/logGroup:LogGroup",
        service="logs",
        operation="describe_log_groups",
        items="logGroups",
        name="logGroupName",
        arn="arn:{partition}:logs:{region}:{account}:log-group:{name}",
        plain=lambda entry: [
            ("aws:cloudwatch/logGroup:LogGroup", {"kmsKeyId": entry.get("kmsKeyId")})
        ],
        rules=("log-group-uses-customer-key",),
    ),
    Kind(
        type="aws:efs/fileSystem:FileSystem",
        service="efs",
        prefix="elasticfilesystem",
        operation="describe_file_systems",
        items="FileSystems",
        name="FileSystemId",
        arn="FileSystemArn",
        plain=lambda entry: [
            (
                "aws:efs/fileSystem:FileSystem",
                {"encrypted": entry.get("Encrypted", False), "kmsKeyId": entry.get("KmsKeyId")},
            )
        ],
        rules=("file-system-uses-customer-key",),
    ),
    Kind(
        type="aws:sqs/queue:Queue",
        service="sqs",
        operation="list_queues",
        items="QueueUrls[].{url: @}",
        name="url",
        arn="arn:{partition}:sqs:{region}:{account}:{last}",
    ),
    Kind(
        type="aws:sns/topic:Topic",
        service="sns",
        operation="list_topics",
        items="Topics",
        name="TopicArn",
        arn="TopicArn",
    ),
)

# --- identities -----------------------------------------------------------------------------------


def _of_the_organisation(entry: Entry) -> Origin:
    """Roles of services, and those that IAM Identity Center makes."""
    own = ("/aws-service-role/", "/aws-reserved/")
    return "aws" if entry.get("Path", "").startswith(own) else ""


_IAM = (
    Kind(
        type="aws:iam/role:Role",
        service="iam",
        operation="list_roles",
        items="Roles",
        name="RoleName",
        arn="Arn",
        worldwide=True,
        origin=_of_the_organisation,
    ),
    Kind(
        type="aws:iam/user:User",
        service="iam",
        operation="list_users",
        items="Users",
        name="UserName",
        arn="Arn",
        worldwide=True,
        plain=lambda entry: [("aws:iam/user:User", {"name": entry["UserName"]})],
        rules=("iam-user-and-access-key-do-not-exist",),
    ),
    Kind(
        type="aws:iam/policy:Policy",
        service="iam",
        operation="list_policies",
        arguments={"Scope": "Local"},
        items="Policies",
        name="PolicyName",
        arn="Arn",
        worldwide=True,
    ),
)

TAGGED = Kind(
    type="",
    service="resourcegroupstaggingapi",
    prefix="tag",
    operation="get_resources",
    items="ResourceTagMappingList",
    name="ResourceARN",
    arn="ResourceARN",
    origin=by_service,
)
"""Everything of any service that has, or ever had, a tag: the one listing that costs few calls a
region and needs nobody to have switched anything on."""

KINDS = (*_S3, *_KEYS, *_EC2, *_RDS, *_DYNAMODB, *_WORK, *_IAM)
