"""Buckets' access points, images, file systems, keys."""

from __future__ import annotations

from aws_forms import account, arn, filled, named, part, thing
from standin import Kind

KINDS: dict[str, Kind] = {
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": part("{repository}", "repository", overwrites=True),
    "aws:ecr/repository:Repository": named(
        "name",
        "ecr",
        "repository/{name}",
        registryId=account,
        repositoryUrl=filled("{account}.dkr.ecr.{region}.amazonaws.com/{name}"),
        replaced_by=frozenset({"encryptionConfigurations"}),
    ),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": part(
        "{repository}", "repository", overwrites=True, registryId=account
    ),
    "aws:efs/fileSystem:FileSystem": thing(
        "fs", "file-system", service="elasticfilesystem", replaced_by=frozenset({"kmsKeyId"})
    ),
    "aws:kms/keyPolicy:KeyPolicy": part("{keyId}", "keyId", overwrites=True),
    "aws:s3/accessPoint:AccessPoint": Kind(
        identifier=filled("{account}:{name}"),
        outputs={
            "alias": filled("{name}-{unique}-s3alias"),
            "arn": arn("s3", "accesspoint/{name}"),
            "domainName": filled("{name}-{account}.s3-accesspoint.{region}.amazonaws.com"),
        },
        name="name",
        replaced_by=frozenset({"bucket", "region", "vpcConfiguration"}),
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": part(
        "{bucket}/{key}",
        *("bucket", "key"),
        overwrites=True,
        arn=filled("arn:aws:s3:::{bucket}/{key}"),
    ),
}
