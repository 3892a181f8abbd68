"""A workload on one machine: slots of model servers, route, metrics and code location.

Owns what a deployment is made of. Which version a slot serves and how much traffic it gets belong
to the release, through the registry's aliases and the weights; `pulumi up` never touches either.
The platform's parts must exist before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from components.contract import PlatformOutputs, SupervisorTarget
from components.local import gateway, monitoring, orchestration_files
from components.local.credentials import GeneratedSecret
from components.local.drop_in import DropIn, DropInArgs
from components.local.machine import LOOPBACK, Machine, python
from components.local.port_block import PortBlock
from components.local.process import Health, SupervisedProcess
from components.monitoring.alerts import workload_rules

SLOTS = ("a", "b")
WORKERS = (1, 2)
"""Of each slot: one can die, or be busy, while another answers."""
_OFFSETS = {("a", 1): 0, ("b", 1): 1, ("a", 2): 3, ("b", 2): 4}
"""Slot and worker → place of its port in the workload's block."""
_CODE_OFFSET = 2
HEALTH_SECONDS = 120
SYNTHETIC_PER_SECOND = 40
"""Requests of the replay during a release: nobody else asks here. Below half of what two cores
carry with the slowest model server, client included.
"""


@dataclass(frozen=True, kw_only=True)
class LocalWorkloadArgs:
    """What is deployed where.

    `workload` is the name with hyphens, `code` a digest of what its processes run: a change
    restarts them. `target` is the contract's field `local`, `capture` that section of
    `workload.yaml`.
    """

    workload: str
    code: str
    platform: PlatformOutputs
    target: SupervisorTarget
    capture: Mapping[str, Any] | None = None


class LocalWorkload(pulumi.ComponentResource):
    """One workload; `variables` is the environment that its code runs in."""

    variables: dict[str, pulumi.Input[str]]

    def __init__(
        self, name: str, args: LocalWorkloadArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `LocalWorkloadArgs`."""
        super().__init__("falaj:local:Workload", name, {}, opts)
        self._name, self._args = name, args
        target = args.target
        self._machine = Machine(
            supervisor=None,
            state_directory=target.state_directory,
            socket=target.socket,
            runtime_directory=str(Path(target.gateway_socket).parent),
            ports={},
            health_seconds=HEALTH_SECONDS,
        )
        block = PortBlock(
            f"{name}-ports",
            owner=args.workload,
            claims=f"{target.state_directory}/workloads/ports",
            first=target.first_workload_port,
            last=target.last_workload_port,
            opts=pulumi.ResourceOptions(parent=self),
        )
        first = block.port.apply(int)
        self._first = first
        self._code_port = first.apply(lambda port: port + _CODE_OFFSET)
        self.variables = self._variables()
        self._capture, self._capture_files = self._captured()
        slots: list[pulumi.Resource] = []
        for slot in SLOTS:
            # one after the other: while one restarts, the other answers
            slots += [self._worker(slot, worker, *slots) for worker in WORKERS]
        code = self._code_location()
        self._drop_in(
            "route",
            "gateway",
            self._gateway_directory / "routes" / f"{self._backend}.json",
            first.apply(self._route),
            *slots,
        )
        self._drop_in(
            "targets",
            "monitoring",
            Path(monitoring.targets_path(target.state_directory, args.workload)),
            first.apply(self._targets),
            *slots,
        )
        self._drop_in(
            "rules",
            "monitoring",
            Path(monitoring.rules_path(target.state_directory, args.workload)),
            monitoring.rules_file(workload_rules(args.workload)),
        )
        self._drop_in(
            "location",
            "orchestration",
            Path(target.state_directory) / "orchestration" / "locations" / f"{args.workload}.json",
            self._code_port.apply(
                lambda port: orchestration_files.location(args.workload, LOOPBACK, port)
            ),
            code,
        )
        self.register_outputs({})

    @property
    def _gateway_directory(self) -> Path:
        return Path(self._args.target.state_directory) / "gateway"

    @property
    def _backend(self) -> str:
        return f"{self._args.platform.serving_namespace}.{self._args.workload}"

    def _url(self, slot: str, worker: int) -> pulumi.Output[str]:
        return self._first.apply(
            lambda first: f"http://{LOOPBACK}:{first + _OFFSETS[slot, worker]}"
        )

    def _worker(self, slot: str, worker: int, *after: pulumi.Resource) -> SupervisedProcess:
        workload, role = self._args.workload, _role(slot, worker)
        port = self._first.apply(lambda first: first + _OFFSETS[slot, worker])
        return self._machine.process(
            self,
            f"{self._name}-{role}",
            program=f"{workload}-{role}",
            command=[
                *python("-m", "workloads.delivery.server", "--workload", workload),
                *("--slot", slot, "--port", port.apply(str)),
            ],
            environment=self.variables | self._capture | {"FALAJ_CODE": self._args.code},
            # the first worker's, which is there before the others
            files=self._capture_files if (slot, worker) == (SLOTS[0], WORKERS[0]) else {},
            # an empty slot is healthy, one that is still loading its version is not
            health=Health(
                url=pulumi.Output.concat(self._url(slot, worker), "/version"),
                expect='"loading": ?false',
                alive_url=pulumi.Output.concat(self._url(slot, worker), "/live"),
            ),
            more_ports={
                f"of slot {slot}, worker {worker}, from falaj:local.ports.workloads_first": port
            },
            stop_seconds=20,
            after=after,
        )

    def _captured(self) -> tuple[dict[str, pulumi.Input[str]], dict[str, pulumi.Input[str]]]:
        """What servers are told of the predictions that they keep, and the key's file."""
        args, state = self._args, self._args.target.state_directory
        if not args.capture or not args.capture["enabled"]:
            return {}, {}
        key_file = f"{state}/workloads/{args.workload}/capture.key"
        key = GeneratedSecret(f"{self._name}-capture-key", pulumi.ResourceOptions(parent=self))
        told: dict[str, pulumi.Input[str]] = {
            "FALAJ_CAPTURE": json.dumps(dict(args.capture), sort_keys=True),
            "FALAJ_CAPTURE_URI": Path(state, "capture").as_uri(),
            "FALAJ_CAPTURE_KEY_FILE": key_file,
        }
        return told, {key_file: key.value}

    def _code_location(self) -> SupervisedProcess:
        workload, port = self._args.workload, self._code_port
        return self._machine.process(
            self,
            f"{self._name}-code",
            program=f"{workload}-code",
            command=[
                *python("-m", "dagster", "api", "grpc", "--host", LOOPBACK),
                *("--port", port.apply(str), "--module-name", "workloads.delivery.definitions"),
                *("--location-name", workload),
            ],
            environment=self.variables
            | {
                "DAGSTER_HOME": self._machine.directory("orchestration"),
                "FALAJ_CODE": self._args.code,
            },
            health=Health(url=port.apply(lambda number: f"tcp://{LOOPBACK}:{number}")),
            more_ports={"of the code location, from falaj:local.ports.workloads_first": port},
        )

    def _drop_in(
        self,
        role: str,
        part: str,
        path: Path,
        content: pulumi.Input[str],
        *after: pulumi.Resource,
    ) -> None:
        target = self._args.target
        DropIn(
            f"{self._name}-{role}",
            DropInArgs(
                part=part,
                path=str(path),
                content=content,
                state_directory=target.state_directory,
                socket=target.socket,
                address=self._args.platform.orchestrator_url or "",
            ),
            # a server is there before anything sends to it
            pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )

    def _route(self, first: int) -> str:
        return gateway.route_text(
            gateway.Route(
                namespace=str(self._args.platform.serving_namespace),
                deployment=self._args.workload,
                slots={
                    slot: [(LOOPBACK, int(first) + _OFFSETS[slot, worker]) for worker in WORKERS]
                    for slot in SLOTS
                },
            )
        )

    def _targets(self, first: int) -> str:
        return json.dumps(
            [
                {
                    "targets": [
                        f"{LOOPBACK}:{int(first) + _OFFSETS[slot, worker]}" for worker in WORKERS
                    ],
                    "labels": {"workload": self._args.workload, "slot": slot},
                }
                for slot in SLOTS
            ],
            indent=2,
        )

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        platform, target, workload = self._args.platform, self._args.target, self._args.workload
        state = target.state_directory
        endpoint = f"{platform.serving_gateway_url}/seldon/{platform.serving_namespace}/{workload}"
        slots: pulumi.Output[str] = pulumi.Output.json_dumps(
            {slot: [self._url(slot, worker) for worker in WORKERS] for slot in SLOTS}
        )
        return {
            "FALAJ_ENVIRONMENT": platform.environment,
            "FALAJ_WORKLOAD": workload,
            "FALAJ_DATA_URI": str(platform.data_uri),
            "FALAJ_ENDPOINT": endpoint,
            "FALAJ_METRICS_URL": str(platform.metrics_url),
            "FALAJ_ORCHESTRATOR_URL": str(platform.orchestrator_url),
            "FALAJ_SLOTS": slots,
            "FALAJ_TRAFFIC_WEIGHTS": str(
                gateway.weights_path(self._gateway_directory, self._backend)
            ),
            "FALAJ_TRAFFIC_SOCKET": target.gateway_socket,
            "FALAJ_TRAFFIC_BACKEND": self._backend,
            "FALAJ_AUTO_APPROVE": str(platform.automatic_approval).lower(),
            "FALAJ_SYNTHETIC_TRAFFIC": str(SYNTHETIC_PER_SECOND),
            "FALAJ_STATE": f"{state}/workloads/{workload}",
            "FALAJ_PARTS": pulumi.Output.json_dumps(self._parts()),
            "MLFLOW_TRACKING_URI": str(platform.tracking_uri),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_API_SERVER_ADDRESS": str(platform.ray_address),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": f"{state}/training/token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "AWS_ENDPOINT_URL": str(platform.object_store_endpoint),
            "AWS_REGION": str(platform.object_store_region),
            "AWS_DEFAULT_REGION": str(platform.object_store_region),
            "AWS_ACCESS_KEY_ID": str(platform.object_store_access_key),
            "AWS_SECRET_ACCESS_KEY": pulumi.Output.secret(str(platform.object_store_secret_key)),
        }

    def _parts(self) -> list[dict[str, Any]]:
        platform = self._args.platform

        def part(
            name: str, url: pulumi.Input[str] | None, health: str, process: str
        ) -> dict[str, Any]:
            address = pulumi.Output.from_input(url or "")
            return {
                "name": name,
                "url": address,
                "health": pulumi.Output.concat(address, health),
                "process": process,
            }

        return [
            part("object store", platform.object_store_endpoint, "/health", "object-store"),
            part("tracking", platform.tracking_uri, "/health", "tracking"),
            part("training", platform.ray_address, "/api/version", "training"),
            part("orchestration", platform.orchestrator_url, "/server_info", "orchestrator-web"),
            part("monitoring", platform.metrics_url, "/-/ready", "monitoring"),
            part("gateway", platform.serving_gateway_url, "/health", "gateway"),
            *(
                part(
                    f"slot {slot}, worker {worker}",
                    self._url(slot, worker),
                    "/live",
                    f"{self._args.workload}-{_role(slot, worker)}",
                )
                for slot in SLOTS
                for worker in WORKERS
            ),
        ]


def _role(slot: str, worker: int) -> str:
    """The end of a worker's name; the first bears that of the slot."""
    return f"slot-{slot}" if worker == 1 else f"slot-{slot}-{worker}"
