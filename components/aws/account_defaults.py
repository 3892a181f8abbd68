"""What an account refuses by default: public buckets and snapshots, plain disks, old metadata.

Owns switches that hold for the whole account and region, whoever makes a thing in it. They stand
behind what each part says for itself, and are what AWS Config's rules ask of an account. The key
that disks are encrypted with must exist before, and let in whoever launches nodes: an account's
default key is used even where a launch template names none.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class AccountDefaultsArgs:
    """What disks are encrypted with where nobody says otherwise."""

    account_id: str
    disk_key_arn: pulumi.Input[str]


class AccountDefaults(pulumi.ComponentResource):
    """The switches of one account and region."""

    def __init__(
        self, name: str, args: AccountDefaultsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AccountDefaults", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        aws.s3.AccountPublicAccessBlock(
            f"{name}-buckets",
            account_id=args.account_id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        key = aws.ebs.DefaultKmsKey(f"{name}-disk-key", key_arn=args.disk_key_arn, opts=child)
        aws.ebs.EncryptionByDefault(
            f"{name}-disks",
            enabled=True,
            # first the key: a disk made in between would be under that of AWS
            opts=pulumi.ResourceOptions(parent=self, depends_on=[key]),
        )
        aws.ebs.SnapshotBlockPublicAccess(
            f"{name}-snapshots", state="block-all-sharing", opts=child
        )
        aws.ec2.ImageBlockPublicAccess(f"{name}-images", state="block-new-sharing", opts=child)
        aws.ec2.SerialConsoleAccess(f"{name}-consoles", enabled=False, opts=child)
        aws.ec2.InstanceMetadataDefaults(
            f"{name}-metadata",
            http_tokens="required",
            http_put_response_hop_limit=1,
            opts=child,
        )
        self.register_outputs({})
