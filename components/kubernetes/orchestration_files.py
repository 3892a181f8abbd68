"""Dagster's files on a cluster: the instance with its launcher of runs, and the workspace. Pure.

Keys as in Dagster 1.13's schema of the instance and in the launcher's of `dagster-k8s` 0.29. A
test lets Dagster itself read the instance; the launcher's part is free-form to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.kubernetes import tracking_client
from components.kubernetes.orchestration_settings import TeamOrchestration
from components.kubernetes.pod_parts import container_security, pod_security, room
from components.kubernetes.quantities import mib
from components.kubernetes.tenancy import SERVICE_ACCOUNT

HOME = "/opt/dagster/home"
"""`DAGSTER_HOME` of every pod: the files below are mounted there."""
INSTANCE, WORKSPACE, AUTHORITIES = "dagster.yaml", "workspace.yaml", "database.pem"
FILES = "dagster"
"""The ConfigMap with all three in a team's namespace; the Secret with the password too."""
SCRATCH = "/tmp"  # noqa: S108 the pod's own
CODE_PORT = 4000
PASSWORD = "DAGSTER_PG_PASSWORD"  # noqa: S105  # pragma: allowlist secret
PASSWORD_KEY = "postgresql-password"  # noqa: S105  # pragma: allowlist secret
"""The key that the launcher reads, and the variable above that it gives to runs."""
RUN = {"falaj/part": "run"}
"""The label of the pods of runs, beside Dagster's own."""


@dataclass(frozen=True, kw_only=True)
class InstanceDatabase:
    """A team's own database on PostgreSQL 12 or later, and the role that owns all in it."""

    host: pulumi.Input[str]
    name: str
    role: str
    authorities: str
    """PEM of who signs the server's certificate."""
    port: int = 5432
    region: str | None = None
    """Of a database that is signed in to by AWS IAM. `None`: by the password in the Secret."""

    @property
    def by_password(self) -> bool:
        """Whether there is one."""
        return self.region is None


def location_host(location: str, team: str) -> str:
    """Of the Service before a code location."""
    return f"{location}-code.{team}.svc"


def workspace(team: str, locations: Sequence[str]) -> dict[str, Any]:
    """`workspace.yaml`: every code location of the team."""
    return {
        "load_from": [
            {
                "grpc_server": {
                    "host": location_host(location, team),
                    "port": CODE_PORT,
                    "location_name": location,
                }
            }
            for location in locations
        ]
    }


def instance(team: str, settings: TeamOrchestration, database: InstanceDatabase) -> dict[str, Any]:
    """`dagster.yaml` of the team's instance. It holds no secret."""
    return {
        "storage": {"postgres": _storage(database)},
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
        },
        "concurrency": {"runs": {"max_concurrent_runs": settings.max_concurrent_runs}},
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": launcher(team, settings, database),
        },
        "run_monitoring": {
            "enabled": True,
            # a pool may have to start a node first
            "start_timeout_seconds": 1200,
            "cancel_timeout_seconds": 180,
            "max_runtime_seconds": settings.max_run_hours * 3600,
            # a run that was lost begins anew: the chain goes on after its last finished step
            "max_resume_run_attempts": 0,
            "poll_interval_seconds": 60,
        },
        "run_retries": {
            "enabled": True,
            "max_retries": settings.max_retries,
            # a missed gate is an answer
            "retry_on_asset_or_op_failure": False,
        },
        # what a run prints goes the way of all pods' logs
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "local_artifact_storage": {
            "module": "dagster.core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": f"{SCRATCH}/dagster"},
        },
        "retention": {
            kind: {"purge_after_days": {"skipped": 7, "failure": 90, "success": -1}}
            for kind in ("schedule", "sensor")
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _storage(database: InstanceDatabase) -> dict[str, Any]:
    reached: dict[str, Any] = {
        "hostname": database.host,
        "port": database.port,
        "db_name": database.name,
        "username": database.role,
        # the driver that `dagster-postgres` brings along; SQLAlchemy 2.1 takes another by itself
        "scheme": "postgresql+psycopg2",
        "params": {"sslmode": "verify-full", "sslrootcert": f"{HOME}/{AUTHORITIES}"},
    }
    if database.region is not None:
        return {
            "postgres_db": reached,
            "auth_provider": {"aws_wif": {"region": database.region}},
        }
    return {"postgres_db": reached | {"password": {"env": PASSWORD}}}


def launcher(team: str, settings: TeamOrchestration, database: InstanceDatabase) -> dict[str, Any]:
    """The `config` of the launcher: a Job for each run, in the team's namespace as the team.

    The launcher mounts the account's token into every pod of a run; it may do nothing.
    """
    room_of_run = room(
        cpus=settings.run.cpus,
        memory_mib=settings.run.memory_mib,
        disk_mib=settings.run.disk_mib,
    )
    config: dict[str, Any] = {
        "job_namespace": team,
        "service_account_name": SERVICE_ACCOUNT,
        "instance_config_map": FILES,
        "dagster_home": HOME,
        "load_incluster_config": True,
        "image_pull_policy": "IfNotPresent",
        "fail_pod_on_run_failure": True,
        # of the pods; that of their name, which admission asks for, is the launcher's own
        "labels": dict(RUN),
        "resources": room_of_run,
        "security_context": container_security(),
        "env_vars": [
            f"HOME={SCRATCH}",
            "PYTHONDONTWRITEBYTECODE=1",
            # every run is the team's, and so is known to MLflow
            *(f"{name}={value}" for name, value in tracking_client.VARIABLES.items()),
        ],
        "volumes": [*volumes(settings.run.disk_mib), tracking_client.VOLUME],
        "volume_mounts": [*mounts(), tracking_client.MOUNT],
        "run_k8s_config": {
            "pod_spec_config": {
                "securityContext": pod_security(),
                "priorityClassName": "falaj-batch",
                "enableServiceLinks": False,
            },
            "pod_template_spec_metadata": {
                # a node that is taken away takes the run along
                "annotations": {"karpenter.sh/do-not-disrupt": "true"}
            },
            "job_spec_config": {
                "ttlSecondsAfterFinished": settings.keep_days * 24 * 3600,
                "backoffLimit": 0,
                "activeDeadlineSeconds": (settings.max_run_hours + 1) * 3600,
            },
        },
        # code says what a run needs, where, and what it is told; as whom it runs is not its to say
        "only_allow_user_defined_k8s_config_fields": {
            "container_config": {"resources": True, "env": True, "env_from": True},
            "pod_spec_config": {"affinity": True, "tolerations": True, "node_selector": True},
        },
    }
    if database.by_password:
        config["postgres_password_secret"] = FILES
    return config


def volumes(scratch_mib: int, files: str = FILES) -> list[dict[str, Any]]:
    """What every pod of Dagster has, `files` being the ConfigMap."""
    return [
        {"name": "scratch", "emptyDir": {"sizeLimit": mib(scratch_mib)}},
        {"name": "home", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "files", "configMap": {"name": files}},
    ]


def mounts() -> list[dict[str, Any]]:
    """Where; Dagster keeps small files beside those that are given, so its home can be written."""
    return [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "home", "mountPath": HOME},
        *(
            {"name": "files", "mountPath": f"{HOME}/{name}", "subPath": name, "readOnly": True}
            for name in (INSTANCE, WORKSPACE, AUTHORITIES)
        ),
    ]
