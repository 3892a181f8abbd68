"""The artifact store of the local environment: versitygw, an S3 server over a directory.

Owns the server, its credentials and the buckets, which keep every version of an object. The data
lies under `.state/object-store` and stays there when the component is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pulumi
from pulumi import dynamic

from components.local.credentials import GeneratedSecret
from components.local.machine import LOOPBACK, Machine, executable
from components.local.process import Health
from components.local.provider import LocalProvider

ACCESS_KEY = "falaj"
ARTIFACTS_BUCKET = "falaj-artifacts"
DATA_BUCKET = "falaj-data"


class BucketProvider(LocalProvider):
    """Makes a bucket with versioning on any S3 server."""

    replacing = frozenset({"bucket"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Adopts the bucket when it exists: data outlives the environment."""
        client = _client(props)
        try:
            client.create_bucket(
                Bucket=props["bucket"],
                CreateBucketConfiguration={"LocationConstraint": props["region"]},
            )
        except client.exceptions.BucketAlreadyOwnedByYou:
            pulumi.log.debug(f"the bucket {props['bucket']} is there already")
        client.put_bucket_versioning(
            Bucket=props["bucket"], VersioningConfiguration={"Status": "Enabled"}
        )
        return dynamic.CreateResult(props["bucket"], dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """A bucket that the server does not know is gone; a server that is down says nothing."""
        try:
            _client(props).head_bucket(Bucket=props["bucket"])
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return dynamic.ReadResult("", dict(props))
        except botocore.exceptions.BotoCoreError:
            pulumi.log.debug("the object store is down")
        return dynamic.ReadResult(id_, dict(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Keeps the bucket and remembers the new address."""
        return dynamic.UpdateResult(dict(news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Keeps the data: only `make clean` removes it."""


def _client(props: dict[str, Any]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=props["endpoint"],
        region_name=props["region"],
        aws_access_key_id=props["access_key"],
        aws_secret_access_key=props["secret_key"],
        config=botocore.config.Config(
            connect_timeout=2, read_timeout=10, retries={"max_attempts": 3}, proxies={}
        ),
    )


class Bucket(dynamic.Resource, module="local", name="Bucket"):
    """A bucket with versioning."""

    bucket: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        bucket: str,
        endpoint: str,
        region: str,
        secret_key: pulumi.Output[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Makes `bucket` on the S3 server at `endpoint`."""
        super().__init__(
            BucketProvider(),
            name,
            {
                "bucket": bucket,
                "endpoint": endpoint,
                "region": region,
                "access_key": ACCESS_KEY,
                "secret_key": secret_key,
            },
            opts,
        )


@dataclass(frozen=True, kw_only=True)
class ObjectStoreArgs:
    """`region` is the one that requests are signed for, as they will be in the cloud."""

    machine: Machine
    region: str


class ObjectStore(pulumi.ComponentResource):
    """S3 on this machine."""

    endpoint: str
    secret_key: pulumi.Output[str]
    buckets: tuple[Bucket, Bucket]

    def __init__(
        self, name: str, args: ObjectStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `ObjectStoreArgs`."""
        super().__init__("falaj:local:ObjectStore", name, {}, opts)
        machine = args.machine
        data = Path(machine.directory("object-store"))
        self.endpoint = machine.url("object_store")
        self.region = args.region
        secret = GeneratedSecret(f"{name}-secret-key", pulumi.ResourceOptions(parent=self))
        self.secret_key = secret.value
        server = machine.process(
            self,
            f"{name}-server",
            program="object-store",
            command=[
                executable("versitygw"),
                *("--region", args.region),
                *("--port", f"{LOOPBACK}:{machine.ports['object_store']}"),
                *("--health", "/health"),
                "posix",
                *("--versioning-dir", str(data / "versions")),
                str(data / "objects"),
            ],
            directories=(str(data / "objects"), str(data / "versions")),
            environment={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": self.secret_key},
            health=Health(url=f"{self.endpoint}/health"),
            ports=("object_store",),
        )
        artifacts, tables = (
            Bucket(
                f"{name}-{role}",
                bucket=bucket,
                endpoint=self.endpoint,
                region=args.region,
                secret_key=self.secret_key,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[server]),
            )
            for role, bucket in (("artifacts", ARTIFACTS_BUCKET), ("data", DATA_BUCKET))
        )
        self.buckets = (artifacts, tables)
        self.artifact_uri = artifacts.bucket.apply(lambda bucket: f"s3://{bucket}")
        self.data_uri = tables.bucket.apply(lambda bucket: f"s3://{bucket}")
        self.register_outputs({"endpoint": self.endpoint, "artifact_uri": self.artifact_uri})

    def variables(self) -> dict[str, pulumi.Input[str]]:
        """The environment variables by which S3 clients find and sign for this store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
