"""What raises an alert: of the platform, of a workload, and of a cluster.

The groups of `platform_rules` and `workload_rules` run in every place, the others in a cluster.
What is wrong with Kubernetes itself (nodes, volumes, deployments) is told by the rules that
kube-prometheus-stack brings and is not said twice. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.monitoring.rules import Alert, Group, Record

PRICE = "falaj:gpu_price:usd_per_hour"
POSITIVE_SHARE, DECISIONS = "falaj:decisions_positive:share1h", "falaj:decisions:increase1h"
"""Names of series that are recorded, of the last hour of a workload."""

_WHO = "by (namespace, workload)"


def platform_rules(lasts: str = "1m") -> Group:
    """A part that does not answer; `lasts` is how long it may.

    Servers of models are left out: any of them may be away, and `workload_rules` tells when all
    are.
    """
    return Group(
        name="platform",
        rules=(
            Alert(
                name="PartDown",
                expression='up{job!="serving"} == 0',
                lasts=lasts,
                severity="critical",
                summary="{{ $labels.job }} at {{ $labels.instance }} does not answer",
            ),
        ),
    )


def workload_rules(workload: str, namespace: str | None = None) -> Group:
    """The alerts that every workload has: no server left, and answers that fail.

    `namespace` is that of its team, where there are several.
    """
    mine = f'workload="{workload}"' + (f',namespace="{namespace}"' if namespace else "")
    whose = {"workload": workload} | ({"namespace": namespace} if namespace else {})
    return Group(
        name=f"workload-{workload}",
        interval="5s",
        rules=(
            Alert(
                name="NoModelServer",
                expression=f'sum(up{{job="serving",{mine}}}) == 0',
                lasts="10s",
                severity="critical",
                labels=whose,
                summary=f"no model server of {workload} answers",
            ),
            Alert(
                name="PredictionsFail",
                expression=(
                    f'sum(rate(falaj_requests_total{{{mine},code=~"5.."}}[1m])) '
                    f"/ sum(rate(falaj_requests_total{{{mine}}}[1m])) > 0.01"
                ),
                lasts="10s",
                severity="critical",
                labels=whose,
                summary=f"more than 1 % of {workload}'s predictions fail",
            ),
        ),
    )


def cluster_rules(
    *, jobs: Iterable[str], gpu_prices_usd: Mapping[str, float] | None = None
) -> tuple[Group, ...]:
    """What is told of a cluster, besides its objectives.

    `jobs` are those that Prometheus must find; `gpu_prices_usd` is model of GPU → price of an hour.
    """
    return (
        platform_rules("5m"),
        watch_rules(jobs),
        TRAINING,
        gpu_rules(gpu_prices_usd or {}),
        DRIFT,
        COMPLIANCE,
    )


def watch_rules(jobs: Iterable[str]) -> Group:
    """That there is a watch at all: parts that nobody reads, and the sign of life.

    `DeadMansSwitch` is raised while all is well and sent on for ever; who receives it calls
    somebody when it stops. It stops too when Prometheus runs and reads nothing.
    """
    return Group(
        name="watch",
        rules=(
            Alert(
                name="DeadMansSwitch",
                expression="count(up == 1) > 0",
                lasts="0s",
                severity="none",
                summary="the watch is alive",
            ),
            *(
                Alert(
                    name="PartNotRead",
                    # no target of that name: its monitor selects nothing, or is not selected
                    expression=f'absent(up{{job="{job}"}})',
                    lasts="15m",
                    severity="warning",
                    summary="nothing of {{ $labels.job }} is measured",
                )
                for job in sorted(jobs)
            ),
        ),
    )


TRAINING = Group(
    name="training",
    rules=(
        Alert(
            name="TrainingJobFailed",
            expression=(
                "max by (namespace, name) "
                '(kuberay_job_deployment_status{deployment_status="Failed"}) == 1'
            ),
            lasts="0s",
            severity="warning",
            summary="training job {{ $labels.name }} of {{ $labels.namespace }} failed",
        ),
        Alert(
            name="TrainingWaits",
            # one that can never be admitted waits as well
            expression="sum by (cluster_queue) (kueue_pending_workloads) > 0",
            lasts="2h",
            severity="warning",
            summary="the queue {{ $labels.cluster_queue }} has not been empty for two hours",
        ),
        Alert(
            name="RayOutOfMemory",
            expression=(
                "sum by (namespace, ray_io_cluster) "
                "(increase(ray_memory_manager_worker_eviction_total[15m])) > 0"
            ),
            lasts="0s",
            severity="warning",
            summary=(
                "Ray ends tasks of {{ $labels.ray_io_cluster }} in {{ $labels.namespace }} for "
                "want of memory"
            ),
        ),
    ),
)


def gpu_rules(prices_usd: Mapping[str, float]) -> Group:
    """GPUs that are paid for and idle, or unwell; and what an hour of each model costs."""
    return Group(
        name="gpu",
        rules=(
            *(
                Record(name=PRICE, expression=f"vector({price:g})", labels={"modelName": model})
                for model, price in sorted(prices_usd.items())
            ),
            Alert(
                name="GpuIdle",
                # the label `pod` is empty while nobody holds the GPU
                expression=(
                    'avg by (namespace, pod) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{pod!=""}[1h])) < 5'
                ),
                lasts="1h",
                severity="warning",
                summary="{{ $labels.pod }} of {{ $labels.namespace }} holds a GPU and uses it not",
            ),
            Alert(
                name="GpuFault",
                # NVIDIA, "XID errors": any but 0 is one; 13, 31, 43 and 45 are the program's own
                expression=(
                    "(DCGM_FI_DEV_XID_ERRORS > 0) "
                    "unless (DCGM_FI_DEV_XID_ERRORS == 13 or DCGM_FI_DEV_XID_ERRORS == 31 "
                    "or DCGM_FI_DEV_XID_ERRORS == 43 or DCGM_FI_DEV_XID_ERRORS == 45)"
                ),
                lasts="1m",
                severity="critical",
                summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reports XID {{ $value }}",
            ),
            Alert(
                name="GpuHot",
                expression="max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP) > 85",
                lasts="10m",
                severity="warning",
                summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is above 85 °C",
            ),
        ),
    )


DRIFT = Group(
    name="drift",
    interval="1m",
    rules=(
        Record(
            name=DECISIONS,
            expression=f"sum {_WHO} (increase(falaj_predictions_total[1h]))",
        ),
        Record(
            name=POSITIVE_SHARE,
            expression=(
                f'sum {_WHO} (increase(falaj_predictions_total{{decision="positive"}}[1h])) '
                f"/ (sum {_WHO} (increase(falaj_predictions_total[1h])) > 0)"
            ),
        ),
        Alert(
            name="DecisionsShift",
            # of a hundred decisions the share lies within 0.1 of the true one 19 times of 20
            # (normal approximation, at worst): twice that is no chance
            expression=(
                f"abs({POSITIVE_SHARE} - avg_over_time({POSITIVE_SHARE}[7d] offset 1h)) > 0.2 "
                f"and {DECISIONS} >= 100"
            ),
            lasts="15m",
            severity="warning",
            summary=(
                "the share of positive decisions of {{ $labels.workload }} is not what it was in "
                "the week before"
            ),
        ),
    ),
)

COMPLIANCE = Group(
    name="compliance",
    rules=(
        Alert(
            name="SecretNotSynced",
            expression=(
                'max by (namespace, name) (externalsecret_status_condition{condition="Ready",'
                'status="False"}) == 1'
            ),
            lasts="15m",
            severity="warning",
            summary="secret {{ $labels.name }} of {{ $labels.namespace }} is not brought in",
        ),
        Alert(
            name="CertificateEnds",
            expression=(
                "min by (namespace, name) "
                "(certmanager_certificate_expiration_timestamp_seconds) - time() < 14 * 86400"
            ),
            lasts="1h",
            severity="critical",
            summary="certificate {{ $labels.name }} of {{ $labels.namespace }} ends within 14 days",
        ),
        Alert(
            name="BackupTooOld",
            # daily, with two hours to take it
            expression=(
                "time() - max by (schedule) (velero_backup_last_successful_timestamp) > 26 * 3600"
            ),
            lasts="10m",
            severity="critical",
            summary="the last good backup of {{ $labels.schedule }} is older than 26 hours",
        ),
    ),
)
