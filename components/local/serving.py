"""The serving gateway: HAProxy in front of the model servers of every workload.

Owns the process and its base configuration. Routes are added by workloads as drop-ins; the weights
between a workload's slots belong to its release, which writes them to a file and to the running
gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.local import gateway
from components.local.machine import Machine, executable, python
from components.local.process import Health

NAMESPACE = "local"


@dataclass(frozen=True, kw_only=True)
class ServingArgs:
    """Where it runs."""

    machine: Machine


class Serving(pulumi.ComponentResource):
    """The gateway."""

    gateway_url: str
    admin_socket: str

    def __init__(
        self, name: str, args: ServingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `ServingArgs`."""
        super().__init__("falaj:local:Serving", name, {}, opts)
        machine = args.machine
        home = machine.directory("gateway")
        self.gateway_url = machine.url("gateway")
        self.admin_socket = str(Path(machine.runtime_directory) / "gateway.sock")
        self.process = machine.process(
            self,
            f"{name}-gateway",
            program="gateway",
            command=python("-m", "components.local.gateway", home),
            environment={"PATH": str(Path(executable("haproxy")).parent)},
            directories=(home, f"{home}/routes", f"{home}/weights"),
            files={
                f"{home}/gateway.json": gateway.settings_text(
                    port=machine.ports["gateway"],
                    metrics_port=machine.ports["gateway_metrics"],
                    socket_path=self.admin_socket,
                )
            },
            health=Health(url=f"{machine.url('gateway_metrics')}/metrics", expect="haproxy_"),
            ports=("gateway", "gateway_metrics"),
        )
        self.register_outputs({"gateway_url": self.gateway_url})
