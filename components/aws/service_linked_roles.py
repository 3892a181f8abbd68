"""Roles that AWS services take in an account, and that a new account does not have yet.

Owns those that it is asked for. An account has each once, so they outlive the stack, and a second
environment in the account leaves them out (`service_linked_roles` of its settings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class ServiceLinkedRolesArgs:
    """Which services get their role."""

    services: Sequence[str]
    """Names before ``.amazonaws.com``, such as ``spot``."""


class ServiceLinkedRoles(pulumi.ComponentResource):
    """`made` holds the roles: key policies that name them and groups that need them wait for it."""

    def __init__(
        self, name: str, args: ServiceLinkedRolesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ServiceLinkedRoles", name, None, opts)
        self.made: list[pulumi.Resource] = [
            aws.iam.ServiceLinkedRole(
                f"{name}-{service}",
                aws_service_name=f"{service}.amazonaws.com",
                # other environments of the account use it too
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
            )
            for service in args.services
        ]
        self.register_outputs({})
