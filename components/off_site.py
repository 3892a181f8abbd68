"""The job that copies buckets to a store outside the region: what a cluster must run, as data.

Owns the job's image, commands and variables. Its identity and its secret are made where the cluster
is; the Kubernetes layer makes the object. Nothing here knows Pulumi or a cloud.

rclone with its `crypt` remote, not restic: the sources are buckets, which rclone streams object by
object and seals on the way, names included. restic backs up a file system, so each bucket would
have to be mounted, and a restore would need restic's repository whole; what rclone wrote can be
read object by object by any later rclone with the passphrase. It copies and never deletes: what is
lost at home, by accident or by an attacker, stays at the target, whose own lifecycle ends it. So
does what was erased on purpose: an erasure has to be repeated there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IMAGE = "rclone"
"""The image's name in the list of images."""
NAMESPACE = "backup"
SECRET_VARIABLES = (
    "RCLONE_CONFIG_SITE_ACCESS_KEY_ID",
    "RCLONE_CONFIG_SITE_SECRET_ACCESS_KEY",
    "RCLONE_CONFIG_SEALED_PASSWORD",
    "RCLONE_CONFIG_SEALED_PASSWORD2",
)
"""Keys of the secret's JSON, each a variable of the job. The last two as `rclone obscure` prints
them: rclone reads them in no other form."""


@dataclass(frozen=True, kw_only=True)
class OffSiteJob:
    """A job that a cluster runs on a schedule, one run at a time."""

    name: str
    namespace: str
    service_account: str
    """Takes the identity that reads the buckets."""
    image: str
    schedule: str
    """Five fields, UTC."""
    secret: str
    """The secret whose keys are `SECRET_VARIABLES`."""
    variables: Mapping[str, str]
    commands: Sequence[Sequence[str]]
    """One after the other; the job fails with the first that does."""
    deadline_seconds: int = 6 * 3600
    """After which a run counts as failed."""


def off_site_job(
    *,
    name: str,
    region: str,
    secret: str,
    endpoint: str,
    target: str,
    schedule: str,
    sources: Mapping[str, str],
) -> OffSiteJob:
    """The job that copies `sources` (content → bucket) to `target` (``bucket/prefix``)."""
    return OffSiteJob(
        name=name,
        namespace=NAMESPACE,
        service_account=name,
        image=IMAGE,
        schedule=schedule,
        secret=secret,
        variables={
            "RCLONE_CONFIG_SOURCE_TYPE": "s3",
            "RCLONE_CONFIG_SOURCE_PROVIDER": "AWS",
            "RCLONE_CONFIG_SOURCE_ENV_AUTH": "true",
            "RCLONE_CONFIG_SOURCE_REGION": region,
            "RCLONE_CONFIG_SITE_TYPE": "s3",
            "RCLONE_CONFIG_SITE_PROVIDER": "Other",
            "RCLONE_CONFIG_SITE_ENDPOINT": endpoint,
            # a target's administrator makes the bucket; the credentials need no right to
            "RCLONE_CONFIG_SITE_NO_CHECK_BUCKET": "true",
            "RCLONE_CONFIG_SEALED_TYPE": "crypt",
            "RCLONE_CONFIG_SEALED_REMOTE": f"site:{target}",
            "RCLONE_CONFIG_SEALED_FILENAME_ENCRYPTION": "standard",
        },
        commands=[
            command
            for content, bucket in sources.items()
            for command in (
                _rclone("copy", "--update", "--use-server-modtime", bucket, content),
                # sealed objects have other sums, so this opens each again and compares
                _rclone("cryptcheck", "--one-way", bucket, content),
            )
        ],
    )


def _rclone(verb: str, *rest: str) -> tuple[str, ...]:
    *flags, bucket, content = rest
    return ("rclone", verb, *flags, f"source:{bucket}", f"sealed:{content}")
