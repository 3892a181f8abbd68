"""Ray: the cluster that training and tuning run on, with its dashboard and Jobs API.

Owns the head (which is the only node) and its token. Ray binds its internal ports on all interfaces
and cannot be told otherwise; every one of them asks for the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.local.credentials import GeneratedSecret
from components.local.machine import LOOPBACK, Machine, python
from components.local.object_store import ObjectStore
from components.local.process import Health

INTERNAL_PORTS = (
    "ray_gcs",
    "ray_client",
    "ray_agent_grpc",
    "ray_agent_http",
    "ray_metrics",
    "ray_node_manager",
    "ray_object_manager",
    "ray_runtime_env_agent",
    "ray_autoscaler_metrics",
    "ray_dashboard_metrics",
)


@dataclass(frozen=True, kw_only=True)
class TrainingArgs:
    """`cpus` logical cores are offered to trials; `object_store_bytes` is Ray's shared memory."""

    machine: Machine
    object_store: ObjectStore
    cpus: int
    object_store_bytes: int


class Training(pulumi.ComponentResource):
    """The Ray head."""

    address: str
    token: pulumi.Output[str]

    def __init__(
        self, name: str, args: TrainingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `TrainingArgs`."""
        super().__init__("falaj:local:Training", name, {}, opts)
        machine, ports = args.machine, args.machine.ports
        self.address = machine.url("ray_dashboard")
        self.token = GeneratedSecret(f"{name}-token", pulumi.ResourceOptions(parent=self)).value
        token_path = f"{machine.directory('training')}/token"
        self.process = machine.process(
            self,
            f"{name}-head",
            program="training",
            command=python(
                *("-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--disable-usage-stats", "--node-ip-address", LOOPBACK),
                *("--dashboard-host", LOOPBACK, "--dashboard-port", str(ports["ray_dashboard"])),
                *("--port", str(ports["ray_gcs"])),
                *("--ray-client-server-port", str(ports["ray_client"])),
                *("--dashboard-agent-grpc-port", str(ports["ray_agent_grpc"])),
                *("--dashboard-agent-listen-port", str(ports["ray_agent_http"])),
                *("--metrics-export-port", str(ports["ray_metrics"])),
                *("--node-manager-port", str(ports["ray_node_manager"])),
                *("--object-manager-port", str(ports["ray_object_manager"])),
                *("--runtime-env-agent-port", str(ports["ray_runtime_env_agent"])),
                *("--min-worker-port", str(ports["ray_workers_first"])),
                *("--max-worker-port", str(ports["ray_workers_last"])),
                *("--num-cpus", str(args.cpus)),
                *("--object-store-memory", str(args.object_store_bytes)),
                *("--temp-dir", str(Path(machine.runtime_directory) / "ray")),
            ),
            # jobs inherit this: what they need to reach the tables is never part of a submission
            environment=args.object_store.variables()
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": token_path,
                "RAY_USAGE_STATS_ENABLED": "0",
                # the only node has nowhere to drain to
                "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
                # else Ray takes the machine's outer address for its node, whatever it is told
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                "AUTOSCALER_METRIC_PORT": str(ports["ray_autoscaler_metrics"]),
                "DASHBOARD_METRIC_PORT": str(ports["ray_dashboard_metrics"]),
                "RAY_PROMETHEUS_HOST": machine.url("monitoring"),
            },
            files={token_path: self.token},
            health=Health(
                url=f"{self.address}/api/cluster_status",
                headers={"Authorization": self.token.apply(lambda token: f"Bearer {token}")},
                expect='"result": ?true',
                # the head answers on when the node under it has gone; its agent knows
                alive_url=(f"http://{LOOPBACK}:{ports['ray_agent_http']}/api/local_raylet_healthz"),
            ),
            ports=("ray_dashboard", *INTERNAL_PORTS),
            stop_seconds=15,
        )
        self.register_outputs({"address": self.address})
