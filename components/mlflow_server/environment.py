"""What MLflow's server is told, by environment variables, in every place that it runs.

`mlflow server` would start the web server as a child that outlives it and keeps the port, so the
web server is started itself and gets what the command would have told it. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DATABASE = "_MLFLOW_SERVER_FILE_STORE"
"""Where runs and the registry are; the command's `--backend-store-uri`."""
USERS = "OIDC_USERS_DB_URI"
"""Where users are, and what they may do."""
GRANTS = "FALAJ_GRANTS"
"""Who may do what, as `grants.written` says it."""
COPIES = "FALAJ_DATABASE_COPIES"
"""The folder for copies of databases, as a URI; without it none is made."""
SIGN_IN = "FALAJ_DATABASE_REGION"
"""The region of a database that is signed in to by IAM; unset for any other."""
METRICS_PORT = "FALAJ_METRICS_PORT"
"""Where the figures for Prometheus are; unset for nowhere."""


def server_environment(*, database: Any, artifacts: Any, hosts: Sequence[str]) -> dict[str, Any]:
    """Variables for a server on `database` that hands out what is under `artifacts` itself.

    Both are texts, or what stands for a text that is not known yet.

    `hosts` are all that a client may call it, each as in the header `Host`, with its port: any
    other gets 403, while `/health` stays green.
    """
    return {
        DATABASE: database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        # ten processes of 170 MB each, for generative models
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # it hands requests on to models elsewhere
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
    }
