"""How Falaj itself reaches a runner that has no way out: an object of a bucket, and who fetches it.

Owns the object of a bundle in the bucket of the state, the document that says how a runner takes
it, and the association by which Systems Manager has it taken: at once, and again every half hour
for as long as it is not there. Another bundle is another object and another parameter; the runner
stays. Leaves the right to read the object to the runner's role. Bucket and runner must exist
before.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.artifact_store import ArtifactStore
from components.aws.scope import Scope

PREFIX = "bundles"
"""Where in the bucket of the state bundles are. The role that deploys cannot write there."""
UPDATE = Path(__file__).with_name("runner_update.sh")
_EVERY = "rate(30 minutes)"
_LONGEST_SECONDS = 3600
"""Of one update; compiling some hundred packages takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle on the machine that bootstraps."""

    file: Path
    sha256: str

    @classmethod
    def of(cls, file: Path) -> Bundle:
        """The bundle in `file`. Raises `OSError`."""
        with file.open("rb") as opened:
            return cls(file=file, sha256=hashlib.file_digest(opened, "sha256").hexdigest())

    @property
    def key(self) -> str:
        """Of the object."""
        return f"{PREFIX}/{self.sha256}.tar.gz"


@dataclass(frozen=True, kw_only=True)
class RunnerBundleArgs:
    """Which bundle, and for which runner."""

    scope: Scope
    bundle: Bundle
    store: ArtifactStore
    """The bucket of the state."""
    key_arn: pulumi.Input[str]
    """Its key."""
    instance_id: pulumi.Input[str]


class RunnerBundle(pulumi.ComponentResource):
    """A bundle on its way to a runner."""

    def __init__(
        self, name: str, args: RunnerBundleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:RunnerBundle", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        held = aws.s3.BucketObjectv2(
            f"{name}-object",
            bucket=args.store.bucket_id,
            key=args.bundle.key,
            source=pulumi.FileAsset(str(args.bundle.file)),
            content_type="application/gzip",
            # the bucket refuses an upload that names an algorithm and no key
            server_side_encryption="aws:kms",
            kms_key_id=args.key_arn,
            bucket_key_enabled=True,
            opts=pulumi.ResourceOptions(
                parent=self,
                # nothing is put into a bucket that nobody is refused yet
                depends_on=args.store.ready,
            ),
        )
        document = aws.ssm.Document(
            f"{name}-document",
            name=args.scope.name("runner-bundle"),
            document_type="Command",
            document_format="JSON",
            content=json.dumps(update_document(args.scope)),
            opts=child,
        )
        aws.ssm.Association(
            f"{name}-association",
            name=document.name,
            association_name=args.scope.name("runner-bundle"),
            parameters={"digest": args.bundle.sha256},
            targets=[{"key": "InstanceIds", "values": [args.instance_id]}],
            schedule_expression=_EVERY,
            # there must be something to fetch; and the old one goes after this one was named
            opts=pulumi.ResourceOptions(parent=self, depends_on=[held]),
        )
        self.register_outputs({})


def update_document(scope: Scope) -> dict[str, Any]:
    """The document of Systems Manager by which a runner takes a bundle."""
    script = update_script(scope)
    return {
        "schemaVersion": "2.2",
        "description": f"Brings a bundle of Falaj to the runner of {scope.environment}",
        "parameters": {
            "digest": {
                "type": "String",
                "description": "sha256 of the bundle",
                # it stands in a shell script
                "allowedPattern": "^[0-9a-f]{64}$",
            }
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": "update",
                "inputs": {
                    "timeoutSeconds": str(_LONGEST_SECONDS),
                    "runCommand": script.splitlines(),
                },
            }
        ],
    }


def update_script(scope: Scope, digest: str = "{{ digest }}") -> str:
    """The script of that document; Systems Manager puts the parameter in place of `digest`."""
    values = {"FALAJ_BUCKET": scope.bucket("state"), "FALAJ_REGION": scope.region}
    lines = [f"FALAJ_DIGEST='{digest}'"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join((*lines, UPDATE.read_text(encoding="utf-8")))
