"""What the types of AWS answer: identifiers, ARNs and addresses of the right account and region."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pulumi import _types
from standin import UNKNOWN, Catalogue, Kind, Properties, Resource, serve

NO_ACCOUNT = "000000000000"
"""Stands in ARNs where the provider names no account."""


def account(resource: Resource) -> str:
    """The account that the provider is pinned to."""
    allowed = resource.config.get("allowedAccountIds")
    return str(allowed[0]) if isinstance(allowed, list) and allowed else NO_ACCOUNT


def region(resource: Resource) -> str:
    """The resource's own region, else its provider's."""
    return str(resource.inputs.get("region") or resource.config.get("region") or "unset")


def given(name: str) -> Callable[[Resource], Any]:
    """The input `name`."""
    return lambda resource: resource.inputs.get(name)


def arn(service: str, path: str, *, regional: bool = True) -> Callable[[Resource], str]:
    """An ARN; `path` may name inputs and ``{unique}`` in braces."""

    def compute(resource: Resource) -> str:
        place = f"{region(resource) if regional else ''}:{account(resource)}"
        filled = path.format_map({**resource.inputs, "unique": resource.unique})
        return f"arn:aws:{service}:{place}:{filled}"

    return compute


def _uuid(resource: Resource) -> str:
    text = resource.unique
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _of_bucket(**outputs: Callable[[Resource], Any]) -> Kind:
    """A setting of a bucket, in a resource of its own."""
    return Kind(
        identifier=given("bucket"), outputs=outputs, replaced_by=frozenset({"bucket", "region"})
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
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _of_bucket(),
    "aws:s3/bucketPolicy:BucketPolicy": _of_bucket(),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _of_bucket(),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        _of_bucket()
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _of_bucket(),
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
        return _KINDS.get(token) or self._common(token, args)

    @functools.cache  # noqa: B019 - a catalogue lives as long as its process
    def _common(self, token: str, args: type) -> Kind:
        service = token.split(":")[1].split("/", maxsplit=1)[0]
        type_name = token.rsplit(":", maxsplit=1)[-1].lower()
        name = "name" if "name" in _types.input_type_py_to_pulumi_names(args) else None
        classes = self.classes(token)
        known = _types.resource_types(classes[0]) if classes else {}
        path = f"{type_name}/{{{name or 'unique'}}}"
        return Kind(
            identifier=given(name) if name else lambda resource: f"{type_name}-{resource.unique}",
            outputs={"arn": arn(service, path)} if "arn" in known else {},
            name=name,
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
    serve(Aws())
