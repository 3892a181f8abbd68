"""A role: who may take it, what it may do, and the boundary that no policy lifts.

The one way in which roles are made. Which roles there are is said by the parts that need them and
by `identity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import Statement, document
from components.aws.scope import Scope

LONGEST_NAME = 64
"""Characters of a role's name, by IAM's limit."""


@dataclass(frozen=True, kw_only=True)
class RoleArgs:
    """A role of an environment."""

    scope: Scope
    role: str
    """Its noun; the role is called `scope.name(role)`."""
    trust: Sequence[Statement]
    """Who may take it."""
    permissions: Mapping[str, Sequence[Statement]] = field(default_factory=dict)
    """Policies of its own: name → statements."""
    managed_policies: Mapping[str, str] = field(default_factory=dict)
    """Policies that AWS keeps: purpose → name, such as ``AmazonEKSWorkerNodePolicy``."""
    shared_policies: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Policies of the account: purpose → ARN. A role's own may have 10,240 characters together, and
    each of these 6,144."""
    max_session_seconds: int = 3600
    tags: Mapping[str, str] = field(default_factory=dict)
    """Its own, which policies know as ``aws:PrincipalTag``."""


class Role(pulumi.ComponentResource):
    """A role, with its `arn`, its `name`, and the `policies` that it needs before it is of use."""

    def __init__(
        self, name: str, args: RoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Role", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role",
            name=args.scope.name(args.role),
            assume_role_policy=document(*args.trust),
            permissions_boundary=args.scope.boundary_arn,
            max_session_duration=args.max_session_seconds,
            tags=dict(args.tags) or None,
            opts=child,
        )
        self.policies: list[pulumi.Resource] = [
            aws.iam.RolePolicy(
                f"{name}-{purpose}",
                name=purpose,
                role=role.name,
                policy=document(*statements),
                opts=child,
            )
            for purpose, statements in args.permissions.items()
        ]
        self.policies += [
            aws.iam.RolePolicyAttachment(
                f"{name}-{purpose}",
                role=role.name,
                policy_arn=arn,
                opts=child,
            )
            for purpose, arn in {
                **{
                    purpose: f"arn:aws:iam::aws:policy/{policy}"
                    for purpose, policy in args.managed_policies.items()
                },
                **args.shared_policies,
            }.items()
        ]
        self.arn = role.arn
        self.name = role.name
        self.register_outputs({"arn": self.arn})


def taken_by_service(service: str, sid: str = "ServiceAssumes") -> Statement:
    """The trust of a role that the AWS service `service` takes, such as ``ec2``."""
    return Statement(
        sid=sid,
        effect="Allow",
        actions=("sts:AssumeRole",),
        principals={"Service": (f"{service}.amazonaws.com",)},
    )


def taken_by_pods(
    scope: Scope, sid: str = "PodsAssume", *, account: tuple[str, str] | None = None
) -> Statement:
    """The trust of a role that pods take by EKS Pod Identity, in this account alone.

    `account` is the namespace and the name of the one service account that may: EKS states both as
    tags of the session. Without it, whoever may make an association decides alone.
    """
    of_account = {}
    if account is not None:
        of_account = {
            "aws:RequestTag/kubernetes-namespace": account[0],
            "aws:RequestTag/kubernetes-service-account": account[1],
        }
    return Statement(
        sid=sid,
        effect="Allow",
        actions=("sts:AssumeRole", "sts:TagSession"),
        principals={"Service": ("pods.eks.amazonaws.com",)},
        conditions={"StringEquals": {"aws:SourceAccount": scope.account_id, **of_account}},
    )
