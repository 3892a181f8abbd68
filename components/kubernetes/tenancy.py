"""What a team gets of a cluster: a namespace and its quota.

Owns both. Leaves roles, network policies and queues to others. The cluster must exist, and the
provider that reaches it must be handed down.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.settings import TeamQuota


@dataclass(frozen=True, kw_only=True)
class TeamArgs:
    """Who the team is and what it may use."""

    team: str
    """Also the name of its namespace."""
    quota: TeamQuota


class Team(pulumi.ComponentResource):
    """A team's `namespace`, under Pod Security `restricted`, with its resource quota."""

    def __init__(
        self, name: str, args: TeamArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Team", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": args.team,
                "labels": {
                    "falaj/team": args.team,
                    "app.kubernetes.io/managed-by": "pulumi",
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "pod-security.kubernetes.io/enforce-version": "latest",
                },
            },
            opts=child,
        )
        self.namespace = namespace.metadata.name
        memory = f"{args.quota.memory_quota_gib}Gi"
        kubernetes.core.v1.ResourceQuota(
            f"{name}-quota",
            metadata={"name": "team", "namespace": self.namespace},
            spec={
                "hard": {
                    "requests.cpu": str(args.quota.cpu_quota),
                    "requests.memory": memory,
                    "limits.memory": memory,
                    "requests.nvidia.com/gpu": str(args.quota.gpu_quota),
                    "services.loadbalancers": "0",
                    "services.nodeports": "0",
                }
            },
            opts=child,
        )
        self.register_outputs({"namespace": self.namespace})
