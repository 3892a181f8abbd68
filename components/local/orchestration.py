"""Dagster: runs a workload's chain from its page or on a schedule, and shows what ran.

Owns the webserver, the daemon and the instance's files. Code locations are added by workloads as
drop-ins.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.local import orchestration_files
from components.local.machine import LOOPBACK, Machine, python
from components.local.process import Health

_DAEMONS_ARE_WELL = (
    '{"query": "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"}'
)


@dataclass(frozen=True, kw_only=True)
class OrchestrationArgs:
    """Where it runs."""

    machine: Machine


class Orchestration(pulumi.ComponentResource):
    """Dagster's webserver and daemon."""

    url: str

    def __init__(
        self, name: str, args: OrchestrationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `OrchestrationArgs`."""
        super().__init__("falaj:local:Orchestration", name, {}, opts)
        machine = args.machine
        home = machine.directory("orchestration")
        workspace = f"{home}/workspace.yaml"
        environment = {"DAGSTER_HOME": home, "DAGSTER_DISABLE_TELEMETRY": "true"}
        self.url = machine.url("orchestrator")
        self.web = machine.process(
            self,
            f"{name}-web",
            program="orchestrator-web",
            command=python(
                *("-m", "components.local.orchestration_files", home, "--"),
                *("dagster-webserver", "--host", LOOPBACK),
                *("--port", str(machine.ports["orchestrator"]), "--workspace", workspace),
                *("--code-server-log-level", "warning", "--log-level", "warning"),
            ),
            environment=environment,
            directories=(home, f"{home}/locations"),
            files={f"{home}/dagster.yaml": orchestration_files.INSTANCE},
            health=Health(url=f"{self.url}/server_info", expect="dagster_webserver_version"),
            ports=("orchestrator",),
        )
        self.daemon = machine.process(
            self,
            f"{name}-daemon",
            program="orchestrator-daemon",
            command=python(
                *("-m", "components.local.orchestration_files", home, "--"),
                *("dagster-daemon", "run", "--workspace", workspace),
                *("--code-server-log-level", "warning", "--log-level", "warning"),
            ),
            environment=environment,
            health=Health(
                url=f"{self.url}/graphql",
                body=_DAEMONS_ARE_WELL,
                expect='^(?!.*"required": ?true, ?"healthy": ?false)(?=.*"healthy": ?true)',
            ),
            after=(self.web,),
        )
        self.register_outputs({"url": self.url})
