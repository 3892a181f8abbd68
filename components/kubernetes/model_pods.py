"""The pods that answer for a slot of a workload, as both engines run them. Pure data.

What the image must do: answer on `PORT`, count on `METRICS_PORT`, write to `STATE` and `/tmp` alone
and run as any user. It asks the registry at `MLFLOW_TRACKING_URI` for the alias `slot-<slot>` of
its workload's model, which is where a release says what the slot holds, and signs in there with the
token of its account (`workloads.delivery.pod_token`). Under `seldon` it speaks
the Seldon protocol, under `mlserver` the Open Inference Protocol. Its log holds nothing of a
request, and neither a logger nor a proxy that could hold it is declared. Where the workload asks
for it (`Kept`), the server itself keeps a share of its predictions, masked by classification
(`workloads.delivery.capture`). The platform's own is `workloads/images/serving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pulumi

from components.kubernetes import tracking_client
from components.kubernetes.pools import TEAM, toleration
from components.kubernetes.serving_settings import ModelSettings
from components.kubernetes.tenancy import SERVICE_ACCOUNT

PORT, GRPC_PORT, METRICS_PORT = 9000, 9500, 6000
STATE = "/var/lib/falaj"
GPU = "nvidia.com/gpu"
CONTAINER = "model"

_USER = 8888
_PROBE_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the server of an engine is asked and told."""

    live: str
    """Path that answers 200 while the process is well, with a model or without."""
    ready: str
    """Path that answers 200 while a model is loaded."""
    port_variables: tuple[str, str, str]
    """Names of the variables for REST, gRPC and metrics."""
    exposed: Mapping[str, bool]
    """Path that clients may use, below the workload's own → whether all that begins with it."""
    sent_once: tuple[str, ...] = ()
    """Paths among them at which a request counts, so that it is not sent again."""


ENGINES: Mapping[str, Engine] = {
    "seldon": Engine(
        live="/health/ping",
        ready="/health/status",
        port_variables=(
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
        ),
        exposed={
            "/api/v1.0/predictions": False,
            "/api/v1.0/feedback": False,
            "/openapi.json": False,
        },
        sent_once=("/api/v1.0/feedback",),
    ),
    "mlserver": Engine(
        live="/v2/health/live",
        ready="/v2/health/ready",
        port_variables=("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT"),
        exposed={"/v2/models/": True},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Where a share of the predictions is kept, masked."""

    settings: str
    """`capture` of `workload.yaml`, as JSON."""
    uri: pulumi.Input[str]
    """The folder above the workload's, such as ``s3://bucket/teams/credit/capture``."""
    key_secret: str
    """The Secret whose `KEY` hashes; while it is not there, nothing is kept and all is answered."""
    region: pulumi.Input[str] | None = None
    encryption_key: pulumi.Input[str] | None = None
    """ARN of the key that objects must name, where the bucket asks for one."""

    KEY: ClassVar[str] = "key"
    _DIRECTORY: ClassVar[str] = "/var/run/secrets/falaj/capture"

    @property
    def variables(self) -> dict[str, pulumi.Input[str]]:
        """Of the container."""
        told: dict[str, pulumi.Input[str] | None] = {
            "FALAJ_CAPTURE": self.settings,
            "FALAJ_CAPTURE_URI": self.uri,
            "FALAJ_CAPTURE_KEY_FILE": f"{self._DIRECTORY}/{self.KEY}",
            "FALAJ_CAPTURE_ENCRYPTION_KEY": self.encryption_key,
            "AWS_REGION": self.region,
        }
        return {name: value for name, value in told.items() if value is not None}

    @property
    def volume(self) -> dict[str, Any]:
        """Of the pod."""
        return {
            "name": "capture-key",
            "secret": {"secretName": self.key_secret, "defaultMode": 0o440, "optional": True},
        }

    @property
    def mount(self) -> dict[str, Any]:
        """Of the container; a new value comes into it, as it would not by a `subPath`."""
        return {"name": "capture-key", "mountPath": self._DIRECTORY, "readOnly": True}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Which slot of which workload."""

    workload: str
    slot: str

    @property
    def name(self) -> str:
        """Of its objects."""
        return f"{self.workload}-{self.slot}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels that its pods have and no others."""
        return {"falaj/workload": self.workload, "falaj/slot": self.slot}

    @property
    def labels(self) -> dict[str, str]:
        """All labels of its pods."""
        return {
            **self.selector,
            "falaj/part": "model",  # the network's flows know it by this
            "app.kubernetes.io/name": self.workload,
            "app.kubernetes.io/component": "model",
            "tier": "serving",
        }


def pod_spec(
    slot: Slot,
    engine: Engine,
    model: ModelSettings,
    *,
    image: pulumi.Input[str],
    variables: Mapping[str, pulumi.Input[str]],
    team: str | None = None,
    kept: Kept | None = None,
) -> dict[str, Any]:
    """The `spec` of the pods of `slot`; on a pool that `model` names they bear the taint of nodes
    that are `team`'s alone."""
    resources: dict[str, Any] = {
        "requests": {
            "cpu": f"{round(model.cpus * 1000)}m",
            "memory": _mebibytes(model.memory_gib),
            "ephemeral-storage": _mebibytes(model.disk_gib),
        },
        # no limit of processor time: it would slow a pod down beside idle cores
        "limits": {
            "memory": _mebibytes(model.memory_gib),
            "ephemeral-storage": _mebibytes(model.disk_gib),
        },
    }
    if model.gpus:
        for part in resources.values():
            part[GPU] = str(model.gpus)
    ports = (PORT, GRPC_PORT, METRICS_PORT)
    environment: dict[str, pulumi.Input[str]] = {
        "FALAJ_WORKLOAD": slot.workload,
        "FALAJ_SLOT": slot.slot,
        "FALAJ_STATE": STATE,
        **tracking_client.VARIABLES,
        **{name: str(port) for name, port in zip(engine.port_variables, ports, strict=True)},
        **variables,
        **(kept.variables if kept is not None else {}),
    }
    spec: dict[str, Any] = {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "priorityClassName": "falaj-serving",
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": _apart(slot)},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": slot.selector},
            }
        ],
        "volumes": [
            {"name": name, "emptyDir": {"sizeLimit": _mebibytes(model.disk_gib)}}
            for name in ("state", "tmp")
        ]
        + [tracking_client.VOLUME]
        + ([kept.volume] if kept is not None else []),
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [
                    {"name": name, "value": value} for name, value in sorted(environment.items())
                ],
                "ports": [
                    {"name": name, "containerPort": port, "protocol": "TCP"}
                    for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)
                ],
                "resources": resources,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # a slot may be empty: alive is a server that could load a model, ready is one that
                # has one
                "startupProbe": _probe(
                    engine.live, failures=-(-model.start_seconds // _PROBE_SECONDS)
                ),
                "livenessProbe": _probe(engine.live, failures=6),
                "readinessProbe": _probe(engine.ready, failures=2),
                "volumeMounts": [
                    {"name": "state", "mountPath": STATE},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 of the pod alone
                    tracking_client.MOUNT,
                    *([kept.mount] if kept is not None else []),
                ],
            }
        ],
    }
    if model.node_pool is not None:
        spec["nodeSelector"] = {
            "falaj/pool": model.node_pool,
            "falaj/kind": "gpu" if model.gpus else "cpu",
        }
    tolerations: list[dict[str, str]] = []
    if model.gpus:
        tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})
    if model.node_pool is not None and team is not None:
        tolerations.append(toleration({"key": TEAM, "value": team, "effect": "NoSchedule"}))
    if tolerations:
        spec["tolerations"] = tolerations
    return spec


def scaling(model: ModelSettings) -> dict[str, Any]:
    """Bounds and metrics, as `autoscaling/v2` writes them."""
    return {
        "minReplicas": model.min_replicas,
        "maxReplicas": model.max_replicas,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": model.busy_percent},
                },
            }
        ],
    }


def _apart(slot: Slot) -> dict[str, Any]:
    """Not on one node where there is another; both slots of a workload count for it less."""
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": weight,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": labels},
                },
            }
            for weight, labels in (
                (100, slot.selector),
                (10, {"falaj/workload": slot.workload}),
            )
        ]
    }


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT, "scheme": "HTTP"},
        "periodSeconds": _PROBE_SECONDS,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _mebibytes(gib: float) -> str:
    return f"{round(gib * 1024)}Mi"
