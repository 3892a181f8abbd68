"""What MLflow's server is started with on this machine, word for word."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from components.local.machine import Machine
from components.local.object_store import ObjectStore
from components.local.tracking import Tracking, TrackingArgs

STORE = SimpleNamespace(
    artifact_uri="s3://artifacts/mlflow",
    buckets=(),
    variables=lambda: {"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:7070"},
)
MACHINE = Machine(
    supervisor=None,
    state_directory="/state",
    socket="/state/socket",
    runtime_directory="/run",
    ports={"tracking": 5500},
    health_seconds=60,
)


def test_the_local_server_is_told_what_it_was_told_before_a_cluster_had_one(
    record: Callable[[Callable[[], object]], Any],
) -> None:
    """Cluster and machine share the variables: a change for one would restart the other."""
    store = cast("ObjectStore", STORE)
    made = record(lambda: Tracking("tracking", TrackingArgs(machine=MACHINE, object_store=store)))
    server = made.the("SupervisedProcess").inputs
    assert server["command"] == [
        sys.executable,
        *("-m", "components.local.database", "/state/tracking/mlflow.db", "--", sys.executable),
        *("-m", "uvicorn", "components.local.tracking_app:app"),
        *("--host", "127.0.0.1", "--port", "5500", "--workers", "1", "--log-level", "warning"),
    ]
    assert server["environment"] == {
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:7070",
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:////state/tracking/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "s3://artifacts/mlflow",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:5500,localhost:5500",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
    }
    assert server["directories"] == ["/state/tracking"]
    assert server["files"] == {}
