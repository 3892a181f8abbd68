"""The local environment as a whole: every part on one machine, and the contract that it fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.local.machine import Machine
from components.local.monitoring import Monitoring, MonitoringArgs
from components.local.object_store import ACCESS_KEY, ObjectStore, ObjectStoreArgs
from components.local.orchestration import Orchestration, OrchestrationArgs
from components.local.serving import NAMESPACE, Serving, ServingArgs
from components.local.supervisor import Supervisor, SupervisorArgs
from components.local.tracking import Tracking, TrackingArgs
from components.local.training import Training, TrainingArgs

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LocalPlaceArgs:
    """The settings of the local environment.

    `ports` maps the name of a setting to its port; `region` is the one that S3 requests are signed
    for; the directories are absolute paths.
    """

    state_directory: str
    runtime_directory: str
    ports: Mapping[str, int]
    region: str
    health_seconds: int
    ray_cpus: int
    ray_object_store_mib: int


class LocalPlace(pulumi.ComponentResource):
    """The platform on one machine; `fields` are those of `PlatformOutputs` that it fills."""

    fields: dict[str, pulumi.Input[Any]]

    def __init__(
        self, name: str, args: LocalPlaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `LocalPlaceArgs`."""
        super().__init__("falaj:local:Place", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        socket = f"{args.runtime_directory}/supervisor.sock"
        machine = Machine(
            supervisor=Supervisor(
                "supervisor",
                SupervisorArgs(state_directory=args.state_directory, socket=socket),
                here,
            ),
            state_directory=args.state_directory,
            socket=socket,
            runtime_directory=args.runtime_directory,
            ports=args.ports,
            health_seconds=args.health_seconds,
        )
        store = ObjectStore(
            "object-store", ObjectStoreArgs(machine=machine, region=args.region), here
        )
        tracking = Tracking("tracking", TrackingArgs(machine=machine, object_store=store), here)
        training = Training(
            "training",
            TrainingArgs(
                machine=machine,
                object_store=store,
                cpus=args.ray_cpus,
                object_store_bytes=args.ray_object_store_mib * MIB,
            ),
            here,
        )
        serving = Serving("serving", ServingArgs(machine=machine), here)
        orchestration = Orchestration("orchestration", OrchestrationArgs(machine=machine), here)
        monitoring = Monitoring("monitoring", MonitoringArgs(machine=machine), here)
        self.fields = {
            "artifact_uri": store.artifact_uri,
            "data_uri": store.data_uri,
            "object_store_endpoint": store.endpoint,
            "object_store_region": store.region,
            "object_store_access_key": ACCESS_KEY,
            "object_store_secret_key": store.secret_key,
            "tracking_uri": tracking.uri,
            "ray_address": training.address,
            "ray_token": training.token,
            "serving_gateway_url": serving.gateway_url,
            "serving_namespace": NAMESPACE,
            "metrics_url": monitoring.url,
            "orchestrator_url": orchestration.url,
            "local": {
                "state_directory": args.state_directory,
                "socket": socket,
                "gateway_socket": serving.admin_socket,
                "first_workload_port": args.ports["workloads_first"],
                "last_workload_port": args.ports["workloads_last"],
            },
        }
        self.register_outputs({})
