"""MLflow: experiments, runs, and the registry of model versions.

Owns the server and its SQLite database; models and reports go through the server to the object
store, which must exist before it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pulumi

from components.local.machine import LOOPBACK, Machine, python
from components.local.object_store import ObjectStore
from components.local.process import Health
from components.mlflow_server.environment import server_environment


@dataclass(frozen=True, kw_only=True)
class TrackingArgs:
    """Where it runs and where artifacts go."""

    machine: Machine
    object_store: ObjectStore


class Tracking(pulumi.ComponentResource):
    """The MLflow server."""

    uri: str

    def __init__(
        self, name: str, args: TrackingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `TrackingArgs`."""
        super().__init__("falaj:local:Tracking", name, {}, opts)
        machine = args.machine
        port = machine.ports["tracking"]
        database = f"{machine.directory('tracking')}/mlflow.db"
        self.uri = machine.url("tracking")
        told: dict[str, pulumi.Input[str]] = server_environment(
            database=f"sqlite:///{database}",
            artifacts=args.object_store.artifact_uri,
            hosts=(f"{LOOPBACK}:{port}", f"localhost:{port}"),
        )
        self.process = machine.process(
            self,
            f"{name}-server",
            program="tracking",
            # `mlflow server` would start this very command as a child, which outlives it when it
            # is killed and keeps the port; what it tells the child is told here instead
            command=python(
                *("-m", "components.local.database", database, "--", sys.executable),
                *("-m", "uvicorn", "components.local.tracking_app:app"),
                *("--host", LOOPBACK, "--port", str(port), "--workers", "1"),
                *("--log-level", "warning"),
            ),
            environment=args.object_store.variables() | told,
            directories=(machine.directory("tracking"),),
            health=Health(
                url=f"{self.uri}/api/2.0/mlflow/experiments/search",
                body='{"max_results": 1}',
                expect="experiments",
            ),
            ports=("tracking",),
            after=args.object_store.buckets,
        )
        self.register_outputs({"uri": self.uri})
