"""A workload's code as its team's Dagster loads it: one server of definitions.

Owns the Deployment of the server and its Service in the team's namespace. It is the same code
location as on one machine (`components.local.workload`): the same module, told the same variables.
The pods of its runs get its image and variables too. The team's `Orchestration` must be there: it
lists the location, and its files and Secret are mounted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import orchestration_pods as pods
from components.kubernetes.orchestration_files import CODE_PORT, location_host
from components.kubernetes.pod_parts import MANAGED_BY

MODULE = "workloads.delivery.definitions"
"""Which serves the workload that `FALAJ_WORKLOAD` names."""


@dataclass(frozen=True, kw_only=True)
class CodeLocationArgs:
    """Whose code, in which image, and what it is told."""

    location: str
    """As the team's settings list it; the workload's name."""
    team: str
    """The name of its namespace."""
    image: pulumi.Input[str]
    """With the workload's code, Dagster and its PostgreSQL storage, of the version of the pages'
    image."""
    by_password: bool
    """Whether the instance's database is signed in to by the password in the team's Secret."""
    module: str = MODULE
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """No secret: they stand in the Deployment and in each run."""
    secrets: Sequence[str] = ()
    """Secrets in the namespace whose keys become variables."""
    cpus: float = 0.25
    memory_mib: int = 1024
    wait_for: Sequence[pulumi.Resource] = ()
    """`Orchestration.ready`, and the namespace's quota and flows."""


class CodeLocation(pulumi.ComponentResource):
    """One server; `address` is where the instance finds it."""

    def __init__(
        self, name: str, args: CodeLocationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:CodeLocation", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        selected = {**pods.CODE, "falaj/workload": args.location}
        labels = {**pods.NAME, **selected}
        called = f"{args.location}-code"
        metadata: Any = {
            "name": called,
            "namespace": args.team,
            "labels": {**labels, **MANAGED_BY},
        }
        spec: Any = {
            # a second one would tell the instance of another server at each answer
            "replicas": 1,
            "selector": {"matchLabels": selected},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {"labels": labels},
                "spec": pods.code(
                    args.location,
                    args.module,
                    by_password=args.by_password,
                    image=args.image,
                    told=args.variables,
                    secrets=tuple(args.secrets),
                    cpus=args.cpus,
                    memory_mib=args.memory_mib,
                ),
            },
        }
        kubernetes.apps.v1.Deployment(f"{name}-code", metadata=metadata, spec=spec, opts=child)
        service: Any = {
            "type": "ClusterIP",
            "selector": selected,
            "ports": [
                {
                    "name": "grpc",
                    "port": CODE_PORT,
                    "targetPort": CODE_PORT,
                    "protocol": "TCP",
                    "appProtocol": "grpc",
                }
            ],
        }
        kubernetes.core.v1.Service(f"{name}-service", metadata=metadata, spec=service, opts=child)
        self.address = f"{location_host(args.location, args.team)}:{CODE_PORT}"
        self.register_outputs({"address": self.address})
