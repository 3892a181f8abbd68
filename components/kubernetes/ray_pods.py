"""Ray clusters and jobs as Kubernetes objects: plain data, made by pure functions.

Fields as in KubeRay 1.6's kinds (`ray.io/v1`). Values may be outputs of Pulumi where a caller has
them. What every pod has in common is here: it is bound to a pool of nodes, fits Pod Security
`restricted` and the admission policies, writes to volumes only, and calls nobody home.

Encryption between Ray's processes is the mesh's: `RAY_USE_TLS` asks that each pod's certificate
name its address, which is known only once the pod runs, so that the authority's own key would have
to lie in every pod; and it leaves the dashboard and the metrics in plain. Mutual TLS of the mesh
(Istio ambient) covers every port, and its keys stay on the node.

Whether Ray's own image runs with a root that is read-only is not shown by any test here; on a
cluster: `kubectl -n <team> get pods -l ray.io/cluster=ray` shows all running, without restarts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from components.kubernetes import tracking_client
from components.kubernetes.flows import AMBIENT
from components.kubernetes.pools import GPU, Pool, placing
from components.kubernetes.priorities import FOR_TEAMS
from components.kubernetes.settings import TeamQuota
from components.kubernetes.training_settings import (
    AUTOSCALER_CPUS,
    AUTOSCALER_GIB,
    Demand,
    HeadState,
    RayHead,
    RayWorkers,
    SharedRay,
    over_quota,
    problems_of_group,
)

RAY_VERSION = "2.60.0"
"""Of the images; from 2.52 on Ray asks for a token, from 2.53 on its probes need no `wget`."""
API_VERSION = "ray.io/v1"

CLUSTER = "ray"
"""The name of a team's shared cluster, and of the role that its autoscaler has."""
HEAD_ACCOUNT = "ray-head"
WORKER_ACCOUNT = "workload"
"""The team's own (`tenancy.SERVICE_ACCOUNT`), to which the cloud's identity is bound."""
TOKEN_SECRET, TOKEN_KEY = "ray-token", "auth_token"
"""The Secret with the token of a team's clusters, and the key that KubeRay reads there."""
PART = {"falaj/part": "ray"}
"""The label of every pod of Ray."""
QUEUE = "jobs"
"""The team's LocalQueue."""
QUEUE_LABEL, QUEUE_PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
ELASTIC = "kueue.x-k8s.io/elastic-job"

JOBS_PORT, METRICS_PORT = 8265, 8080
_PORTS = {"gcs": 6379, "dashboard": JOBS_PORT, "client": 10001, "metrics": METRICS_PORT}
_OBJECTS = 0.3
"""The share of a pod's memory that holds Ray's objects, as by Ray's default."""
_MIB = 1024**2
_SPILL = "/spill"
_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 a path
_TOKEN_SECONDS = 3607
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

_MAX_JOB_NAME = 47
_DNS_LABEL = re.compile(r"^[a-z]([a-z0-9-]*[a-z0-9])?$")
_FETCHED = ("pip", "uv", "conda", "container", "image_uri", "java_jars")
_ALLOWED_SOURCES = ("s3://", "file://", "/")


class RayJobError(ValueError):
    """A job cannot be; `problems` lists why."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            f"the job {name} cannot run:\n" + "\n".join(f"  - {one}" for one in problems)
        )


@dataclass(frozen=True, kw_only=True)
class RayPlace:
    """Where Ray's pods run, and what of."""

    pools: Mapping[str, Pool]
    images: Mapping[Literal["cpu", "gpu"], Any]
    """By the kind of the pool; from the registry in the country."""
    storage_class: str
    """Encrypted; objects that memory does not hold are written to volumes of it."""
    mesh: bool = True
    """Whether the mesh encrypts between the pods."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """Work with a cluster of its own, of a fixed size, that goes when the work is done."""

    name: str
    team: str
    """Also its namespace."""
    entrypoint: str
    """The command that the head runs."""
    head: RayHead
    workers: Mapping[str, RayWorkers]
    """Of each group `max_workers` run."""
    image: str | None = None
    """With the job's code; the platform's own where none is named."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """More of its pods' environment; no secret."""
    signs_in: bool = False
    """Whether its pods have the token that MLflow knows the team by (`tracking_client`)."""
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    """Ray's, without what would be fetched from the internet."""
    secrets: tuple[str, ...] = ()
    """Secrets in the namespace whose keys become environment variables."""
    priority: str = "falaj-batch"
    spill_gib: int = 50
    deadline_seconds: int = 24 * 3600
    """After its start; what is not done by then has failed."""
    keep_seconds: int = 600
    """How long pods and logs stay after the end."""
    retries: int = 0


def cluster_spec(
    shape: SharedRay,
    place: RayPlace,
    *,
    state: HeadState | None = None,
    storage_name: str = CLUSTER,
) -> dict[str, Any]:
    """The `spec` of a RayCluster that grows with its work.

    `storage_name` keeps clusters apart that share one `state`. The head runs no work: a job names
    ``entrypoint_num_cpus``, so that its driver runs on a worker, with the team's identity.
    """
    head = _head(shape.head, place, shape.spill_gib, account=HEAD_ACCOUNT)
    pod = head["template"]["spec"]
    # in the autoscaler's container alone: no code of a user gets hold of the token
    pod["volumes"].append(_server_token())
    spec: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": _AUTH,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": shape.idle_seconds,
            "upscalingMode": "Default",
            "resources": {
                "requests": {
                    "cpu": f"{AUTOSCALER_CPUS * 1000:g}m",
                    "memory": f"{AUTOSCALER_GIB}Gi",
                },
                "limits": {"memory": f"{AUTOSCALER_GIB}Gi"},
            },
            "securityContext": _CONTAINER_SECURITY,
            "env": _environment(),
            "volumeMounts": [
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 in the pod
                {"name": "server-token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True},
            ],
        },
        "headGroupSpec": head,
        "workerGroupSpecs": [
            _workers(name, group, place, shape.spill_gib)
            | {"minReplicas": group.min_workers, "idleTimeoutSeconds": shape.idle_seconds}
            for name, group in shape.workers.items()
        ],
    }
    if state is not None:
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": f"rediss://{state.address}:{state.port}",
            "redisUsername": {"value": state.username},
            "redisPassword": {
                "valueFrom": {
                    "secretKeyRef": {"name": state.password_secret, "key": "password"},
                }
            },
            "externalStorageNamespace": storage_name,
        }
        pod["containers"][0]["env"].append({"name": "RAY_REDIS_CA_CERT", "value": _CERTIFICATES})
    return spec


def job_manifest(job: RayJob, place: RayPlace, quota: TeamQuota) -> dict[str, Any]:
    """The RayJob of `job`, suspended until the team's queue lets it go.

    Raises `RayJobError` where it would be refused or never start: more than the team's quota, a
    pool that is not there or too small, an environment that would be fetched from the internet.
    """
    if problems := list(_problems_of_job(job, place, quota)):
        raise RayJobError(job.name, problems)
    head = _head(job.head, place, job.spill_gib, account=WORKER_ACCOUNT)
    groups = [
        _workers(name, group, place, job.spill_gib)
        | {"replicas": group.max_workers, "minReplicas": group.max_workers}
        for name, group in job.workers.items()
    ]
    for group in (head, *groups):
        spec = group["template"]["spec"]
        # among the running, too, the more important goes first
        spec["priorityClassName"] = job.priority
        (container,) = spec["containers"]
        if job.image is not None:
            container["image"] = job.image
        container["env"] += [
            {"name": name, "value": value} for name, value in sorted(job.variables.items())
        ]
        if job.signs_in:
            _sign_in(spec, container)
        if job.secrets:
            container["envFrom"] = [{"secretRef": {"name": name}} for name in job.secrets]
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": job.name,
            "namespace": job.team,
            "labels": {QUEUE_LABEL: QUEUE, QUEUE_PRIORITY: job.priority, **PART},
        },
        "spec": {
            # Kueue takes it off; without Kueue the job waits, which is better than past the quota
            "suspend": True,
            "entrypoint": job.entrypoint,
            # JSON is YAML
            "runtimeEnvYAML": json.dumps(dict(job.runtime_env), sort_keys=True),
            # the operator hands the job in: no pod more
            "submissionMode": "HTTPMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": job.keep_seconds,
            "activeDeadlineSeconds": job.deadline_seconds,
            "backoffLimit": job.retries,
            "rayClusterSpec": {
                "rayVersion": RAY_VERSION,
                "authOptions": _AUTH,
                "headGroupSpec": head,
                "workerGroupSpecs": groups,
            },
        },
    }


def _sign_in(spec: dict[str, Any], container: dict[str, Any]) -> None:
    spec["volumes"].append(tracking_client.VOLUME)
    container["volumeMounts"].append(tracking_client.MOUNT)
    container["env"] += [
        {"name": name, "value": value} for name, value in tracking_client.VARIABLES.items()
    ]


def _problems_of_job(job: RayJob, place: RayPlace, quota: TeamQuota) -> Iterator[str]:
    if len(job.name) > _MAX_JOB_NAME or not _DNS_LABEL.match(job.name):
        yield (
            f"name: {job.name!r} is not made of at most {_MAX_JOB_NAME} small letters, digits and "
            "hyphens, a letter first"
        )
    if not job.workers:
        yield "workers: is empty, and the head runs no work"
    if job.priority not in FOR_TEAMS:
        yield f"priority: {job.priority} is not for teams, who have {', '.join(FOR_TEAMS)}"
    workers = sum(group.max_workers for group in job.workers.values())
    demand = Demand(
        cpus=job.head.cpus + sum(one.cpus * one.max_workers for one in job.workers.values()),
        memory_gib=job.head.memory_gib
        + sum(one.memory_gib * one.max_workers for one in job.workers.values()),
        gpus=sum(one.gpus * one.max_workers for one in job.workers.values()),
        storage_gib=job.spill_gib * (1 + workers),
        pods=1 + workers,
    )
    yield from over_quota(demand, quota)
    head = RayWorkers(
        pool=job.head.pool, cpus=job.head.cpus, memory_gib=job.head.memory_gib, max_workers=1
    )
    for where, group in (("head", head), *job.workers.items()):
        for problem in problems_of_group(group, place.pools, job.team):
            yield f"{where}.{problem}"
    if "head" in job.workers:
        yield "workers.head: is the name of the head's own group; take another"
    yield from _problems_of_environment(job.runtime_env)


def _problems_of_environment(runtime_env: Mapping[str, Any]) -> Iterator[str]:
    for key in _FETCHED:
        if key in runtime_env:
            yield (
                f"runtime_env.{key}: would be fetched when the job starts, from where nothing "
                "here reaches: put it into the job's image"
            )
    sources = [("working_dir", runtime_env.get("working_dir"))]
    sources += [("py_modules", one) for one in runtime_env.get("py_modules") or ()]
    for key, source in sources:
        if source is not None and not str(source).startswith(_ALLOWED_SOURCES):
            yield (
                f"runtime_env.{key}: {source} is neither in a bucket (s3://) nor in the image "
                "(an absolute path)"
            )


# --- pods -----------------------------------------------------------------------------------------

_AUTH = {"mode": "token", "secretName": TOKEN_SECRET}

_POD_SECURITY = {
    "runAsNonRoot": True,
    # the user `ray` of Ray's images and its group
    "runAsUser": 1000,
    "runAsGroup": 100,
    "fsGroup": 100,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _environment() -> list[dict[str, str]]:
    return [
        # the root is read-only, and so the home in it
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 in the pod
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        # Ray would tell its makers of each cluster
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
    ]


def _head(head: RayHead, place: RayPlace, spill_gib: int, *, account: str) -> dict[str, Any]:
    shape = RayWorkers(pool=head.pool, cpus=head.cpus, memory_gib=head.memory_gib, max_workers=1)
    return {
        "serviceType": "ClusterIP",
        "rayStartParams": _start(shape, dashboard_host="0.0.0.0") | {"num-cpus": "0"},  # noqa: S104
        "template": _template(
            "ray-head", shape, place, spill_gib, account=account, ports=tuple(_PORTS)
        ),
    }


def _workers(name: str, group: RayWorkers, place: RayPlace, spill_gib: int) -> dict[str, Any]:
    return {
        "groupName": name,
        "maxReplicas": group.max_workers,
        "numOfHosts": 1,
        "rayStartParams": _start(group),
        "template": _template(
            "ray-worker", group, place, spill_gib, account=WORKER_ACCOUNT, ports=("metrics",)
        ),
    }


def _start(shape: RayWorkers, dashboard_host: str | None = None) -> dict[str, str]:
    started = {
        "num-cpus": str(shape.cpus),
        "object-store-memory": str(_object_bytes(shape)),
        "object-spilling-directory": _SPILL,
        "metrics-export-port": str(METRICS_PORT),
    }
    return started | ({"dashboard-host": dashboard_host} if dashboard_host else {})


def _object_bytes(shape: RayWorkers) -> int:
    return int(shape.memory_gib * 1024 * _OBJECTS) * _MIB


def _template(
    name: str,
    shape: RayWorkers,
    place: RayPlace,
    spill_gib: int,
    *,
    account: str,
    ports: tuple[str, ...],
) -> dict[str, Any]:
    pool = place.pools[shape.pool]
    memory = f"{shape.memory_gib}Gi"
    gpus = {GPU: str(shape.gpus)} if shape.gpus else {}
    labels = {"app.kubernetes.io/name": "ray", **PART}
    if place.mesh:
        labels |= AMBIENT
    return {
        "metadata": {
            "labels": labels,
            # a node that is taken away takes the work along
            "annotations": {"karpenter.sh/do-not-disrupt": "true"},
        },
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "priorityClassName": "falaj-training",
            "securityContext": dict(_POD_SECURITY),
            **placing(pool),
            "containers": [
                {
                    "name": name,
                    "image": place.images[pool.kind],
                    "env": _environment(),
                    "ports": [{"name": port, "containerPort": _PORTS[port]} for port in ports],
                    # as much as is asked for is there: Ray sizes itself by the limit
                    "resources": {
                        "requests": {"cpu": str(shape.cpus), "memory": memory, **gpus},
                        "limits": {"memory": memory, **gpus},
                    },
                    "securityContext": dict(_CONTAINER_SECURITY),
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 in the pod
                        {"name": "shared-mem", "mountPath": "/dev/shm"},  # noqa: S108 in the pod
                        {"name": "spill", "mountPath": _SPILL},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}},
                {
                    "name": "shared-mem",
                    "emptyDir": {
                        "medium": "Memory",
                        # the store and a little for others; part of the memory's limit
                        "sizeLimit": f"{_object_bytes(shape) // _MIB + 256}Mi",
                    },
                },
                {
                    "name": "spill",
                    "ephemeral": {
                        "volumeClaimTemplate": {
                            "spec": {
                                "accessModes": ["ReadWriteOnce"],
                                "storageClassName": place.storage_class,
                                "resources": {"requests": {"storage": f"{spill_gib}Gi"}},
                            }
                        }
                    },
                },
            ],
        },
    }


def _server_token() -> dict[str, Any]:
    """What a pod with a mounted token has, for the container that asks for it by name."""
    return {
        "name": "server-token",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
            ]
        },
    }
