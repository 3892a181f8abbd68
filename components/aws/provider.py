"""The one AWS provider of an environment, pinned to its region and account.

Owns the provider. Leaves credentials to the process that runs Pulumi: none is an input, so none
gets into the state. Every AWS component of the environment gets this provider handed down; the
default provider, whose region the surroundings would decide, is never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class RegionProviderArgs:
    """What a provider is pinned to."""

    account_id: str
    """Twelve digits; credentials of another account are refused before anything is made."""
    region: str
    default_tags: Mapping[str, str]
    """On every resource, unless it says otherwise itself."""


class RegionProvider(pulumi.ComponentResource):
    """An `aws.Provider` for one region of one account, as `provider`."""

    def __init__(
        self, name: str, args: RegionProviderArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:RegionProvider", name, None, opts)
        self.provider = aws.Provider(
            f"{name}-aws",
            region=args.region,
            allowed_account_ids=[args.account_id],
            default_tags={"tags": dict(args.default_tags)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
