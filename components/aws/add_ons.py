"""Add-ons that EKS manages, each pinned, with the identity that its pods take.

Owns the add-ons, their roles and the associations of these with service accounts. The cluster must
exist before. Those that nodes need to become ready (`BEFORE_NODES`) are made before any node, the
others (`AFTER_NODES`) once there are nodes to run on: EKS waits until an add-on's pods are ready.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_pods
from components.aws.scope import Scope

BEFORE_NODES = ("eks-pod-identity-agent", "kube-proxy", "vpc-cni")
AFTER_NODES = ("coredns", "aws-ebs-csi-driver")

NAMESPACE = "kube-system"


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """The identity of an add-on's pods."""

    role: str
    service_account: str
    managed_policy: str
    uses_key: bool = False
    """Whether it hands the volumes' key on to what it attaches."""


_IDENTITIES = {
    "aws-ebs-csi-driver": _Identity(
        role="ebs-csi",
        service_account="ebs-csi-controller-sa",
        managed_policy="service-role/AmazonEBSCSIDriverPolicy",
        uses_key=True,
    ),
    "vpc-cni": _Identity(
        role="vpc-cni", service_account="aws-node", managed_policy="AmazonEKS_CNI_Policy"
    ),
}

_FIRST = "eks-pod-identity-agent"
"""Hands the others their identities; a pod that starts without one never gets it."""


@dataclass(frozen=True, kw_only=True)
class AddOnsArgs:
    """Which add-ons a cluster gets."""

    scope: Scope
    cluster_name: pulumi.Input[str]
    versions: Mapping[str, str]
    """Add-on → its version."""
    configuration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Add-on → what it is told."""
    volume_key_arn: pulumi.Input[str]
    wait_for: Sequence[pulumi.Resource] = ()
    """What must be there before the first add-on."""


class AddOns(pulumi.ComponentResource):
    """Add-ons of a cluster; `ready` holds them."""

    def __init__(
        self, name: str, args: AddOnsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AddOns", name, None, opts)
        self.ready: list[pulumi.Resource] = []
        for add_on in sorted(args.versions, key=lambda one: (one != _FIRST, one)):
            needs = [*args.wait_for, *self._identity(name, add_on, args)]
            needs += self.ready[:1] if _FIRST in args.versions else []
            told = args.configuration.get(add_on)
            self.ready.append(
                aws.eks.Addon(
                    f"{name}-{add_on}",
                    cluster_name=args.cluster_name,
                    addon_name=add_on,
                    addon_version=args.versions[add_on],
                    configuration_values=json.dumps(told, sort_keys=True) if told else None,
                    # what is said here holds, whoever changed it in the cluster
                    resolve_conflicts_on_create="OVERWRITE",
                    resolve_conflicts_on_update="OVERWRITE",
                    # an identity that comes after the pods start is not seen by them
                    opts=pulumi.ResourceOptions(parent=self, depends_on=needs),
                )
            )
        self.register_outputs({})

    def _identity(self, name: str, add_on: str, args: AddOnsArgs) -> list[pulumi.Resource]:
        identity = _IDENTITIES.get(add_on)
        if identity is None:
            return []
        role = Role(
            f"{name}-{add_on}",
            RoleArgs(
                scope=args.scope,
                role=identity.role,
                trust=[taken_by_pods(args.scope)],
                managed_policies={"add-on": identity.managed_policy},
                permissions={"volumes": key_for_volumes(args.volume_key_arn)}
                if identity.uses_key
                else {},
            ),
            pulumi.ResourceOptions(parent=self),
        )
        association = aws.eks.PodIdentityAssociation(
            f"{name}-{add_on}-identity",
            cluster_name=args.cluster_name,
            namespace=NAMESPACE,
            service_account=identity.service_account,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return [*role.policies, association]


def key_for_volumes(key_arn: pulumi.Input[str]) -> tuple[Statement, ...]:
    """What a principal needs of the key of the volumes that it creates and attaches.

    Source: EBS user guide, "Permissions to use EBS encryption".
    """
    return (
        Statement(
            sid="UsesKeyOfVolumes",
            effect="Allow",
            actions=(
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncrypt*",
            ),
            resources=[key_arn],
        ),
        Statement(
            sid="GrantsKeyToVolumes",
            effect="Allow",
            actions=("kms:CreateGrant",),
            resources=[key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    )


def network_plugin(*, strict: bool, prefix_delegation: bool) -> dict[str, Any]:
    """What the VPC network plugin is told.

    In strict mode a pod starts with all traffic denied, so `components.kubernetes.bootstrap` has to
    be there before the first pod that is not on its node's network.
    """
    return {
        "enableNetworkPolicy": "true",
        "env": {
            "NETWORK_POLICY_ENFORCING_MODE": "strict" if strict else "standard",
            "ENABLE_PREFIX_DELEGATION": "true" if prefix_delegation else "false",
        },
    }
