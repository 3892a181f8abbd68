"""What the pods of Dagster are made of: pages, daemon, migration, code and launch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.kubernetes import pages
from components.kubernetes.orchestration_files import (
    CODE_PORT,
    FILES,
    HOME,
    PASSWORD,
    PASSWORD_KEY,
    SCRATCH,
    WORKSPACE,
    InstanceDatabase,
    mounts,
    volumes,
)
from components.kubernetes.orchestration_settings import (
    DAEMON_CPUS,
    DAEMON_MIB,
    MIGRATION_CPUS,
    MIGRATION_MIB,
    PAGES_CPUS,
    PAGES_MIB,
)
from components.kubernetes.pod_parts import (
    api_token,
    container_security,
    pod_security,
    room,
    variables,
)
from components.kubernetes.tenancy import SERVICE_ACCOUNT

PAGES_PORT = 3000
CODE = {"falaj/part": "code-location"}
NAME = {"app.kubernetes.io/name": "dagster"}
_WORKSPACE = f"{HOME}/{WORKSPACE}"
_SCRATCH_MIB = 512
_QUIET = ("--code-server-log-level", "warning")


def environment(secret: str, *, by_password: bool) -> list[dict[str, Any]]:
    """What each process of Dagster is told; `by_password`: it signs in to its database so."""
    return variables(
        {
            "DAGSTER_HOME": HOME,
            "DAGSTER_DISABLE_TELEMETRY": "true",
            "HOME": SCRATCH,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        {PASSWORD: (secret, PASSWORD_KEY)} if by_password else {},
    )


def webserver(
    page: pages.Page,
    database: InstanceDatabase,
    *,
    image: pulumi.Input[str],
    proxy_image: pulumi.Input[str],
    account: str,
    files: str,
    selected: Mapping[str, str],
) -> dict[str, Any]:
    """The pod of the pages: they show all and change nothing, and answer to the proxy alone."""
    token, mounted = api_token()
    alive = (
        "import urllib.request as r; "
        f"r.urlopen('http://127.0.0.1:{page.port}{page.path}/server_info', timeout=5)"
    )
    server = _container(
        "pages", image, environment(page.secret, by_password=database.by_password)
    ) | {
        "command": [
            *("dagster-webserver", "--read-only", "--host", "127.0.0.1"),
            *("--port", str(page.port), "--path-prefix", page.path),
            *("--workspace", _WORKSPACE, *_QUIET),
        ],
        "resources": room(cpus=PAGES_CPUS, memory_mib=PAGES_MIB, disk_mib=_SCRATCH_MIB),
        # by which the page of the instance loads the launcher; the account may do nothing
        "volumeMounts": [*mounts(), mounted],
        **_probes({"exec": {"command": ["python", "-c", alive]}}),
    }
    return _pod(
        account,
        [server, pages.proxy(page, proxy_image)],
        [*volumes(_SCRATCH_MIB, files), *pages.volumes(page), token],
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selected)},
            }
        ],
    )


def daemon(
    database: InstanceDatabase, *, image: pulumi.Input[str], account: str, files: str, secret: str
) -> dict[str, Any]:
    """The pod that keeps schedules and sensors, and takes runs off the queue."""
    token, mounted = api_token()
    alive = {"exec": {"command": ["dagster-daemon", "liveness-check"]}}
    process = _container("daemon", image, environment(secret, by_password=database.by_password)) | {
        "command": ["dagster-daemon", "run", "--workspace", _WORKSPACE, *_QUIET],
        "resources": room(cpus=DAEMON_CPUS, memory_mib=DAEMON_MIB, disk_mib=_SCRATCH_MIB),
        "volumeMounts": [*mounts(), mounted],
        # each asks the database for heartbeats, in a process of its own
        "startupProbe": {
            **alive, "periodSeconds": 30, "timeoutSeconds": 25, "failureThreshold": 20,
        },
        "livenessProbe": {
            **alive, "periodSeconds": 120, "timeoutSeconds": 60, "failureThreshold": 3,
        },
    }  # fmt: skip
    return _pod(account, [process], [*volumes(_SCRATCH_MIB, files), token])


def migration(
    database: InstanceDatabase, *, image: pulumi.Input[str], account: str, files: str, secret: str
) -> dict[str, Any]:
    """The pod that makes the tables, or brings them to the image's version."""
    token, mounted = api_token()
    process = _container(
        "migration", image, environment(secret, by_password=database.by_password)
    ) | {
        "command": ["dagster", "instance", "migrate"],
        "resources": room(cpus=MIGRATION_CPUS, memory_mib=MIGRATION_MIB, disk_mib=_SCRATCH_MIB),
        # it tells what the instance is made of first, and loads the launcher for that
        "volumeMounts": [*mounts(), mounted],
    }
    return _pod(account, [process], [*volumes(_SCRATCH_MIB, files), token], restartPolicy="Never")


def launch(
    location: str, job: str, database: InstanceDatabase, *, image: pulumi.Input[str]
) -> dict[str, Any]:
    """The pod that puts a run of `job` into the team's queue, as the team."""
    process = _container("launch", image, environment(FILES, by_password=database.by_password)) | {
        "command": [
            *("dagster", "job", "launch", "--workspace", _WORKSPACE),
            *("--location", location, "--job", job),
        ],
        "resources": room(cpus=0.1, memory_mib=512, disk_mib=_SCRATCH_MIB),
        "volumeMounts": mounts(),
    }
    return _pod(
        SERVICE_ACCOUNT,
        [process],
        volumes(_SCRATCH_MIB),
        restartPolicy="Never",
        priorityClassName="falaj-batch",
    )


def code(
    location: str,
    module: str,
    *,
    by_password: bool,
    image: pulumi.Input[str],
    told: Mapping[str, pulumi.Input[str]],
    secrets: tuple[str, ...],
    cpus: float,
    memory_mib: int,
) -> dict[str, Any]:
    """The pod that serves a workload's definitions, as on one machine (`components.local`)."""
    context = {
        "k8s": {
            # the runs of this code get what it is told itself
            "env_vars": [
                pulumi.Output.concat(name, "=", value) for name, value in sorted(told.items())
            ],
            "env_secrets": list(secrets),
        }
    }
    own = variables(
        {
            **dict(sorted(told.items())),
            "DAGSTER_CONTAINER_IMAGE": image,
            "DAGSTER_CONTAINER_CONTEXT": pulumi.Output.json_dumps(context),
        }
    )
    process = _container("code", image, [*environment(FILES, by_password=by_password), *own]) | {
        "command": [
            *("dagster", "api", "grpc", "--host", "0.0.0.0", "--port", str(CODE_PORT)),  # noqa: S104
            *("--module-name", module, "--location-name", location),
        ],
        "ports": [{"name": "grpc", "containerPort": CODE_PORT}],
        "resources": room(cpus=cpus, memory_mib=memory_mib, disk_mib=_SCRATCH_MIB),
        "volumeMounts": mounts(),
        **_probes({"grpc": {"port": CODE_PORT, "service": "DagsterApi"}}),
        **({"envFrom": [{"secretRef": {"name": one}} for one in secrets]} if secrets else {}),
    }
    return _pod(
        SERVICE_ACCOUNT, [process], volumes(_SCRATCH_MIB), priorityClassName="falaj-training"
    )


def _container(name: str, image: pulumi.Input[str], env: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "image": image, "env": env, "securityContext": container_security()}


def _probes(how: dict[str, Any]) -> dict[str, Any]:
    return {
        # imports take half a minute on a busy core
        "startupProbe": {**how, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 60},
        "livenessProbe": {**how, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 4},
        "readinessProbe": {**how, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 2},
    }


def _pod(
    account: str,
    containers: list[dict[str, Any]],
    mounted: list[dict[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "falaj-platform",
        "securityContext": pod_security(),
        "containers": containers,
        "volumes": mounted,
        **more,
    }
