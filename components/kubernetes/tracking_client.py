"""What a pod needs to sign in to MLflow: a token of its service account that is for MLflow alone.

Pure data. The client in the pod is `workloads.delivery.pod_token`, whose package its image holds.
"""

from __future__ import annotations

from typing import Any

AUDIENCE = "mlflow"
"""For whom the token is: no other server takes it, the API server neither."""

_DIRECTORY = "/var/run/secrets/falaj/tracking"
_SECONDS = 3600

VARIABLES = {
    "MLFLOW_TRACKING_AUTH": "falaj",
    "FALAJ_TRACKING_TOKEN_FILE": f"{_DIRECTORY}/token",
}
"""Of the container, beside `MLFLOW_TRACKING_URI`."""

MOUNT: dict[str, Any] = {"name": "tracking-token", "mountPath": _DIRECTORY, "readOnly": True}
"""Of the container."""

VOLUME: dict[str, Any] = {
    "name": "tracking-token",
    "projected": {
        "defaultMode": 0o440,
        "sources": [
            {
                "serviceAccountToken": {
                    "audience": AUDIENCE,
                    "expirationSeconds": _SECONDS,
                    "path": "token",
                }
            }
        ],
    },
}
"""Of the pod."""
