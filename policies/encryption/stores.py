"""Rules on disks, databases and clusters: each names the key that it is encrypted under."""

from __future__ import annotations

from collections.abc import Iterator

from policies.common.properties import (
    EACH,
    Encrypted,
    dotted,
    is_not,
    is_on,
    names_key,
    places,
    under_customer_key,
)
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending

_VOLUMES = frozenset(
    {"aws:ebs/volume:Volume", "aws:ebs/snapshotCopy:SnapshotCopy", "aws:ec2/amiCopy:AmiCopy"}
)
_INSTANCES = frozenset(
    {"aws:ec2/instance:Instance", "aws:ec2/spotInstanceRequest:SpotInstanceRequest"}
)
_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_CONFIGURATION = "aws:ec2/launchConfiguration:LaunchConfiguration"
_NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
_BY_DEFAULT = "aws:ebs/encryptionByDefault:EncryptionByDefault"
_DISKS = _VOLUMES | _INSTANCES | {_TEMPLATE, _CONFIGURATION, _NODE_CLASS, _BY_DEFAULT}

_DATABASES = frozenset({"aws:rds/instance:Instance", "aws:rds/cluster:Cluster"})
_CLUSTER_INSTANCE = "aws:rds/clusterInstance:ClusterInstance"

_CLUSTER = "aws:eks/cluster:Cluster"


def disk_uses_customer_key(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """An undeclared disk takes the account's default, which nobody reviews here."""
    if resource.type in _VOLUMES:
        yield from _encrypted(resource, ())
    elif resource.type in _INSTANCES:
        yield from _encrypted(resource, ("rootBlockDevice",))
        yield from _encrypted(resource, ("ebsBlockDevices", EACH))
    elif resource.type == _CONFIGURATION:
        yield Finding(resource=resource, where="it", what="cannot name a key for its disks")
    elif resource.type == _BY_DEFAULT:
        yield from is_not(resource, ("enabled",), False)
    else:
        inside: Path = ("spec",) if resource.type == _NODE_CLASS else ()
        yield from _mapped(resource, (*inside, "blockDeviceMappings"))


def _mapped(resource: Resource, where: Path) -> Iterator[Finding]:
    if resource.at(*where) is UNKNOWN:
        yield pending(resource, dotted(where))
        return
    mapped = places(resource.properties, (*where, EACH, "ebs"))
    disks = [place for place in mapped if not is_missing(resource.at(*place))]
    if not disks:
        yield Finding(resource=resource, where=dotted(where), what="declares no disk")
    for place in disks:
        yield from _encrypted(resource, place)


def rds_storage_uses_customer_key(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """Storage, insights and the master's secret each have a key of their own to name."""
    replica = not is_missing(resource.at("replicateSourceDb"))
    if resource.type in _DATABASES and not replica:
        yield from is_on(resource, ("storageEncrypted",))
        yield from names_key(resource, ("kmsKeyId",))
    for switch, key in (
        ("performanceInsightsEnabled", "performanceInsightsKmsKeyId"),
        ("manageMasterUserPassword", "masterUserSecretKmsKeyId"),
    ):
        if resource.at(switch) in (True, UNKNOWN):
            yield from names_key(resource, (key,))


def eks_secrets_use_customer_key(cluster: Resource, _: Parameters) -> Iterator[Finding]:
    """Without it the secrets in etcd are under a key of AWS."""
    resources = cluster.at("encryptionConfig", "resources")
    if resources is UNKNOWN:
        yield pending(cluster, "encryptionConfig.resources")
    elif not isinstance(resources, list) or not {"secrets", UNKNOWN}.intersection(resources):
        yield Finding(
            resource=cluster, where="encryptionConfig.resources", what="does not contain secrets"
        )
    else:
        yield from names_key(cluster, ("encryptionConfig", "provider", "keyArn"))


def _encrypted(resource: Resource, within: Path) -> Iterator[Finding]:
    key = "kmsKeyID" if resource.type == _NODE_CLASS else "kmsKeyId"
    kept = Encrypted(within=within, on=("encrypted",), key=(key,))
    yield from under_customer_key(resource, [kept])


RULES = (
    Rule(
        name="disk-uses-customer-key",
        description="Every disk is encrypted under a key of its owner.",
        mend="declare every device, the root too, with encrypted and the customer key.",
        applies_to=lambda resource: resource.type in _DISKS,
        each=disk_uses_customer_key,
    ),
    Rule(
        name="rds-storage-uses-customer-key",
        description="Every database is encrypted under a key of its owner.",
        mend="set the key of the database domain on storage, insights and master secret.",
        applies_to=lambda resource: resource.type in _DATABASES | {_CLUSTER_INSTANCE},
        each=rds_storage_uses_customer_key,
    ),
    Rule(
        name="eks-secrets-use-customer-key",
        description="The secrets of every cluster are encrypted under a key of its owner.",
        mend="set encryptionConfig with the key of the cluster domain.",
        applies_to=lambda resource: resource.type == _CLUSTER,
        each=eks_secrets_use_customer_key,
    ),
)
