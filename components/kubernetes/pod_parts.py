"""What pods of the platform's own have in common: plain data, made by pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.kubernetes.quantities import cores, mib

USER = 10001
"""No user of any image: files that a pod needs are readable for all, what it writes is its own."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}
API_GROUP = "rbac.authorization.k8s.io"

_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 a path
_TOKEN_SECONDS = 3607


def container_security() -> dict[str, Any]:
    """As Pod Security `restricted` asks, with a root that is read-only."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }


def pod_security(user: int = USER) -> dict[str, Any]:
    """The same of a whole pod, whose volumes are `user`'s."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def room(*, cpus: float, memory_mib: int, disk_mib: int = 256) -> dict[str, Any]:
    """The `resources` of a container: as much memory and disk as it asks for, and no more.

    Processor time has no limit: it would slow a pod down beside idle cores.
    """
    held = {"memory": mib(memory_mib), "ephemeral-storage": mib(disk_mib)}
    return {"requests": {"cpu": cores(cpus), **held}, "limits": held}


def variables(plain: Mapping[str, Any], secret: Mapping[str, Any] | None = None) -> list[Any]:
    """The `env` of a container; `secret` is variable → (Secret, key)."""
    kept = secret or {}
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": where, "key": key}}}
            for name, (where, key) in kept.items()
        ),
    ]


def api_token() -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume with the account's token, and its mount, for the containers that ask for it."""
    sources: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    volume = {"name": "api-token", "projected": {"sources": sources}}
    return volume, {"name": "api-token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True}
