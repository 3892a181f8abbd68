"""What the types of AWS answer: identifiers, ARNs and addresses of the right account and region."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import aws_documents
import aws_shapes
from aws_forms import account, arn, given, region
from aws_forms import of_bucket as _of_bucket
from aws_forms import uuid_of as _uuid
from aws_kinds import KINDS
from pulumi import _types
from standin import UNKNOWN, Catalogue, Kind, Properties, Resource, StandIn, required, serve

_TAKEN = {
    "ec2/launchTemplate": "InvalidLaunchTemplateName.AlreadyExistsException",
    "ec2/securityGroup": "InvalidGroup.Duplicate",
    "ecr": "RepositoryAlreadyExistsException",
    "eks": "ResourceInUseException",
    "iam": "EntityAlreadyExists",
    "kms": "AlreadyExistsException",
    "rds/instance": "DBInstanceAlreadyExists",
    "s3": "BucketAlreadyOwnedByYou",
    "secretsmanager": "ResourceExistsException",  # pragma: allowlist secret
    "sqs": "QueueAlreadyExists",
}
"""What a service calls it when a name is in use: module, or type, of the token → code."""


def _cache_address(role: str, resource: Resource) -> str:
    name = resource.inputs["replicationGroupId"]
    return f"{role}.{name}.{resource.unique[:6]}.{region(resource)}.cache.amazonaws.com"


def _database_address(resource: Resource) -> str:
    name = resource.inputs["identifier"]
    return f"{name}.{resource.unique[:12]}.{region(resource)}.rds.amazonaws.com"


def _stream_arn(kind: str, name: str, resource: Resource) -> str:
    return arn("kafka", f"{kind}/{{{name}}}/{_uuid(resource)}-2")(resource)


def _queue_url(resource: Resource) -> str:
    name = resource.inputs["name"]
    return f"https://sqs.{region(resource)}.amazonaws.com/{account(resource)}/{name}"


def _issuer_arn(resource: Resource) -> str:
    host = str(resource.inputs["url"]).removeprefix("https://")
    return f"arn:aws:iam::{account(resource)}:oidc-provider/{host}"


def _secret_arn(resource: Resource) -> str:
    """Secrets Manager adds six characters to a name."""
    name = f"{resource.inputs['name']}-{resource.unique[:6]}"
    return f"arn:aws:secretsmanager:{region(resource)}:{account(resource)}:secret:{name}"


def _endpoints_of_firewall(resource: Resource) -> list[dict[str, Any]]:
    """What a firewall says of its endpoint in each subnet."""
    subnets = [mapping["subnetId"] for mapping in resource.inputs["subnetMappings"]]
    return [
        {
            "syncStates": [
                {
                    "attachments": [
                        {"endpointId": f"vpce-{subnet.rpartition('-')[2]}", "subnetId": subnet}
                    ]
                }
                for subnet in subnets
            ]
        }
    ]


def _of_cluster(path: str, *names: str) -> Kind:
    """A part of an EKS cluster, known by the cluster's name and its own."""
    return Kind(
        identifier=lambda resource: ":".join(
            str(resource.inputs[name]) for name in ("clusterName", *names)
        ),
        outputs={"arn": arn("eks", f"{path}/{{clusterName}}/{{unique}}")} if path else {},
        replaced_by=frozenset({"clusterName", *names, "region"}),
    )


def _placed(resource: Resource) -> Properties:
    """Where a cluster is, and the security group that EKS makes for it."""
    before = resource.previous.get("vpcConfig")
    group = before.get("clusterSecurityGroupId") if isinstance(before, dict) else None
    return {
        **resource.inputs["vpcConfig"],
        "clusterSecurityGroupId": group or f"sg-{resource.unique[:17]}",
    }


def _of_repository() -> Kind:
    """A setting of an image repository, in a resource of its own."""
    return Kind(
        identifier=given("repository"),
        outputs={"registryId": account},
        replaced_by=frozenset({"repository", "region"}),
    )


_KINDS: dict[str, Kind] = {
    "aws:backup/vault:Vault": Kind(
        identifier=given("name"),
        outputs={"arn": arn("backup", "backup-vault:{name}"), "recoveryPoints": lambda _: 0},
        name="name",
        replaced_by=frozenset({"kmsKeyArn", "region"}),
    ),
    "aws:cloudwatch/eventRule:EventRule": Kind(
        identifier=given("name"),
        outputs={"arn": arn("events", "rule/{name}")},
        name="name",
        replaced_by=frozenset({"eventBusName", "region"}),
    ),
    "aws:cloudwatch/logGroup:LogGroup": Kind(
        identifier=given("name"),
        outputs={"arn": arn("logs", "log-group:{name}")},
        name="name",
        replaced_by=frozenset({"logGroupClass", "region"}),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Kind(
        identifier=given("name"),
        outputs={"arn": arn("cloudwatch", "alarm:{name}")},
        name="name",
        replaced_by=frozenset({"region"}),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Kind(
        identifier=lambda resource: f"lt-{resource.unique[:17]}",
        outputs={
            "arn": lambda resource: (
                f"arn:aws:ec2:{region(resource)}:{account(resource)}"
                f":launch-template/lt-{resource.unique[:17]}"
            ),
            "latestVersion": lambda resource: int(resource.previous.get("latestVersion") or 0) + 1,
            "defaultVersion": lambda resource: (
                int(resource.previous.get("defaultVersion") or 0) + 1
            ),
        },
        volatile=frozenset({"latestVersion", "defaultVersion"}),
        name="name",
    ),
    "aws:eks/accessEntry:AccessEntry": _of_cluster("", "principalArn"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": _of_cluster(
        "", "principalArn", "policyArn"
    ),
    "aws:eks/addon:Addon": _of_cluster("addon", "addonName"),
    "aws:eks/cluster:Cluster": Kind(
        identifier=given("name"),
        outputs={
            "arn": arn("eks", "cluster/{name}"),
            "certificateAuthority": lambda _: {"data": "c3RhbmQtaW4="},
            "endpoint": lambda resource: (
                f"https://{resource.unique.upper()}.gr7.{region(resource)}.eks.amazonaws.com"
            ),
            "identities": lambda resource: [
                {
                    "oidcs": [
                        {
                            "issuer": f"https://oidc.eks.{region(resource)}.amazonaws.com/id/"
                            f"{resource.unique.upper()}"
                        }
                    ]
                }
            ],
            "status": lambda _: "ACTIVE",
            "vpcConfig": _placed,
        },
        volatile=frozenset({"vpcConfig"}),
        name="name",
        replaced_by=frozenset(
            {"bootstrapSelfManagedAddons", "encryptionConfig", "kubernetesNetworkConfig"}
            | {"roleArn", "region"}
        ),
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": _of_repository(),
    "aws:ecr/pullThroughCacheRule:PullThroughCacheRule": Kind(
        identifier=given("ecrRepositoryPrefix"),
        outputs={"registryId": account},
        replaced_by=frozenset({"ecrRepositoryPrefix", "upstreamRegistryUrl", "region"}),
    ),
    "aws:ecr/registryPolicy:RegistryPolicy": Kind(
        identifier=account, outputs={"registryId": account}, replaced_by=frozenset({"region"})
    ),
    "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration": Kind(
        identifier=account, outputs={"registryId": account}, replaced_by=frozenset({"region"})
    ),
    "aws:ecr/repository:Repository": Kind(
        identifier=given("name"),
        outputs={
            "arn": arn("ecr", "repository/{name}"),
            "registryId": account,
            "repositoryUrl": lambda resource: (
                f"{account(resource)}.dkr.ecr.{region(resource)}.amazonaws.com"
                f"/{resource.inputs['name']}"
            ),
        },
        name="name",
        replaced_by=frozenset({"encryptionConfigurations", "region"}),
    ),
    "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate": Kind(
        identifier=given("prefix"),
        outputs={"registryId": account},
        replaced_by=frozenset({"prefix", "region"}),
    ),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": _of_repository(),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Kind(
        identifier=lambda resource: f"vpce-{resource.unique[:17]}",
        outputs={
            "arn": arn("ec2", "vpc-endpoint/vpce-{unique}"),
            "dnsEntries": lambda resource: [
                {
                    "dnsName": f"{resource.unique[:8]}.{region(resource)}.vpce.amazonaws.com",
                    "hostedZoneId": f"Z{resource.unique[:13].upper()}",
                }
            ],
            "state": lambda _: "available",
        },
        replaced_by=frozenset({"region", "serviceName", "vpcEndpointType", "vpcId"}),
    ),
    "aws:eks/nodeGroup:NodeGroup": Kind(
        identifier=lambda resource: (
            f"{resource.inputs['clusterName']}:{resource.inputs['nodeGroupName']}"
        ),
        outputs={
            "arn": arn("eks", "nodegroup/{clusterName}/{nodeGroupName}/{unique}"),
            "status": lambda _: "ACTIVE",
        },
        name="nodeGroupName",
        replaced_by=frozenset(
            {"amiType", "capacityType", "clusterName", "diskSize", "instanceTypes", "nodeRoleArn"}
            | {"remoteAccess", "subnetIds", "region"}
        ),
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": Kind(
        identifier=given("replicationGroupId"),
        outputs={
            "arn": arn("elasticache", "replicationgroup:{replicationGroupId}"),
            "primaryEndpointAddress": lambda resource: _cache_address("master", resource),
            "readerEndpointAddress": lambda resource: _cache_address("replica", resource),
        },
        name="replicationGroupId",
        replaced_by=frozenset(
            {"atRestEncryptionEnabled", "kmsKeyId", "networkType", "port", "subnetGroupName"}
            | {"region"}
        ),
    ),
    "aws:elasticache/user:User": Kind(
        identifier=given("userId"),
        outputs={"arn": arn("elasticache", "user:{userId}")},
        name="userId",
        replaced_by=frozenset({"userName", "region"}),
    ),
    "aws:elasticache/userGroup:UserGroup": Kind(
        identifier=given("userGroupId"),
        outputs={"arn": arn("elasticache", "usergroup:{userGroupId}")},
        name="userGroupId",
        replaced_by=frozenset({"region"}),
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Kind(
        identifier=lambda resource: f"a-{resource.unique[:17]}",
        outputs={
            "associationArn": arn("eks", "podidentityassociation/{clusterName}/a-{unique}"),
            "associationId": lambda resource: f"a-{resource.unique[:17]}",
        },
        replaced_by=frozenset({"clusterName", "namespace", "serviceAccount", "region"}),
    ),
    "aws:iam/instanceProfile:InstanceProfile": Kind(
        identifier=given("name"),
        outputs={"arn": arn("iam", "instance-profile/{name}", regional=False)},
        name="name",
        replaced_by=frozenset({"path"}),
    ),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": Kind(
        identifier=_issuer_arn,
        outputs={"arn": _issuer_arn},
        replaced_by=frozenset({"url"}),
    ),
    "aws:iam/policy:Policy": Kind(
        identifier=arn("iam", "policy/{name}", regional=False),
        outputs={"arn": arn("iam", "policy/{name}", regional=False)},
        name="name",
        replaced_by=frozenset({"name", "path", "description"}),
    ),
    "aws:iam/role:Role": Kind(
        identifier=given("name"),
        outputs={
            "arn": arn("iam", "role/{name}", regional=False),
            "uniqueId": lambda resource: f"AROA{resource.unique[:17].upper()}",
        },
        name="name",
        replaced_by=frozenset({"path"}),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Kind(
        identifier=lambda resource: f"{resource.inputs['role']}/{resource.inputs['policyArn']}",
        replaced_by=frozenset({"role", "policyArn"}),
    ),
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream": Kind(
        identifier=lambda resource: (
            f"arn:aws:firehose:{region(resource)}:{account(resource)}"
            f":deliverystream/{resource.inputs['name']}"
        ),
        outputs={"arn": arn("firehose", "deliverystream/{name}")},
        name="name",
        replaced_by=frozenset({"destination", "region"}),
    ),
    "aws:kms/alias:Alias": Kind(
        identifier=given("name"),
        outputs={
            "arn": arn("kms", "{name}"),
            "targetKeyArn": arn("kms", "key/{targetKeyId}"),
        },
        volatile=frozenset({"targetKeyArn"}),
        name="name",
        replaced_by=frozenset({"region"}),
    ),
    "aws:kms/key:Key": Kind(
        identifier=_uuid,
        outputs={
            "arn": lambda resource: (
                f"arn:aws:kms:{region(resource)}:{account(resource)}:key/{_uuid(resource)}"
            ),
            "keyId": _uuid,
        },
        replaced_by=frozenset({"customerMasterKeySpec", "keyUsage", "multiRegion", "region"}),
    ),
    "aws:networkfirewall/firewall:Firewall": Kind(
        identifier=arn("network-firewall", "firewall/{name}"),
        outputs={
            "arn": arn("network-firewall", "firewall/{name}"),
            "firewallStatuses": _endpoints_of_firewall,
        },
        volatile=frozenset({"firewallStatuses"}),
        name="name",
        replaced_by=frozenset({"vpcId", "region"}),
    ),
    "aws:msk/cluster:Cluster": Kind(
        identifier=lambda resource: _stream_arn("cluster", "clusterName", resource),
        outputs={
            "arn": lambda resource: _stream_arn("cluster", "clusterName", resource),
            "bootstrapBrokersSaslIam": lambda resource: ",".join(
                f"b-{number}.{resource.inputs['clusterName']}.{resource.unique[:6]}.c2.kafka"
                f".{region(resource)}.amazonaws.com:9098"
                for number in range(1, 4)
            ),
            "currentVersion": lambda _: "K3P5ROKL5A1OLE",
        },
        name="clusterName",
        replaced_by=frozenset({"region"}),
    ),
    "aws:msk/configuration:Configuration": Kind(
        identifier=lambda resource: _stream_arn("configuration", "name", resource),
        outputs={
            "arn": lambda resource: _stream_arn("configuration", "name", resource),
            "latestRevision": lambda resource: (
                int(resource.previous.get("latestRevision") or 0) + 1
            ),
        },
        volatile=frozenset({"latestRevision"}),
        name="name",
        replaced_by=frozenset({"kafkaVersions", "region"}),
    ),
    "aws:rds/instance:Instance": Kind(
        identifier=lambda resource: f"db-{resource.unique[:26].upper()}",
        outputs={
            "address": _database_address,
            "arn": arn("rds", "db:{identifier}"),
            "endpoint": lambda resource: f"{_database_address(resource)}:5432",
            "engineVersionActual": given("engineVersion"),
            "masterUserSecrets": lambda resource: (
                [
                    {
                        "kmsKeyId": resource.inputs.get("masterUserSecretKmsKeyId"),
                        "secretArn": arn(
                            "secretsmanager", f"secret:rds!db-{_uuid(resource)}-a1B2c3"
                        )(resource),
                        "secretStatus": "active",  # pragma: allowlist secret
                    }
                ]
                if resource.inputs.get("manageMasterUserPassword")
                else []
            ),
            "resourceId": lambda resource: f"db-{resource.unique[:26].upper()}",
            "status": lambda _: "available",
        },
        name="identifier",
        replaced_by=frozenset(
            {"availabilityZone", "characterSetName", "dbName", "engine", "kmsKeyId"}
            | {"storageEncrypted", "timezone", "username", "region"}
        ),
    ),
    "aws:s3/accessPoint:AccessPoint": Kind(
        identifier=lambda resource: f"{account(resource)}:{resource.inputs['name']}",
        outputs={
            "arn": arn("s3", "accesspoint/{name}"),
            "alias": lambda resource: (
                f"{resource.inputs['name'][:20]}-{resource.unique[:34]}-s3alias"
            ),
            "networkOrigin": lambda resource: (
                "VPC" if resource.inputs.get("vpcConfiguration") else "Internet"
            ),
        },
        name="name",
        replaced_by=frozenset({"bucket", "publicAccessBlockConfiguration", "vpcConfiguration"}),
    ),
    "aws:lambda/function:Function": Kind(
        identifier=given("name"),
        outputs={"arn": arn("lambda", "function:{name}")},
        name="name",
        replaced_by=frozenset({"name", "packageType", "region"}),
    ),
    "aws:lb/loadBalancer:LoadBalancer": Kind(
        identifier=lambda resource: f"loadbalancer/{resource.unique[:16]}",
        outputs={
            "arn": arn("elasticloadbalancing", "loadbalancer/net/{name}/{unique}"),
            "dnsName": lambda resource: (
                f"{resource.inputs['name']}-{resource.unique[:16]}"
                f".elb.{region(resource)}.amazonaws.com"
            ),
            "zoneId": lambda resource: f"Z{resource.unique[:13].upper()}",
        },
        name="name",
        replaced_by=frozenset({"internal", "loadBalancerType", "region"}),
    ),
    "aws:lb/targetGroup:TargetGroup": Kind(
        identifier=lambda resource: f"targetgroup/{resource.unique[:16]}",
        outputs={"arn": arn("elasticloadbalancing", "targetgroup/{name}/{unique}")},
        name="name",
        replaced_by=frozenset({"port", "protocol", "region", "targetType", "vpcId"}),
    ),
    "aws:route53/zone:Zone": Kind(
        identifier=lambda resource: f"Z{resource.unique[:13].upper()}",
        outputs={
            "arn": lambda resource: f"arn:aws:route53:::hostedzone/Z{resource.unique[:13].upper()}",
            "zoneId": lambda resource: f"Z{resource.unique[:13].upper()}",
        },
        replaced_by=frozenset({"name", "delegationSetId"}),
    ),
    "aws:s3/bucket:Bucket": Kind(
        identifier=given("bucket"),
        outputs={
            "arn": lambda resource: f"arn:aws:s3:::{resource.inputs['bucket']}",
            "bucketDomainName": lambda resource: f"{resource.inputs['bucket']}.s3.amazonaws.com",
            "bucketRegion": region,
            "bucketRegionalDomainName": lambda resource: (
                f"{resource.inputs['bucket']}.s3.{region(resource)}.amazonaws.com"
            ),
            # what S3 does by itself: never taken for the choice of a customer key
            "serverSideEncryptionConfiguration": lambda resource: (
                resource.inputs.get("serverSideEncryptionConfiguration")
                or {
                    "rule": {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}},
                }
            ),
        },
        volatile=frozenset({"serverSideEncryptionConfiguration"}),
        name="bucket",
        replaced_by=frozenset({"region", "objectLockEnabled"}),
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _of_bucket(),
    "aws:s3/bucketLogging:BucketLogging": _of_bucket(),
    "aws:s3/bucketNotification:BucketNotification": _of_bucket(),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": _of_bucket(),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _of_bucket(),
    "aws:s3/bucketPolicy:BucketPolicy": _of_bucket(),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _of_bucket(),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        _of_bucket()
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _of_bucket(),
    "aws:s3/inventory:Inventory": Kind(
        identifier=lambda resource: f"{resource.inputs['bucket']}:{resource.inputs['name']}",
        name="name",
        within=None,
        replaced_by=frozenset({"bucket", "region"}),
    ),
    "aws:sqs/queue:Queue": Kind(
        identifier=_queue_url,
        outputs={"arn": arn("sqs", "{name}"), "url": _queue_url},
        name="name",
        replaced_by=frozenset({"fifoQueue", "region"}),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Kind(
        identifier=given("queueUrl"), replaced_by=frozenset({"queueUrl", "region"})
    ),
    "aws:secretsmanager/secret:Secret": Kind(
        identifier=_secret_arn,
        outputs={"arn": _secret_arn},
        name="name",
        replaced_by=frozenset({"name", "region"}),
    ),
    "aws:sns/topic:Topic": Kind(
        identifier=lambda resource: (
            f"arn:aws:sns:{region(resource)}:{account(resource)}:{resource.inputs['name']}"
        ),
        outputs={"arn": arn("sns", "{name}")},
        name="name",
        replaced_by=frozenset({"fifoTopic", "region"}),
    ),
}


class Aws(Catalogue):
    """The types of `pulumi_aws`."""

    package = "aws"
    sdk = "pulumi_aws"

    def kind(self, token: str, args: type) -> Kind:
        """From the table; else an id, an ARN and, where there is one, a name."""
        own, of_area = _KINDS.get(token), KINDS.get(token)
        if own is None or of_area is None:
            return own or of_area or self._common(token, args)
        # how a type lives in the world is said by its area alone
        return dataclasses.replace(
            own, within=of_area.within, overwrites=of_area.overwrites, keeps=of_area.keeps
        )

    def place(self, config: Properties, inputs: Properties) -> str:
        """Account and region."""
        resource = Resource(token="", urn="", inputs=inputs, config=config)
        return f"{account(resource)}/{region(resource)}"

    def further_problems(self, token: str, inputs: Properties) -> Iterator[tuple[str, str]]:
        """Values that the service's own model refuses, and policies that are none."""
        classes = self.classes(token)
        if classes is not None:
            yield from aws_shapes.problems(token, classes[1], inputs)
        yield from aws_documents.problems(token, inputs)

    def taken(self, token: str, name: str) -> str:
        """The error of the service."""
        kind = token.split(":")[1]
        module = kind.partition("/")[0]
        code = _TAKEN.get(kind) or _TAKEN.get(module) or "ResourceAlreadyExistsException"
        return f"{code}: {token} {name!r} exists already"

    @functools.cache  # noqa: B019 - a catalogue lives as long as its process
    def _common(self, token: str, args: type) -> Kind:
        service = token.split(":")[1].split("/", maxsplit=1)[0]
        type_name = token.rsplit(":", maxsplit=1)[-1].lower()
        name = "name" if "name" in _types.input_type_py_to_pulumi_names(args) else None
        classes = self.classes(token)
        known = _types.resource_types(classes[0]) if classes else {}
        if service == "s3" and type_name.startswith("bucket") and "bucket" in known:
            return _of_bucket()
        path = f"{type_name}/{{{name or 'unique'}}}"
        parents = set(required(args)) - {"name"}
        return Kind(
            identifier=given(name) if name else lambda resource: f"{type_name}-{resource.unique}",
            outputs={"arn": arn(service, path)} if "arn" in known else {},
            name=name,
            within=frozenset(parents),
            replaced_by=frozenset({"region"}),
        )

    def present(self, resource: Resource, outputs: Properties) -> Properties:
        """Adds region and tags, which the provider decides."""
        classes = self.classes(resource.token)
        promised = _types.resource_types(classes[0]) if classes else {}
        if "region" in promised:
            outputs = outputs | {"region": region(resource)}
        if "tagsAll" in promised:
            defaults = resource.config.get("defaultTags") or {}
            own = resource.inputs.get("tags") or {}
            known = UNKNOWN not in (defaults, own)
            outputs = outputs | {"tagsAll": defaults.get("tags", {}) | own if known else UNKNOWN}
        return outputs


if __name__ == "__main__":
    serve(StandIn(Aws()))
