"""What the pods of MLflow's server and of its preparation are made of. Pure: no resource is made.

Both have the same image, identity, secrets and limits; they differ in what they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.kubernetes.quantities import cores, mib
from components.kubernetes.tracking_settings import TrackingSettings

ACCOUNT = "tracking"
PORT, METRICS_PORT = 5000, 9090
LABELS = {"app.kubernetes.io/name": "mlflow", "app.kubernetes.io/managed-by": "pulumi"}
SERVER = {"app.kubernetes.io/component": "server"}
PREPARE = {"app.kubernetes.io/component": "prepare"}
SELECTED = {"app.kubernetes.io/name": "mlflow", **SERVER}

CERTIFICATES = "authorities"
"""The ConfigMap of whom connections are trusted by."""
DATABASE_CERTIFICATES, OTHER_CERTIFICATES = "database.pem", "others.pem"

_SECONDS_TO_END = 120
_API_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_AUTHORITIES = "/etc/falaj/authorities"


def certificates(name: str) -> str:
    """Where the file `name` of `CERTIFICATES` is in a pod."""
    return f"{_AUTHORITIES}/{name}"


def server_pod(
    settings: TrackingSettings, environment: Mapping[str, Any], secrets: Mapping[str, Any]
) -> dict[str, Any]:
    """The pod of a server. `secrets` is variable → `secretKeyRef`."""
    command = [
        *("python", "-m", "uvicorn", "components.mlflow_server.cluster:app"),
        *("--host", "0.0.0.0", "--port", str(PORT), "--workers", "1"),  # noqa: S104
        *("--timeout-graceful-shutdown", str(_SECONDS_TO_END // 2)),
        # the plugin's record of who did what goes by the same logger
        *("--log-level", "info", "--no-access-log"),
    ]
    pod = _pod(settings, "server", command, environment, secrets)
    pod["containers"][0] |= {
        "ports": [
            {"name": "http", "containerPort": PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        # imports take 20 s on an idle core and a minute on a busy one
        "startupProbe": _probe(periodSeconds=5, failureThreshold=60),
        # a database that is down is no reason to start all servers anew
        "livenessProbe": _probe(periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe(periodSeconds=5, failureThreshold=2),
        # until those who send requests know that it ends
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    }
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            # where a zone is lost, or none is named, pods still start
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": SELECTED},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    return pod | {
        "terminationGracePeriodSeconds": _SECONDS_TO_END,
        "topologySpreadConstraints": spread,
    }


def prepare_pod(
    settings: TrackingSettings, environment: Mapping[str, Any], secrets: Mapping[str, Any]
) -> dict[str, Any]:
    """The pod that brings the databases up to date."""
    command = ["python", "-m", "components.mlflow_server.prepare"]
    return _pod(settings, "prepare", command, environment, secrets) | {"restartPolicy": "Never"}


def _pod(
    settings: TrackingSettings,
    container: str,
    command: list[str],
    environment: Mapping[str, pulumi.Input[str]],
    secrets: Mapping[str, Any],
) -> dict[str, Any]:
    disk = 2 * settings.largest_artifact_gib
    return {
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "falaj-platform",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": container,
                "image": settings.image,
                "command": command,
                "env": [
                    *({"name": name, "value": value} for name, value in environment.items()),
                    *(
                        {"name": name, "valueFrom": {"secretKeyRef": where}}
                        for name, where in secrets.items()
                    ),
                ],
                "resources": {
                    "requests": {
                        "cpu": cores(settings.cores),
                        "memory": mib(settings.memory_mib),
                        "ephemeral-storage": "1Gi",
                    },
                    "limits": {
                        "memory": mib(settings.memory_mib),
                        "ephemeral-storage": f"{disk + 1}Gi",
                    },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "privileged": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 its own
                    {"name": "authorities", "mountPath": _AUTHORITIES, "readOnly": True},
                    {"name": "api-account", "mountPath": _API_ACCOUNT, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "temporary", "emptyDir": {"sizeLimit": f"{disk}Gi"}},
            {"name": "authorities", "configMap": {"name": CERTIFICATES}},
            # by which it asks the API server for the keys that sign pods' tokens
            {"name": "api-account", "projected": {"sources": _API_SOURCES}},
        ],
    }


_API_SOURCES: list[dict[str, Any]] = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
]


def _probe(**timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 3, **timing}
