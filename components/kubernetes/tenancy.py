"""What a team gets of a cluster: a namespace that is closed, a share of it, and roles for people.

Owns the namespace under Pod Security, its policies that deny all but what `flows` lists, quota and
limits, the team's service account and its roles. Leaves queues to the training part, and what any
pod must be to `admission`. The cluster must exist, and the provider that reaches it be handed down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import owner
from components.kubernetes.flows import AMBIENT, IN_MESH, TEAM, TENANCY, Addresses, policies
from components.kubernetes.quantities import mib
from components.kubernetes.rights import group, right
from components.kubernetes.roles import ROLES, RULES
from components.kubernetes.settings import TeamQuota

SERVICE_ACCOUNT = "workload"
"""As whom a team's pods run; the cloud's identity of the team is bound to this name."""

_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}


@dataclass(frozen=True, kw_only=True)
class NamespaceArgs:
    """Whose it is, and what fits in."""

    namespace: str
    part: str
    """In `flows.PARTS`: which flows it has."""
    quota: TeamQuota
    addresses: Addresses = field(default_factory=Addresses)
    labels: Mapping[str, str] = field(default_factory=dict)
    level: Literal["restricted", "baseline", "privileged"] = "restricted"
    """Of Pod Security; anything but `restricted` needs a reason."""
    reason: str = ""
    """Why `level` is not `restricted`; an annotation of the namespace."""
    mesh: bool = False
    """Whether the cluster has the mesh (`mesh`); which parts are in it, `flows` says."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an exception without a reason."""
        if (self.level == "restricted") == bool(self.reason):
            raise ValueError(
                f"{self.namespace}: level {self.level} and reason {self.reason!r}; a reason is "
                "given for every level but restricted, and for that alone"
            )


class Namespace(pulumi.ComponentResource):
    """A namespace from which nothing gets out or in but what `flows` lists.

    `namespace` is its name, known once it exists; `ready` is what pods there must wait for.
    """

    def __init__(
        self, name: str, args: NamespaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Namespace", name, None, opts)
        self.namespace, self.ready = _closed(name, args, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"namespace": self.namespace})


@dataclass(frozen=True, kw_only=True)
class TeamArgs:
    """Who the team is and what it may use."""

    team: str
    """Also the name of its namespace."""
    quota: TeamQuota
    addresses: Addresses = field(default_factory=Addresses)
    mesh: bool = False
    """As of `NamespaceArgs`."""


class Team(pulumi.ComponentResource):
    """A team's `namespace`, the account of its pods and the roles of its people."""

    def __init__(
        self, name: str, args: TeamArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Team", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.namespace, self.ready = _closed(
            name,
            NamespaceArgs(
                namespace=args.team,
                part=TEAM,
                quota=args.quota,
                addresses=args.addresses,
                labels={"falaj/team": args.team},
                mesh=args.mesh,
            ),
            child,
        )
        kubernetes.core.v1.ServiceAccount(
            f"{name}-account",
            metadata=_metadata(SERVICE_ACCOUNT, self.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        for role in ROLES:
            right(
                f"{name}-{role}",
                _metadata(f"falaj-{role}", self.namespace),
                RULES[role],
                [group(one) for one in getattr(args.quota.groups, role)],
                child,
            )
        self.register_outputs({"namespace": self.namespace})


def _closed(
    name: str, args: NamespaceArgs, child: pulumi.ResourceOptions
) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
    """The namespace with all that belongs to every one, under the parent in `child`."""
    annotations: Any = owner.annotation()
    if args.reason:
        annotations["falaj/pod-security-exception"] = args.reason
    made = kubernetes.core.v1.Namespace(
        f"{name}-namespace",
        metadata={
            "name": args.namespace,
            "labels": {
                TENANCY: "team" if args.part == TEAM else "platform",
                **args.labels,
                **(AMBIENT if args.mesh and args.part in IN_MESH else {}),
                **_MANAGED_BY,
                **{
                    f"pod-security.kubernetes.io/{mode}{suffix}": value
                    for mode in ("enforce", "audit", "warn")
                    for suffix, value in (("", args.level), ("-version", "latest"))
                },
            },
            "annotations": annotations,
        },
        opts=child,
    )
    inside = made.metadata.name.apply(str)
    ready: list[pulumi.Resource] = [
        kubernetes.networking.v1.NetworkPolicy(
            f"{name}-{policy}",
            metadata=_metadata(policy, inside),
            spec=spec,
            opts=child,
        )
        for policy, spec in policies(args.part, args.addresses, mesh=args.mesh).items()
    ]
    ready += [
        kubernetes.core.v1.ResourceQuota(
            f"{name}-quota",
            metadata=_metadata("team", inside),
            spec={"hard": hard(args.quota)},
            opts=child,
        ),
        kubernetes.core.v1.LimitRange(
            f"{name}-limits",
            metadata=_metadata("defaults", inside),
            spec={"limits": [_LIMITS]},
            opts=child,
        ),
        # that Kubernetes makes by itself: taken over, so that no pod gets a token unasked
        kubernetes.core.v1.ServiceAccount(
            f"{name}-default-account",
            metadata=_metadata("default", inside),
            automount_service_account_token=False,
            # deleted, it would be made anew at once: it goes with its namespace
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=True)),
        ),
    ]
    return inside, ready


_LIMITS: Any = {
    "type": "Container",
    "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
    # no limit of processor time: it would slow a pod down beside idle cores
    "default": {"memory": "512Mi"},
}
"""For a container that says nothing. No `max`: that of a GPU would become every pod's default."""


def hard(quota: TeamQuota) -> dict[str, str]:
    """What the ResourceQuota of a team allows."""
    memory = mib(quota.memory_quota_gib * 1024)
    return {
        "requests.cpu": str(quota.cpu_quota),
        "requests.memory": memory,
        "limits.memory": memory,
        "requests.nvidia.com/gpu": str(quota.gpu_quota),
        "requests.storage": mib(quota.storage_quota_gib * 1024),
        "pods": str(quota.pod_quota),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def _metadata(name: str, namespace: pulumi.Input[str]) -> Any:
    return {"name": name, "namespace": namespace, "labels": dict(_MANAGED_BY)}
