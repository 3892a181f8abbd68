"""What ships the logs of pods: the agent's outputs, as data.

Fluent Bit on each node writes to the bucket itself, by the S3 endpoint that a closed network has
anyway. Firehose between them would need an endpoint of its own and keep a second copy; what it
would add, a buffer that outlives a node, its disk gives for all but the last minutes of a lost one.

Decisions of models do not pass here: the model servers write them to the bucket, and no SIEM gets
them by HTTP, since they hold what applicants told. Nothing here knows Pulumi or a cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAMESPACE = "logging"
SERVICE_ACCOUNT = "log-shipping"
PREFIX = "cluster/"
"""Under which the agent's objects are; its identity may append there and nowhere else."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output of Fluent Bit: its plug-in, and the properties in its own words."""

    name: str
    properties: Mapping[str, str]


def to_bucket(*, bucket: str, region: str) -> Output:
    """Objects of at most 50 MB or ten minutes, compressed."""
    return Output(
        name="s3",
        properties={
            "match": "*",
            "bucket": bucket,
            "region": region,
            "s3_key_format": f"/{PREFIX}$TAG/%Y/%m/%d/%H/$UUID.gz",
            "total_file_size": "50M",
            "upload_timeout": "10m",
            "compression": "gzip",
            "use_put_object": "true",
            # S3 refuses an object without it where a lock has a default retention
            "send_content_md5": "true",
            "store_dir": "/var/fluent-bit/s3",
            "store_dir_limit_size": "2G",
            "retry_limit": "no_limits",
        },
    )


def to_siem(*, host: str, port: int, path: str) -> Output:
    """One request a batch, over TLS that is checked against the bank's own authority."""
    return Output(
        name="http",
        properties={
            "match": "*",
            "host": host,
            "port": str(port),
            "uri": path,
            "format": "json",
            "json_date_format": "iso8601",
            "compress": "gzip",
            "tls": "on",
            "tls.verify": "on",
            "tls.ca_file": "/etc/falaj/ca/ca.crt",
            "retry_limit": "10",
        },
    )
