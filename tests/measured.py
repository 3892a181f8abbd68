"""Samples of what the parts of the platform export, to run rules and dashboards on.

Names and labels are those that the parts export. Of our own model servers they are compared with
what such a server says (`tests/unit/test_dashboards.py`). Of others they were read in the sources
or the documents of the version named beside them; `curl <pod>:<port>/metrics` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One series."""

    name: str
    labels: Mapping[str, str]
    kind: Literal["counter", "gauge"] = "gauge"
    value: float = 1.0
    """Of a gauge; of a counter, how much is added in a minute."""


_SLOT = {"namespace": "lending", "workload": "credit-risk", "slot": "a", "version": "3"}
_POD = {"namespace": "lending", "pod": "ray-worker-1", "container": "ray-worker"}
_GPU = {**_POD, "gpu": "0", "Hostname": "node-1", "modelName": "NVIDIA A10G", "UUID": "GPU-1"}
_QUEUE = {"cluster_queue": "lending", "replica_role": "leader"}
_RAY = {"namespace": "lending", "ray_io_cluster": "ray", "SessionName": "session"}


def _buckets() -> Iterable[Measured]:
    for bound, within in (("0.01", 10), ("0.05", 40), ("0.25", 58), ("+Inf", 60)):
        yield Measured(
            name="falaj_request_seconds_bucket",
            labels={**_SLOT, "le": bound},
            kind="counter",
            value=within,
        )


SERVERS = (
    *(
        Measured(
            name="falaj_requests_total", labels={**_SLOT, "code": code}, kind="counter", value=n
        )
        for code, n in (("200", 59), ("500", 1))
    ),
    Measured(name="falaj_synthetic_requests_total", labels=_SLOT, kind="counter", value=5),
    *_buckets(),
    Measured(name="falaj_request_seconds_count", labels=_SLOT, kind="counter", value=60),
    Measured(name="falaj_request_seconds_sum", labels=_SLOT, kind="counter", value=2),
    *(
        Measured(
            name="falaj_predictions_total",
            labels={**_SLOT, "decision": decision},
            kind="counter",
            value=30,
        )
        for decision in ("positive", "negative")
    ),
    Measured(name="falaj_feedback_reward_sum", labels=_SLOT, kind="counter", value=4),
    Measured(name="falaj_feedback_reward_count", labels=_SLOT, kind="counter", value=6),
    Measured(name="falaj_model_info", labels={**_SLOT, "digest": "sha256:1"}),
)
"""Our own: `workloads/delivery/component.py`."""

OTHERS = (
    # Prometheus itself, of whatever it reads
    *(
        Measured(name="up", labels={"job": job, "namespace": job, "instance": "10.0.0.1:9000"})
        for job in ("tracking", "kuberay", "external-secrets", "dcgm")
    ),
    Measured(name="up", labels={"job": "serving", **_SLOT, "instance": "10.0.0.2:6000"}),
    # kube-state-metrics 2.19 and the kubelet of Kubernetes 1.36
    Measured(
        name="kube_node_status_condition",
        labels={"node": "node-1", "condition": "Ready", "status": "true"},
    ),
    Measured(name="kube_pod_status_phase", labels={**_POD, "phase": "Pending"}),
    Measured(
        name="kube_pod_container_status_restarts_total", labels=_POD, kind="counter", value=0.1
    ),
    Measured(
        name="kube_pod_container_resource_requests",
        labels={**_POD, "node": "node-1", "resource": "cpu"},
        value=6,
    ),
    Measured(
        name="kube_node_status_allocatable", labels={"node": "node-1", "resource": "cpu"}, value=8
    ),
    *(
        Measured(
            name=f"kubelet_volume_stats_{which}_bytes",
            labels={"namespace": "monitoring", "persistentvolumeclaim": "prometheus-0"},
            value=value,
        )
        for which, value in (("available", 20e9), ("capacity", 100e9))
    ),
    # dcgm-exporter 4.4, etc/default-counters.csv
    Measured(name="DCGM_FI_DEV_GPU_UTIL", labels=_GPU, value=70),
    Measured(name="DCGM_FI_DEV_FB_USED", labels=_GPU, value=9000),
    Measured(name="DCGM_FI_DEV_FB_FREE", labels=_GPU, value=14000),
    Measured(name="DCGM_FI_DEV_GPU_TEMP", labels=_GPU, value=61),
    Measured(name="DCGM_FI_DEV_POWER_USAGE", labels=_GPU, value=180),
    Measured(name="DCGM_FI_DEV_XID_ERRORS", labels=_GPU, value=0),
    # KubeRay 1.6, controllers/ray/metrics
    Measured(
        name="kuberay_job_deployment_status",
        labels={"namespace": "lending", "name": "nightly", "deployment_status": "Running"},
    ),
    Measured(
        name="kuberay_job_execution_duration_seconds",
        labels={"namespace": "lending", "name": "nightly", "job_deployment_status": "Complete"},
        value=840,
    ),
    # Kueue 0.19, pkg/metrics
    Measured(name="kueue_pending_workloads", labels={**_QUEUE, "status": "active"}, value=2),
    *(
        Measured(
            name=f"kueue_cluster_queue_{which}",
            labels={**_QUEUE, "flavor": "gpu", "resource": "nvidia.com/gpu", "cohort": "all"},
            value=value,
        )
        for which, value in (("resource_usage", 1), ("nominal_quota", 4))
    ),
    # Ray 2.60, "System metrics" and dashboard/modules/reporter
    Measured(name="ray_tasks", labels={**_RAY, "Name": "train", "State": "RUNNING"}, value=4),
    Measured(name="ray_cluster_active_nodes", labels={**_RAY, "node_type": "gpu"}, value=2),
    Measured(name="ray_node_mem_used", labels={**_RAY, "instance": "1"}, value=9e9),
    Measured(name="ray_node_mem_total", labels={**_RAY, "instance": "1"}, value=24e9),
    Measured(name="ray_object_store_memory", labels={**_RAY, "Location": "SPILLED"}, value=1e9),
    Measured(
        name="ray_memory_manager_worker_eviction_total",
        labels={**_RAY, "Type": "task"},
        kind="counter",
        value=0.1,
    ),
    # kube-apiserver 1.36, k8s.io/apiserver pkg/admission/plugin/policy/validating/metrics
    Measured(
        name="apiserver_validating_admission_policy_check_total",
        labels={
            "policy": "falaj-images",
            "policy_binding": "falaj-images",
            "error_type": "no_error",
            "enforcement_action": "deny",
        },
        kind="counter",
    ),
    # Istio 1.30, "Istio standard metrics"
    Measured(
        name="istio_tcp_connections_opened_total",
        labels={"connection_security_policy": "mutual_tls", "reporter": "destination"},
        kind="counter",
        value=30,
    ),
    # External Secrets 1.3, pkg/controllers/externalsecret/esmetrics
    *(
        Measured(
            name="externalsecret_status_condition",
            labels={
                "namespace": "lending",
                "name": "ray-token",
                "condition": "Ready",
                "status": status,
            },
            value=value,
        )
        for status, value in (("True", 1), ("False", 0))
    ),
    # cert-manager 1.21, "Prometheus metrics"
    Measured(
        name="certmanager_certificate_expiration_timestamp_seconds",
        labels={"namespace": "serving", "name": "models"},
        value=4e9,
    ),
    # Velero, pkg/metrics
    Measured(
        name="velero_backup_last_successful_timestamp", labels={"schedule": "daily"}, value=1.7e9
    ),
)

MEASURED: tuple[Measured, ...] = (*SERVERS, *OTHERS)


def open_metrics(measured: Iterable[Measured], *, start: int, end: int, step: int = 60) -> str:
    """Samples from `start` to `end` (seconds since 1970), as `promtool tsdb` takes them."""
    families: dict[str, list[Measured]] = {}
    for one in measured:
        families.setdefault(one.name, []).append(one)
    lines = []
    for name, series in families.items():
        lines.append(f"# TYPE {name} unknown")  # of any other, the form of a name would be judged
        for one in series:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(one.labels.items()))
            lines += [
                f"{one.name}{{{labels}}} "
                f"{one.value * ((at - start) / 60 if one.kind == 'counter' else 1)!r} {at}"
                for at in range(start, end + 1, step)
            ]
    return "\n".join([*lines, "# EOF\n"])
